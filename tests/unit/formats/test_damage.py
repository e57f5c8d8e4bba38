"""Damaged stores: restore and verify find it, and nothing wrong is written."""

from __future__ import annotations

import io
import itertools
import json

import pytest

from backup_framework import exceptions, model
from backup_framework.engine.monitor import Operation
from backup_framework.testing import memory
from tests.unit.driver import chains

CHUNK = chains.CHUNK
DATA = chains.make_bytes(4 * CHUNK)


class Watched(io.BytesIO):
    """Any byte written must be the right one at its place."""

    def write(self, data: bytes, /) -> int:
        at = self.tell()
        assert data == DATA[at:at + len(data)], 'wrong bytes reached the target'
        return super().write(data)


@pytest.fixture(params=[{}, {'memory': 200}], ids=['whole', 'streamed'])
def memory_of(request: pytest.FixtureRequest) -> dict[str, int]:
    """With little memory, objects are streamed twice: checked, then written."""
    return request.param


def only_zeros(driver: memory.MemoryBackupDriver, backup: model.Backup, name: str) -> bool:
    """Such an object is not read by a restore."""
    values = next(entry[name] for entry in chains.manifest(driver, backup)['objects']
                  if name in entry)
    return not any(DATA[values['offset']:values['offset'] + values['length']])


def found(driver: memory.MemoryBackupDriver, backup: model.Backup, name: str) -> None:
    """Both say which object; the restore before a wrong byte is written."""
    with pytest.raises(exceptions.FormatError, match=name):
        driver.restore(backup, '', Watched(b'\xff' * len(DATA)))
    assert name in ' '.join(driver.verify(backup).problems)


@pytest.mark.parametrize('compression', ['none', 'zlib', 'bz2', 'zstd'])
def test_a_sound_store_first(compression: str, memory_of: dict[str, int]) -> None:
    driver = chains.make_driver(compression=compression, **memory_of)
    backup = chains.take(driver, DATA)
    assert chains.bring_back(driver, backup) == DATA
    report = driver.verify(backup)
    assert report.ok and not report.notes
    assert report.checked_bytes == len(DATA) and report.objects == 4
    assert driver.verify(backup, operation=None).ok


def test_missing(memory_of: dict[str, int]) -> None:
    driver = chains.make_driver(**memory_of)
    backup = chains.take(driver, DATA)
    for name in chains.data_names(driver, backup):
        sound = chains.body(driver, name)
        chains.overwrite(driver, name, None)
        assert len(driver.verify(backup).problems) == 1
        if not only_zeros(driver, backup, name):
            found(driver, backup, name)
        chains.overwrite(driver, name, sound)
    assert driver.verify(backup).ok


