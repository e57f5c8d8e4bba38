"""What oslo-config-generator and `config sample` show."""

from __future__ import annotations

from collections.abc import Iterable
import importlib
import io

from oslo_config import cfg

from backup_framework.conf import api, core, retention, schedules, service, sources
from backup_framework.conf.types import oslo_options
from backup_framework.driver.options import SHARED

NAMESPACE = 'backup_framework'
WIDTH = 79
# Imported only for the sample: sections are named like the drivers.
DRIVERS = {'local': 'backup_framework.drivers.local:LocalBackupDriver',
           'nfs': 'backup_framework.drivers.nfs:NFSBackupDriver'}
KEY_MANAGERS = {'file': 'backup_framework.key_managers.file:KeyFile',
                'passphrase': 'backup_framework.key_managers.passphrase:Passphrase',
                'castellan': 'backup_framework.key_managers.castellan:Castellan'}
SOURCES = {'file': 'backup_framework.volumes.file:FileVolumes',
           'block': 'backup_framework.volumes.block:BlockVolumes',
           'nbd': 'backup_framework.volumes.nbd:NBDVolumes',
           'cinder': 'backup_framework.volumes.cinder:CinderVolumes'}

Group = tuple[str | cfg.OptGroup | None, list[cfg.Opt]]


def list_opts() -> list[Group]:
    """All groups and options of the core: the entry point for `oslo.config.opts`."""
    shared = [made for option in SHARED for made in oslo_options(option)]
    groups: list[Group] = [
        (None, list(core.CORE)),
        ('database', list(core.DATABASE)),
        (_group(core.DEFAULTS), shared),
        (_group(retention.SECTION), list(retention.OPTIONS)),
        (_group(api.API), list(api.API_OPTIONS)),
        (_group(api.QUOTA), list(api.QUOTA_OPTIONS)),
        (_group(service.SERVICE), list(service.SERVICE_OPTIONS)),
        (_group(service.JOBBOARD), list(service.JOBBOARD_OPTIONS)),
        (_group(f'{core.VOLUME}example'), [*core.VOLUMES, *retention.OPTIONS]),
        (_group(f'{schedules.PREFIX}example'), [*schedules.OPTIONS, *schedules.RETENTION]),
    ]
    groups += [driver_opts(name, _imported(target)) for name, target in DRIVERS.items()]
    groups += [key_opts(name, _imported(target)) for name, target in KEY_MANAGERS.items()]
    groups += [source_opts(name, _imported(target)) for name, target in SOURCES.items()]
    return groups


def _imported(target: str) -> type:
    module, _, name = target.partition(':')
    found: type = getattr(importlib.import_module(module), name)
    return found


def driver_opts(section: str, driver_class: type, driver: str | None = None) -> Group:
    """A driver's example section, for the `list_opts` of its own distribution.

    :param section: the name of the section.
    :param driver: the driver's entry point, where it is not called like the section.
    """
    name = driver or section
    group = cfg.OptGroup(section, help=(
        f'A backend with the driver {name}. The options of [{core.DEFAULTS}] may stand here too. '
        f'It is used if enabled_backends names it.'))
    choice = cfg.StrOpt('driver', sample_default=name, help=core.DRIVER.help)
    own = [made for option in getattr(driver_class, 'OPTIONS', ())
           for made in oslo_options(option)]
    return group, [choice, *own]


def key_opts(kind: str, manager_class: type) -> Group:
    """A key manager's example section, for the `list_opts` of its own distribution.

    :param kind: the name of its entry point.
    """
    group = cfg.OptGroup(f'{core.KEY}{kind}', help=(
        f'A key of the type {kind}, with a name of your own behind the colon. Backends that name '
        f'it in their option keys seal for it; all such sections are tried when something is '
        f'opened.'))
    choice = cfg.StrOpt('type', sample_default=kind, help=core.KEY_TYPE.help)
    own = [made for option in getattr(manager_class, 'OPTIONS', ())
           for made in oslo_options(option)]
    return group, [choice, *own]


def source_opts(kind: str, source_class: type) -> Group:
    """The example section of a source of volumes, for the `list_opts` of its own distribution.

    :param kind: the name of its entry point.
    """
    group = cfg.OptGroup(f'{sources.PREFIX}{kind}', help=(
        f'Volumes of the type {kind} that the service offers, with a name of your own behind the '
        f'colon.'))
    choice = cfg.StrOpt('type', sample_default=kind, help=sources.TYPE.help)
    own = [made for option in getattr(source_class, 'OPTIONS', ())
           for made in oslo_options(option)]
    return group, [choice, *sources.OPTIONS[1:], *own]


def _group(name: str) -> cfg.OptGroup:
    return cfg.OptGroup(name, help=core.GROUP_HELP[name])


def sample(others: Iterable[tuple[str, Group]] = ()) -> str:
    """The sample file, as oslo-config-generator makes it with the file in `etc`.

    :param others: what follows the core's sections, each with the distribution it comes from.
    """
    # It brings docutils and YAML along.
    from oslo_config import generator
    oslo = cfg.ConfigOpts()
    generator.register_cli_opts(oslo)
    oslo(args=['--namespace', NAMESPACE, '--wrap-width', str(WIDTH)], default_config_files=[],
         default_config_dirs=[], use_env=False)
    output = io.StringIO()
    # `generator.generate` would look our entry point up through stevedore, which finds nothing
    # when the tree was not installed and leaves a cache file in the user's home.
    formatter = generator._OptFormatter(oslo, output_file=output)
    groups = generator._get_groups([(NAMESPACE, list_opts())])
    generator._output_opts(formatter, 'DEFAULT', groups.pop('DEFAULT'))
    behind = generator._get_groups([(source, [group]) for source, group in others])
    behind.pop('DEFAULT')
    for name, data in [*sorted(groups.items()), *sorted(behind.items())]:
        formatter.write('\n\n')
        generator._output_opts(formatter, name, data)
    return output.getvalue()
