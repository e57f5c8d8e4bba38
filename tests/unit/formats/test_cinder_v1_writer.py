"""What we write in format 1.0.0: byte for byte as a stock Cinder reads it."""

from __future__ import annotations

import bz2
import datetime
import hashlib
import io
import json
import pathlib
import re
from typing import Any
import zlib

import pytest
import zstandard

from backup_framework import exceptions, model
from backup_framework.driver import metadata
from backup_framework.testing import faults, memory, recording
from tests.unit.driver import chains

BLOCK, CHUNK = chains.BLOCK, chains.CHUNK
UNPACK = {'none': bytes, 'zlib': zlib.decompress, 'bz2': bz2.decompress,
          'zstd': lambda body: zstandard.ZstdDecompressor().decompress(body)}


def cinder_restore(driver: memory.MemoryBackupDriver, backup: model.Backup) -> bytes:
    """A restore by Cinder's rules, checks included that Cinder does not make."""
    image = bytearray()
    for member in backup.chain():
        entries = chains.manifest(driver, member)['objects']
        listed = [name for name in chains.names(driver) if name.startswith(
            str(member.service_metadata)) and not name.endswith(('_metadata', '_sha256file'))]
        assert listed == sorted(name for entry in entries for name in entry)
        for entry in entries:
            (name, values), = entry.items()
            data = UNPACK[values['compression']](chains.body(driver, name))
            assert len(data) == values['length']
            assert hashlib.md5(data).hexdigest() == values['md5']
            image.extend(bytes(max(0, values['offset'] + len(data) - len(image))))
            image[values['offset']:values['offset'] + len(data)] = data
    return bytes(image)


def entries(driver: memory.MemoryBackupDriver, backup: model.Backup) -> list[dict[str, Any]]:
    return [values for entry in chains.manifest(driver, backup)['objects']
            for values in entry.values()]


@pytest.mark.parametrize('compression', ['none', 'zlib', 'bz2', 'zstd'])
@pytest.mark.parametrize('workers', [0, 3])
def test_a_chain_by_cinders_rules(compression: str, workers: int) -> None:
    driver = chains.make_driver(compression=compression, workers=workers)
    first = chains.make_bytes(20 * CHUNK + 777)
    second = bytearray(first)
    second[5:9] = b'new!'
    second[7 * CHUNK:8 * CHUNK] = bytes(CHUNK)
    second[-3:] = b'end'
    root = chains.take(driver, first)
    child = chains.take(driver, bytes(second), parent=root)
    assert cinder_restore(driver, root) == first
    assert cinder_restore(driver, child) == bytes(second)
    markers = {values['compression'] for values in entries(driver, root)}
    assert markers <= {compression, 'none', 'zstd'} and compression in markers


def test_the_manifest_byte_for_byte() -> None:
    driver = chains.make_driver()
    backup = chains.take(
        driver, b'x' * 1000, display_name='näme "quoted"', display_description=None,
        created_at=datetime.datetime(2026, 1, 2, 3, 4, 5, 6, datetime.UTC), metadata={'k': 'v'})
    body = chains.body(driver, f'{backup.service_metadata}_metadata')
    document = json.loads(body)
    assert body == json.dumps(document, sort_keys=True, indent=2).encode()
    assert {key: document[key] for key in sorted(document) if key not in (
        'objects', 'backup_framework')} == {
            'backup_description': None, 'backup_id': backup.id, 'backup_name': 'näme "quoted"',
            'created_at': '2026-01-02 03:04:05.000006+00:00', 'parent_id': None,
            'version': '1.0.0', 'volume_id': 'volume-1', 'volume_meta': None}
    assert document['objects'] == [{f'{backup.service_metadata}-00001': {
        'compression': 'zstd', 'length': 1000, 'md5': hashlib.md5(b'x' * 1000).hexdigest(),
        'offset': 0}}]
    assert document['backup_framework']['size'] == 1000


def test_the_hash_list_byte_for_byte() -> None:
    driver = chains.make_driver()
    data = b'x' * BLOCK + bytes(BLOCK) + b'tail'
    backup = chains.take(driver, data, created_at=None)
    blocks = [data[at:at + BLOCK] for at in range(0, len(data), BLOCK)]
    assert chains.body(driver, f'{backup.service_metadata}_sha256file') == json.dumps({
        'version': '1.0.0', 'backup_id': backup.id, 'volume_id': 'volume-1', 'backup_name': None,
        'backup_description': None, 'created_at': 'None', 'chunk_size': BLOCK,
        'sha256s': [hashlib.sha256(block).hexdigest() for block in blocks]},
        sort_keys=True, indent=2).encode()


