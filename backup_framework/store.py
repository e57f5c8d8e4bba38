"""A container of a driver as a few verbs, with names checked and retries around them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
import contextlib
import importlib.metadata
import io
import logging
import re
import time
from typing import Protocol, TypeVar

import tenacity

from backup_framework import exceptions, spool
from backup_framework.interface import chunked_driver

LOG = logging.getLogger(__name__)

Buffer = bytes | bytearray | memoryview
T = TypeVar('T')

LONGEST_NAME = 255
WRITE_SIZE = 4 << 20
"""The most that one `write` gets, or one `read` asks for: what the contract promises to drivers."""

_COMPONENT = re.compile(r'[A-Za-z0-9_][A-Za-z0-9._-]*\Z')
_NEW_NAME = re.compile(r'[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*\Z')


class ObjectVerbs(Protocol):
    """What this module needs of a driver: the interface's verbs, and `sync`."""

    def put_container(self, container: str) -> None: ...

    def get_container_entries(self, container: str, prefix: str) -> Iterable[str]: ...

    def get_object_writer(self, container: str, object_name: str
                          ) -> contextlib.AbstractContextManager[chunked_driver.ObjectWriter]: ...

    def get_object_reader(self, container: str, object_name: str
                          ) -> contextlib.AbstractContextManager[chunked_driver.ObjectReader]: ...

    def delete_object(self, container: str, object_name: str) -> None: ...

    def delete_objects(self, container: str, object_names: Sequence[str]) -> None: ...

    def object_size(self, container: str, object_name: str) -> int: ...

    def sync(self, container: str) -> None: ...


def check_new_name(name: str) -> str:
    """A name that we make: short, and only of characters that every store keeps as they are.

    :raises InvalidName: with the reason.
    """
    # What matches is right in one step: a map has hundreds of thousands of names.
    if isinstance(name, str) and len(name) <= LONGEST_NAME and _NEW_NAME.match(name):
        return name
    check_name(name)
    if len(name.encode()) > LONGEST_NAME:
        raise exceptions.InvalidName(
            f'the name {name[:40]!r}… is longer than {LONGEST_NAME} bytes')
    for component in name.split('/'):
        if not _COMPONENT.match(component):
            raise exceptions.InvalidName(
                f'{component!r} in the name {name!r} may hold letters, digits and ._- only, '
                'and begins with a letter, a digit or _')
    return name


def check_name(name: object) -> str:
    """A name that somebody else made (Cinder took any string), before a driver sees it.

    :raises InvalidName: for what could leave the container or break a store.
    """
    if not isinstance(name, str) or not name:
        raise exceptions.InvalidName(f'{name!r} is not a name')
    if len(name) > 1024:
        raise exceptions.InvalidName(f'the name {name[:40]!r}… is too long')
    if '\0' in name or any(part in ('', '.', '..') for part in name.split('/')):
        raise exceptions.InvalidName(f'the name {name!r} could point out of its container')
    try:
        name.encode()
    except UnicodeEncodeError:
        raise exceptions.InvalidName(f'the name {name!r} is not valid Unicode') from None
    return name


class Calls:
    """Calls of a driver, repeated while its store is unavailable.

    A call that fails with a retryable StoreError is repeated with growing pauses until
    `retry_deadline` seconds have passed, then the last error is raised. An error that is none of
    the framework's own is a bug of the driver: raised as DriverBug, once.

    :param sleep: waits that many seconds; may raise to end the waiting.
    """

    def __init__(self, driver: object, *, retry_deadline: float = 300.0,
                 sleep: Callable[[float], None] = time.sleep) -> None:
        self._driver = driver
        self._deadline = retry_deadline
        self._sleep = sleep

    def retry(self, function: Callable[[], T]) -> T:
        """What `function` returns; it calls the driver and may be called again from its start."""
        def attempt() -> T:
            with self._guard():
                return function()
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_retryable), wait=_pause,
            stop=tenacity.stop_before_delay(self._deadline), sleep=self._sleep,
            before_sleep=_tell, reraise=True)(attempt)

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except exceptions.BackupFrameworkError:
            raise
        except Exception as error:
            # The contract lets only StoreErrors out of a driver; the operator has to know whose
            # bug this is, and repeating it would not help.
            raise exceptions.DriverBug(f'{origin(type(self._driver))} failed with '
                                       f'{type(error).__name__}: {error}') from error


