"""Figures for Prometheus: of the catalog at this moment, and of the requests to this process.

Labels are bounded: routes, states, names of the configuration, and the first thousand volumes and
projects.
"""

from __future__ import annotations

from collections.abc import Iterator
import os
from typing import TYPE_CHECKING, Any

import prometheus_client
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
import webob

from backup_framework.api import backends, policy
from backup_framework.catalog import Catalog
from backup_framework.catalog.figures import Figures
from backup_framework.model import Service
from backup_framework.service.dispatch import is_up

if TYPE_CHECKING:
    from backup_framework.api.requests import Request
    from backup_framework.api.routes import Route
    from backup_framework.conf import Configuration
    from backup_framework.conf.api import ApiConfig

PREFIX = 'backup_framework_service'

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Requests:
    """Of one process; the label `process` tells several apart."""

    def __init__(self) -> None:
        self.registry = prometheus_client.CollectorRegistry()
        self._process = str(os.getpid())
        self._counts = prometheus_client.Counter(
            f'{PREFIX}_requests', 'Requests to the API.',
            ('process', 'method', 'route', 'status'), registry=self.registry)
        self._seconds = prometheus_client.Histogram(
            f'{PREFIX}_request_seconds', 'Seconds that requests to the API took.',
            ('process', 'method', 'route'), buckets=_SECONDS, registry=self.registry)

    def count(self, route: Route | None, status: int, seconds: float) -> None:
        """
        :param route: None where none was found; clients may make up paths and methods.
        """
        method, path = (route.method, route.path) if route else ('', '')
        self._counts.labels(self._process, method, path, str(status)).inc()
        self._seconds.labels(self._process, method, path).observe(seconds)


def is_public(options: ApiConfig) -> bool:
    """Whether everybody may read them."""
    return options.public_metrics


def show(request: Request) -> webob.Response:
    """Everything, in Prometheus' text format."""
    if not is_public(request.configuration.api):
        policy.check(request.context, 'backup-framework:metrics')
    now = prometheus_client.CollectorRegistry()
    now.register(_Now(request.configuration, request.catalog))
    text = prometheus_client.generate_latest(now)
    text += prometheus_client.generate_latest(request.counters.registry)
    return webob.Response(text, headerlist=[
        ('Content-Type', prometheus_client.CONTENT_TYPE_LATEST)])


class _Now(Collector):
    """What the catalog says, which all processes and hosts have in common."""

    def __init__(self, configuration: Configuration, catalog: Catalog) -> None:
        self._configuration = configuration
        self._catalog = catalog
        self._down_time = configuration.service().down_time

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        services = self._catalog.services()
        yield from self._of_all(self._catalog.figures(None))
        yield from self._of_volumes()
        yield from self._of_projects()
        yield from self._of_services(services)
        yield from self._of_backends(services)

    def _of_all(self, figures: Figures) -> Iterator[GaugeMetricFamily]:
        yield _gauge('backups', 'Backups in the catalog.', ['status'],
                     [([status], count) for status, count in figures.backups.items()])
        yield _gauge('jobs', 'Jobs that are waiting, running, or have ended and are still kept.',
                     ['state'], [([state], count) for state, count in figures.jobs.items()])
        yield _gauge('stored_bytes', 'Bytes that backups have stored.', ['backend'],
                     [([name], stored) for name, (_, stored) in figures.stored.items()])
        verified = figures.verified
        yield _gauge('damaged_backups', 'Backups that are known to be damaged.', [],
                     [([], verified.damaged)])
        yield _gauge('unverified_backups', 'Restorable backups that were never verified in full.',
                     [], [([], verified.never)])
        if verified.oldest is not None:
            yield _gauge('oldest_verification_timestamp_seconds',
                         'The oldest last full verification of a restorable backup.', [],
                         [([], verified.oldest.timestamp())])

    def _of_volumes(self) -> Iterator[GaugeMetricFamily]:
        yield _gauge(
            'last_success_timestamp_seconds',
            'When the newest restorable backup of a volume was taken.', ['volume_id', 'volume'],
            [([volume_id, name or ''], newest.timestamp())
             for volume_id, name, newest in self._catalog.last_successes()])

    def _of_projects(self) -> Iterator[GaugeMetricFamily]:
        limit = self._configuration.quota
        yield _gauge('quota', 'What a project may have; -1 is no limit.', ['resource'],
                     [(['backups'], limit.backups), (['gigabytes'], limit.gigabytes)])
        yield _gauge('used', 'What a project has.', ['project_id', 'resource'],
                     [([project, resource], getattr(used, resource))
                      for project, used in self._catalog.usages()
                      for resource in ('backups', 'gigabytes')])

    def _of_services(self, services: list[Service]) -> Iterator[GaugeMetricFamily]:
        yield _gauge('up', 'Whether a process of the service gave a sign of life lately.',
                     ['binary', 'host'],
                     [([each.binary, each.host], is_up(each, self._down_time))
                      for each in services])
        yield _gauge('disabled', 'Whether a process gets no new jobs.', ['binary', 'host'],
                     [([each.binary, each.host], each.disabled) for each in services])

    def _of_backends(self, services: list[Service]) -> Iterator[GaugeMetricFamily]:
        found = backends.known(services, self._configuration.enabled_backends, self._down_time)
        yield _gauge('backend_up', 'Whether a worker found that a backend works.', ['backend'],
                     [([each.name], bool(each.ok)) for each in found])
        yield _gauge('backend_free_bytes', 'Room in the store of a backend, where it tells.',
                     ['backend'], [([each.name], each.free_bytes) for each in found
                                   if each.free_bytes is not None])


def _gauge(name: str, help: str, labels: list[str], values: list[tuple[list[str], float]]
           ) -> GaugeMetricFamily:
    made = GaugeMetricFamily(f'{PREFIX}_{name}', help, labels=labels)
    for each, value in values:
        made.add_metric(each, float(value))
    return made
