"""The kit for sources of volumes: what their author runs to know that they keep the contract.

Subclass `SourceKit` in a test file, with one fixture::

    class TestShelves(sources.SourceKit):

        @pytest.fixture
        def source(self, tmp_path):
            return ShelfVolumes(model.Settings(ShelfVolumes.OPTIONS, {'path': str(tmp_path)}))

Each case proves one numbered sentence of `backup_framework.interface.volume_source`.
"""

from __future__ import annotations

import concurrent.futures
import functools
import os
import random
import uuid

import pytest

from backup_framework import exceptions
from backup_framework.engine import source as reading
from backup_framework.engine import target, writing
from backup_framework.interface.volume_source import VolumeSource
from backup_framework.model import Snapshot, Volume
from backup_framework.testing import sentences as contract

_CHUNK = 1 << 20
STRANGE = ('', '.', '..', '../{}', '/etc/passwd', './{}', '{}/', '{}\0', 'no such volume', '\udcff')
"""What no volume is called; {} is the name of one."""


_proves = functools.partial(contract.sentence, interfaces=(VolumeSource,))


def content(source: VolumeSource, volume: Volume, snapshot: Snapshot | None = None) -> bytes:
    """All bytes of a volume, read as a backup reads them."""
    with source.open(volume, snapshot) as opened:
        found = bytearray()
        for chunk in reading.open_source(opened.file).chunks(_CHUNK):
            assert len(found) == chunk.offset
            data = memoryview(bytearray(chunk.length))
            if chunk.read is not None:
                for extent in chunk.data():
                    start = extent.offset - chunk.offset
                    chunk.read(extent.offset, data[start:start + extent.length])
            found += data
        assert len(found) == opened.size
        return bytes(found)


def write(source: VolumeSource, volume: Volume, data: bytes) -> None:
    """Restore these bytes to a volume, as a restore does."""
    with source.open_target(volume) as to:
        if not isinstance(to, str):
            to.write(data)
            return
        with target.open_target(to, len(data), force=True) as (file, _):
            # Zeros are punched or written, as the kind of target has it.
            to_place = writing.wrap(file, fresh=False)
            to_place.zero(0, len(data))
            for start, end in writing.data_runs(memoryview(data)):
                to_place.write(start, memoryview(data)[start:end])
            to_place.finish(len(data))


