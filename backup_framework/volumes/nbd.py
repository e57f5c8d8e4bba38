"""Volumes that NBD servers export, such as qemu-nbd, qemu-storage-daemon and nbdkit.

libnbd's programs speak the protocol: `nbdinfo` asks, and `nbdfuse` makes an export a file, which is
read as any other, its parts at once. Where there is no FUSE `nbdcopy` gives a stream, and always it
takes what is restored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import contextlib
import io
import json
import logging
import os
import random
import shutil
import subprocess
import tempfile
import time
from typing import Any, BinaryIO
import urllib.parse

from backup_framework import exceptions, model
from backup_framework.engine import hints
from backup_framework.interface.volume_source import Reading, VolumeSource
from backup_framework.model import Extent, Option, OptionType, Snapshot, Volume

LOG = logging.getLogger(__name__)

_SECONDS = 30.0
"""For an answer of a server, and for a mount."""
_SECONDS_TO_LIST = 5.0
"""For the answers of all servers: what other hosts read may not give one."""
_ALLOCATION = 'base:allocation'
_ZERO = 2  # the bit of a range that reads as zeros; the NBD protocol, "base:allocation"
_DIRTY = 1  # that of one that was written to; QEMU's docs/interop/nbd.txt
_ONE = ('-C', '1')
"""Connections: as fast as several, and servers that serve few do not keep us waiting."""
_PROBES = 16
_PROBED = 4096
_in_hand: list[str] = []
"""What this process has open. By default qemu-nbd serves one client at a time."""


class NBDVolumes(VolumeSource):
    """Each address is a volume."""

    OPTIONS = (
        Option('uris', OptionType.LIST, required=True,
               sample='nbd://hypervisor:10809/disk0,nbd+unix:///disk1?socket=/run/disk1.sock',
               help=('Addresses of exports, separated by commas, as libnbd knows them: nbd:// and '
                     'nbd+unix://, with TLS nbds:// and nbds+unix://. Each is a volume. An export '
                     'must be of a state that stands still while it is backed up.')),
        Option('bitmap', default='backup-{backup}', help=(
            "The name of QEMU's dirty bitmap that says what was written since a backup; {backup} "
            'is the id of that backup. Where an export has it, an incremental backup reads only '
            'that, after a sample has shown that it is right.')),
        Option('fuse', OptionType.BOOLEAN, default=True, help=(
            'Read through nbdfuse, in parallel, and only the parts that are wanted. With no, '
            'nbdcopy is used, for hosts that have no /dev/fuse: it reads everything, in order.')),
    )

    def __init__(self, settings: model.Settings, context: object = None) -> None:
        self._uris = [str(uri) for uri in settings.uris]
        self._bitmap: str = settings.bitmap
        self._fuse: bool = settings.fuse
        for uri in self._uris:
            if not urllib.parse.urlsplit(uri).scheme.startswith('nbd'):
                raise exceptions.ConfigurationError(
                    f'uris: {uri!r} is no address of an export, like nbd://host:10809/export')
        if '{backup}' not in self._bitmap:
            raise exceptions.ConfigurationError(
                f'bitmap: {self._bitmap!r} does not say since which backup; write {{backup}} where '
                'the name has its id')

    def volumes(self) -> Iterator[Volume]:
        with contextlib.ExitStack() as end:
            asked = {uri: end.enter_context(_asking(uri))
                     for uri in self._uris if uri not in _in_hand}
            until = time.monotonic() + _SECONDS_TO_LIST
            for uri in self._uris:
                yield _volume(uri, asked.get(uri), until - time.monotonic())

    def check(self) -> None:
        for uri in self._uris:
            _size(_export(uri), uri)

    @contextlib.contextmanager
    def open(self, volume: Volume, snapshot: Snapshot | None = None, *,
             since: str | None = None, key: str | None = None) -> Iterator[Reading]:
        uri = self._uri(volume)
        if snapshot is not None:
            raise exceptions.VolumeNotFound(f'an export has no snapshots: {uri}')
        with _held(uri):
            export = _export(uri)
            size = _size(export, uri)
            if not self._fuse:
                with _copied_from(uri, size) as stream:
                    yield Reading(stream, size)
                return
            # All questions before it is opened, which leaves no room for another client.
            changed = self._changed(uri, export, since) if since else None
            allocation = _map(uri, _ALLOCATION) if _ALLOCATION in export['contexts'] else []
            with _mounted(uri) as path, _opened(path, uri) as file:
                vars(file)['holes'] = _holes(file, allocation, uri)
                yield Reading(file, size, changed, since if changed is not None else None)

    def _changed(self, uri: str, export: dict[str, Any], since: str) -> Sequence[Extent] | None:
        context = f'qemu:dirty-bitmap:{self._bitmap.format(backup=since)}'
        if context not in export['contexts']:
            return None
        return _with_bit(_map(uri, context), _DIRTY)

    @contextlib.contextmanager
    def open_target(self, volume: Volume, *, key: str | None = None
                    ) -> Iterator[str | BinaryIO]:
        uri = self._uri(volume)
        with _held(uri):
            if _export(uri).get('is_read_only', True):
                raise exceptions.InvalidTarget(f'{uri} is exported read-only')
            # Not through nbdfuse: what is punched there is only trimmed, and may not be zeros then.
            with _copied_to(uri) as stream:
                yield stream

    def _uri(self, volume: Volume) -> str:
        """:raises VolumeNotFound: it is none of those that the section names."""
        if volume.source_id not in self._uris:
            raise exceptions.VolumeNotFound(f'there is no export {volume.source_id!r} in uris')
        return str(volume.source_id)

    def close(self) -> None:
        """Nothing stays open."""


class _NoAnswer(exceptions.VolumeError):
    """A server is away, or has as many clients as it serves."""


@contextlib.contextmanager
def _held(uri: str) -> Iterator[None]:
    _in_hand.append(uri)
    try:
        yield
    finally:
        _in_hand.remove(uri)


def _volume(uri: str, asked: subprocess.Popen[bytes] | None, seconds: float) -> Volume:
    name = urllib.parse.unquote(urllib.parse.urlsplit(uri).path.strip('/')) or uri
    volume = Volume(name=name, source_id=uri, status=model.UNKNOWN)
    try:
        if asked is not None:
            volume.size_bytes = _size(_export_in(_answer(asked, uri, seconds), uri), uri)
            volume.status = 'available'
    except _NoAnswer:
        pass
    except exceptions.VolumeError:
        volume.status = 'error'
    return volume


def _ask(*words: str) -> Any:
    """What nbdinfo says, which is JSON."""
    with _asking(*words) as process:
        return _answer(process, words[-1], _SECONDS)


def _asking(*words: str) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    return _running(['nbdinfo', '--json', *words], stdout=subprocess.PIPE)


def _answer(process: subprocess.Popen[bytes], uri: str, seconds: float) -> Any:
    """:raises VolumeError: there is none."""
    try:
        # Some time is needed to read an answer that is there.
        said, problem = process.communicate(timeout=max(0.2, seconds))
    except subprocess.TimeoutExpired:
        raise _NoAnswer(f'{uri} gave no answer within {seconds:g} s: is its server up, or '
                        'does it serve somebody else?') from None
    if process.returncode:
        raise exceptions.VolumeError(f'cannot use {uri}: {_last_words(problem)}')
    try:
        return json.loads(said)
    except ValueError as error:
        raise exceptions.VolumeError(f'nbdinfo said no JSON of {uri}: {error}') from None


def _last_words(stderr: bytes) -> str:
    lines = stderr.decode(errors='replace').strip().splitlines()
    # What follows the reason is a suggestion.
    return lines[0] if lines else 'no reason was given'


def _missing(program: str) -> exceptions.VolumeError:
    return exceptions.VolumeError(
        f'there is no program {program}: it comes with libnbd (in Debian libnbd-bin)')


def _export(uri: str) -> dict[str, Any]:
    return _export_in(_ask(uri), uri)


def _export_in(told: Any, uri: str) -> dict[str, Any]:
    try:
        export = told['exports'][0]
    except (KeyError, IndexError, TypeError):
        export = None
    if not isinstance(export, dict):
        raise exceptions.VolumeError(f'nbdinfo does not describe {uri} as expected')
    contexts = export.get('contexts')
    return export | {'contexts': contexts if isinstance(contexts, list) else []}


def _size(export: dict[str, Any], uri: str) -> int:
    size = export.get('export-size')
    if not isinstance(size, int) or size < 0:
        raise exceptions.VolumeError(f'the size of {uri} is not told')
    return size


def _map(uri: str, context: str) -> list[dict[str, Any]]:
    found = _ask(f'--map={context}', uri)
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise exceptions.VolumeError(f'nbdinfo does not map {uri} as expected')
    return found


def _with_bit(ranges: Sequence[dict[str, Any]], bit: int) -> list[Extent]:
    try:
        return hints.extents([(each['offset'], each['length']) for each in ranges
                              if each['type'] & bit])
    except (KeyError, TypeError, exceptions.InvalidInput) as error:
        raise exceptions.VolumeError(f'nbdinfo gave a map that makes no sense: {error!r}') from None


def _holes(file: io.FileIO, ranges: Sequence[dict[str, Any]], uri: str) -> list[Extent] | None:
    """What the server says reads as zeros; None where a sample shows otherwise."""
    holes = _with_bit(ranges, _ZERO)
    lengths = [hole.length for hole in holes]
    for hole in random.choices(holes, lengths, k=_PROBES) if holes else ():
        length = min(_PROBED, hole.length)
        at = random.randint(hole.offset, hole.end - length)
        try:
            zeros = not any(os.pread(file.fileno(), length, at))
        except OSError as error:
            raise exceptions.VolumeError(f'cannot read {uri}: {error.strerror}') from error
        if not zeros:
            LOG.warning('%s says that bytes from %d on are zeros, and they are not: all of it is '
                        'read', uri, at)
            return None
    return holes


@contextlib.contextmanager
def _opened(path: str, uri: str) -> Iterator[io.FileIO]:
    """:raises VolumeError: it cannot be opened."""
    try:
        file = io.FileIO(path, 'rb')
    except OSError as error:
        raise exceptions.VolumeError(f'cannot read {uri}: {error.strerror}') from error
    try:
        yield file
    finally:
        # How that ends is no matter: the server may be gone.
        with contextlib.suppress(OSError):
            file.close()


@contextlib.contextmanager
def _mounted(uri: str) -> Iterator[str]:
    """The path of a file that is the export, for reading.

    :raises VolumeError: it cannot be made.
    """
    directory = tempfile.mkdtemp(prefix='backup-framework-nbd-')
    path = os.path.join(directory, 'volume')
    try:
        with _running(['nbdfuse', *_ONE, '-r', path, uri]) as process:
            _wait_for(path, process, uri)
            try:
                yield path
            finally:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_SECONDS)
    finally:
        _remove(directory)


def _remove(directory: str) -> None:
    try:
        os.rmdir(directory)
    except OSError:
        # nbdfuse does not unmount where it ends by itself, as when the server is gone.
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(('fusermount3', '-u', '-z', directory), check=False,
                           capture_output=True, stdin=subprocess.DEVNULL, timeout=_SECONDS)
        with contextlib.suppress(OSError):
            os.rmdir(directory)


def _wait_for(path: str, process: subprocess.Popen[bytes], uri: str) -> None:
    until = time.monotonic() + _SECONDS
    while not os.path.exists(path):
        if process.poll() is not None or time.monotonic() > until:
            raise exceptions.VolumeError(
                f'nbdfuse cannot make a file of {uri} ({_said_by(process)}); where this host has '
                'no FUSE, write fuse = no')
        time.sleep(0.01)


def _said_by(process: subprocess.Popen[bytes]) -> str:
    """Why it ended; it is ended where it has not."""
    process.kill()
    assert process.stderr is not None
    return _last_words(process.stderr.read())


@contextlib.contextmanager
def _running(command: list[str], stdin: int = subprocess.DEVNULL,
             stdout: int = subprocess.DEVNULL) -> Iterator[subprocess.Popen[bytes]]:
    """A program that ends with this block, and with this process, however that ends."""
    guarded = ['setpriv', '--pdeathsig', 'TERM', *command] if shutil.which('setpriv') else command
    if shutil.which(command[0]) is None:
        raise _missing(command[0])
    # Not in our group: Ctrl-C is for us, who still need it.
    process = subprocess.Popen(guarded, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE,
                               start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        # Not `with process`: that would wait for what is in its pipes.
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        process.wait()


@contextlib.contextmanager
def _copied_from(uri: str, size: int) -> Iterator[BinaryIO]:
    with _running(['nbdcopy', *_ONE, uri, '-'], stdout=subprocess.PIPE) as process:
        yield io.BufferedReader(_Counted(process, size, uri), 1 << 20)


class _Counted(io.RawIOBase):
    """What nbdcopy gives; its end is the end of the volume only where that is so."""

    def __init__(self, process: subprocess.Popen[bytes], size: int, uri: str) -> None:
        assert process.stdout is not None
        self._process, self._left, self._uri = process, size, uri
        self._pipe = process.stdout

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        got = os.readv(self._pipe.fileno(), [buffer])
        self._left -= got
        if not got and (self._left or self._process.wait()):
            raise exceptions.VolumeError(f'{self._uri} could not be read to its end: '
                                         f'{_said_by(self._process)}')
        return got


@contextlib.contextmanager
def _copied_to(uri: str) -> Iterator[BinaryIO]:
    with _running(['nbdcopy', *_ONE, '--flush', '-', uri], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        try:
            yield process.stdin  # type: ignore[misc]
            process.stdin.close()
        except BrokenPipeError:
            raise exceptions.VolumeError(f'cannot write {uri}: {_said_by(process)}') from None
        if process.wait():
            raise exceptions.VolumeError(f'cannot write {uri}: {_said_by(process)}')
