"""The page of format 2.0.0 is enough to write a reader from, and the framework's agrees with it."""

from __future__ import annotations

from collections.abc import Mapping
import json
import pathlib
from typing import Any

import pytest

from backup_framework import exceptions
from tests.formats import v2_reader, v2_stores
from tests.trust.sealing import rig
from tests.unit.driver import chains


@pytest.mark.parametrize('digest', ['blake3', 'sha256'])
@pytest.mark.parametrize('prefix', ['new', 'old'])
def test_the_reader_of_the_page_restores_a_store(
        prefix: str, digest: str, tmp_path: pathlib.Path) -> None:
    maker, data = v2_stores.sample(digest)
    for name, body in maker.objects.items():
        (tmp_path / name).write_bytes(body)
    restored = v2_reader.restore(tmp_path, prefix)
    assert len(restored) == json.loads(maker.objects[f'{prefix}_metadata'])['size']
    if prefix == 'new':
        assert restored == data


def test_the_reader_of_the_page_finds_damage(tmp_path: pathlib.Path) -> None:
    maker, _ = v2_stores.sample()
    for name, body in maker.objects.items():
        (tmp_path / name).write_bytes(body)
    for name in ('new_map', 'new_metadata', 'new-00001', 'new-00003', 'new-00004', 'new-00005'):
        body = maker.objects[name]
        for at in range(0, len(body), 13):
            changed = bytearray(body)
            changed[at] ^= 1
            (tmp_path / name).write_bytes(changed)
            with pytest.raises((v2_reader.Damaged, LookupError, ValueError)):
                v2_reader.restore(tmp_path, 'new')
        (tmp_path / name).write_bytes(body)


def unwrap(recipient: tuple[str, str], wrapped: Mapping[str, Any], context: bytes) -> bytes:
    name, type_ = recipient
    assert type_ == 'known'
    return rig.KnownKey(name).unwrap(wrapped, context)


@pytest.mark.parametrize('digest', ['blake3', 'sha256'])
@pytest.mark.parametrize('compression', ['none', 'zstd', 'zlib', 'bz2'])
def test_the_reader_of_the_page_opens_what_is_sealed(
        compression: str, digest: str, tmp_path: pathlib.Path) -> None:
    driver = rig.driver(rig.ring('main', 'escrow'), compression=compression, digest=digest,
                        duplicates='container')
    driver.volume_metadata = rig.Metadata('{"of": "the volume"}')
    data = chains.make_bytes(40 * rig.CHUNK + 700)
    words = {'display_name': 'a name', 'metadata': {'key': 'value'}}
    first = chains.take(driver, data, **words)
    second = chains.take(driver, rig.changed(data), first, **words)
    third = chains.take(driver, data[::-1] + data, volume_id='volume-2')
    for name, body in rig.objects(driver).items():
        (tmp_path / name).write_bytes(body)
    for backup, state in ((first, data), (second, rig.changed(data)), (third, data[::-1] + data)):
        assert v2_reader.restore(tmp_path, str(backup.service_metadata), unwrap) == state
    members = v2_reader.Store(tmp_path, str(second.service_metadata), unwrap).members
    assert (members['backup_name'], members['volume_meta'], members['properties']) == (
        'a name', '{"of": "the volume"}', {'key': 'value'})


def test_the_reader_of_the_page_finds_what_is_changed_in_sealed_stores(
        tmp_path: pathlib.Path) -> None:
    driver = rig.driver(rig.ring('main'))
    backup = chains.take(driver, chains.make_bytes(4 * rig.CHUNK + 700))
    prefix = str(backup.service_metadata)
    stored = {name: body for name, body in rig.objects(driver).items() if name.startswith(prefix)}
    for name, body in stored.items():
        (tmp_path / name).write_bytes(body)
    for name, body in stored.items():
        for at in range(0, len(body), 17):
            changed = bytearray(body)
            changed[at] ^= 1
            (tmp_path / name).write_bytes(changed)
            with pytest.raises((v2_reader.Damaged, LookupError, ValueError,
                                exceptions.KeyUnavailable)):
                v2_reader.restore(tmp_path, prefix, unwrap)
        (tmp_path / name).write_bytes(body)