class Container:
    """One container of a store. Any thread may call any method; see `Calls` for their errors."""

    def __init__(self, driver: ObjectVerbs, name: str, *, retry_deadline: float = 300.0,
                 sleep: Callable[[float], None] = time.sleep) -> None:
        self.name = check_name(name)
        self._driver = driver
        self.retry = Calls(driver, retry_deadline=retry_deadline, sleep=sleep).retry

    def create(self) -> None:
        self.retry(lambda: self._driver.put_container(self.name))

    def names(self, prefix: str, suffix: str = '') -> list[str]:
        """The objects that begin and end so; none where the container is missing."""
        try:
            names = self.retry(lambda: sorted(
                name for name in self._driver.get_container_entries(self.name, prefix)
                if name.endswith(suffix)))
        except exceptions.ContainerNotFound:
            return []
        foreign = [name for name in names if not name.startswith(prefix)]
        if foreign:
            raise exceptions.DriverBug(
                f'{origin(type(self._driver))} listed {foreign[0]!r} for the prefix {prefix!r}')
        return names

    def put(self, name: str, pieces: Callable[[], Iterable[Buffer]]) -> int:
        """Store an object; `pieces` is called anew for each attempt. Returns its bytes."""
        return self.retry(lambda: self.put_once(name, pieces))

    def put_once(self, name: str, pieces: Callable[[], Iterable[Buffer]]) -> int:
        """One attempt to store an object: `retry` goes around what is to be repeated."""
        check_name(name)
        written = 0
        with self._driver.get_object_writer(self.name, name) as writer:
            for piece in pieces():
                view = memoryview(piece)
                for start in range(0, len(view), WRITE_SIZE):
                    writer.write(view[start:start + WRITE_SIZE])
                written += len(view)
        return written

    def get(self, name: str, limit: int) -> bytes:
        """A whole object.

        :raises ObjectNotFound: it is not there.
        :raises CorruptObject: it has more than `limit` bytes.
        """
        data = io.BytesIO()
        with self.open(name) as reader:
            while piece := reader.read(WRITE_SIZE):
                data.write(piece)
                if data.tell() > limit:
                    raise exceptions.CorruptObject(
                        f'object {name} of container {self.name} is larger than {limit} bytes')
        return data.getvalue()

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[chunked_driver.ObjectReader]:
        """Read an object piece by piece; a read that fails goes on where it was."""
        reader = _ResumingReader(self, check_name(name))
        try:
            yield reader
        finally:
            reader.close()

    @contextlib.contextmanager
    def ranges(self, name: str, spool_directory: str | None = None) -> Iterator[Ranges]:
        """Read ranges of an object, which is opened once; a read that fails is repeated.

        Where the store reads no ranges, the object passes through a temporary file.

        :param spool_directory: where that one grows; None is the system's.
        """
        reader = Ranges(self, check_name(name), spool_directory)
        try:
            yield reader
        finally:
            reader.close()

    def open_once(self, name: str
                  ) -> contextlib.AbstractContextManager[chunked_driver.ObjectReader]:
        """The driver's own reader."""
        return self._driver.get_object_reader(self.name, name)

    def size(self, name: str) -> int:
        """Stored bytes of an object; NotSupported where the store does not tell."""
        return self.retry(lambda: self._driver.object_size(self.name, check_name(name)))

    def delete(self, name: str) -> None:
        self.retry(lambda: self._driver.delete_object(self.name, check_name(name)))

    def delete_many(self, names: Sequence[str]) -> None:
        """Delete so many at a time as the driver's `delete_batch` allows at most."""
        checked = [check_name(name) for name in names]
        self.retry(lambda: self._driver.delete_objects(self.name, checked))

    def sync(self) -> None:
        """Return when all objects written so far are durable."""
        self.retry(lambda: self._driver.sync(self.name))


