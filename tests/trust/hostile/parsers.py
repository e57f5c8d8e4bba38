"""Whatever reads bytes that somebody else may have made, as functions of bytes, with samples.

`FUZZED` is what the tests and `tools/fuzz.py` feed. A parser returns, or raises one of DECLARED;
anything else that comes out is a defect.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
import contextlib
import dataclasses
import functools
import hashlib
import io
import itertools
import json
import os
import tempfile
from typing import Any

import blake3

from backup_framework import exceptions, model, store
from backup_framework.conf import types
from backup_framework.driver import metadata
from backup_framework.engine import hints
from backup_framework.formats import (
    codec,
    document,
    export_record,
    hash_list,
    keyring,
    versions,
)
from backup_framework.formats.v2 import chunk_map, digest, key_sets, layout, owner, sealing
from backup_framework.formats.v2 import names as v2_names
from backup_framework.interface import key_manager
from backup_framework.key_managers import wrapping
from backup_framework.model import Option, OptionType
from tests.formats import v2_stores
from tests.unit.driver import chains
from tests.unit.formats.v2 import shelf

DECLARED = (exceptions.FormatError, exceptions.InvalidInput, exceptions.InvalidBackup,
            exceptions.ConfigurationError, exceptions.ForeignContainer)
PREFIX = 'new'
LARGEST_PLAIN = 4 << 20
"""What is taken from a stream: whoever reads one stops where the manifest says."""


@dataclasses.dataclass(frozen=True)
class Parser:
    """A function of bytes.

    :param samples: inputs that are taken, to begin from.
    """

    parse: Callable[[bytes], object]
    samples: Callable[[], Iterable[bytes]]


@functools.cache
def sample() -> v2_stores.Maker:
    return v2_stores.sample()[0]


@functools.cache
def cinders() -> dict[str, bytes]:
    """A backup of format 1.0.0 with another prefix, and without our member, which has a digest."""
    driver = chains.make_driver()
    backup = chains.take(driver, b'words' * 1000)
    prefix = str(backup.service_metadata)
    objects = {name.replace(prefix, PREFIX): body.data
               for name, body in driver.store.containers[chains.CONTAINER].items()}
    members = json.loads(objects['new_metadata'].replace(prefix.encode(), PREFIX.encode()))
    del members['backup_framework']
    return objects | {'new_metadata': json.dumps(members).encode()}


def manifest(data: bytes) -> None:
    """The bytes as they are, under a name, in either format."""
    objects = shelf.Shelf({f'{PREFIX}_metadata': data})
    versions.open_reader(store.Container(objects, 'shelf'), PREFIX)


def signed_manifest(data: bytes) -> None:
    """With a right digest behind: what a store that forges manifests can say."""
    body = data.rstrip().removesuffix(b'}').rstrip()
    found = digest.algorithm('sha256' if b'"sha256"' in body else 'blake3').of(body)
    manifest(body + b',\n  "manifest_digest": "%s"\n}' % found.hex().encode())


def described_manifest(data: bytes) -> None:
    """What goes from a manifest into the catalog: it has to be text that can be stored."""
    members = document.parse(data)
    reader = versions.format_of(members.get('version')).open_reader(
        store.Container(shelf.Shelf({}), 'shelf'), PREFIX, data, members)
    header = reader.header
    for text in (header.name, header.description, header.volume_meta, header.owner,
                 *header.properties, *header.properties.values()):
        (text or '').encode()
    json.dumps(header.extra_metadata)


def record(data: bytes) -> None:
    """What is inside of a record: JSON."""
    export_record.decode({'backup_service': 'x', 'backup_url': base64.b64encode(data).decode()})


def record_file(data: bytes) -> None:
    """The record as a whole; the command line says itself what is no JSON."""
    try:
        outer = json.loads(data)
    except (ValueError, RecursionError):
        return
    export_record.decode(outer)


def hashes(data: bytes) -> None:
    _, found = hash_list.parse(io.BytesIO(data), None)
    found.close()


def volume_metadata(data: bytes) -> None:
    changes = metadata.apply(data.decode(errors='replace'), model.Volume())
    json.dumps(changes, ensure_ascii=False).encode()


def header(data: bytes) -> None:
    layout.decode_header(data[:layout.HEADER_SIZE].ljust(layout.HEADER_SIZE, b'\0'))


def footer(data: bytes) -> None:
    layout.decode_footer(data.rjust(layout.TRAILER_SIZE, b'\0'), 4096, 1)


def table(data: bytes) -> None:
    """Of a chunk of 8 blocks, the last one short."""
    layout.decode_table(data, 0, 8 * v2_stores.BLOCK - 100, v2_stores.BLOCK)


def chunk_rows(data: bytes) -> None:
    """With a right digest behind."""
    whole = data + chunk_map.end(blake3.blake3(data).digest())
    rows = chunk_map.Rows(io.BytesIO(whole), digest.algorithm('blake3'), 8, {'new', 'old'})
    found = list(rows)
    assert len(found) <= 8 and len(rows.objects) * 16 <= len(data)
    begin = io.BytesIO(whole[len(chunk_map.head()):])
    assert list(rows.again(begin)) == found


def sealed_table(data: bytes) -> None:
    """Of a sealed backup: what opened rightly is no more trusted than what was read."""
    layout.decode_table(data, 0, 8 * v2_stores.BLOCK - 100, v2_stores.BLOCK, sealing.OVERHEAD)


def keys(data: bytes) -> None:
    """The keys beside a sealed backup, with a right digest behind."""
    covered = data.rstrip().removesuffix(b'}').rstrip()
    tail = b',\n  "keys_digest": "%s"\n}' % hashlib.sha256(covered).hexdigest().encode()
    container = store.Container(
        shelf.Shelf({v2_names.keys_name(PREFIX, 1): covered + tail}), 'shelf')  # type: ignore
    found = key_sets.recipients(container, PREFIX)
    assert all(each.name.isprintable() and each.type.isprintable() for each in found)
    ring = keyring.Keyring([keyring.Recipient('mine', 'file', _Manager())])
    assert key_sets.read(container, PREFIX, ring).keys


class _Manager(key_manager.KeyManager):
    """Unwraps as the key managers do, with a key that everybody knows."""

    KEK = bytes(32)

    def __init__(self) -> None:
        """It has no settings."""

    def wrap(self, key: bytes, context: bytes) -> dict[str, Any]:
        return wrapping.wrap(self.KEK, key, context)

    def unwrap(self, wrapped: Mapping[str, Any], context: bytes) -> bytes:
        return wrapping.unwrap(self.KEK, wrapped, context)


def _key_sets() -> Iterable[bytes]:
    driver = chains.make_driver()
    driver.put_container('shelf')
    key_sets.write(store.Container(driver, 'shelf'), PREFIX, keyring.Keyring([
        keyring.Recipient('mine', 'file', _Manager()),
        keyring.Recipient('theirs', 'passphrase', _Manager())]), {PREFIX: bytes(32)}, 1)
    for body in driver.store.containers['shelf'].values():
        yield body.data.rpartition(b',\n  "keys_digest"')[0] + b'}'


def owner_mark(data: bytes) -> None:
    objects = shelf.Shelf({f'{owner.PREFIX}1': data})
    found = owner.find(store.Container(objects, 'shelf'))
    assert found is None or found.host.isprintable()


def name(data: bytes) -> None:
    """Names, prefixes and listings: what is taken stays in its container."""
    text = data.decode(errors='surrogateescape')
    for check in (store.check_name, store.check_new_name, v2_names.check_prefix):
        with contextlib.suppress(exceptions.InvalidName):
            check(text)
            assert os.path.normpath(f'/base/{text}') == f'/base/{text}', text
    with contextlib.suppress(exceptions.CorruptObject):
        assert v2_names.data_name(
            v2_names.prefix_of(text), v2_names.number_of(text)) == text
    for prefix in ('new', text[:5]):
        assert v2_names.belongs(prefix, text) in (True, False)
        assert not v2_names.belongs(prefix, text) or text.startswith(prefix)


def packed(data: bytes) -> None:
    """A frame: its codec, its plain length, its bytes."""
    if len(data) < 4:
        return
    length = int.from_bytes(data[1:4], 'little')
    plain = codec.decompress(layout.CODECS[data[0] % 4], data[4:], length)
    assert len(plain) == length


def streamed(data: bytes) -> None:
    """An object of format 1.0.0."""
    if not data:
        return
    reader = codec.open_body(layout.CODECS[data[0] % 4], io.BytesIO(data[1:]))
    got = 0
    while got < LARGEST_PLAIN and (piece := reader.read(1 << 16)):
        assert len(piece) <= 1 << 16 or data[0] % 4 == 0
        got += len(piece)


def changed_extents(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir='/dev/shm' if os.path.isdir('/dev/shm') else None) as file:
        file.write(data)
        file.flush()
        _, extents = hints.load(file.name)
    assert all(one.end < two.offset for one, two in itertools.pairwise(extents))


TYPES = [types.type_of(Option('x', kind, minimum=low, maximum=high))
         for kind in OptionType for low, high in ((None, None), (1, 1 << 30))]
TYPES += [types.Pairs(), types.Choice(('a', 'b'))]


def value(data: bytes) -> None:
    """A text in a configuration, as each of the types."""
    text = data.decode(errors='replace')
    for kind in TYPES:
        with contextlib.suppress(ValueError):
            kind(text)


def _tables() -> Iterable[bytes]:
    maker = sample()
    for number in ('1', '4'):
        body = maker.objects[f'new-0000{number}']
        start = body.index(b'bf2t')
        yield body[start:body.index(b'bf2t', start + 4)
                   if body.count(b'bf2t') > 1 else -layout.footer_size(1)]


def _sealed_tables() -> Iterable[bytes]:
    data = next(iter(_tables()))
    found = layout.decode_table(data, 0, 8 * v2_stores.BLOCK, v2_stores.BLOCK)
    frames = [dataclasses.replace(frame, stored=frame.stored + sealing.OVERHEAD)
              for frame in found.frames]
    yield layout.encode_table(dataclasses.replace(found, frames=frames))


def _frames() -> Iterable[bytes]:
    plain = b'abc log line 12345 text\n' * 40
    for number, compress in enumerate(v2_stores.COMPRESS):
        yield bytes([number]) + len(plain).to_bytes(3, 'little') + compress(plain)


def _manifests() -> list[bytes]:
    return [sample().objects['new_metadata'], cinders()['new_metadata']]


_RECORD = {
    'driver_info': {}, 'id': '1de88bfc-301c-42a0-8d5b-cf6f66808161',
    'volume_id': '7919e910-8dbc-447f-98f7-fde463de1704', 'container': 'ab/cd/x',
    'service_metadata': 'prefix', 'size': 1, 'object_count': 2, 'parent_id': None,
    'created_at': '2026-01-02T03:04:05Z', 'metadata': {'k': 'v'}, 'status': 'available'}

FUZZED: dict[str, Parser] = {
    'manifest': Parser(manifest, _manifests),
    'signed_manifest': Parser(signed_manifest, lambda: [
        each.partition(b',\n  "manifest_digest"')[0] + b'}' for each in _manifests()[:1]]),
    'described_manifest': Parser(described_manifest, lambda: _manifests()[1:]),
    'record': Parser(record, lambda: [json.dumps(_RECORD).encode()]),
    'record_file': Parser(record_file, lambda: [json.dumps({
        'backup_service': 'x', 'backup_url': base64.b64encode(
            json.dumps(_RECORD).encode()).decode()}).encode()]),
    'hash_list': Parser(hashes, lambda: [cinders()['new_sha256file']]),
    'volume_metadata': Parser(volume_metadata, lambda: [
        metadata.dump(model.Volume(name='n', metadata={'a': 'b'})).encode()]),
    'header': Parser(header, lambda: [
        layout.header(0, 1, None), layout.header(7, 65536, bytes(range(32)))]),
    'footer': Parser(footer, lambda: [
        layout.footer([layout.FooterItem(0, 64, 100), layout.FooterItem(1, 164, 9)], 4096, 1)]),
    'table': Parser(table, lambda: list(_tables())),
    'sealed_table': Parser(sealed_table, lambda: list(_sealed_tables())),
    'keys': Parser(keys, lambda: list(_key_sets())),
    'owner_mark': Parser(owner_mark, lambda: [json.dumps({
        'version': 1, 'installation': _RECORD['id'], 'host': 'h',
        'marked_at': '2026-11-22T04:08:10+00:00'}).encode()]),
    'map': Parser(chunk_rows, lambda: [
        sample().objects[each][:-chunk_map.SMALLEST + 16] for each in ('new_map', 'old_map')]),
    'name': Parser(name, lambda: [b'new-00001', b'new_map-2', b'a/b.c/new_metadata', b'../x']),
    'packed': Parser(packed, lambda: list(_frames())),
    'streamed': Parser(streamed, lambda: [each[:1] + each[4:] for each in _frames()]),
    'changed_extents': Parser(changed_extents, lambda: [
        b'{"parent": "x", "extents": [[0, 512], [4096, 1]]}', b'[[1, 2], [2, 3]]']),
    'value': Parser(value, lambda: [b'64MiB', b'0640', b'1.5', b'a:b, c:d', b'yes', b'~/x']),
}
