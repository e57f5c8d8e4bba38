"""What was sealed comes back, whatever happened to the store in between, and only with its keys."""

from __future__ import annotations

import random
from typing import Any

import pytest

from backup_framework import exceptions
from backup_framework.engine.monitor import Operation
from backup_framework.model import Extent
from tests.trust.sealing import rig
from tests.unit.driver import chains

LENGTH = 40 * rig.CHUNK + 700


def test_a_chain_comes_back_with_any_recipient() -> None:
    driver = rig.driver(rig.ring('main', 'escrow'))
    states = [chains.make_bytes(LENGTH)]
    backups = [chains.take(driver, states[0])]
    for _ in range(3):
        states.append(rig.changed(states[-1], 3 * rig.BLOCK))
        backups.append(chains.take(driver, states[-1], backups[-1]))
    assert backups[-1].parent_id == backups[-2].id
    for name in ('main', 'escrow'):
        reader = rig.driver(rig.ring(name), beside=driver)
        for backup, state in zip(backups, states):
            assert chains.bring_back(reader, backup) == state
            assert rig.verify(reader, backup) == []
            assert rig.verify(reader, backup, quick=True) == []
    for keys in (rig.ring('stranger'), None):
        reader = rig.driver(keys, beside=driver)
        for attempt in (chains.bring_back, rig.verify):
            with pytest.raises(exceptions.KeyUnavailable, match='sealed for escrow, main'):
                attempt(reader, backups[-1])


@pytest.mark.parametrize('workers', [0, 3])
@pytest.mark.parametrize('compression', ['none', 'zstd', 'zlib'])
def test_objects_that_are_streamed_and_objects_that_are_gathered(
        compression: str, workers: int) -> None:
    driver = rig.driver(rig.ring('main'), compression=compression, workers=workers,
                        block_size=64 << 10, chunk_size=8 << 20)
    data = random.Random(1).randbytes(9 << 20) + b'words and words ' * (1 << 18) + bytes(9 << 20)
    backup = chains.take(driver, data)
    assert chains.bring_back(driver, backup) == data
    sizes = [len(chains.body(driver, name)) for name in chains.data_names(driver, backup)]
    assert min(sizes) < 4 << 20 < max(sizes)


def test_the_parent_goes_and_the_child_stays() -> None:
    driver = rig.driver(rig.ring('main'))
    data = chains.make_bytes(LENGTH)
    parent = chains.take(driver, data)
    child = chains.take(driver, rig.changed(data), parent)
    grandchild = chains.take(driver, rig.changed(rig.changed(data)), child)
    driver.delete_backup(parent)
    driver.delete_backup(child)
    assert chains.bring_back(driver, grandchild) == rig.changed(rig.changed(data))
    assert rig.verify(driver, grandchild) == []
    assert not [name for name in chains.names(driver)
                if name.startswith(f'{parent.service_metadata}_')]
    driver.delete_backup(grandchild)
    assert not [name for name in chains.names(driver) if not name.startswith('bf-container.')]


def test_duplicates_of_other_backups_of_the_container(tmp_path: Any) -> None:
    driver = rig.driver(rig.ring('main'), duplicates='container')
    data = chains.make_bytes(LENGTH)
    first = chains.take(driver, data)
    plain = chains.take(rig.driver(beside=driver), data, volume_id='volume-2')
    strange = chains.take(rig.driver(rig.ring('stranger'), beside=driver), data,
                          volume_id='volume-3')
    for _ in range(2):
        operation = Operation(cache_directory=str(tmp_path))
        again = chains.take(driver, data, volume_id='volume-4', operation=operation)
        assert again.parent_id is None and again.stored_bytes < first.stored_bytes / 2
        references = chains.manifest(driver, again)['references']
        assert first.service_metadata in references
        assert not {plain.service_metadata, strange.service_metadata} & set(references)
        # Its keys were written again when it was known what it uses.
        assert f'{again.service_metadata}_keys-2' in chains.names(driver)
        assert f'{again.service_metadata}_keys-1' not in chains.names(driver)
    driver.delete_backup(first)
    assert chains.bring_back(driver, again) == data


