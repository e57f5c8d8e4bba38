"""Few bytes that stand for many: refused soon, and in little memory, in objects and in documents.

Each runs in a process of its own, which tells its processor time and how much it grew.
"""

from __future__ import annotations

import base64
import bz2
from collections.abc import Callable
import functools
import hashlib
import io
import json
import struct
import zlib

import pytest
import zstandard

from backup_framework import exceptions
from backup_framework.conf import types
from backup_framework.engine import hints
from backup_framework.formats import document, export_record, hash_list
from backup_framework.formats.v2 import chunk_map, digest, layout
from backup_framework.model import Extent, Option, OptionType
from tests.formats import v2_stores
from tests.trust.hostile import children, parsers
from tests.unit.driver import chains
from tests.unit.formats.v2 import shelf

MIB = 1 << 20
SECONDS = 1.0
GROWTH = 64 << 10
"""KiB."""

CODECS = ('zlib', 'bz2', 'zstd')


@functools.cache
def bomb(name: str) -> bytes:
    """256 MiB of zeros."""
    packer = {'zlib': zlib.compressobj, 'bz2': bz2.BZ2Compressor,
              'zstd': lambda: zstandard.ZstdCompressor().compressobj(size=256 * MIB)}[name]()
    piece = bytes(8 * MIB)
    return b''.join(packer.compress(piece) for _ in range(32)) + packer.flush()


def defused(function: Callable[[], object], stored: int = 0, times: int = 8) -> None:
    """It ends with one of the declared errors, soon, and in memory for what is stored."""
    def refused() -> str:
        try:
            function()
        except parsers.DECLARED as error:
            return f'refused: {error}'
        return 'taken'
    ran = children.run(refused)
    assert ran.ok, ran.answer
    assert ran.answer.startswith('refused: ') and len(ran.answer) < 2000, ran.answer
    assert ran.seconds < SECONDS + stored / (20 * MIB), ran
    assert ran.kib < GROWTH + times * stored // 1024, ran


@pytest.mark.parametrize('name', CODECS)
def test_in_an_object_of_format_1(name: str) -> None:
    """The manifest says honestly how much should come out."""
    driver = chains.make_driver()
    backup = chains.take(driver, b'words' * 1000)
    members = chains.manifest(driver, backup)
    (stored, values), = members['objects'][0].items()
    values['compression'] = name
    chains.rewrite(driver, backup, members)
    chains.overwrite(driver, stored, bomb(name))
    defused(lambda: driver.restore(backup, '', io.BytesIO()))