@pytest.mark.parametrize('compression', ['none', 'zlib', 'bz2', 'zstd'])
def test_truncated_and_extended(compression: str, memory_of: dict[str, int]) -> None:
    driver = chains.make_driver(compression=compression, **memory_of)
    backup = chains.take(driver, DATA)
    name = chains.data_names(driver, backup)[0]
    sound = chains.body(driver, name)
    step = max(1, len(sound) // 60)
    for length in [*range(0, len(sound), step), len(sound) - 1]:
        chains.overwrite(driver, name, sound[:length])
        found(driver, backup, name)
    for tail in (b'\0', b'x', bytes(4096)):
        chains.overwrite(driver, name, sound + tail)
        found(driver, backup, name)


@pytest.mark.parametrize('compression', ['none', 'zlib', 'bz2', 'zstd'])
def test_bit_flips(compression: str, memory_of: dict[str, int]) -> None:
    """What a codec does not use may flip: then the bytes are right all the same."""
    driver = chains.make_driver(compression=compression, **memory_of)
    backup = chains.take(driver, DATA)
    name = chains.data_names(driver, backup)[0]
    sound = chains.body(driver, name)
    detected = 0
    for bit in range(0, 8 * len(sound), max(1, len(sound) // 40)):
        altered = bytearray(sound)
        altered[bit // 8] ^= 1 << bit % 8
        chains.overwrite(driver, name, bytes(altered))
        target = Watched(b'\xff' * len(DATA))
        try:
            driver.restore(backup, '', target)
            assert target.getvalue() == DATA
        except exceptions.CorruptObject as error:
            assert name in str(error)
            assert not driver.verify(backup).ok
            detected += 1
    assert detected > 250


def test_swapped(memory_of: dict[str, int]) -> None:
    driver = chains.make_driver(**memory_of)
    other = chains.take(driver, chains.make_bytes(4 * CHUNK, seed=9))
    backup = chains.take(driver, DATA)
    names = [name for taken in (backup, other) for name in chains.data_names(driver, taken)]
    for one, two in itertools.permutations(names, 2):
        bodies = chains.body(driver, one), chains.body(driver, two)
        if bodies[0] == bodies[1] or not one.startswith(str(backup.service_metadata)):
            continue
        chains.overwrite(driver, one, bodies[1])
        assert not driver.verify(backup).ok
        if not only_zeros(driver, backup, one):
            found(driver, backup, one)
        chains.overwrite(driver, one, bodies[0])
    assert driver.verify(backup).ok


def test_a_zero_object_with_another_marker_is_found() -> None:
    """We know that it is zeros; Cinder would unpack it by its marker."""
    driver = chains.make_driver()
    backup = chains.take(driver, bytes(CHUNK))
    document = chains.manifest(driver, backup)
    next(iter(document['objects'][0].values()))['compression'] = 'none'
    chains.rewrite(driver, backup, document)
    assert not driver.verify(backup).ok


@pytest.mark.parametrize('marker', ['ZLIB', 'gzip', 'Gzip', 'zlib'])
def test_markers_in_any_case(marker: str) -> None:
    driver = chains.make_driver(compression='zlib')
    backup = chains.take(driver, DATA)
    document = chains.manifest(driver, backup)
    for entry in document['objects']:
        for values in entry.values():
            if values['compression'] == 'zlib':
                values['compression'] = marker
    chains.rewrite(driver, backup, document)
    assert chains.bring_back(driver, backup) == DATA and driver.verify(backup).ok


def test_an_upper_case_md5_is_one() -> None:
    driver = chains.make_driver()
    backup = chains.take(driver, DATA)
    document = chains.manifest(driver, backup)
    for entry in document['objects']:
        for values in entry.values():
            values['md5'] = values['md5'].upper()
    chains.rewrite(driver, backup, document)
    assert chains.bring_back(driver, backup) == DATA and driver.verify(backup).ok


def test_every_order_and_extra_keys() -> None:
    driver = chains.make_driver()
    backup = chains.take(driver, DATA)
    document = chains.manifest(driver, backup) | {'another': [1]}
    document['objects'].reverse()
    for entry in document['objects']:
        for values in entry.values():
            values['sha3'] = 'x'
    chains.rewrite(driver, backup, document)
    assert chains.bring_back(driver, backup) == DATA and driver.verify(backup).ok


def test_a_missing_hash_list_is_said_and_no_error() -> None:
    driver = chains.make_driver()
    backup = chains.take(driver, DATA)
    chains.overwrite(driver, f'{backup.service_metadata}_sha256file', None)
    report = driver.verify(backup)
    assert report.ok and 'no hash list' in report.notes[0]
    assert chains.bring_back(driver, backup) == DATA


@pytest.mark.parametrize('body', [b'', b'not json', b'{"chunk_size": 512, "sha256s": []}'])
def test_a_damaged_hash_list_is_found_and_does_not_stop_a_restore(body: bytes) -> None:
    driver = chains.make_driver()
    backup = chains.take(driver, DATA)
    chains.overwrite(driver, f'{backup.service_metadata}_sha256file', body)
    assert not driver.verify(backup).ok
    assert chains.bring_back(driver, backup) == DATA


def test_an_altered_hash_list_is_found() -> None:
    driver = chains.make_driver()
    backup = chains.take(driver, DATA)
    name = f'{backup.service_metadata}_sha256file'
    body = bytearray(chains.body(driver, name))
    at = body.index(b'sha256s') + 20
    body[at:at + 1] = b'0' if body[at:at + 1] != b'0' else b'1'
    chains.overwrite(driver, name, bytes(body))
    report = driver.verify(backup)
    assert 'not the hash list' in report.problems[0] and report.objects


def test_an_altered_hash_list_of_cinders_is_found() -> None:
    driver = chains.make_driver()
    backup = chains.take(driver, DATA)
    document = chains.manifest(driver, backup)
    del document['backup_framework']
    chains.rewrite(driver, backup, document)
    name = f'{backup.service_metadata}_sha256file'
    body = bytearray(chains.body(driver, name))
    at = body.index(b'sha256s') + 20
    body[at:at + 1] = b'0' if body[at:at + 1] != b'0' else b'1'
    chains.overwrite(driver, name, bytes(body))
    assert 'blocks 0 to 0' in driver.verify(backup).problems[0]


def test_quick_verify_sees_presence_and_known_sizes() -> None:
    driver = chains.make_driver(compression='none')
    backup = chains.take(driver, DATA)
    first, second, *_ = chains.data_names(driver, backup)
    body = chains.body(driver, first)
    chains.overwrite(driver, first, bytes(len(body)))
    assert driver.verify(backup, operation=Operation(quick=True)).ok
    chains.overwrite(driver, first, body[:-1])
    chains.overwrite(driver, second, None)
    assert driver.verify(backup, operation=Operation(quick=True)).problems == [
        f'object {second} of container shelf is missing',
        f'object {first} of container shelf has {len(body) - 1} bytes instead of {len(body)}']


def test_each_bit_of_a_manifest_is_found_by_verify_or_harmless() -> None:
    """A restore alone cannot know that an offset of an incremental is another one."""
    driver = chains.make_driver()
    parent = chains.take(driver, DATA)
    changed = bytearray(DATA)
    changed[3 * chains.BLOCK] ^= 1
    changed[4000] ^= 1
    backup = chains.take(driver, bytes(changed), parent)
    name = f'{backup.service_metadata}_metadata'
    sound = chains.body(driver, name)
    refused = 0
    for bit in range(8 * len(sound)):
        altered = bytearray(sound)
        altered[bit // 8] ^= 1 << bit % 8
        chains.overwrite(driver, name, bytes(altered))
        try:
            restored = chains.bring_back(driver, backup)
        except exceptions.FormatError:
            refused += 1
            continue
        assert restored == bytes(changed) or not driver.verify(backup).ok, altered
    assert refused > 5000


def test_a_hash_list_of_cinders_that_was_cut() -> None:
    """Found where the backup's own extents show it; else the volume may have shrunk: a note."""
    driver = chains.make_driver()
    full = chains.take(driver, DATA)
    child = chains.take(driver, DATA[:-1] + b'?', full)
    same = chains.take(driver, DATA, full)
    for backup in (full, child, same):
        document = chains.manifest(driver, backup)
        del document['backup_framework']
        chains.rewrite(driver, backup, document)
        name = f'{backup.service_metadata}_sha256file'
        listed = json.loads(chains.body(driver, name))
        listed['sha256s'].pop()
        chains.overwrite(driver, name, json.dumps(listed).encode())
    assert 'before what the backup has stored' in driver.verify(child).problems[0]
    with pytest.raises(exceptions.CorruptManifest):
        chains.bring_back(driver, child)
    assert 'fewer than' in driver.verify(same).notes[0]


def test_a_wrong_parent_is_refused_before_a_byte_of_it_is_written() -> None:
    """By the hash list of the newest backup: each object by itself is right."""
    driver = chains.make_driver()
    other = bytearray(DATA)
    other[2 * chains.BLOCK] ^= 1
    root, wrong = chains.take(driver, DATA), chains.take(driver, bytes(other))
    changed = bytearray(DATA)
    changed[3 * CHUNK] ^= 1
    child = chains.take(driver, bytes(changed), root)
    document = chains.manifest(driver, child)
    sound = chains.manifest(driver, root)
    for entry, theirs in zip(sound['objects'], chains.manifest(driver, wrong)['objects']):
        (name, _), (theirs_name, _) = *entry.items(), *theirs.items()
        chains.overwrite(driver, name, chains.body(driver, theirs_name))
        entry[name] = theirs[theirs_name]
    chains.rewrite(driver, root, sound)
    assert document == chains.manifest(driver, child)
    target = Watched(b'\xff' * len(DATA))
    with pytest.raises(exceptions.CorruptObject, match='not those of the hash list'):
        driver.restore(child, '', target)
    assert any('wrong parent' in problem for problem in driver.verify(child).problems)
