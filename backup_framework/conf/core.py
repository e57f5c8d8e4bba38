"""The options of the framework itself, and the groups that they are in."""

from __future__ import annotations

from oslo_config import cfg

from backup_framework.conf.types import Boolean, Number, Pairs, Path, secret_file

DEFAULTS = 'backend_defaults'
VOLUME = 'volume:'
KEY = 'key:'
STATE_SAMPLE = '/var/lib/backup_framework'
LOCAL = 'local'

CORE = (
    cfg.Opt('state_path', type=Path(), sample_default=STATE_SAMPLE, help=(
        'The directory of the catalog, of lock files and of what else this installation must '
        'remember. Unset, it is /var/lib/backup_framework for root and '
        '$XDG_STATE_HOME/backup_framework (~/.local/state/backup_framework) for everybody else.')),
    cfg.ListOpt('enabled_backends', default=[LOCAL], help=(
        'The backends that may be used. Each is a section of this name. The backend local needs '
        'no section: it keeps backups in $state_path/backups.')),
    cfg.StrOpt('default_backend', sample_default=LOCAL, help=(
        'The backend that backups go to when none is named. Unset, the first enabled one.')),
    cfg.Opt('metrics_file', type=Path(), sample_default=(
        '/var/lib/prometheus/node-exporter/backup_framework.prom'), help=(
        "A text file for Prometheus' node exporter, replaced at the end of each command that "
        'makes, changes or verifies backups. Unset, there is none.')),
    cfg.StrOpt('failure_command', help=(
        'A command that is run when one of these commands fails, split into words as a shell does, '
        'but no shell runs it. Its environment says what failed: BF_COMMAND, BF_EXIT_CODE and '
        'BF_MESSAGE.')),
)

DATABASE = (
    cfg.StrOpt('connection', secret=True, sample_default=(
        f'sqlite:///{STATE_SAMPLE}/catalog.sqlite'), help=(
        'The catalog, as an SQLAlchemy URL. Unset, a SQLite file in state_path.')),
    secret_file('connection'),
)

DRIVER = cfg.StrOpt('driver', help=(
    'The driver of this backend: a name that "backup-framework driver list" shows, or the path '
    'of a class, package.module:Class. Required.'))

VOLUMES = (
    cfg.Opt('path', type=Path(), help='The image file or block device. Required.'),
    cfg.StrOpt('backend', help='Where backups of it go. Unset, default_backend.'),
    cfg.Opt('incremental', type=Boolean(), help=(
        'Make incremental backups. Unset, what the section of the backend says.')),
    cfg.StrOpt('container', help=(
        'The container that backups of it go to. Unset, what the section of the backend says.')),
    cfg.StrOpt('description', help='The description of its backups.'),
    cfg.StrOpt('freeze_command', help=(
        'A command that makes the volume stand still, run before a backup. It is split into words '
        'as a shell does, but no shell runs it.')),
    cfg.StrOpt('thaw_command', help=(
        'A command that is always run after the backup, also when the backup or the '
        'freeze_command failed.')),
    cfg.Opt('hook_timeout', type=Number(False, min=1), default=60.0, help=(
        'Seconds that each of the two commands may take.')),
    cfg.Opt('properties', type=Pairs(), default={}, help=(
        'Properties of its backups, as name:value, separated by commas.')),
)

KEY_TYPE = cfg.StrOpt('type', help=(
    'What holds this key: file, passphrase, castellan, or what an installed package offers. '
    'Required.'))

GROUP_HELP = {
    DEFAULTS: 'What backends use where their own sections say nothing.',
    'api': 'The REST API, which speaks as Cinder does.',
    'quota': 'What each project may have. The command line does not ask.',
    'retention': (
        'What "backup-framework backup prune" keeps of each volume, unless the section of the '
        'volume says otherwise. Without any keep option nothing is pruned.'),
    'service': 'The workers and the API of the service.',
    'jobboard': 'How several workers share the jobs.',
    'volume:example': (
        'A volume that "backup-framework backup run" backs up. Write one such section for each, '
        'with a name of your own behind the colon.'),
    'schedule:example': (
        'What the service backs up by itself. Write one such section for each schedule, with a '
        'name of your own behind the colon. With any keep option, what no rule keeps is deleted '
        'after each backup that succeeded; [retention] does not count here.'),
}

# Options of [DEFAULT] and sections that belong to libraries which read the same file.
LIBRARY_DEFAULTS = frozenset({'control_exchange', 'transport_url'})
LIBRARY_GROUPS = frozenset({
    'audit', 'barbican', 'cache', 'coordination', 'cors', 'healthcheck', 'key_manager',
    'keystone_authtoken', 'profiler', 'service_user', 'ssl', 'vault', 'wsgi'})
