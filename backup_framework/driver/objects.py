"""Ready-made pieces: writers and readers of whole objects, and deleting one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
import contextlib
import io

from backup_framework import exceptions


@contextlib.contextmanager
def whole_writer(put: Callable[[bytes], object]) -> Iterator[io.BytesIO]:
    """Collect what is written and hand it to `put` when the block ends well."""
    buffer = io.BytesIO()
    yield buffer
    put(buffer.getvalue())


@contextlib.contextmanager
def whole_reader(data: bytes) -> Iterator[io.BytesIO]:
    """Read from bytes that are already here; `seek` works."""
    yield io.BytesIO(data)


def delete_each(delete: Callable[[str], object], names: Iterable[str]) -> None:
    """Call `delete` for every name, whatever happens to the others.

    :raises StoreError: the first that happened, one that stays before one that may pass.
    """
    errors: list[exceptions.StoreError] = []
    for name in names:
        try:
            delete(name)
        except exceptions.StoreError as error:
            errors.append(error)
    if errors:
        raise min(errors, key=lambda error: error.retryable)
