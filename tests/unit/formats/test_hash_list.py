"""The hash list: spelled as Cinder spells it, read in any spelling, damage found."""

from __future__ import annotations

import hashlib
import io
import json
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
import pytest

from backup_framework import exceptions
from backup_framework.formats import digests, hash_list

BLOCK = 512
ZERO_HEX = hashlib.sha256(bytes(BLOCK)).hexdigest()
FIELDS: dict[str, Any] = {
    'version': '1.0.0', 'backup_id': 'b', 'volume_id': 'v', 'backup_name': None,
    'backup_description': 'with "sha256s": [ and ] and ö', 'created_at': 'None',
    'chunk_size': BLOCK}


def spool_of(hexes: list[str]) -> digests.Spool:
    """As the writer has it: zero blocks are ZERO."""
    spool = digests.Spool(BLOCK)
    for digest in hexes:
        spool.append(digests.ZERO if digest == ZERO_HEX else bytes.fromhex(digest))
    return spool


def hexes_of(spool: digests.Spool) -> list[str]:
    rows = [spool.get(n, 1).hex() for n in range(spool.length)]
    return [ZERO_HEX if row == digests.ZERO.hex() else row for row in rows]


def cinder_text(hexes: list[str], **fields: Any) -> bytes:
    return json.dumps(FIELDS | fields | {'sha256s': hexes}, sort_keys=True, indent=2).encode()


def written(hexes: list[str], **fields: Any) -> bytes:
    with spool_of(hexes) as spool:
        return b''.join(hash_list.text(FIELDS | fields, spool))


def parsed(document: bytes) -> tuple[dict[str, Any], list[str]]:
    fields, spool = hash_list.parse(io.BytesIO(document), None)
    with spool:
        return fields, hexes_of(spool)


class OddPieces(io.BytesIO):
    """Gives fewer bytes than asked for, another number each time."""

    def __init__(self, data: bytes, seed: int) -> None:
        super().__init__(data)
        self.random = random.Random(seed)

    def read(self, size: int | None = -1, /) -> bytes:
        longest = 1 << 20 if size is None or size < 0 else size
        return super().read(min(longest, self.random.choice([1, 3, 71, 72, 100, 1000])))


some_digests = st.lists(st.one_of(st.just(ZERO_HEX), st.binary(min_size=32, max_size=32).map(
    bytes.hex).filter(lambda text: text != '0' * 64)), max_size=12)
odd_texts = st.one_of(st.none(), st.text(max_size=20), st.sampled_from([
    '"sha256s": [', '"sha256s": []', ']', '\\', '"sha256s" :\n[', '0' * 64, '\ud800']))


@given(some_digests, odd_texts)
def test_spelled_as_cinder_spells_it(hexes: list[str], description: str | None) -> None:
    assert written(hexes, backup_description=description) == cinder_text(
        hexes, backup_description=description)


@given(some_digests, odd_texts, st.integers(0, 99))
def test_round_trip_in_odd_pieces(hexes: list[str], description: str | None, seed: int) -> None:
    document = cinder_text(hexes, backup_description=description)
    fields, spool = hash_list.parse(OddPieces(document, seed), None)
    with spool:
        assert hexes_of(spool) == hexes and spool.block_size == BLOCK
    assert fields['backup_description'] == description and fields['volume_id'] == 'v'


@pytest.mark.parametrize('count', [16383, 16384, 16385, 40000])
def test_lists_of_several_batches(count: int) -> None:
    numbers = random.Random(count)
    hexes = [ZERO_HEX if n % 5 == 0 or 100 < n < 17000 else numbers.randbytes(32).hex()
             for n in range(count)]
    document = cinder_text(hexes)
    assert written(hexes) == document
    assert parsed(document)[1] == hexes
    fields, spool = hash_list.parse(OddPieces(document, 1), None)
    with spool:
        assert hexes_of(spool) == hexes


@pytest.mark.parametrize('options', [
    {}, {'separators': (',', ':')}, {'indent': 8}, {'indent': '\t'},
    {'separators': (' , ', ' : ')}])
