"""The sections [api] and [quota]: how the REST API is served, and what a project may have."""

from __future__ import annotations

import dataclasses
import urllib.parse

from oslo_config import cfg

from backup_framework.conf.types import Boolean, Number, Path
from backup_framework.conf.values import Values
from backup_framework.exceptions import ConfigurationError
from backup_framework.model import Quota

API, QUOTA = 'api', 'quota'
PORT = 8776
PROJECT = r'[A-Za-z0-9_][A-Za-z0-9._-]{0,254}'
"""What the id of a project is like where we give it."""

API_OPTIONS = (
    cfg.StrOpt('host', default='127.0.0.1', help=(
        'The address that the API listens on. 0.0.0.0 and :: stand for all.')),
    cfg.PortOpt('port', default=PORT, help='The port that the API listens on.'),
    cfg.Opt('workers', type=Number(True, min=1, max=256), default=1, help=(
        'Processes that serve the API.')),
    cfg.Opt('threads', type=Number(True, min=1, max=1000), default=16, help=(
        'Requests that one such process works on at a time. Others wait.')),
    cfg.Opt('request_timeout', type=Number(True, min=1, max=3600), default=30, help=(
        'Seconds within which a client must have sent its request, and may leave an answer '
        'unread or a connection unused.')),
    cfg.StrOpt('public_endpoint', sample_default='https://backup.example.org', help=(
        'What links begin with, when clients reach the API under another address than it sees. '
        'Unset, it is taken from each request.')),
    cfg.Opt('osapi_max_limit', type=Number(True, min=1, max=100_000), default=1000, help=(
        'The most items that one answer lists. What is behind them comes with the next page.')),
    cfg.StrOpt('auth_strategy', default='none', choices=[
        ('none', 'everybody who reaches the API is admin of every project'),
        ('http_basic', 'users with passwords, in http_basic_auth_user_file'),
        ('keystone', 'tokens, as [keystone_authtoken] says')], help=(
            'How callers say who they are.')),
    cfg.Opt('http_basic_auth_user_file', type=Path(), help=(
        'An htpasswd file with the users of http_basic and their passwords, which bcrypt keeps '
        '("htpasswd -B"). It is read again when it changes.')),
    cfg.Opt('users_file', type=Path(), help=(
        'What these users may do: a section for each, with a line PROJECT = ROLE, ROLE for each '
        'of its projects; roles are admin, member and reader. A user of whom it says nothing is '
        'member of a project of the same name. It is read again when it changes.')),
    cfg.StrOpt('default_project', default='default', regex=f'^{PROJECT}$', help=(
        'The project of requests that name none, when auth_strategy is none.')),
    cfg.Opt('rate_limit', type=Number(False, min=0, max=1_000_000), default=0.0, help=(
        'Requests a second that each user may make in a project, of each process of the API. Ten '
        'seconds of it may be used at once. 0 is no limit.')),
    cfg.Opt('max_request_body_size', type=Number(True, min=1024, max=1 << 30), default=114_688,
            help='The largest body of a request, in bytes.'),
    cfg.Opt('public_metrics', type=Boolean(), default=False, help=(
        'Show /metrics to everybody. Otherwise it is for admins.')),
)

QUOTA_OPTIONS = (
    cfg.Opt('backups', type=Number(True, min=-1), default=-1, help=(
        'Backups that a project may have, those that failed included. -1 is no limit.')),
    cfg.Opt('gigabytes', type=Number(True, min=-1), default=-1, help=(
        'GiB that the volumes of these backups may have in sum. -1 is no limit.')),
)


@dataclasses.dataclass(frozen=True)
class ApiConfig:
    """What [api] says; seconds where it is a time.

    :ivar public_endpoint: without a slash at its end.
    :ivar rate_limit: requests a second; 0 for no limit.
    """

    host: str
    port: int
    workers: int
    threads: int
    request_timeout: int
    public_endpoint: str | None
    osapi_max_limit: int
    auth_strategy: str
    http_basic_auth_user_file: str | None
    users_file: str | None
    default_project: str
    rate_limit: float
    max_request_body_size: int
    public_metrics: bool


def read_api(values: Values) -> ApiConfig:
    """:raises ConfigurationError: a value that makes no sense."""
    values.register(API_OPTIONS, API)
    found = {option.dest: values.get(API, option.dest) for option in API_OPTIONS}
    found['public_endpoint'] = _endpoint(values, found['public_endpoint'])
    return ApiConfig(**found)


def _endpoint(values: Values, url: str | None) -> str | None:
    if not url:
        return None
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        parts = urllib.parse.SplitResult('', '', '', '', '')
    if parts.scheme not in ('http', 'https') or not parts.netloc or parts.query or parts.fragment:
        raise ConfigurationError(
            f'{values.label(API, "public_endpoint")} must be like https://backup.example.org or '
            f'https://example.org/backup, not {url!r}')
    return url.rstrip('/')


def read_quota(values: Values) -> Quota:
    """:raises ConfigurationError: a value that makes no sense."""
    values.register(QUOTA_OPTIONS, QUOTA)
    return Quota(**{option.dest: values.get(QUOTA, option.dest) for option in QUOTA_OPTIONS})
