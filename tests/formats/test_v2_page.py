"""The page of format 2.0.0 is enough to write a reader from, and the framework's agrees with it."""

from __future__ import annotations

import json
import pathlib

import pytest

from tests.formats import v2_reader, v2_stores


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
