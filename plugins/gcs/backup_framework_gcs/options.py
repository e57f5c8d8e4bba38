"""The options of a backend with the driver gcs, and what a wrong value among them is told."""

from __future__ import annotations

import re
import urllib.parse

from backup_framework import exceptions, model
from backup_framework.model import Option, OptionType

KIB, MIB = 1 << 10, 1 << 20

UNIT = 256 * KIB
"""The service takes the parts of a resumable upload in multiples of this."""

# The largest objects of format 1.0.0 are a chunk of 32 MiB that did not compress, with a few bytes
# around it. One unit more than that keeps each of them in a single request, the fastest way. It
# costs no worker: what a chunk may cost is bounded by the chunk, so 2 * 32 + 32 MiB still fit into
# the default memory of 128 MiB, and without any buffer a second chunk would only just do so.
CHUNK = 32 * MIB + UNIT

LAYOUTS = ('prefix', 'bucket')

LONGEST_TIMEOUT = 86400.0
"""Seconds; the system's clocks cannot count the largest numbers."""

OPTIONS: tuple[Option, ...] = (
    Option('bucket', required=True, sample='example-backups', help=(
        'The bucket that backups go to. It is made when it is missing and the account may make '
        'buckets. With layout = bucket it is the one used where no container is named.')),
    Option('prefix', help=(
        'What the names of all objects begin with, such as cinder/backups; several stores can '
        'share a bucket so. For layout = prefix only.')),
    Option('layout', OptionType.STRING, 'prefix', choices=LAYOUTS, help=(
        "What a container is. prefix: a part of the names of objects in `bucket`. bucket: a bucket "
        "of its own, as in Cinder's driver, whose backups can be read and continued so; what "
        'follows a slash is a prefix in that bucket, and containers cannot be listed.')),
    Option('project', help=(
        'The project in which a missing bucket is made. Unset, it is that of the credentials.')),
    Option('credentials_file', OptionType.PATH,
           sample='/etc/backup_framework/gcs-service-account.json', help=(
               'File with the key of a service account, or with the configuration of a workload '
               'identity. Unset, the application default credentials of this host are used.')),
    Option('anonymous', OptionType.BOOLEAN, False, help=(
        'Send no credentials: for emulators, and for reading public buckets.')),
    Option('endpoint', sample='https://storage.googleapis.com', help=(
        'Address of the service, for private endpoints and emulators. It goes before the variable '
        'STORAGE_EMULATOR_HOST, with which requests are anonymous unless credentials_file is '
        'set.')),
    Option('storage_class', sample='STANDARD', help=(
        'Storage class of new objects and of a bucket that is made. Unset, the bucket decides. '
        'The colder ones cost a fee for each byte read and for what is deleted early.')),
    Option('location', sample='europe-west3', help=(
        'Where a bucket is made. Unset, the service decides (US).')),
    Option('kms_key_name', sample='projects/P/locations/L/keyRings/R/cryptoKeys/K', help=(
        'Cloud KMS key that new objects are encrypted with. Unset, the bucket decides.')),
    Option('resumable_chunk_size', OptionType.SIZE, CHUNK, minimum=UNIT, help=(
        'An object up to this size is sent in one request, a larger one in parts of this size. '
        'Each open object holds so much in memory, all together connections times as much. A '
        'multiple of 256KiB.')),
    Option('connections', OptionType.INTEGER, 8, minimum=1, maximum=256, help=(
        'Objects that are sent, received or deleted side by side. Far away, more are faster.')),
    Option('connect_timeout', OptionType.FLOAT, 20.0, minimum=0.1, maximum=LONGEST_TIMEOUT, help=(
        'Seconds for making a connection, and for each 256KiB of an object that are sent.')),
    Option('timeout', OptionType.FLOAT, 60.0, minimum=0.1, maximum=LONGEST_TIMEOUT, help=(
        'Seconds without an answer after which a request has failed.')),
)


def check(settings: model.Settings) -> None:
    """Refuse values that make no sense, before anything is connected.

    :raises ConfigurationError: with the option's name.
    """
    if settings.layout not in LAYOUTS:
        raise exceptions.ConfigurationError(
            f'layout cannot be {settings.layout}: choose {" or ".join(LAYOUTS)}')
    if not re.fullmatch(r'[^\s/]+', settings.bucket) or settings.bucket in ('.', '..'):
        raise exceptions.ConfigurationError(
            f'bucket cannot be {settings.bucket!r}: write its name, without gs://')
    if settings.resumable_chunk_size < UNIT or settings.resumable_chunk_size % UNIT:
        raise exceptions.ConfigurationError(
            f'resumable_chunk_size cannot be {settings.resumable_chunk_size}: the service takes '
            f'multiples of {UNIT} bytes')
    if settings.anonymous and settings.credentials_file:
        raise exceptions.ConfigurationError(
            'anonymous and credentials_file contradict one another: remove one of the two')
    if settings.prefix is not None:
        _check_prefix(settings)
    if settings.endpoint is not None:
        _check_endpoint(settings.endpoint)


def _check_prefix(settings: model.Settings) -> None:
    prefix = settings.prefix
    if settings.layout == 'bucket':
        raise exceptions.ConfigurationError(
            'prefix has no meaning with layout = bucket: remove one of the two')
    if any(part in ('', '.', '..') for part in prefix.strip('/').split('/')):
        raise exceptions.ConfigurationError(
            f'prefix cannot be {prefix!r}: write names joined by single slashes')
    if not prefix.isprintable():
        raise exceptions.ConfigurationError(
            f'prefix cannot be {prefix!r}: it has a line break or another control character in it')


def _check_endpoint(endpoint: str) -> None:
    """Without its text in the error: there may be a password in it."""
    try:
        address = urllib.parse.urlsplit(endpoint)
        host, port = address.hostname, address.port
    except ValueError as error:
        raise exceptions.ConfigurationError(f'endpoint is no address: {error}') from None
    if address.scheme not in ('http', 'https') or not host or port == 0:
        raise exceptions.ConfigurationError(
            'endpoint is no address of a service: it begins with https:// or http:// and a host')
    if '@' in address.netloc:
        raise exceptions.ConfigurationError(
            'endpoint has a user in it: the service knows accounts only, see credentials_file')
    if re.search(r'[?#\s]', endpoint):
        raise exceptions.ConfigurationError(
            'endpoint has a blank, a question mark or a # in it: write an address like '
            'https://storage.googleapis.com')