class SourceKit:
    """All cases. The source of the fixture has a volume or more, and they may be overwritten."""

    writable = True
    """Whether the first volume can be restored to."""

    @pytest.fixture
    def first(self, source: VolumeSource) -> Volume:
        return next(iter(source.volumes()))

    @_proves('V1')
    def test_volumes_have_names_and_sizes_and_stay(self, source: VolumeSource) -> None:
        found = list(source.volumes())
        assert found
        names = [volume.source_id for volume in found]
        assert all(names) and len(set(names)) == len(names)
        assert all(volume.name and volume.size_bytes is not None for volume in found)
        assert [volume.source_id for volume in source.volumes()] == names

    @_proves('V3')
    def test_an_id_of_its_own_is_a_uuid(self, source: VolumeSource) -> None:
        for volume in source.volumes():
            assert str(uuid.UUID(volume.id)) == volume.id

    @_proves('V4')
    def test_snapshots_name_their_volume(self, source: VolumeSource) -> None:
        for volume in source.volumes():
            found = list(source.snapshots(volume))
            assert all(snapshot.volume_id == volume.id for snapshot in found)
            assert len({snapshot.source_id for snapshot in found}) == len(found)

    @_proves('O1')
    def test_a_volume_gives_all_its_bytes(self, source: VolumeSource) -> None:
        for volume in source.volumes():
            assert len(content(source, volume)) == volume.size_bytes

    @_proves('O3')
    def test_reading_changes_nothing(self, source: VolumeSource, first: Volume) -> None:
        assert content(source, first) == content(source, first)

    @_proves('S1')
    def test_several_threads_read(self, source: VolumeSource, first: Volume) -> None:
        wanted = [first] * 4 if source.capabilities().shared else list(source.volumes())
        expected = [content(source, volume) for volume in wanted]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            assert list(pool.map(functools.partial(content, source), wanted)) == expected

    @_proves('O4')
    def test_nothing_is_known_of_a_backup_that_was_not(self, source: VolumeSource,
                                                       first: Volume) -> None:
        with source.open(first, since=str(uuid.uuid4())) as opened:
            assert opened.changed is None and opened.changed_since is None

    @_proves('S2')
    def test_what_is_not_offered_is_not_found(self, source: VolumeSource, first: Volume) -> None:
        for name in STRANGE:
            volume = Volume(source_id=name.format(first.source_id))
            with pytest.raises(exceptions.VolumeNotFound), source.open(volume):
                pass
            with pytest.raises(exceptions.VolumeNotFound), source.open_target(volume):
                pass
            with pytest.raises(exceptions.VolumeNotFound), \
                    source.open(first, Snapshot(source_id=name.format(first.source_id))):
                pass

    @_proves('S3')
    def test_what_is_not_declared_is_refused(self, source: VolumeSource, first: Volume) -> None:
        able = source.capabilities()
        before = [volume.source_id for volume in source.volumes()]
        if not able.creates:
            with pytest.raises(exceptions.Refused):
                source.create('new', _CHUNK)
        if not able.snapshots:
            with pytest.raises(exceptions.Refused):
                source.make_snapshot(first)
            with pytest.raises(exceptions.Refused):
                source.drop_snapshot(first, 'key')
        if not able.keeps:
            with pytest.raises(exceptions.Refused):
                source.keep(first, 'state', str(uuid.uuid4()))
        assert [volume.source_id for volume in source.volumes()] == before

    @_proves('S4')
    def test_nothing_is_left_behind(self, source: VolumeSource, first: Volume) -> None:
        content(source, first)
        before = _held()
        for _ in range(3):
            content(source, first)
        with pytest.raises(ZeroDivisionError), source.open(first):
            raise ZeroDivisionError
        assert _held() == before
        source.close()
        source.close()

    @_proves('T1')
    def test_what_is_written_is_there(self, source: VolumeSource, first: Volume) -> None:
        if not self.writable:
            pytest.skip('writable says that its volumes cannot be restored to')
        assert first.size_bytes
        data = random.Random(first.size_bytes).randbytes(first.size_bytes)
        write(source, first, data)
        assert content(source, first) == data
        write(source, first, bytes(first.size_bytes))
        assert content(source, first) == bytes(first.size_bytes)

    @_proves('C1')
    def test_a_new_volume_is_listed_and_empty(self, source: VolumeSource) -> None:
        self._declared(source, 'creates')
        made = source.create('new', 3 * _CHUNK)
        assert made.size_bytes is not None and made.size_bytes >= 3 * _CHUNK
        assert content(source, made) == bytes(made.size_bytes)
        assert made.source_id in [volume.source_id for volume in source.volumes()]

    @_proves('C2')
    def test_a_new_volume_is_none_that_was_there(self, source: VolumeSource, first: Volume) -> None:
        self._declared(source, 'creates')
        before = content(source, first)
        names = [str(first.name), *(name.format(first.name) for name in STRANGE), 'x' * 300]
        made = [source.create(name, _CHUNK) for name in names]
        assert len({volume.source_id for volume in [first, *made]}) == len(names) + 1
        assert content(source, first) == before

    @_proves('C3')
    def test_a_new_volume_is_made_once_for_a_key(self, source: VolumeSource) -> None:
        self._declared(source, 'creates')
        self._declared(source, 'repeats')
        key, other = str(uuid.uuid4()), str(uuid.uuid4())
        made = [source.create('new', _CHUNK, key=each) for each in (key, key, other)]
        assert made[0].source_id == made[1].source_id != made[2].source_id

    @_proves('N1')
    def test_a_snapshot_stays(self, source: VolumeSource, first: Volume) -> None:
        self._declared(source, 'snapshots')
        before = content(source, first)
        snapshot = source.make_snapshot(first)
        write(source, first, bytes(255 - each for each in before))
        assert content(source, first, snapshot) == before
        source.delete_snapshot(first, snapshot)

    @_proves('N2')
    def test_a_deleted_snapshot_is_gone(self, source: VolumeSource, first: Volume) -> None:
        self._declared(source, 'snapshots')
        snapshot = source.make_snapshot(first)
        for _ in range(2):
            source.delete_snapshot(first, snapshot)
        with pytest.raises(exceptions.VolumeNotFound), source.open(first, snapshot):
            pass

    @_proves('N3')
    def test_a_snapshot_is_made_once_for_a_key(self, source: VolumeSource, first: Volume) -> None:
        self._declared(source, 'snapshots')
        self._declared(source, 'repeats')
        key = str(uuid.uuid4())
        made = [source.make_snapshot(first, key=key) for _ in range(2)]
        assert content(source, first, made[1]) == content(source, first)
        source.drop_snapshot(first, key)
        for snapshot in made:
            with pytest.raises(exceptions.VolumeNotFound), source.open(first, snapshot):
                pass

    @_proves('N4')
    def test_a_snapshot_goes_by_its_key(self, source: VolumeSource, first: Volume) -> None:
        self._declared(source, 'snapshots')
        self._declared(source, 'repeats')
        key, other = str(uuid.uuid4()), str(uuid.uuid4())
        gone, stays = (source.make_snapshot(first, key=each) for each in (key, other))
        for _ in range(2):
            source.drop_snapshot(first, key)
        with pytest.raises(exceptions.VolumeNotFound), source.open(first, gone):
            pass
        with source.open(first, stays):
            pass
        source.drop_snapshot(first, other)

    @_proves('K1')
    def test_what_changed_since_a_kept_state(self, source: VolumeSource, first: Volume) -> None:
        self._declared(source, 'keeps')
        backup, before = str(uuid.uuid4()), content(source, first)
        with source.open(first, source.make_snapshot(first)) as opened:
            assert opened.taken is not None
            source.keep(first, opened.taken, backup)
        after = bytearray(before)
        after[4096:4097] = bytes([255 - before[4096]])
        write(source, first, bytes(after))
        snapshot = source.make_snapshot(first)
        with source.open(first, snapshot, since=backup) as opened:
            assert opened.changed is not None and opened.changed_since == backup
            assert any(each.offset <= 4096 < each.end for each in opened.changed)
        source.delete_snapshot(first, snapshot)

    def _declared(self, source: VolumeSource, capability: str) -> None:
        if not getattr(source.capabilities(), capability):
            pytest.skip(f'this source does not declare {capability}')


def _held() -> tuple[int, list[str], int]:
    """Open descriptors, mounts, and processes that are ours."""
    with open('/proc/self/mounts', encoding='utf-8', errors='replace') as mounts:
        mounted = sorted(line.split()[1] for line in mounts)
    with open(f'/proc/self/task/{os.getpid()}/children', encoding='ascii') as children:
        count = len(children.read().split())
    return len(os.listdir('/proc/self/fd')), mounted, count
