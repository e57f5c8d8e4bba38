"""What the author of a driver may set and override in the kit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import os
import select
import signal
import time
from typing import ClassVar, TypeVar
import warnings

import pytest

from backup_framework.driver import chunked
from backup_framework.testing.bench import Bench

T = TypeVar('T')

ODD_NAMES = (
    'sub/name', 'a/b/c/d', 'with blank', ' leading', 'trailing ', 'trailing.', 'a..b', '-dash',
    'tilde~', 'per%20cent', '%2Fpercent', 'a+b&c=d', 'quote"\'`', 'star*', 'q?', '[set]', '{a,b}',
    'hash#1', 'back\\slash', 'co:lon', 'a;b|c<d>e', '$HOME', 'ö', 'o\u0308', '日本', '\U0001f4be',
    'under_score', 'volume_7-00001', 'name_metadata', 'CON', 'sub/ blank /x')
"""Names that the contract allows and that some store or other gets wrong."""


class Hooks:
    """Bounds as class attributes, and methods for what cannot be provoked through the verbs."""

    listing_size: ClassVar[int] = 1100
    """Objects in the longest listing: more than the store gives in a page."""

    large_object_bytes: ClassVar[int] = (9 << 20) + 1
    """Size of the largest object that is written."""

    small_writes: ClassVar[int] = 3000
    """How many writes of one byte make an object."""

    chunk_size: ClassVar[int] = 16 << 10
    """Bytes of a chunk in the cases that make whole backups."""

    block_size: ClassVar[int] = 1 << 10
    """Bytes of a block there; a chunk has at least five."""

    volume_sizes: ClassVar[tuple[int, ...]] = (
        1, 511, 1024, 1025, 16383, 16384, 16385, 100_003)
    """Sizes of the volumes that are backed up whole."""

    threads: ClassVar[int] = 8
    """Threads at most; never more than the declared connections."""

    most_connections: ClassVar[int] = 16
    """How many of the declared connections are tried at once."""

    settle_seconds: ClassVar[float] = 0.0
    """Waited before another driver looks at what was written, beside `listing_delay`."""

    store_is_ours: ClassVar[bool] = True
    """Whether nobody else writes to this store. Where others do, `remove_temporary` is not tried:
    it would take their half-written objects away."""

    fork_safe: ClassVar[bool] = False
    """Whether a driver made by `fresh_driver` works in a forked child; then writers are killed."""

    child_seconds: ClassVar[float] = 30.0
    """How long such a child may take until it is inside its block."""

    patience_seconds: ClassVar[float] = 30.0
    """How long threads wait for one another to be inside their blocks."""

    failures: ClassVar[int] = 200
    """How many verbs fail before it is looked at what they left open."""

    release_seconds: ClassVar[float] = 5.0
    """How long the driver may take to let go of what such verbs held."""

    replacements: ClassVar[int] = 50
    """How often an object is replaced while it is looked at, where `atomic_replace` is declared."""

    def fresh_driver(self, driver: chunked.ChunkedBackupDriver
                     ) -> chunked.ChunkedBackupDriver | None:
        """Another driver on the same store, or None where that cannot be had.

        The default makes one from the same settings. A rig that can cut the store's power does it
        here, which makes a real test of W7.
        """
        return type(driver)(driver.settings)

    def abandon(self, driver: chunked.ChunkedBackupDriver, container: str, name: str) -> bool:
        """Leave in the store what a killed writer of this object leaves; False where impossible.

        The default kills a forked child inside its block, where `fork_safe` is set.
        """
        if not self.fork_safe:
            return False
        _kill_inside(lambda: self.fresh_driver(driver), container, name, self.child_seconds)
        return True

    def raw_names(self, driver: chunked.ChunkedBackupDriver, container: str) -> list[str] | None:
        """All names in a container as the store has them, temporary ones too; None: unknown."""
        return None

    def shorten(self, driver: chunked.ChunkedBackupDriver, container: str, name: str) -> bool:
        """Make the store send fewer bytes of this object than it says; False where impossible."""
        return False

    def outage(self, driver: chunked.ChunkedBackupDriver
               ) -> contextlib.AbstractContextManager[Callable[[], int] | None] | None:
        """A block in which each request to the store fails as in an outage; None: impossible.

        Its value counts the requests made so far, or is None where they cannot be counted.
        """
        return None

    def forbid(self, driver: chunked.ChunkedBackupDriver, container: str
               ) -> contextlib.AbstractContextManager[object] | None:
        """A block in which the store permits nothing in this container; None: impossible."""
        return None

    def protect(self, driver: chunked.ChunkedBackupDriver, container: str, name: str
                ) -> contextlib.AbstractContextManager[object] | None:
        """A block in which the store does not let this object be deleted; None: impossible."""
        return None

    def fill(self, driver: chunked.ChunkedBackupDriver, container: str
             ) -> contextlib.AbstractContextManager[object] | None:
        """A block in which this container has no room for another MiB; None: impossible."""
        return None

    def _fresh(self, bench: Bench) -> chunked.ChunkedBackupDriver:
        time.sleep(max(self.settle_seconds, bench.capabilities.listing_delay))
        driver = self.fresh_driver(bench.driver)
        if driver is None:
            pytest.skip('"fresh_driver" cannot make a second driver for this store')
        bench.afterwards(driver.close)
        return driver

    def _abandon(self, bench: Bench, container: str, name: str) -> None:
        bench.name_written(container, name)
        if not self.abandon(bench.driver, container, name):
            pytest.skip('writers are not killed here: set fork_safe, or override "abandon"')
        if self.store_is_ours:
            bench.afterwards(bench.driver.remove_temporary, 0)

    def _temporary_names(self, bench: Bench, container: str, name: str) -> set[str]:
        """All names in a container that holds at most the object `name`, but that one."""
        names = self.raw_names(bench.driver, container)
        if names is None:
            pytest.skip('"raw_names" does not know what this store holds')
        return set(names) - {name}

    def _outage(self, bench: Bench
                ) -> contextlib.AbstractContextManager[Callable[[], int] | None]:
        return _possible(self.outage(bench.driver), '"outage" cannot make this store unreachable')

    def _forbidden(self, bench: Bench, container: str
                   ) -> contextlib.AbstractContextManager[object]:
        return _possible(self.forbid(bench.driver, container),
                         '"forbid" cannot take the right to a container away')

    def _protected(self, bench: Bench, container: str, name: str
                   ) -> contextlib.AbstractContextManager[object]:
        return _possible(self.protect(bench.driver, container, name),
                         '"protect" cannot keep an object from being deleted')

    def _full(self, bench: Bench, container: str) -> contextlib.AbstractContextManager[object]:
        return _possible(self.fill(bench.driver, container), '"fill" cannot make this store full')

    def _skip_unless_ours(self) -> None:
        if not self.store_is_ours:
            pytest.skip('remove_temporary would disturb others: store_is_ours is False')


Verbs = Iterator[tuple[str, Callable[[], object]]]


def object_verbs(bench: Bench, container: str) -> Verbs:
    """Verbs that ask for a container's objects: calls without arguments, of "name", which is there.
    """
    driver = bench.driver
    yield 'get_container_entries', lambda: list(driver.get_container_entries(container, ''))
    yield 'get_object_writer', lambda: bench.put(container, 'other', b'data')
    yield 'get_object_reader', lambda: bench.contents(container, 'name')
    if bench.capabilities.reports_size:
        yield 'object_size', lambda: driver.object_size(container, 'name')
    yield 'delete_object', lambda: driver.delete_object(container, 'name')
    yield 'delete_objects', lambda: driver.delete_objects(container, ['name'])


def store_verbs(bench: Bench) -> Verbs:
    """Verbs that ask the store, as far as they are declared."""
    driver = bench.driver
    if bench.capabilities.lists_containers:
        yield 'list_containers', lambda: list(driver.list_containers())
    if bench.capabilities.reports_free_space:
        yield 'free_space', driver.free_space
    if bench.capabilities.reports_clock:
        yield 'clock', driver.clock


def each_verb(bench: Bench, container: str) -> Verbs:
    """Every verb; those that come first may have nothing to ask the store.

    Make a list of them before the store fails: which there are is asked of `capabilities`.
    """
    yield 'capabilities', bench.driver.capabilities
    yield 'put_container', lambda: bench.driver.put_container(container)
    yield 'sync', lambda: bench.driver.sync(container)
    yield 'remarks', lambda: list(bench.driver.remarks())
    yield from store_verbs(bench)
    yield from object_verbs(bench, container)


def _possible(what: T | None, reason: str) -> T:
    """What a hook gave; without it the case is skipped."""
    if what is None:
        pytest.skip(reason)
    return what


def _kill_inside(make: Callable[[], chunked.ChunkedBackupDriver | None],
                 container: str, name: str, seconds: float) -> None:
    """Kill a child that is inside the block of a writer; raise when it does not get there."""
    receiving, sending = os.pipe()
    with warnings.catch_warnings():
        # Newer Pythons warn of forks beside threads; the child uses nothing that it inherited.
        warnings.simplefilter('ignore', DeprecationWarning)
        child = os.fork()
    if child == 0:
        _write_for_ever(make, container, name, sending)
    os.close(sending)
    try:
        ready, _, _ = select.select([receiving], [], [], seconds)
        told = os.read(receiving, 4096).decode() if ready else f'nothing for {seconds} s'
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(receiving)
    assert told == 'inside', f'a writer in a forked child said {told}'


def _write_for_ever(make: Callable[[], chunked.ChunkedBackupDriver | None],
                    container: str, name: str, sending: int) -> None:
    """In the child: write a while, say 'inside', wait for the end. Never returns."""
    try:
        driver = make()
        assert driver is not None, 'there is no fresh driver'
        with driver.get_object_writer(container, name) as writer:
            for _ in range(4):
                writer.write(bytes(range(256)) * 1024)
            os.write(sending, b'inside')
            time.sleep(3600)
    except BaseException as error:
        os.write(sending, repr(error).encode()[:4096])
    finally:
        os._exit(1)
