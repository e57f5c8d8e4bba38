"""The sections of the workers: what a host runs, and the board that jobs are claimed on."""

from __future__ import annotations

import dataclasses
import datetime
import socket

from oslo_config import cfg

from backup_framework.conf import masking
from backup_framework.conf.types import Duration, Number, Size, secret_file
from backup_framework.conf.values import Values

SERVICE, JOBBOARD = 'service', 'jobboard'

SERVICE_OPTIONS = (
    cfg.StrOpt('host', sample_default='backup1', help=(
        'The name of this host, as services and backups show it. Each host needs its own. Unset, '
        'what the operating system says.')),
    cfg.StrOpt('storage_availability_zone', default='nova', help=(
        'The availability zone of this host.')),
    cfg.Opt('backup_max_operations', type=Number(True, min=1, max=1000), default=4, mutable=True,
            help='How many operations a worker runs at once. The others wait.'),
    cfg.Opt('report_interval', type=Number(False, min=0.1), default=10.0, mutable=True, help=(
        'Seconds between two signs of life of a worker.')),
    cfg.Opt('service_down_time', type=Number(False, min=0.3), default=60.0, mutable=True, help=(
        'Seconds after the last sign of life, after which a worker is held to be down.')),
    cfg.Opt('check_interval', type=Number(False, min=0.1), default=60.0, mutable=True, help=(
        'Seconds between two checks of the backends, and two lists of the volumes of the '
        'sources.')),
    cfg.Opt('drain_timeout', type=Number(False, min=0), default=60.0, mutable=True, help=(
        'Seconds that a worker which is told to stop waits for what it runs. What has not ended '
        'by then is interrupted, and gone on with by another worker or after the start.')),
    cfg.Opt('split_size', type=Size(min=1 << 20), sample_default='1TiB', mutable=True, help=(
        'A volume of more than this is backed up in parts of about this size, each a job of its '
        'own: several workers that reach the volume and the store share it. There are 63 parts '
        'at most. Only in format 2.0.0, and only volumes that can be read anywhere. Unset, '
        'backups have no parts.')),
    cfg.Opt('keep_jobs', type=Duration(), default='7d', mutable=True, help=(
        'How long jobs that have ended can be looked up, like 12h, 7d or 8w.')),
)

JOBBOARD_OPTIONS = (
    cfg.StrOpt('connection', secret=True, sample_default='etcd://127.0.0.1:2379', help=(
        'Where jobs are claimed when there is more than one worker: etcd://HOST:PORT, '
        'redis://[USER:PASSWORD@]HOST:PORT[/DB] or zookeeper://HOST:PORT[,HOST:PORT]. Options of '
        "TaskFlow's board follow a question mark: etcd://HOST:PORT?protocol=https&ca_cert=FILE. "
        'Unset, there is one worker, and it needs none.')),
    secret_file('connection'),
    cfg.StrOpt('name', default='backup_framework', help=(
        'The name of the board. All that share a catalog share it.')),
    cfg.Opt('claim_ttl', type=Number(True, min=3, max=3600), default=30, help=(
        'Seconds after which the jobs of a worker that is gone are given to others.')),
)


@dataclasses.dataclass(frozen=True)
class ServiceConfig:
    """What [service] says; seconds where it is a time."""

    host: str
    zone: str
    max_operations: int
    report_interval: float
    down_time: float
    check_interval: float
    drain_timeout: float
    split_size: int | None
    keep_jobs: datetime.timedelta


@dataclasses.dataclass(frozen=True)
class JobboardConfig:
    """What [jobboard] says.

    :ivar connection: secret; None where there is no board.
    """

    connection: str | None
    name: str
    claim_ttl: int


def read_service(values: Values) -> ServiceConfig:
    """:raises ConfigurationError: a value that makes no sense."""
    values.register(SERVICE_OPTIONS, SERVICE)
    return ServiceConfig(
        host=values.get(SERVICE, 'host') or socket.gethostname(),
        zone=values.get(SERVICE, 'storage_availability_zone'),
        max_operations=values.get(SERVICE, 'backup_max_operations'),
        report_interval=values.get(SERVICE, 'report_interval'),
        down_time=values.get(SERVICE, 'service_down_time'),
        check_interval=values.get(SERVICE, 'check_interval'),
        drain_timeout=values.get(SERVICE, 'drain_timeout'),
        split_size=values.get(SERVICE, 'split_size'),
        keep_jobs=values.get(SERVICE, 'keep_jobs'))


def read_jobboard(values: Values) -> JobboardConfig:
    """:raises ConfigurationError: a value that makes no sense."""
    values.register(JOBBOARD_OPTIONS, JOBBOARD)
    connection = values.secret(JOBBOARD, 'connection')
    masking.add_url(connection)
    return JobboardConfig(connection, values.get(JOBBOARD, 'name'),
                          values.get(JOBBOARD, 'claim_ttl'))
