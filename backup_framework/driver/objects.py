"""Ready-made readers and writers for drivers whose store takes or gives whole objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import io


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
