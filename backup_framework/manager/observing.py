"""For those who watch: a text file for Prometheus' node exporter, and a command for failures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import contextlib
import datetime
import errno
import os
import subprocess
import tempfile

from backup_framework import conf, exceptions
from backup_framework.catalog import Catalog
from backup_framework.catalog.summary import Summary

FAILURE_TIMEOUT = 60.0
_LONGEST_MESSAGE = 8192
_MODE = 0o644
"""The exporter is another user, and no secret is in the file."""

_METRICS = (
    ('last_success_timestamp_seconds', 'When the newest restorable backup was taken.',
     lambda each: _seconds(each.newest)),
    ('stored_bytes', 'Bytes that the restorable backups have stored.',
     lambda each: each.stored_bytes),
    ('damaged_backups', 'Backups that are known to be damaged.', lambda each: each.damaged),
    ('unverified_backups', 'Restorable backups that were never verified in full.',
     lambda each: each.unverified),
    ('oldest_verification_timestamp_seconds',
     'The oldest last full verification of a restorable backup.',
     lambda each: _seconds(each.oldest_verification)),
)


def tell(configuration: conf.Configuration, command: str, code: int, errors: Sequence[str]
         ) -> Iterator[str]:
    """Tell those who watch what came of a command; sentences on what could not be told."""
    if configuration.failure_command and code:
        try:
            _run(configuration.failure_command, command, code, '\n'.join(errors))
        except exceptions.BackupFrameworkError as error:
            yield str(error)
    if configuration.metrics_file:
        catalog = Catalog(configuration.connection, configuration.state_path)
        try:
            _write(catalog.summaries(), configuration.metrics_file)
        except exceptions.BackupFrameworkError as error:
            yield str(error)
        finally:
            catalog.close()


def _write(summaries: Sequence[Summary], path: str) -> None:
    """Replace the file; whoever reads it sees the old one or the new one."""
    text = ''.join(f'{line}\n' for line in _lines(summaries))
    try:
        _replace(path, text.encode())
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise (exceptions.NoSpace if full else exceptions.VolumeError)(
            f'the metrics cannot be written to {path}: {error.strerror}') from error


def _replace(path: str, data: bytes) -> None:
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        # Whoever writes to /dev/null wants none; root could replace that as well.
        raise exceptions.VolumeError(
            f'the metrics cannot be written to {path}: it is no regular file; leave metrics_file '
            'out where none is wanted')
    descriptor, temporary = tempfile.mkstemp(prefix='.', suffix='.tmp', dir=os.path.dirname(path))
    try:
        with open(descriptor, 'wb') as file:
            file.write(data)
            os.fchmod(file.fileno(), _MODE)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _lines(summaries: Sequence[Summary]) -> Iterator[str]:
    """Source: Prometheus' text exposition format, 0.0.4."""
    yield from _head('backups', 'Backups in the catalog.')
    for each in summaries:
        for status, count in sorted(each.counts.items()):
            yield f'backup_framework_backups{{{_labels(each)},status="{status}"}} {count}'
    for name, help, value in _METRICS:
        yield from _head(name, help)
        for each in summaries:
            if (number := value(each)) is not None:
                yield f'backup_framework_{name}{{{_labels(each)}}} {number}'


def _head(name: str, help: str) -> Iterator[str]:
    yield f'# HELP backup_framework_{name} {help}'
    yield f'# TYPE backup_framework_{name} gauge'


def _labels(each: Summary) -> str:
    return f'volume="{_escaped(each.volume)}",backend="{_escaped(each.backend)}"'


def _escaped(text: str) -> str:
    return text.replace('\\', r'\\').replace('"', r'\"').replace('\n', r'\n')


def _seconds(time: datetime.datetime | None) -> str | None:
    return None if time is None else f'{time.timestamp():.3f}'


def _run(words: Sequence[str], command: str, code: int, message: str) -> None:
    """Run the failure command, with what failed in its environment.

    :raises VolumeError: it cannot be run, fails, or takes longer than a minute.
    """
    environment = os.environ | {'BF_COMMAND': command, 'BF_EXIT_CODE': str(code),
                                'BF_MESSAGE': message.replace('\0', ' ')[:_LONGEST_MESSAGE]}
    try:
        done = subprocess.run(words, env=environment, stdin=subprocess.DEVNULL, stdout=2,
                              timeout=FAILURE_TIMEOUT, check=False)
    except OSError as error:
        raise exceptions.VolumeError(
            f'failure_command {words[0]} cannot be run: {error.strerror}') from error
    except subprocess.TimeoutExpired:
        raise exceptions.VolumeError(
            f'failure_command {words[0]} took longer than {FAILURE_TIMEOUT:g} s and was ended'
        ) from None
    if done.returncode:
        raise exceptions.VolumeError(
            f'failure_command {words[0]} failed with exit code {done.returncode}')
