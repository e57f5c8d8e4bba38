"""The hash list of format 1.0.0: JSON with one SHA-256 a block, written and read as a stream.

It has 72 bytes a block, gigabytes for a large volume; so it is never in memory as a whole, and no
step here works on single blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
import functools
import json
import re
from typing import Any, Protocol

from backup_framework import exceptions
from backup_framework.formats import digests

VERSION = '1.0.0'

_READ_SIZE = 72 * 16384
_LONGEST_HEAD = 1 << 20
_LIST_BEGINS = re.compile(rb'"sha256s"\s*:\s*\[')
_BETWEEN = '",\n    "'
_HEX_DIGITS = 2 * digests.DIGEST_SIZE


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


def text(fields: dict[str, Any], spool: digests.Spool) -> Iterator[bytes]:
    """The object's bytes, spelled as Cinder spells them.

    :param fields: the other members; `chunk_size` is the block size, as in Cinder.
    """
    document = json.dumps(fields | {'sha256s': []}, sort_keys=True, indent=2)
    head, empty, tail = document.partition('"sha256s": []')
    if not spool.length:
        yield (head + empty + tail).encode()
        return
    yield (head + '"sha256s": [\n    "').encode()
    zero_hex = digests.zero_digest(spool.block_size).hex()
    for number, batch in enumerate(spool.batches()):
        if number:
            yield _BETWEEN.encode()
        if batch.count(0) == len(batch):
            yield _zero_rows(len(batch) // digests.DIGEST_SIZE, zero_hex)
        else:
            rows = batch.hex(':', digests.DIGEST_SIZE).replace('0' * _HEX_DIGITS, zero_hex)
            yield rows.replace(':', _BETWEEN).encode()
    yield ('"\n  ]' + tail).encode()


@functools.lru_cache(maxsize=2)
def _zero_rows(blocks: int, zero_hex: str) -> bytes:
    """Rows of as many blocks of zeros: most of the list of a volume with large holes."""
    return _BETWEEN.join([zero_hex] * blocks).encode()


def parse(reader: Readable, spool_directory: str | None) -> tuple[dict[str, Any], digests.Spool]:
    """The other members, and the digests in a new spool that the caller closes.

    :raises CorruptManifest: with the reason.
    """
    head, body = _head(reader)
    tail = b''
    spool: digests.Spool | None = None
    try:
        block_size = _block_size(head)
        for batch in _batches(reader, body):
            if isinstance(batch, _Tail):
                tail = batch.text
                break
            if block_size is None:
                raise exceptions.CorruptManifest('the hash list says its chunk_size too late')
            spool = spool or digests.Spool(block_size, spool_directory)
            spool.append(_normal(batch, block_size))
        fields = _fields(head + b']' + tail)
        return fields, spool or digests.Spool(_checked_block_size(fields), spool_directory)
    except BaseException:
        if spool is not None:
            spool.close()
        raise


class _Tail:
    """What stands behind the list."""

    def __init__(self, text: bytes) -> None:
        self.text = text


def _head(reader: Readable) -> tuple[bytes, bytes]:
    """Everything up to the list's bracket, and what was read beyond it."""
    data = b''
    while not (match := _LIST_BEGINS.search(data)):
        more = reader.read(_READ_SIZE)
        if not more or len(data) > _LONGEST_HEAD + _READ_SIZE:
            raise exceptions.CorruptManifest('the hash list has no member sha256s')
        data += more
    return data[:match.end()], data[match.end():]


def _batches(reader: Readable, data: bytes) -> Iterator[bytes | _Tail]:
    """Raw digests in batches, then the tail; `data` is the beginning of the list."""
    while True:
        end = data.find(b']')
        if end >= 0:
            yield _digests(data[:end], last=True)
            yield _Tail(_rest(reader, data[end + 1:]))
            return
        complete = data.rfind(b',') + 1
        if complete:
            yield _digests(data[:complete], last=False)
            data = data[complete:]
        elif len(data) > _READ_SIZE:
            raise exceptions.CorruptManifest('the hash list holds something else than digests')
        more = reader.read(_READ_SIZE)
        if not more:
            raise exceptions.CorruptManifest('the hash list ends too early')
        data += more


def _rest(reader: Readable, data: bytes) -> bytes:
    """`data` and all that follows it."""
    while more := reader.read(_READ_SIZE):
        data += more
        if len(data) > _LONGEST_HEAD + _READ_SIZE:
            raise exceptions.CorruptManifest('too much stands behind the list of the hash list')
    return data


def _digests(rows: bytes, last: bool) -> bytes:
    """Rows of quoted hexadecimal digits, each but the last of a list ending with a comma."""
    plain = rows.translate(None, b' \t\r\n",')
    number, rest = divmod(len(plain), _HEX_DIGITS)
    commas = max(0, number - 1) if last else number
    if rest or rows.count(b'"') != 2 * number or rows.count(b',') != commas:
        raise exceptions.CorruptManifest('the hash list holds something else than SHA-256 digests')
    try:
        return bytes.fromhex(plain.decode('ascii'))
    except ValueError:
        raise exceptions.CorruptManifest(
            'the hash list holds something else than SHA-256 digests') from None


def _normal(batch: bytes, block_size: int) -> bytes:
    """With ZERO for a whole block of zeros."""
    zero = digests.zero_digest(block_size)
    size = digests.DIGEST_SIZE
    if zero not in batch and digests.ZERO not in batch:
        return batch
    if batch == zero * (len(batch) // size):
        return bytes(len(batch))
    rows = [batch[at:at + size] for at in range(0, len(batch), size)]
    if digests.ZERO in rows:
        raise exceptions.CorruptManifest('the hash list holds a digest that no data have')
    return b''.join(digests.ZERO if row == zero else row for row in rows)


def _block_size(head: bytes) -> int | None:
    """From the members in front of the list, where it stands in all lists that Cinder wrote."""
    fields = _fields(head + b']}')
    return _checked_block_size(fields) if 'chunk_size' in fields else None


def _checked_block_size(fields: dict[str, Any]) -> int:
    size = fields.get('chunk_size')
    if type(size) is not int or not 1 <= size <= 1 << 31:
        raise exceptions.CorruptManifest(
            f'the hash list has an impossible chunk_size: {str(size)[:40]!r}')
    return size


def _fields(document: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise exceptions.CorruptManifest(f'the hash list is not JSON: {error}') from None
    if not isinstance(fields, dict) or fields.get('version', VERSION) != VERSION:
        raise exceptions.CorruptManifest('the hash list is not one of version 1.0.0')
    return fields
