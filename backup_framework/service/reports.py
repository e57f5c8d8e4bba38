"""What a worker tells of itself: that it lives, how its backends do, which volumes it reaches."""

from __future__ import annotations

import logging
from typing import Any

from backup_framework.catalog import Catalog
from backup_framework.conf import Configuration
from backup_framework.exceptions import ConfigurationError
from backup_framework.manager import Manager
from backup_framework.model import Job, Service, utcnow
from backup_framework.service import dispatch
from backup_framework.service.local import second

LOG = logging.getLogger(__name__)


class Reports:
    """:ivar service: what was told last."""

    def __init__(self, configuration: Configuration, catalog: Catalog, host: str, zone: str
                 ) -> None:
        self._configuration = configuration
        self._catalog = catalog
        self._failed: dict[str, str | None] = {}
        self.service = Service(
            service_id(host), dispatch.WORKER, host, zone, started_at=utcnow(),
            sources=[source.name for source in configuration.sources()],
            backends={name: self._unknown(name) for name in configuration.enabled_backends})

    def _unknown(self, backend: str) -> dict[str, Any]:
        return {'driver': self._configuration.backend(backend).driver, 'ok': None, 'error': None,
                'free_bytes': None, 'checked_at': None}

    def can_do(self, job: Job) -> bool:
        """Whether this worker can do a job, and may."""
        return dispatch.has_what_it_takes(self.service, job)

    def beat(self) -> None:
        """Say that this worker lives, and hear whether it may take jobs."""
        self._catalog.beat(self.service)
        for known in self._catalog.services():
            if known.id == self.service.id and known.disabled != self.service.disabled:
                self.service.disabled = known.disabled
                LOG.warning('This worker is %s', 'disabled and takes no new jobs'
                            if known.disabled else 'enabled again')

    def check(self) -> None:
        """Ask each backend whether it works and what room it has."""
        manager = Manager(self._configuration, self._catalog)
        try:
            for name in self._configuration.enabled_backends:
                self.service.backends[name] = self._unknown(name) | manager.backend_health(name) | {
                    'checked_at': utcnow().isoformat()}
                self._tell_once(f'backend {name}', self.service.backends[name]['error'])
        finally:
            manager.close()

    def offer(self) -> None:
        """Tell the catalog which volumes the sources have."""
        manager = Manager(self._configuration, self._catalog)
        try:
            for offer in manager.sources.offers():
                self._tell_once(f'source {offer.source}', offer.error)
                if offer.error is None:
                    self._catalog.offer_volumes(offer.source, offer.volumes, offer.snapshots)
        finally:
            manager.close()

    def _tell_once(self, what: str, error: str | None) -> None:
        if error != self._failed.get(what):
            if error is None:
                LOG.warning('The %s works again', what)
            else:
                LOG.error('The %s does not work: %s', what, error)
        self._failed[what] = error


def service_id(host: str) -> str:
    """The same after a restart: an operator who disabled a worker wants it to stay so."""
    return f'{dispatch.WORKER}@{host}'


def refuse_second(catalog: Catalog, host: str, down_time: float) -> None:
    """Without a board only one host may run the jobs of a catalog.

    :raises ConfigurationError: a worker of another host was alive a moment ago.
    """
    for service in catalog.services():
        if service.binary == dispatch.WORKER and service.host != host and dispatch.is_up(
                service, down_time):
            raise ConfigurationError(second(f'on {service.host}, seen at {service.seen_at}'))