def test_years_of_days_with_seven_kept() -> None:
    """Objects are compacted, and the keys of a backup are of those alone that it uses."""
    driver = rig.driver(rig.ring('main'))
    source = random.Random(4)
    data = bytearray(chains.make_bytes(30 * rig.CHUNK))
    kept: list[tuple[Any, bytes]] = []
    for _ in range(60):
        for _ in range(4):
            at = source.randrange(0, len(data), rig.BLOCK)
            data[at:at + rig.BLOCK] = source.randbytes(rig.BLOCK)
        backup = chains.take(driver, bytes(data), kept[-1][0] if kept else None)
        kept.append((backup, bytes(data)))
        if len(kept) > 7:
            driver.delete_backup(kept.pop(0)[0])
    for backup, state in kept:
        assert chains.bring_back(driver, backup) == state
        assert rig.verify(driver, backup) == []
        references = chains.manifest(driver, backup)['references']
        assert set(rig.keys_of(driver, backup, 'main')) >= {backup.service_metadata, *references}
        assert len(rig.keys_of(driver, backup, 'main')) <= len(references) + 30


def test_streams_ranges_hints_and_deltas() -> None:
    driver = rig.driver(rig.ring('main'), block_size=64 << 10, chunk_size=1 << 20)
    data = random.Random(5).randbytes(3 << 20) + b'end'
    first = chains.take(driver, rig.Stream(data))
    assert chains.bring_back(driver, first) == data
    later = data[:1 << 20] + b'another' + data[(1 << 20) + 7:]
    second = chains.take(driver, later, first,
                         Operation(changed=[Extent(1 << 20, 64 << 10)]))
    assert second.parent_id == first.id and second.object_count == 1
    assert chains.bring_back(driver, second) == later


@pytest.mark.parametrize('kinds', [(True, False, True), (False, True, False), (True, True, True)])
def test_copies_are_sealed_as_their_backend_says(kinds: tuple[bool, ...]) -> None:
    """Through three stores, sealed and not, each with keys of its own."""
    data = chains.make_bytes(LENGTH)
    drivers = [rig.driver(rig.ring(f'key-{number}') if kind else None)
               for number, kind in enumerate(kinds)]
    backup = chains.take(drivers[0], data)
    for source, target, kind in zip(drivers, drivers[1:], kinds[1:]):
        state = source.open_state(backup)
        copied = chains.record()
        for field, value in target.store_state(copied, state).items():
            setattr(copied, field, value)
        state.close()
        assert chains.bring_back(target, copied) == data
        assert (chains.manifest(target, copied)['sealing'] is not None) == kind
        backup = copied


def test_nothing_of_the_volume_is_in_the_store() -> None:
    """No eight bytes of the volume, no word that describes it."""
    driver = rig.driver(rig.ring('main'), compression='none')
    driver.volume_metadata = rig.Metadata('{"secret-metadata": 1}')
    data = chains.make_bytes(LENGTH)
    words = {'display_name': 'secret-name', 'display_description': 'secret-description',
             'metadata': {'secret-key': 'secret-value'}}
    first = chains.take(driver, data, **words)
    second = chains.take(driver, rig.changed(data), first, **words)
    stored = rig.objects(driver)
    assert len(stored) >= 2 * 4
    pieces = {bytes(piece) for piece in zip(*(data[at:] for at in range(8)))} - {bytes(8)}
    looked_at = 0
    for name, body in stored.items():
        assert b'secret' not in body and 'secret' not in name
        if '_metadata' not in name and '_keys' not in name:
            found = {body[at:at + 8] for at in range(64, len(body) - 7)}
            assert not {piece for piece in found & pieces if len(set(piece)) > 2}, name
            looked_at += len(found)
    assert looked_at > LENGTH
    header, _ = driver.describe(rig.CONTAINER, str(second.service_metadata))
    assert (header.name, header.description) == ('secret-name', 'secret-description')
    assert header.properties == {'secret-key': 'secret-value'} and header.sealed
    assert header.volume_meta == '{"secret-metadata": 1}'


def test_what_is_new_in_the_store_is_found_by_the_same_search() -> None:
    """The search above finds what is not sealed."""
    driver = rig.driver(compression='none')
    data = chains.make_bytes(LENGTH)
    backup = chains.take(driver, data, display_name='secret-name')
    assert b'secret-name' in chains.body(driver, f'{backup.service_metadata}_metadata')
    name = chains.data_names(driver, backup)[0]
    assert data[:8] in chains.body(driver, name)
