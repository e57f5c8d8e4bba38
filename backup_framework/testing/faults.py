"""A wrapper that makes a driver fail on demand, after a plan that is plain data.

    plan = [Fault('commit', call=3, error=StoreUnavailable, after=True),
            Fault('get_object_reader', name='*-00002', change=flip(100))]
    driver = FaultyDriver(MemoryBackupDriver(), plan)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
import contextlib
import dataclasses
import fnmatch
import io
import threading
import time
from typing import Any, TypeVar

from backup_framework import exceptions
from backup_framework.driver import chunked, objects
from backup_framework.interface import chunked_driver
from backup_framework.testing import forwarding

T = TypeVar('T')

VERBS = frozenset({
    'put_container', 'get_container_entries', 'get_object_writer', 'write', 'commit',
    'get_object_reader', 'read', 'delete_object', 'sync', 'remove_temporary', 'list_containers',
    'object_size', 'free_space', 'clock', 'check_for_setup_error'})
"""What can fail. `write` and `read` are calls inside a block, `commit` is a writer's block end.
Each name that `delete_objects` is given counts as a `delete_object`."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """What happens at one call; several effects may be set, and happen in the order below.

    :param verb: one of `VERBS`.
    :param call: at which call of those that match, counted from 1.
    :param forever: at that call and at all later ones.
    :param name: a pattern (`fnmatch`) of object names; other calls are not counted.
    :param after: raise when the verb has had its effect: the answer was lost.
    :param delay: seconds to wait first.
    :param hook: called next; `os._exit` here is a kill.
    :param error: an exception, or a class of them, to raise.
    :param change: gives other data for the call's: the body of `get_object_reader` (bytes), what
        `read` returns, what `write` gets, the list of `get_container_entries`, a size.
    """

    verb: str
    call: int = 1
    forever: bool = False
    name: str | None = None
    after: bool = False
    delay: float = 0.0
    hook: Callable[[], object] | None = None
    error: BaseException | type[BaseException] | None = None
    change: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        if self.verb not in VERBS:
            raise ValueError(f'no such verb: {self.verb}')

    def matches(self, verb: str, name: str | None) -> bool:
        if verb != self.verb:
            return False
        return self.name is None or fnmatch.fnmatchcase(name or '', self.name)

    def due(self, count: int) -> bool:
        """Whether it happens at the matching call number `count`."""
        return count == self.call or (self.forever and count > self.call)


def cut(length: int) -> Callable[[bytes], bytes]:
    """A change: only the first `length` bytes. As a change of `read` it makes short reads."""
    return lambda data: data[:length]


def flip(offset: int, mask: int = 1) -> Callable[[bytes], bytes]:
    """A change: other bits in the byte at `offset` (from the end where negative)."""
    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[offset] ^= mask
        return bytes(changed)
    return change


def missing(name: str) -> Fault:
    """Objects that match `name` cannot be found by a reader."""
    return Fault('get_object_reader', forever=True, name=name, error=exceptions.ObjectNotFound)


class FaultyDriver(forwarding.ForwardingDriver):
    """Does what `driver` does, but for the faults of its plan.

    :ivar plan: the faults; may be replaced at any time, which starts the counts again.
    :ivar happened: the faults that took place, in order.
    """

    def __init__(self, driver: chunked.ChunkedBackupDriver, plan: Iterable[Fault] = ()) -> None:
        super().__init__(driver)
        self._lock = threading.Lock()
        self.plan = list(plan)

    @property
    def plan(self) -> list[Fault]:
        return self._plan

    @plan.setter
    def plan(self, plan: list[Fault]) -> None:
        with self._lock:
            self._plan = list(plan)
            self._counts = [0] * len(self._plan)
            self.happened: list[Fault] = []

    def put_container(self, container: str) -> None:
        with self._faults('put_container'):
            self.driver.put_container(container)

    def get_container_entries(self, container: str, prefix: str) -> list[str]:
        with self._faults('get_container_entries', prefix) as due:
            return due.change(list(self.driver.get_container_entries(container, prefix)))

    @contextlib.contextmanager
    def get_object_writer(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[FaultyWriter]:
        with self._faults('get_object_writer', object_name):
            block = self.driver.get_object_writer(container, object_name, extra_metadata)
        with block as writer:
            yield FaultyWriter(self, writer, object_name)
            commit = self._due('commit', object_name)
            commit.before()
        commit.after()

    @contextlib.contextmanager
    def get_object_reader(
            self, container: str, object_name: str, extra_metadata: Any = None,
    ) -> Iterator[FaultyReader]:
        due = self._due('get_object_reader', object_name)
        due.before()
        with self.driver.get_object_reader(container, object_name, extra_metadata) as reader:
            due.after()
            if due.changes:
                reader = io.BytesIO(due.change(reader.read()))
            yield FaultyReader(self, reader, object_name)

    def delete_object(self, container: str, object_name: str) -> None:
        with self._faults('delete_object', object_name):
            self.driver.delete_object(container, object_name)

    def delete_objects(self, container: str, object_names: Sequence[str]) -> None:
        """At once if no name has a fault, else one by one: a kill finds the first ones gone."""
        due = {name: self._due('delete_object', name) for name in object_names}
        if not any(due.values()):
            self.driver.delete_objects(container, object_names)
            return

        def delete(name: str) -> None:
            due[name].before()
            self.driver.delete_object(container, name)
            due[name].after()

        objects.delete_each(delete, object_names)

    def sync(self, container: str) -> None:
        with self._faults('sync'):
            self.driver.sync(container)

    def remove_temporary(self, older_than: float) -> int:
        with self._faults('remove_temporary') as due:
            return due.change(self.driver.remove_temporary(older_than))

    def list_containers(self) -> list[str]:
        with self._faults('list_containers') as due:
            return due.change(list(self.driver.list_containers()))

    def object_size(self, container: str, object_name: str) -> int:
        with self._faults('object_size', object_name) as due:
            return due.change(self.driver.object_size(container, object_name))

    def free_space(self) -> int:
        with self._faults('free_space') as due:
            return due.change(self.driver.free_space())

    def clock(self) -> float:
        with self._faults('clock') as due:
            return due.change(self.driver.clock())

    def check_for_setup_error(self) -> None:
        with self._faults('check_for_setup_error'):
            self.driver.check_for_setup_error()

    @contextlib.contextmanager
    def _faults(self, verb: str, name: str | None = None) -> Iterator[_Due]:
        """Around one call: faults before it, `change` for its data, faults after it."""
        due = self._due(verb, name)
        due.before()
        yield due
        due.after()

    def _due(self, verb: str, name: str | None) -> _Due:
        """Count this call and say which faults happen at it."""
        with self._lock:
            found = []
            for number, fault in enumerate(self._plan):
                if fault.matches(verb, name):
                    self._counts[number] += 1
                    if fault.due(self._counts[number]):
                        found.append(fault)
            self.happened += found
        return _Due(found)


class _Due:
    """The faults of one call."""

    def __init__(self, faults: list[Fault]) -> None:
        self._faults = faults
        self.changes = [fault.change for fault in faults if fault.change is not None]

    def __bool__(self) -> bool:
        return bool(self._faults)

    def before(self) -> None:
        for fault in self._faults:
            if fault.delay:
                time.sleep(fault.delay)
            if not fault.after:
                _strike(fault)

    def after(self) -> None:
        for fault in self._faults:
            if fault.after:
                _strike(fault)

    def change(self, data: T) -> T:
        for change in self.changes:
            data = change(data)
        return data


def _strike(fault: Fault) -> None:
    if fault.hook is not None:
        fault.hook()
    if fault.error is None:
        return
    if isinstance(fault.error, type):
        raise fault.error(f'planned fault at {fault.verb}')
    raise fault.error


class FaultyWriter:
    """A writer whose `write` may fail or be given other bytes."""

    def __init__(self, driver: FaultyDriver, writer: chunked_driver.ObjectWriter,
                 name: str) -> None:
        self._driver = driver
        self._writer = writer
        self._name = name

    def write(self, data: bytes | bytearray | memoryview) -> Any:
        with self._driver._faults('write', self._name) as due:
            return self._writer.write(due.change(data))


class FaultyReader:
    """A reader whose `read` may fail or give other bytes."""

    def __init__(self, driver: FaultyDriver, reader: chunked_driver.ObjectReader,
                 name: str) -> None:
        self._driver = driver
        self._reader = reader
        self._name = name

    def read(self, size: int = -1) -> bytes:
        with self._driver._faults('read', self._name) as due:
            return due.change(self._reader.read(size))

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._reader, attribute)
