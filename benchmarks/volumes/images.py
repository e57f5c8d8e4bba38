"""The pair of images that is backed up, made once and kept: two states of one volume."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import dataclasses
import errno
import hashlib
import json
import os
from pathlib import Path
import shutil
import sys
import tempfile

from benchmarks.volumes import content, layout
from benchmarks.volumes.layout import MIB, Piece

RECIPE = 1
"""Counts up when the bytes change: pairs of another recipe are made anew."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two states of a volume.

    :param changes: a file with the extents in which they differ, for --changed-extents.
    """

    size: int
    first: Path
    second: Path
    changes: Path

    @property
    def mib(self) -> int:
        return self.size // MIB


def pair(cache: Path, mib: int) -> Pair:
    """A pair of so many MiB, from the cache if its bytes are what they were."""
    place = cache / f'images-{mib}-recipe-{RECIPE}'
    found = Pair(mib * MIB, place / 'first', place / 'second', place / 'changes.json')
    if not _is_whole(found, place / 'digests.json'):
        print(f'making two images of {mib} MiB in {place}', file=sys.stderr)
        shutil.rmtree(place, ignore_errors=True)
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix='making-') as aside:
            _make(Path(aside), found.size)
            os.chmod(aside, 0o755)
            os.rename(aside, place)
    return found


def digest(path: Path) -> str:
    """Over the size and the extents of data, each with its place."""
    found = hashlib.sha256(str(path.stat().st_size).encode())
    end = -1
    with open(path, 'rb', buffering=0) as file:
        for offset, length in data_extents(file.fileno()):
            if offset != end:  # where one file system sees two extents, another sees one
                found.update(b'%d' % offset)
            end = offset + length
            while offset < end:
                data = os.pread(file.fileno(), min(4 * MIB, end - offset), offset)
                found.update(data)
                offset += len(data)
    return found.hexdigest()


def data_extents(file: int) -> Iterator[tuple[int, int]]:
    """Offset and length of what a sparse file holds."""
    end = 0
    while True:
        try:
            start = os.lseek(file, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(file, start, os.SEEK_HOLE)
        yield start, end - start


def _is_whole(found: Pair, digests: Path) -> bool:
    try:
        kept = json.loads(digests.read_text())
        return bool(kept == {'first': digest(found.first), 'second': digest(found.second),
                             'changes': digest(found.changes)})
    except (OSError, ValueError):
        return False


def _make(place: Path, size: int) -> None:
    held = layout.pieces(size)
    changed = layout.changes(size, held)
    first, second, changes = place / 'first', place / 'second', place / 'changes.json'
    _write_first(first, held, size)
    _write_second(second, first, held, changed)
    changes.write_text(json.dumps(layout.extents(changed)))
    for path in (first, second):
        _sync(path)
    (place / 'digests.json').write_text(json.dumps(
        {path.stem: digest(path) for path in (first, second, changes)}))


def _write_first(path: Path, held: Sequence[Piece], size: int) -> None:
    with open(path, 'wb', buffering=0) as file:
        file.truncate(size)
        for piece in held:
            if piece.kind != 'copy':
                _write(file.fileno(), piece, 'first')
    for piece in held:
        if piece.kind == 'copy':
            _copy(path, piece.source, path, piece.offset, piece.length)


def _write_second(path: Path, first: Path, held: Sequence[Piece], changed: Sequence[Piece]) -> None:
    with open(path, 'wb', buffering=0) as file:
        file.truncate(first.stat().st_size)
        for offset, length in layout.extents(held):
            _copy(first, offset, path, offset, length)
        for piece in changed:
            _write(file.fileno(), piece, 'second')


def _write(file: int, piece: Piece, state: str) -> None:
    offset = piece.offset
    for data in content.stream(piece.kind, f'{state} {offset}', piece.length):
        view = memoryview(data)
        while view:
            done = os.pwrite(file, view, offset)
            view, offset = view[done:], offset + done


def _copy(source: Path, start: int, target: Path, offset: int, length: int) -> None:
    with open(source, 'rb') as from_file, open(target, 'r+b') as to_file:
        while length:
            done = os.copy_file_range(from_file.fileno(), to_file.fileno(), length, start, offset)
            if not done:
                raise OSError(f'cannot copy {length} bytes at {start} of {source}: it ends before')
            start, offset, length = start + done, offset + done, length - done


def _sync(path: Path) -> None:
    with open(path, 'rb') as file:
        os.fsync(file.fileno())
