"""Cinder's BackupChunkedDriver interface: a store seen as a few object verbs."""

from __future__ import annotations

import abc
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from backup_framework import model


class ObjectWriter(Protocol):
    """What `get_object_writer`'s context gives."""

    def write(self, data: bytes | bytearray | memoryview, /) -> Any: ...


class ObjectReader(Protocol):
    """What `get_object_reader`'s context gives; `seek` only where `ranged_read` is declared."""

    def read(self, size: int = -1, /) -> bytes: ...


class BackupChunkedDriver(abc.ABC):
    """The verbs of a store. Source: `cinder.interface.backup_chunked_driver`.

    The contract is in numbered sentences; `backup_framework.testing.conformance` tests each one.
    Names are checked before a driver sees them: non-empty components joined by `/`, none of them
    `.` or `..`, without NUL. Where a container is missing, `ContainerNotFound` may stand for
    `ObjectNotFound`.

    G1. One instance serves all threads.
    G2. Names keep their case, and names of up to 255 bytes, with `/`, blanks or any UTF-8 but
        control characters, work. Not both of `x` and `x/y` need be possible. An object's name
        with a component that begins with a dot may be refused by its writer with a StoreError;
        else it works too.
    G3. Two containers do not share objects, also when one name begins with the other. Where
        containers may nest, an outer one may list the objects of an inner one.
    G4. Only StoreErrors (`backup_framework.exceptions`) leave a driver.
    G5. Verbs do not retry: the framework does.
    G6. A declared capability works, and a verb declared absent raises `NotSupported`. What an
        absent `ranged_read`, `durable` or `conditional_create` means is said by R4, W7 and W9.
        `clock` counts seconds from the epoch; the optional `remarks` are texts.
    G7. `close` may be called twice.
    G8. What is not permitted is `PermissionDenied`, what finds no room is `StoreFull`, and a store
        that does not answer is `StoreUnavailable`. What is missing is said by L5, R3 and D2.
    G9. What fails, is cancelled or is left half-way leaves nothing behind: no temporary name while
        the store can be reached, no open descriptor, no thread and no process. What a driver keeps
        for later calls does not grow.
    """

    @abc.abstractmethod
    def put_container(self, container: str) -> None:
        """Make a container.

        P1. It is created if needed. The framework calls this before it writes.
        P2. One that exists is fine, and keeps its objects.
        """

    @abc.abstractmethod
    def get_container_entries(self, container: str, prefix: str) -> Iterable[str]:
        """The names of a container's objects that begin with `prefix`, relative to the container.

        L1. Each name once, in any order, spelled as it was written.
        L2. All of them, however many pages the store answers in.
        L3. None that begins otherwise.
        L4. What this client wrote or deleted before the call is reflected.
        L5. A missing container is `ContainerNotFound` or an empty listing. One whose objects were
            all deleted may count as missing.
        L6. No temporary name is ever listed.
        L7. While others delete, what stays is listed all the same.
        """

    @abc.abstractmethod
    def get_object_writer(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> AbstractContextManager[ObjectWriter]:
        """A context manager whose value has `write`.

        W1. `write` takes bytes, bytearray or memoryview, 1 B to 4 MiB, any number of times.
        W2. The object appears only when the block ends well, and then whole.
        W3. An exception inside the block leaves nothing visible.
        W4. An object may be empty.
        W5. The caller may change a buffer as soon as `write` returned.
        W6. Temporary names begin with a dot in their last component, never with the prefix, and
            `remove_temporary` clears what a kill left.
        W7. The object is durable when the block has ended, or after the optional `sync(container)`,
            which the framework calls before and after the manifest; else `durable` is declared no.
        W8. Equal bytes under an existing name succeed.
        W9. Other bytes under an existing name are `ObjectExists` where `conditional_create` is
            declared, else they replace the old ones whole; never a mixture. With `atomic_replace`
            the name is not missing for a moment.
        """

    @abc.abstractmethod
    def get_object_reader(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> AbstractContextManager[ObjectReader]:
        """A context manager whose value has `read`.

        R1. `read()` gives all remaining bytes as they were written.
        R2. `read(n)` gives exactly n bytes unless the object ends before. The framework asks for
            at most 4 MiB at a time.
        R3. A missing object is `ObjectNotFound`, for `object_size` too.
        R4. `seek(offset)` works where `ranged_read` is declared, and is `NotSupported` elsewhere.
        R5. A body shorter than the store said is `StoreUnavailable`, never an end of file.
        """

    @abc.abstractmethod
    def delete_object(self, container: str, object_name: str) -> None:
        """Remove an object.

        D1. It is gone, and no other object is.
        D2. A missing object is fine.
        D3. A missing container is fine.
        D4. The optional `delete_objects(container, names)` does this for up to `delete_batch` names
            at once. One that cannot be deleted keeps no other; it is an error in the end.
        """

    @abc.abstractmethod
    def update_container_name(self, backup: model.Backup, container: str | None) -> str | None:
        """Another container for this backup, or None to keep the one asked for."""

    @abc.abstractmethod
    def get_extra_metadata(self, backup: model.Backup, volume: Any) -> Any:
        """JSON-serialisable data to keep in the manifest, or None."""
