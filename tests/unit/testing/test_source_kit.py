"""The kit for sources: a case for each sentence, and for each case a source that fails just it."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import inspect
import io
import os
from pathlib import Path
import shutil
import time
from typing import Any, BinaryIO
import uuid

import pytest

from backup_framework import exceptions
from backup_framework.interface.volume_source import Capabilities, Reading, VolumeSource
from backup_framework.model import Extent, Settings, Snapshot, Volume
from backup_framework.testing import sentences, sources
from backup_framework.volumes.file import FileVolumes

SENTENCES = sentences.sentences(VolumeSource)
FROM_INSIDE = {'O2', 'O5', 'T2', 'T3', 'V2'}
"""What is so only while others use a volume, or were killed, or is said by another case."""


class Copies(FileVolumes):
    """A directory whose snapshots are plain copies, on any file system. It keeps the contract."""

    def capabilities(self) -> Capabilities:
        return Capabilities(creates=True, snapshots=True, keeps=True, repeats=True,
                            shared=True)

    def path(self, name: str | None) -> str:
        return os.path.join(str(self._directory), str(name))

    def make_snapshot(self, volume: Volume, *, key: str | None = None) -> Snapshot:
        name = self._name_for(volume, key or uuid.uuid4().hex)
        shutil.copy(self.path(volume.source_id), self.path(name))
        return Snapshot(volume_id=volume.id, source_id=name)

    def _changed(self, volume: Volume, file: io.FileIO, since: str) -> Any:
        with contextlib.suppress(exceptions.VolumeNotFound), \
                self._opened(f'.{volume.source_id}.{since}.kept') as kept:
            return [] if kept.read() == os.pread(file.fileno(), 1 << 30, 0) else [
                Extent(0, os.fstat(file.fileno()).st_size)]
        return None

    def snapshots(self, volume: Volume) -> list[Snapshot]:
        return []


class TestCopies(sources.SourceKit):

    @pytest.fixture
    def source(self, tmp_path: Path) -> VolumeSource:
        return make(Copies, tmp_path)


def make(kind: type[FileVolumes], folder: Path) -> FileVolumes:
    (folder / 'disk').write_bytes(os.urandom(1 << 20))
    return kind(Settings(FileVolumes.OPTIONS, {'path': str(folder), 'keep_snapshot': True}))


class Twice(Copies):
    def volumes(self) -> Iterator[Volume]:
        yield from super().volumes()
        yield from super().volumes()


class OddIds(Copies):
    def volumes(self) -> Iterator[Volume]:
        for volume in super().volumes():
            volume.id = str(volume.source_id)
            yield volume


class SnapshotsOfNobody(Copies):
    def snapshots(self, volume: Volume) -> list[Snapshot]:
        return [Snapshot(source_id='x', volume_id='other')]


class Short(Copies):
    @contextlib.contextmanager
    def open(self, volume: Volume, *args: Any, **more: Any) -> Iterator[Reading]:
        with super().open(volume, *args, **more) as opened:
            yield Reading(io.BytesIO(opened.file.read(1000)), opened.size)


class Marks(Copies):
    @contextlib.contextmanager
    def open(self, volume: Volume, *args: Any, **more: Any) -> Iterator[Reading]:
        with super().open(volume, *args, **more) as opened:
            yield opened
        with open(self.path(volume.source_id), 'r+b') as file:
            file.write(uuid.uuid4().bytes)


class OneAtATime(Copies):
    busy = False

    @contextlib.contextmanager
    def open(self, volume: Volume, *args: Any, **more: Any) -> Iterator[Reading]:
        if self.busy:
            raise exceptions.VolumeError('busy')
        self.busy = True
        time.sleep(0.1)
        try:
            with super().open(volume, *args, **more) as opened:
                yield opened
        finally:
            self.busy = False


class KnowsAll(Copies):
    @contextlib.contextmanager
    def open(self, volume: Volume, snapshot: Snapshot | None = None, *, since: str | None = None
             ) -> Iterator[Reading]:
        with super().open(volume, snapshot, since=since) as opened:
            if snapshot is not None:
                yield opened
            else:
                yield Reading(opened.file, opened.size, [], since)


class Outside(Copies):
    def _known(self, volume: Volume) -> str:
        return volume.source_id or 'disk'


class Eager(Copies):
    def capabilities(self) -> Capabilities:
        return Capabilities(snapshots=True, keeps=True)


class Leaks(Copies):
    def _opened(self, name: str) -> io.FileIO:
        file = super()._opened(name)
        self.__dict__.setdefault('leaked', []).append(os.dup(file.fileno()))
        return file


class Forgets(Copies):
    @contextlib.contextmanager
    def open_target(self, volume: Volume) -> Iterator[str | BinaryIO]:
        yield io.BytesIO()


class Smaller(Copies):
    def create(self, name: str, size_bytes: int, *args: Any, **more: Any) -> Volume:
        return super().create(name, size_bytes // 2, *args, **more)


class Overwrites(Copies):
    def create(self, name: str, *args: Any, **more: Any) -> Volume:
        if name == 'disk':
            os.unlink(self.path(name))
        return super().create(name, *args, **more)


class MakesAnother(Copies):
    def create(self, *args: Any, key: str | None = None) -> Volume:
        return super().create(*args)


class Late(Copies):
    """Its snapshots show what the volume has now."""

    def _snapshot_name(self, volume: Volume, snapshot: Snapshot) -> str:
        name = super()._snapshot_name(volume, snapshot)
        if os.path.exists(self.path(name)) and 'open' in {f.function for f in inspect.stack()[:6]}:
            return str(volume.source_id)
        return name


class Stays(Copies):
    def delete_snapshot(self, volume: Volume, snapshot: Snapshot) -> None:
        pass


class SnapsAnother(Copies):
    """And knows only that one."""

    def make_snapshot(self, volume: Volume, *, key: str | None = None) -> Snapshot:
        made = super().make_snapshot(volume)
        self.__dict__.setdefault('last', {})[key] = made
        return made

    def drop_snapshot(self, volume: Volume, key: str) -> None:
        if key in vars(self)['last']:
            self.delete_snapshot(volume, vars(self)['last'].pop(key))


class DropsNothing(Copies):
    def drop_snapshot(self, volume: Volume, key: str) -> None:
        pass


class SaysNothingChanged(Copies):
    def _changed(self, volume: Volume, file: io.FileIO, since: str) -> Any:
        return None if super()._changed(volume, file, since) is None else []


BROKEN = {
    'V1': Twice, 'V3': OddIds, 'V4': SnapshotsOfNobody, 'O1': Short, 'O3': Marks, 'S1': OneAtATime,
    'O4': KnowsAll, 'S2': Outside, 'S3': Eager, 'S4': Leaks, 'T1': Forgets, 'C1': Smaller,
    'C2': Overwrites, 'C3': MakesAnother, 'N1': Late, 'N2': Stays, 'N3': SnapsAnother,
    'N4': DropsNothing, 'K1': SaysNothingChanged}


def test_each_sentence_has_a_case_and_a_source_that_breaks_it() -> None:
    assert set(sentences.cases_of(sources.SourceKit)) == set(SENTENCES) - FROM_INSIDE == set(BROKEN)


@pytest.mark.parametrize('identifier', BROKEN)
def test_a_broken_source_fails(identifier: str, tmp_path: Path) -> None:
    for name in sentences.cases_of(sources.SourceKit)[identifier]:
        case = getattr(sources.SourceKit(), name)
        source = make(BROKEN[identifier], tmp_path)
        wanted = {'source': source, 'first': next(iter(source.volumes()))}
        try:
            with pytest.raises((AssertionError, ValueError, exceptions.BackupFrameworkError,
                                pytest.fail.Exception)) as caught:
                case(**{each: wanted[each] for each in inspect.signature(case).parameters})
            if isinstance(caught.value, Exception):
                assert SENTENCES[identifier] in ''.join(caught.value.__notes__)
        finally:
            for fd in vars(source).get('leaked', ()):
                os.close(fd)