def test_names_and_extents() -> None:
    driver = chains.make_driver()
    backup = chains.take(driver, chains.make_bytes(3 * CHUNK + 777))
    assert re.fullmatch(rf'volume_volume-1_\d{{14}}_backup_{backup.id}',
                        str(backup.service_metadata))
    prefix = backup.service_metadata
    assert chains.names(driver) == sorted([
        *(f'{prefix}-{n:05d}' for n in range(1, 5)), f'{prefix}_sha256file',
        f'{prefix}_metadata'])
    assert [(values['offset'], values['length']) for values in entries(driver, backup)] == [
        (0, CHUNK), (CHUNK, CHUNK), (2 * CHUNK, CHUNK), (3 * CHUNK, 777)]
    assert backup.object_count == 4 and backup.size == 1 and backup.size_bytes == 3 * CHUNK + 777
    assert backup.stored_bytes == sum(
        len(body.data) for body in driver.store.containers[chains.CONTAINER].values())


def test_the_default_container_is_cinders() -> None:
    driver = chains.make_driver(container=None)
    backup = chains.take(driver, b'x')
    assert backup.container == f'{backup.id[:2]}/{backup.id[2:4]}/{backup.id}'


def test_nothing_to_back_up() -> None:
    driver = chains.make_driver()
    backup = chains.take(driver, b'')
    assert (backup.object_count, backup.size, backup.size_bytes) == (0, 0, 0)
    assert chains.manifest(driver, backup)['objects'] == []
    assert chains.bring_back(driver, backup) == b'' and driver.verify(backup).ok
    child = chains.take(driver, b'', parent=backup)
    assert chains.bring_back(driver, child) == b'' and driver.verify(child).ok


def test_zero_chunks_share_a_body() -> None:
    driver = chains.make_driver(compression='none')
    backup = chains.take(driver, bytes(5 * CHUNK) + b'x' + bytes(2 * CHUNK))
    bodies = [chains.body(driver, name) for name in chains.data_names(driver, backup)]
    assert len(bodies) == 8 and len(set(bodies)) == 3, 'zeros, the chunk with x, the short end'
    assert {v['compression'] for v in entries(driver, backup)} == {'zstd', 'none'}


def test_holes_are_one_object_that_cinder_unpacks(tmp_path: pathlib.Path) -> None:
    driver = chains.make_driver()
    with open(tmp_path / 'volume', 'w+b') as file:
        file.truncate(1000 * CHUNK)
        file.seek(500 * CHUNK + 5)
        file.write(b'data')
        backup = chains.take(driver, file)
        file.seek(0)
        assert cinder_restore(driver, backup) == file.read()
    assert backup.object_count <= 1000 and driver.verify(backup).ok


@pytest.mark.parametrize('workers', [2, 8])
def test_numbers_are_unique_with_several_workers(workers: int) -> None:
    driver = chains.make_driver(workers=workers)
    data = chains.make_bytes(300 * CHUNK)
    backup = chains.take(driver, data)
    document = chains.manifest(driver, backup)
    found = [name for entry in document['objects'] for name in entry]
    assert sorted(found) == [f'{backup.service_metadata}-{n:05d}' for n in range(1, 301)]
    offsets = [values['offset'] for values in entries(driver, backup)]
    assert offsets == sorted(offsets)
    assert cinder_restore(driver, backup) == data


def test_the_manifest_comes_last_between_two_syncs() -> None:
    driver = recording.RecordingDriver(chains.make_driver(workers=3))
    backup = chains.take(driver, chains.make_bytes(10 * CHUNK))
    calls = [(call.verb, call.name) for call in driver.of('get_object_writer', 'sync')]
    prefix = backup.service_metadata
    assert calls[-4:] == [
        ('get_object_writer', f'{prefix}_sha256file'), ('sync', None),
        ('get_object_writer', f'{prefix}_metadata'), ('sync', None)]
    assert driver.calls[0].verb == 'put_container' and not driver.of('delete_object')


