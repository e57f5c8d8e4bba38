"""The daemons: backup-framework-api, backup-framework-worker, and both in one, -serve.

All that can be wrong with a configuration is said before the first process is forked, in a
sentence and with the exit code of the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import sys
from typing import TYPE_CHECKING, Any

from backup_framework import conf
from backup_framework.cmd import programs

if TYPE_CHECKING:
    from backup_framework.service.daemon import Part


def api() -> int:
    """Serve the REST API."""
    return _run('backup-framework-api', 'Serves the REST API.', _api_part)


def worker() -> int:
    """Run jobs."""
    return _run('backup-framework-worker', 'Runs the jobs that the API accepts, and schedules.',
                _worker_part)


def serve() -> int:
    """Both, on one machine."""
    return _run('backup-framework-serve', 'Serves the REST API and runs its jobs, on one machine.',
                _worker_part, _api_part)


def _run(name: str, about: str, *makers: Callable[[conf.Configuration], Part]) -> int:
    options = programs.parser(name, about).parse_args()

    def work() -> None:
        configuration = _configuration(options.config_file)
        with programs.needing_the_extra():
            from backup_framework.service import daemon
            _open_catalog(configuration)
            parts = [make(configuration) for make in makers]
        daemon.run(configuration, parts)
    return programs.run(work)


def _configuration(config_files: Sequence[str]) -> conf.Configuration:
    from oslo_config import cfg
    conf.prepare_daemon_logging(cfg.CONF)
    configuration = conf.load(config_files or None)
    conf.setup_daemon_logging(configuration)
    for sentence in configuration.warnings:
        print(f'Warning: {conf.mask(sentence)}', file=sys.stderr)
    return configuration


def _open_catalog(configuration: conf.Configuration) -> None:
    """Make or migrate it once, instead of in each process; they open it for themselves."""
    from backup_framework.catalog import Catalog
    catalog = Catalog(configuration.connection, configuration.state_path)
    try:
        catalog.services()
    finally:
        catalog.close()


def _worker_part(configuration: conf.Configuration) -> Part:
    from backup_framework.service import daemon, working
    working.check(configuration)
    return daemon.Part('worker', lambda: working.Working(configuration),
                       lambda: working.patience(configuration))


def _api_part(configuration: conf.Configuration) -> Part:
    from backup_framework.api import application, auth, policy, server
    from backup_framework.service import daemon
    options = configuration.api
    auth.make(configuration, policy.Rules(configuration.oslo))
    application.check(configuration)
    listener = server.listen(options.host, options.port)

    def make() -> _Serving:
        return _Serving(server.serve(application.make(configuration), options, listener))
    return daemon.Part('api', make, lambda: options.request_timeout, options.workers,
                       listener.close)


class _Serving:
    """An API process."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def run(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def reload(self) -> None:
        """Policies and users are read again by themselves."""