class _ResumingReader:
    """Reads an object of a container; after an error that may pass, it opens it again."""

    def __init__(self, container: Container, name: str) -> None:
        self._container = container
        self._name = name
        self._stack = contextlib.ExitStack()
        self._reader: chunked_driver.ObjectReader | None = None
        self._position = 0
        self._at = 0
        """Where the driver's reader is."""

    def move(self, position: int) -> None:
        """Where to read next."""
        self._position = position

    def read(self, size: int = -1, /) -> bytes:
        return self._container.retry(lambda: self._read(size))

    def _read(self, size: int) -> bytes:
        try:
            if self._reader is None:
                self._reader = self._stack.enter_context(self._container.open_once(self._name))
                self._at = 0
            if self._at != self._position:
                self._go(self._reader)
            data = self._reader.read(size)
        except exceptions.StoreError:
            self._reader = None
            self.close()
            raise
        self._at = self._position = self._position + len(data)
        return data

    def _go(self, reader: chunked_driver.ObjectReader) -> None:
        """Go on behind what was read before; through it where the store reads no ranges."""
        seek = getattr(reader, 'seek', None)
        if seek is not None:
            with contextlib.suppress(exceptions.NotSupported):
                seek(self._position)
                return
        left = self._position
        while left > 0 and (data := reader.read(min(left, WRITE_SIZE))):
            left -= len(data)

    def close(self) -> None:
        """Let the driver's reader go. What was read is judged by its digest, not by this."""
        try:
            self._stack.close()
        except exceptions.StoreError as error:
            LOG.debug('closing object %s: %s', self._name, error)


class _SeekingReader(_ResumingReader):
    """Goes where it should only by `seek`: NotSupported where the store reads no ranges."""

    def _go(self, reader: chunked_driver.ObjectReader) -> None:
        seek = getattr(reader, 'seek', None)
        if seek is None:
            raise exceptions.NotSupported(f'object {self._name} cannot be read from its middle')
        seek(self._position)


class Ranges:
    """Reads ranges of an object of a container."""

    def __init__(self, container: Container, name: str, spool_directory: str | None) -> None:
        self.name = name
        self._container = container
        self._spool_directory = spool_directory
        self._reader: _ResumingReader = _SeekingReader(container, name)
        self._spool: spool.Spool | None = None
        self._spooled = 0

    def read_at(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes.

        :raises CorruptObject: the object ends before; 'it', for the caller knows what it is for.
        """
        if self._spool is None:
            try:
                return self._read(offset, size)
            except exceptions.NotSupported:
                self._reader.close()
                self._reader = _ResumingReader(self._container, self.name)
                self._spool = spool.Spool(self._spool_directory)
        while self._spooled < offset + size:
            piece = self._read(self._spooled, min(WRITE_SIZE, offset + size - self._spooled))
            self._spool.write(self._spooled, piece)
            self._spooled += len(piece)
        return self._spool.read(offset, size)

    def read_last(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes, at least one, with which the object ends.

        :raises CorruptObject: it ends elsewhere.
        """
        data = self.read_at(offset, size)
        # The reader stands behind them: what goes through the spool is read no further than this.
        if self._reader.read(1):
            raise exceptions.CorruptObject(f'it has more than {offset + size} bytes')
        return data

    def _read(self, offset: int, size: int) -> bytes:
        self._reader.move(offset)
        pieces, end = [], offset + size
        while size > 0 and (piece := self._reader.read(min(size, WRITE_SIZE))):
            pieces.append(piece)
            size -= len(piece)
        if size:
            raise exceptions.CorruptObject(
                f'it ends {size} bytes before byte {end}, to which it was read')
        return pieces[0] if len(pieces) == 1 else b''.join(pieces)

    def close(self) -> None:
        self._reader.close()
        if self._spool is not None:
            self._spool.close()


def _is_retryable(error: BaseException) -> bool:
    return isinstance(error, exceptions.StoreError) and error.retryable


_backoff = tenacity.wait_random_exponential(multiplier=0.5, max=30)


def _pause(state: tenacity.RetryCallState) -> float:
    """Exponential with jitter, and no less than what the store asked for."""
    error = state.outcome.exception() if state.outcome else None
    asked = getattr(error, 'retry_after', None) or 0.0
    return max(asked, _backoff(state))


def _tell(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    LOG.warning('%s; trying again in %.1f s', error, state.upcoming_sleep)


def distribution_of(module: str) -> str:
    """The distribution that a module probably belongs to, with its version."""
    names = importlib.metadata.packages_distributions().get(module.partition('.')[0], [])
    found = ' or '.join(f'{name} {importlib.metadata.version(name)}'
                        for name in dict.fromkeys(names))
    return f'distribution {found}' if found else f'module {module}'


def origin(cls: type) -> str:
    """'driver ShelfDriver of distribution shelf-backup 1.2', as far as it can be known."""
    return f'driver {cls.__qualname__} of {distribution_of(cls.__module__)}'
