"""What `backup-framework-status upgrade check` looks at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import importlib.util
import os
import urllib.parse

from oslo_config import cfg
from oslo_upgradecheck import upgradecheck
from oslo_upgradecheck.upgradecheck import Code, Result

from backup_framework import conf, exceptions

Check = Callable[['Checks'], Result]

# By the first part of a URL: the module, and the extra that brings it.
_CLIENTS = {'postgresql': ('psycopg2', 'postgresql'), 'mysql': ('pymysql', 'mysql'),
            'etcd': ('etcd3gw', 'etcd'), 'redis': ('redis', 'redis'),
            'zookeeper': ('kazoo', 'zookeeper')}


def run(configuration: conf.Configuration, words: Sequence[str]) -> int:
    """Check, print what was found, and give the worst of it.

    :param words: `upgrade check`, and perhaps `--json`.
    """
    return upgradecheck.main(cfg.ConfigOpts(), 'backup_framework', Checks(configuration),
                             list(words), [])


def _said(check: Callable[[conf.Configuration], Result]) -> Check:
    """A check whose errors are its result."""
    def checked(checks: Checks) -> Result:
        try:
            return check(checks.configuration)
        except exceptions.BackupFrameworkError as error:
            return Result(Code.FAILURE, conf.mask(str(error)))
        except ImportError as error:
            return Result(Code.FAILURE, f'{error.name} is missing: pip install '
                                        f'"backup-framework[service]"')
    return checked


def _check_packages(configuration: conf.Configuration) -> Result:
    wanted = [_CLIENTS[scheme] for url in (configuration.connection,
                                           configuration.jobboard().connection)
              if (scheme := urllib.parse.urlsplit(url or '').scheme.partition('+')[0]) in _CLIENTS]
    if configuration.text_of('oslo_messaging_notifications', 'driver'):
        wanted.append(('oslo_messaging', 'messaging'))
    if configuration.api.auth_strategy == 'keystone':
        wanted.append(('keystonemiddleware', 'keystone'))
    missing = [extra for module, extra in wanted if importlib.util.find_spec(module) is None]
    if missing:
        return Result(Code.FAILURE, f'the configuration needs packages that are not installed: '
                                    f'pip install "backup-framework[{",".join(missing)}]"')
    return Result(Code.SUCCESS)


def _check_configuration(configuration: conf.Configuration) -> Result:
    from backup_framework.api import middleware
    from backup_framework.service import working
    middleware.check(configuration)
    working.check_sections(configuration)
    if configuration.warnings:
        return Result(Code.WARNING, '; '.join(configuration.warnings))
    return Result(Code.SUCCESS, configuration.describe_source())


def _check_state(configuration: conf.Configuration) -> Result:
    """What this installation keeps on its host."""
    path = configuration.state_path
    if not os.path.isdir(path):
        return Result(Code.WARNING, f'{path} is not there yet; the first start makes it')
    owner = os.stat(path).st_uid
    if owner != os.geteuid():
        return Result(Code.FAILURE, f'{path} belongs to the user with the number {owner}: run '
                                    f'this, and the service, as that user')
    if not os.access(path, os.W_OK | os.X_OK):
        return Result(Code.FAILURE, f'{path} cannot be written')
    return Result(Code.SUCCESS)


def _check_database(configuration: conf.Configuration) -> Result:
    from backup_framework.catalog import Catalog
    catalog = Catalog(configuration.connection, configuration.state_path)
    stored, wanted = catalog.revisions()
    if stored == wanted:
        return Result(Code.SUCCESS)
    if stored is not None and stored > wanted:
        return Result(Code.FAILURE, f'{catalog.name} has version {stored}, and this release knows '
                                    f'{wanted}: it was written by a newer one')
    return Result(Code.WARNING, f'{catalog.name} has version {stored or "none"}, and this release '
                                f'wants {wanted}: stop the older processes, then run '
                                f'"backup-framework-manage db sync"')


def _check_board(configuration: conf.Configuration) -> Result:
    options = configuration.jobboard()
    if options.connection is None:
        return Result(Code.SUCCESS, 'none is configured: there can be one worker')
    from backup_framework.service import boards
    reason = boards.why_away(options)
    if reason is not None:
        return Result(Code.FAILURE, f'the board does not answer: {conf.mask(reason)}')
    return Result(Code.SUCCESS)


def _check_policy(configuration: conf.Configuration) -> Result:
    """Who may ask, and for what."""
    from backup_framework.api import auth, policy
    auth.make(configuration, policy.Rules(configuration.oslo))
    return Result(Code.SUCCESS)


class Checks(upgradecheck.UpgradeCommands):
    """In this order; nothing is changed."""

    _upgrade_checks = tuple((title, _said(check)) for title, check in (
        ('Packages', _check_packages),
        ('Configuration', _check_configuration),
        ('State directory', _check_state),
        ('Database', _check_database),
        ('Jobboard', _check_board),
        ('Policies', _check_policy)))

    def __init__(self, configuration: conf.Configuration) -> None:
        self.configuration = configuration