@pytest.mark.parametrize('name', CODECS)
def test_in_a_frame_of_format_2(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every digest above is right: only the frame comes out longer than its table says."""
    maker = v2_stores.Maker({}, chunk_size=512 << 10, block_size=64 << 10)
    blocks = v2_stores.make_blocks(1, 8, 64 << 10)
    place = layout.CODECS.index(name)
    monkeypatch.setattr(v2_stores, 'COMPRESS', [lambda plain: bomb(name)] * 4)
    rows = maker.object('new-00001', {0: b''.join(blocks)}, [(place, blocks)])
    maker.manifest('new', 512 << 10, [rows[0]])

    def restore() -> None:
        with shelf.opened(shelf.Shelf(maker.objects)) as found:
            for unit in found.units(Extent(0, found.size)):
                for _ in unit.pieces():
                    raise AssertionError('bytes came')
    defused(restore)


def test_a_table_whose_every_block_is_in_a_frame_of_its_own() -> None:
    """What a chunk can make a reader unpack: 1 MiB a block, not the 16 that a frame could tell."""
    def table(plain: int) -> bytes:
        head = struct.pack('<4sHHQIIII32s', b'bf2t', 1, 0, 0, 1024, 1024, 0, 0, b'')
        frames = b''.join(struct.pack('<IB3sQII32s8s', 0, 3, b'', 64 + 600 * at, 600, plain,
                                      bytes(32), b'') for at in range(1024))
        columns = struct.pack('<1024I1024I', *range(1024), *[0] * 1024)
        return head + frames + bytes(32 * 1024) + columns

    def decode(plain: int) -> layout.Table:
        return layout.decode_table(table(plain), 0, 64 * MIB, 64 << 10)

    assert sum(frame.plain for frame in decode(MIB).frames) == 1024 * MIB
    for plain in (MIB + 1, 16 * MIB):
        defused(lambda plain=plain: decode(plain), len(table(plain)))


def digits(count: int) -> bytes:
    return b'7' * count


DOCUMENTS = {
    'depth': b'[' * 100_000, 'closed depth': b'[' * 100_000 + b']' * 100_000,
    'depth of objects': b'{"a":' * 100_000, 'digits': b'{"version": ' + digits(5000) + b'}',
    'more digits': b'{"version": ' + digits(1_000_000) + b'}',
    'keys': b'{' + b','.join(b'"k%d":1' % number for number in range(1_000_000)) + b'}',
    'the same key': b'{' + b'"k":1,' * 1_000_000 + b'"k":1}',
    'items': b'[' + b'0,' * 1_000_000 + b'0]', 'lists': b'[' + b'[],' * 1_000_000 + b'0]',
    'a text': b'{"version": "' + b'x' * (32 * MIB) + b'"}',
    'escapes': b'{"version": "' + b'\\u0041' * (4 * MIB) + b'"}',
    'white space': b' ' * (32 * MIB), 'numbers': b'[' + b'1e308,' * 1_000_000 + b'0]',
    'long numbers': b'[' + (digits(4000) + b',') * 1000 + b'0]',
}


@pytest.mark.parametrize('kind', DOCUMENTS)
def test_in_a_manifest(kind: str) -> None:
    data = DOCUMENTS[kind]
    defused(lambda: parsers.manifest(data), len(data))


@pytest.mark.parametrize('kind', DOCUMENTS)
def test_in_a_record(kind: str) -> None:
    """Of any length: what is longer than a record is not even decoded."""
    data = DOCUMENTS[kind]
    url = base64.b64encode(data).decode()
    defused(lambda: export_record.decode({'backup_service': 'x', 'backup_url': url}), len(data))


@pytest.mark.parametrize('kind', DOCUMENTS)
def test_in_a_hash_list(kind: str) -> None:
    data = DOCUMENTS[kind]
    inside = b'{"version": "1.0.0", "chunk_size": 0, "x": ' + data + b', "sha256s": []}'
    for whole in (data, inside):
        defused(lambda whole=whole: hash_list.parse(io.BytesIO(whole), None), len(whole))


@pytest.mark.parametrize('kind', DOCUMENTS)
def test_in_volume_metadata(kind: str) -> None:
    data = DOCUMENTS[kind]
    defused(lambda: parsers.volume_metadata(data), len(data))


@pytest.mark.parametrize('kind', DOCUMENTS)
def test_in_changed_extents(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp('hint') / 'hint'
    file.write_bytes(DOCUMENTS[kind])
    # A list of extents may have millions of items, and is the operator's own.
    defused(lambda: hints.load(str(file)), file.stat().st_size, times=16)


@pytest.mark.parametrize('text', [digits(1_000_000).decode(), '9' * 5000 + 'T', 'x' * MIB,
                                  '0' * MIB + '7', '1' + 'e' * MIB, 'a:' * 500_000])
def test_in_an_option(text: str) -> None:
    kinds = [types.type_of(Option('x', kind, minimum=1, maximum=1 << 30)) for kind in (
        OptionType.SIZE, OptionType.INTEGER, OptionType.FLOAT, OptionType.MODE,
        OptionType.BOOLEAN)]

    def take() -> None:
        for kind in kinds:
            try:
                kind(text)
            except ValueError as error:
                assert len(str(error)) < 500
        raise exceptions.ConfigurationError('asked them all')
    defused(take, len(text))


NESTED: dict[str, tuple[Callable[[bytes], object], list[bytes]]] = {
    'manifest': (parsers.manifest, [
        b'{"version": %s}', b'{"version": "1.0.0", "parent_id": %s}',
        b'{"version": "1.0.0", "objects": [{"new-00001": {"offset": %s}}]}',
        b'{"version": "1.0.0", "objects": [{"new-00001": {"compression": %s}}]}',
        b'{"version": "1.0.0", "objects": %s, "backup_framework": {"sha256": %s}}',
        b'{"version": "2.0.0", "sealing": %s}', b'{"version": "2.0.0", "digest": %s}']),
    'signed manifest': (parsers.signed_manifest, [
        b'{"version": "2.0.0", "digest": "blake3", "%s": %%s}' % key for key in (
            b'size', b'block_size', b'references', b'map', b'created_at', b'extra_metadata')]),
    'record': (parsers.record, [
        b'%s', b'{"id": %s}', b'{"id": "1de88bfc-301c-42a0-8d5b-cf6f66808161", "volume_id": '
        b'"1de88bfc-301c-42a0-8d5b-cf6f66808161", "size": %s}']),
    'changed extents': (parsers.changed_extents, [
        b'%s', b'[%s]', b'{"extents": [%s]}', b'{"parent": %s, "extents": []}']),
    'volume metadata': (parsers.volume_metadata, [
        b'%s', b'{"version": 2, "volume-metadata": {"a": %s}}',
        b'{"version": 2, "volume-base-metadata": {"encryption_key_id": %s}}']),
    'hash list': (parsers.hashes, [b'{"chunk_size": %s, "sha256s": []}']),
}


@pytest.mark.parametrize('name', NESTED)
def test_nesting_around_the_depth_that_the_parser_takes(name: str) -> None:
    """What is just taken must not be too deep for what comes after."""
    parse, wraps = NESTED[name]
    refused = taken = 0
    for wrap in wraps:
        for depth in range(800, 1000):
            nest = b'[' * depth + b']' * depth
            try:
                parse(wrap.replace(b'%s', nest))
                taken += 1
            except parsers.DECLARED:
                refused += 1
    assert refused > 30 and refused + taken == 200 * len(wraps)


def test_a_map_of_many_objects() -> None:
    """Objects that no row refers to."""
    body = chunk_map.head() + b''.join(
        chunk_map.encode_object(chunk_map.Object(f'new-{number:05d}', 1, 100))
        for number in range(300_000))
    whole = body + chunk_map.end(hashlib.sha256(body).digest())

    def read() -> None:
        list(chunk_map.Rows(io.BytesIO(whole), digest.algorithm('sha256'), 5, {'new'}))
    defused(read, len(whole))


def test_what_a_bomb_is() -> None:
    """They are what they should be; the limits of this module would be met by small ones."""
    assert all(len(bomb(name)) < MIB // 3 for name in CODECS) and len(bomb('bz2')) < 300
    assert zlib.decompress(bomb('zlib')) == bytes(256 * MIB)
    assert len(json.loads(DOCUMENTS['keys'])) == 1_000_000
    with pytest.raises(ValueError, match='digits'):
        json.loads(DOCUMENTS['digits'])
    assert len(document.parse(b'{"a": 1}')) == 1