def test_never_more_verbs_at_once_than_connections() -> None:
    class Narrow(memory.MemoryBackupDriver):
        def capabilities(self) -> model.Capabilities:
            return model.Capabilities(connections=2)
    inner = Narrow.make(chunk_size=CHUNK, block_size=BLOCK, workers=8, container='shelf')
    driver = recording.RecordingDriver(faults.FaultyDriver(inner, [
        faults.Fault('commit', forever=True, delay=0.002)]))
    backup = chains.take(driver, chains.make_bytes(40 * CHUNK))
    driver.verify(backup)
    driver.restore(backup, '', io.BytesIO())
    driver.delete_backup(backup)
    assert driver.most_open == 2


def test_an_unchanged_volume_stores_no_data() -> None:
    driver = chains.make_driver()
    data = chains.make_bytes(9 * CHUNK + 100)
    root = chains.take(driver, data)
    child = chains.take(driver, data, parent=root)
    assert child.object_count == 0 and not chains.data_names(driver, child)
    assert chains.manifest(driver, child)['objects'] == []
    assert chains.manifest(driver, child)['parent_id'] == root.id == child.parent_id
    hashes = [json.loads(chains.body(driver, f'{member.service_metadata}_sha256file'))['sha256s']
              for member in (root, child)]
    assert hashes[0] == hashes[1], 'the list of an incremental is complete'
    assert chains.bring_back(driver, child) == data


def test_only_changed_blocks_are_stored() -> None:
    driver = chains.make_driver(chunk_size=64 * BLOCK)
    data = bytearray(chains.make_bytes(200 * BLOCK + 10))
    root = chains.take(driver, bytes(data))
    for at in (0, 3 * BLOCK, 64 * BLOCK - 1, 64 * BLOCK, 150 * BLOCK, 200 * BLOCK + 9):
        data[at] ^= 0xff
    child = chains.take(driver, bytes(data), parent=root)
    found = [(values['offset'] // BLOCK, values['length']) for values in entries(driver, child)]
    assert found == [(0, 4 * BLOCK), (63, BLOCK), (64, BLOCK), (150, BLOCK), (200, 10)]
    assert cinder_restore(driver, child) == bytes(data) == chains.bring_back(driver, child)


def test_blocks_that_became_zero_are_stored_as_zeros() -> None:
    driver = chains.make_driver()
    data = b'x' * (8 * CHUNK)
    root = chains.take(driver, data)
    changed = bytearray(data)
    changed[CHUNK:3 * CHUNK] = bytes(2 * CHUNK)
    changed[5 * CHUNK:5 * CHUNK + BLOCK] = bytes(BLOCK)
    child = chains.take(driver, bytes(changed), parent=root)
    assert len(entries(driver, child)) == 3
    used = io.BytesIO(b'old' * 4 * CHUNK)
    driver.restore(child, '', used)
    assert used.getvalue()[:8 * CHUNK] == bytes(changed)


def test_volume_metadata_and_extra_metadata() -> None:
    driver = chains.make_driver()
    volume = model.Volume(id='volume-1', name='n', metadata={'k': 'v'})

    class Known:
        def __init__(self) -> None:
            self.put_back: list[tuple[str, str]] = []

        def get(self, volume_id: str) -> str:
            return metadata.dump(volume)

        def put(self, volume_id: str, json_metadata: str) -> None:
            self.put_back.append((volume_id, json_metadata))

    driver.volume_metadata = Known()
    driver.get_extra_metadata = lambda backup, volume: {'shelf': [1, None]}
    backup = chains.take(driver, b'x')
    document = chains.manifest(driver, backup)
    assert json.loads(document['volume_meta'])['volume-metadata'] == {'k': 'v'}
    assert document['extra_metadata'] == {'shelf': [1, None]}
    driver.restore(backup, 'volume-2', io.BytesIO())
    assert driver.volume_metadata.put_back == [('volume-2', document['volume_meta'])]


@pytest.mark.parametrize('chunk_size, block_size', [(1000, 512), (512, 1024), (4097, 4096)])
def test_a_chunk_is_a_multiple_of_a_block(chunk_size: int, block_size: int) -> None:
    driver = chains.make_driver(chunk_size=chunk_size, block_size=block_size)
    with pytest.raises(exceptions.InvalidInput, match='multiple'):
        chains.take(driver, b'x')
    assert not chains.names(driver)
