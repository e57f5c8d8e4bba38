"""All options of the core on oslo.config: files, sections, sizes, secrets, logging, the sample."""

from backup_framework.conf.configuration import BackendConfig, Configuration, load
from backup_framework.conf.keys import KeyConfig
from backup_framework.conf.logs import (
    prepare_daemon_logging,
    setup_daemon_logging,
    setup_logging,
)
from backup_framework.conf.masking import mask
from backup_framework.conf.samples import driver_opts, key_opts, list_opts, sample
from backup_framework.conf.schedules import ScheduleConfig
from backup_framework.conf.settings import options_of
from backup_framework.conf.sources import SourceConfig
from backup_framework.conf.types import parse_duration, parse_size, spelled
from backup_framework.conf.values import read_secret
from backup_framework.conf.volumes import VolumeConfig

__all__ = [
    'BackendConfig', 'Configuration', 'KeyConfig', 'ScheduleConfig', 'SourceConfig', 'VolumeConfig',
    'driver_opts', 'key_opts', 'list_opts', 'load', 'mask', 'options_of', 'parse_duration',
    'parse_size', 'prepare_daemon_logging', 'read_secret', 'sample', 'setup_daemon_logging',
    'setup_logging', 'spelled',
]
