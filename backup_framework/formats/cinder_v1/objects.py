"""Reading the objects of format 1.0.0: their bytes are verified by MD5."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
import contextlib
import hashlib

from backup_framework import exceptions, store
from backup_framework.formats import base, codec
from backup_framework.formats.manifest import StoredObject

_PIECE = 1 << 20
_Gone = (exceptions.ObjectNotFound, exceptions.ContainerNotFound)


def pieces(container: store.Container, stored: StoredObject, md5: bool = True
           ) -> Iterator[tuple[int, memoryview]]:
    """The object's bytes with their offsets in the volume.

    :param md5: compare it; else the caller verifies the bytes.
    :raises CorruptObject: behind the last one, where they were not right.
    :raises MissingObject: it is gone.
    """
    found = hashlib.md5(usedforsecurity=False)
    position = 0
    try:
        with container.open(stored.name) as reader:
            body = codec.open_body(codec.canonical(stored.compression), reader)
            while piece := body.read(_PIECE):
                if position + len(piece) > stored.length:
                    raise exceptions.CorruptObject('it has more bytes than its manifest says')
                if md5:
                    found.update(piece)
                yield stored.offset + position, memoryview(piece)
                position += len(piece)
    except exceptions.CorruptObject as error:
        raise corrupt(container, stored, str(error)) from None
    except _Gone:
        raise _missing(container, stored) from None
    except exceptions.StoreError as error:
        if not base.is_of_object(error):
            raise
        raise corrupt(container, stored, f'it cannot be read: {error}') from error
    if position != stored.length:
        raise corrupt(container, stored, f'it has {position} bytes instead of {stored.length}')
    if md5 and found.hexdigest() != stored.md5:
        raise corrupt(container, stored, 'its MD5 is not the one in the manifest')


def pieces_read_twice(container: store.Container, stored: StoredObject
                      ) -> Iterator[tuple[int, memoryview]]:
    """As `pieces`, but none of them before all are right, and what is given out is what was.

    :raises CorruptObject: also where a piece comes differently the second time.
    """
    seen = [hashlib.sha256(piece).digest()
            for _, piece in _in_steps(pieces(container, stored), _PIECE)]
    again = _in_steps(pieces(container, stored, md5=False), _PIECE)
    for digest, (offset, piece) in zip(seen, again):
        if hashlib.sha256(piece).digest() != digest:
            raise corrupt(container, stored, 'it was read twice, and had other bytes then')
        yield offset, piece


def pieces_until_damage(container: store.Container, stored: StoredObject, block_size: int
                        ) -> Iterator[tuple[int, memoryview]]:
    """What can be read of a damaged object: nothing of it is verified, and none is an error.

    Each piece begins with a block, counted from the beginning of the object.
    """
    def readable() -> Iterator[tuple[int, memoryview]]:
        with contextlib.suppress(exceptions.CorruptObject, exceptions.MissingObject):
            yield from pieces(container, stored, md5=False)

    yield from _in_steps(readable(), max(1, _PIECE // block_size) * block_size)


def _in_steps(found: Iterable[tuple[int, memoryview]], step: int
              ) -> Iterator[tuple[int, memoryview]]:
    """The same bytes, `step` of them at a time; the last ones may be fewer."""
    held, offset = bytearray(), 0
    for position, piece in found:
        offset = position - len(held)
        held += piece
        while len(held) >= step:
            yield offset, memoryview(bytes(held[:step]))
            del held[:step]
            offset += step
    if held:
        yield offset, memoryview(held)


def check(container: store.Container, stored: StoredObject) -> None:
    """Read it all; see `pieces` for what it raises."""
    for _ in pieces(container, stored):
        pass


def is_zero_body(container: store.Container, stored: StoredObject) -> bool:
    """Whether the stored bytes are those that we store for zeros: no need to unpack them.

    :raises MissingObject: it is gone.
    """
    if codec.canonical(stored.compression) != codec.ZSTD:
        return False
    body = codec.zero_body(stored.length)
    try:
        return container.get(stored.name, len(body)) == body
    except exceptions.CorruptObject:
        return False
    except _Gone:
        raise _missing(container, stored) from None


def corrupt(container: store.Container, stored: StoredObject, reason: str
            ) -> exceptions.CorruptObject:
    return exceptions.CorruptObject(f'{_called(container, stored)} is damaged: {reason}',
                                    container=container.name, name=stored.name)


def _missing(container: store.Container, stored: StoredObject) -> exceptions.MissingObject:
    return exceptions.MissingObject(f'{_called(container, stored)} is missing',
                                    container=container.name, name=stored.name)


def _called(container: store.Container, stored: StoredObject) -> str:
    return (f'object {stored.name} of container {container.name} (bytes {stored.offset} to '
            f'{stored.offset + stored.length} of the volume)')
