"""Names of 2.0.0: what is made is known again, and nobody else's is."""

from __future__ import annotations

import pytest

from backup_framework import exceptions
from backup_framework.formats.v2 import names

PREFIX = 'volume_1_backup_550e8400-e29b-41d4-a716-446655440000'


@pytest.mark.parametrize('number', [1, 99999, 100000, 10**18 - 1])
def test_data_objects(number: int) -> None:
    name = names.data_name(PREFIX, number)
    assert names.prefix_of(name) == PREFIX and names.number_of(name) == number
    assert names.belongs(PREFIX, name) and names.is_data(PREFIX, name)
    assert not names.is_map(PREFIX, name)
    assert not names.belongs(PREFIX.rpartition('-')[0], name)


@pytest.mark.parametrize('attempt', [1, 2, 10, 9999])
def test_maps(attempt: int) -> None:
    name = names.map_name(PREFIX, attempt)
    assert names.belongs(PREFIX, name) and names.is_map(PREFIX, name)
    with pytest.raises(exceptions.CorruptObject):
        names.prefix_of(name)


@pytest.mark.parametrize('end', [
    '', '-', '-1', '-0001', '-000001', '-0000x', '-00001\n', '_map-1', '_map-02', '_map-10000',
    '_map-', '_maps', '_map\n', '_metadata-2', '_metadata2', '-00001-00001', '_sha256file',
    '-٠٠٠٠١'])
def test_what_belongs_to_no_backup_of_this_prefix(end: str) -> None:
    assert not names.belongs(PREFIX, PREFIX + end)


@pytest.mark.parametrize('prefix', [
    None, 1, '', '.', 'a/../b', '/a', 'a/', 'bf-container.x', 'x' * 224, 'a b', 'a\n', '-a', 'é'])
def test_what_is_no_prefix(prefix: object) -> None:
    with pytest.raises(exceptions.InvalidName):
        names.check_prefix(prefix)


def test_prefixes() -> None:
    for prefix in (PREFIX, 'a/b_c', 'x' * 223, 'bf-containers'):
        assert names.check_prefix(prefix) == prefix
