"""A case's workbench: a driver, and containers of the case's own that are emptied afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
import contextlib
import functools
import random
import threading
from typing import Any, ClassVar, Protocol, TypeVar
import uuid
import warnings

from backup_framework import exceptions, model
from backup_framework.driver import chunked

T = TypeVar('T')
Meet = Callable[[], object]

CONTAINER = 'bf-kit-'
"""What the names of all containers made here begin with."""

FEW = 20
"""Objects that are removed one after the other; for more, threads are worth their making."""


class SomethingElse(Exception):
    """What the cases raise inside a block: no driver knows it."""


class Kit(Protocol):
    """What a bench asks of the kit."""

    threads: ClassVar[int]
    patience_seconds: ClassVar[float]


class Bench:
    """A driver with shorthands for its verbs; remembers what it made."""

    def __init__(self, kit: Kit, driver: chunked.ChunkedBackupDriver) -> None:
        self.kit = kit
        self.driver = driver
        self._containers: list[str] = []
        self._written: set[tuple[str, str]] = set()
        self._undo: list[Callable[[], object]] = []

    @property
    def capabilities(self) -> model.Capabilities:
        return self.driver.capabilities()

    def name_container(self, name: str | None = None) -> str:
        """A container's name that nothing has been made under, to be emptied afterwards."""
        name = name or f'{CONTAINER}{uuid.uuid4().hex}'
        self._containers.append(name)
        return name

    def container(self, name: str | None = None) -> str:
        """A container that exists."""
        name = self.name_container(name)
        self.driver.put_container(name)
        return name

    def name_written(self, container: str, name: str) -> None:
        """An object that may come to be, to be removed afterwards."""
        self._written.add((container, name))

    def put(self, container: str, name: str, *pieces: bytes | bytearray | memoryview) -> None:
        """Write an object, one `write` for each piece."""
        self.name_written(container, name)
        with self.driver.get_object_writer(container, name) as writer:
            for piece in pieces:
                writer.write(piece)

    def contents(self, container: str, name: str,
                 driver: chunked.ChunkedBackupDriver | None = None) -> bytes:
        """An object's bytes, read until there are no more, in whatever portions they come."""
        with (driver or self.driver).get_object_reader(container, name) as reader:
            return b''.join(iter(reader.read, b''))

    def names(self, container: str, prefix: str = '') -> list[str]:
        """A listing; none where the container is missing, as it may be when it was emptied."""
        try:
            return list(self.driver.get_container_entries(container, prefix))
        except exceptions.ContainerNotFound:
            return []

    def visible(self, container: str, name: str) -> bool:
        """Whether a listing shows exactly this name."""
        return name in self.names(container, prefix=name)

    def side_by_side(self, function: Callable[[Any], T], items: Iterable[Any], *,
                     spare: int = 0) -> list[T]:
        """Results of `function` in threads: as many as the kit and the driver allow, less `spare`.
        """
        with futures.ThreadPoolExecutor(max(1, self.threads - spare)) as pool:
            return list(pool.map(function, items))

    def all_inside(self, function: Callable[[int, Meet], object], count: int) -> None:
        """Run `function(number, meet)` in so many threads; `meet()` returns when all called it.

        Fails with the error of a thread that raised one, or when one keeps the others waiting.
        """
        barrier = threading.Barrier(count, timeout=self.kit.patience_seconds)

        def run(number: int) -> None:
            try:
                function(number, barrier.wait)
            except BaseException:
                barrier.abort()
                raise

        with futures.ThreadPoolExecutor(count) as pool:
            ended = [future.exception() for future in
                     [pool.submit(run, number) for number in range(count)]]
        errors = [error for error in ended if error is not None]
        for error in errors:
            if not isinstance(error, threading.BrokenBarrierError):
                raise error
        assert not errors, (f'{count} verbs are not open at once, as declared: '
                            f'some waited {self.kit.patience_seconds} s for the others')

    @property
    def threads(self) -> int:
        return max(1, min(self.kit.threads, self.capabilities.connections))

    def afterwards(self, function: Callable[..., object], *args: Any) -> None:
        """Call this when the case is over, the last one first, before containers are emptied."""
        self._undo.append(functools.partial(function, *args))

    def settings(self, **values: Any) -> None:
        """Give the driver other settings for the time of this case."""
        original = self.driver.settings
        known = {name: getattr(original, name) for name in original}
        self.driver.settings = model.Settings(self.driver.get_driver_options(), known | values)
        self.afterwards(setattr, self.driver, 'settings', original)

    def clean(self) -> None:
        """Remove all that the case made; a warning says what could not be removed."""
        while self._undo:
            with contextlib.suppress(Exception):
                self._undo.pop()()
        objects = {*self._written}
        for container in self._containers:
            objects.update((container, name) for name in self._listed(container))
        each = self.side_by_side if len(objects) > FEW else map
        left = [what for what in each(self._removed, sorted(objects)) if what]
        if left:
            warnings.warn(f'the kit could not remove {", ".join(left)}', stacklevel=2)

    def _listed(self, container: str) -> Sequence[str]:
        try:
            return self.names(container)
        except Exception:
            return ()

    def _removed(self, where: tuple[str, str]) -> str | None:
        """None when an object was removed, else what is left. A broken driver must not stop us."""
        try:
            self.driver.delete_object(*where)
        except Exception as error:
            return f'{"/".join(where)} ({error})'
        return None


def pattern(length: int, seed: int = 0) -> bytes:
    """Bytes that are the same each time, do not compress and hold all values."""
    return random.Random(seed).randbytes(length)


def same(got: bytes, wanted: bytes, what: str) -> None:
    """Fail unless bytes are equal, saying where they differ first and not showing them all."""
    if got == wanted:
        return
    equal = next((n for n, (a, b) in enumerate(zip(got, wanted)) if a != b),
                 min(len(got), len(wanted)))
    raise AssertionError(f'{what}: {len(got)} bytes came back of {len(wanted)} written, '
                         f'and they differ from byte {equal} on')


@contextlib.contextmanager
def refused(*errors: type[BaseException], what: str) -> Iterator[None]:
    """Fail unless the block raises one of `errors`."""
    wanted = ' or '.join(error.__name__ for error in errors)
    try:
        yield
    except errors:
        return
    except Exception as error:
        raise AssertionError(f'{what} raised {error!r}, not {wanted}') from error
    raise AssertionError(f'{what} raised nothing, not {wanted}')


@contextlib.contextmanager
def only_store_errors(what: str) -> Iterator[None]:
    """Fail when the block raises something that is not a StoreError."""
    try:
        yield
    except exceptions.StoreError:
        return
    except Exception as error:
        raise AssertionError(f'{what} raised {error!r}, which is not a StoreError') from error