def test_any_spelling_of_json(options: dict[str, Any]) -> None:
    hexes = [ZERO_HEX, 'ab' * 32, 'cd' * 32]
    document = json.dumps(FIELDS | {'sha256s': hexes}, **options).encode()
    assert parsed(document)[1] == hexes


def test_digits_in_upper_case() -> None:
    assert parsed(cinder_text(['AB' * 32]))[1] == ['ab' * 32]


def test_the_list_need_not_be_the_last_member() -> None:
    assert parsed(json.dumps(FIELDS | {'sha256s': ['ab' * 32], 'z': [1, {'y': ']'}]}).encode()
                  )[1] == ['ab' * 32]


@pytest.mark.parametrize('count', [0, 1, 2])
def test_truncated_at_every_length(count: int) -> None:
    document = cinder_text(['ab' * 32, ZERO_HEX][:count])
    for length in range(len(document)):
        with pytest.raises(exceptions.CorruptManifest):
            parsed(document[:length])


def test_each_bit_of_a_digest_matters_or_is_found() -> None:
    """A flip is an error or another digest; only the case of a letter is neither."""
    document = cinder_text(['3f' * 32, 'a0' * 32])
    begin, end = document.index(b'3f'), document.rindex(b'a0') + 2
    for bit in range(8 * begin, 8 * end):
        altered = bytearray(document)
        altered[bit // 8] ^= 1 << bit % 8
        try:
            found = parsed(bytes(altered))[1]
        except exceptions.CorruptManifest:
            continue
        assert found != ['3f' * 32, 'a0' * 32] or bytes(altered).lower() == document.lower()


@pytest.mark.parametrize('hexes', [
    ['ab' * 31], ['ab' * 33], ['zz' * 32], [''], ['ab' * 32, 5], [['ab' * 32]], [None],
    ['0' * 64], [{'a': 1}], ['ab' * 31 + '٣٣'], ['ab' * 16, 'ab' * 16], ['ab' * 64]])
def test_what_is_no_digest(hexes: list[object]) -> None:
    with pytest.raises(exceptions.CorruptManifest):
        parsed(cinder_text(hexes))


@pytest.mark.parametrize('document', [
    b'', b'{}', b'[]', b'null', b'"sha256s": []', b'{"sha256s": []}', b'\xff\xfe', b'\0' * 100,
    b'{"sha256s": [' + b' ' * 3_000_000, b'{"sha256s": [' + b'"' * 3_000_000,
    b'{"a": "' + b'x' * 3_000_000 + b'", "chunk_size": 512, "sha256s": []}',
    b'{"chunk_size": 512, "sha256s": {}}', b'{"chunk_size": 512, "sha256s": null}',
    b'[' * 100_000 + b'"sha256s": []', b'{"version": "2.0.0", "chunk_size": 512, "sha256s": []}',
    b'{"x": {"chunk_size": 512, "sha256s": []}}', b'{"chunk_size": 512, "sha256s": []}}',
    b'{"chunk_size": 512, "sha256s": []} and more', b'{"chunk_size": 512, "sha256s": []'])
def test_what_is_no_hash_list(document: bytes) -> None:
    with pytest.raises(exceptions.CorruptManifest) as caught:
        parsed(document)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize('size', [
    0, -1, 1 << 40, 10 ** 30, 1.5, 512.0, '512', None, True, [512], float('nan')])
@pytest.mark.parametrize('hexes', [[], ['ab' * 32]])
def test_impossible_block_sizes(size: object, hexes: list[str]) -> None:
    with pytest.raises(exceptions.CorruptManifest, match='chunk_size'):
        parsed(cinder_text(hexes, chunk_size=size))


def test_numbers_of_many_digits() -> None:
    with pytest.raises(exceptions.CorruptManifest):
        parsed(b'{"chunk_size": ' + b'5' * 10_000 + b', "sha256s": []}')


def test_bytes_far_behind_the_end_are_found() -> None:
    with pytest.raises(exceptions.CorruptManifest):
        parsed(cinder_text(['ab' * 32]) + b' ' * (4 << 20) + b'{}')
