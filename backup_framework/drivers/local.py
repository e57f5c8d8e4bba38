"""The local driver: containers are directories below `path`, objects are files in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
import contextlib
import errno
import functools
import os
import stat
import threading
import time
from typing import Any, NoReturn

from backup_framework import exceptions, model
from backup_framework.driver import chunked
from backup_framework.drivers import files, tree
from backup_framework.drivers.tree import MISSING, Parts, parts_of
from backup_framework.model import Option, OptionType

FULL = {errno.ENOSPC, errno.EDQUOT}
DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
IRREGULAR = {errno.ELOOP, errno.ENXIO}
UNAVAILABLE = {
    errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EREMOTEIO,
    errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.ECONNREFUSED, errno.ECONNRESET,
    errno.ECONNABORTED, errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ENODEV, errno.ESHUTDOWN}

DURABILITIES = ('object', 'backup', 'none')

WRITING_OPTIONS = (
    Option('durability', OptionType.STRING, 'object', choices=DURABILITIES, help=(
        'When written bytes are forced to disk. object: each object before it gets its name, its '
        'directory before the backup is committed. A power cut loses the running backup at most, '
        'and what was stored of it is whole. backup: everything before the backup is committed, '
        'which is faster for many small objects. A power cut can leave damaged objects of the '
        'running backup; no committed one is lost. none: never. A power cut can damage backups '
        'that were reported as done.')),
    Option('file_mode', OptionType.MODE, 0o600, help=(
        'Permissions of objects, whatever the umask. 0660 together with group shares a store with '
        'Cinder.')),
    Option('directory_mode', OptionType.MODE, 0o700, help=(
        'Permissions of directories that are made, whatever the umask. 0770 together with group '
        'shares a store with Cinder.')),
    Option('group', help=(
        'Name or number of the group that objects and directories are given. Unset, the system '
        'chooses.')),
)


class LocalBackupDriver(chunked.ChunkedBackupDriver):
    """Keeps objects as files below a directory of this host.

    An object is written as `.tmp-*` beside its final place and linked to its name when it is
    whole. Object names with a component that begins with a dot are refused: such names are
    temporary files here, or directories of the file system's own (`.snapshot`).
    """

    OPTIONS: tuple[Option, ...] = (
        Option('path', OptionType.PATH, required=True, sample='$state_path/backups', help=(
            'The directory that holds the store. It is made when it is missing.')),
        *WRITING_OPTIONS)

    CINDER_CLASS: str | None = 'cinder.backup.drivers.posix.PosixBackupDriver'

    def __init__(self, settings: model.Settings, context: Any = None) -> None:
        super().__init__(settings, context)
        if settings.durability not in DURABILITIES:
            raise exceptions.ConfigurationError(
                f'durability cannot be {settings.durability}: choose {", ".join(DURABILITIES)}')
        path = settings.path
        if path is not None and not os.path.isabs(path):
            # Else it is another store wherever a command is started.
            raise exceptions.ConfigurationError(f'path must be an absolute path, not {path!r}')
        self._tree = self._make_tree()
        self._lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._touched: dict[str, dict[Parts, set[bytes]]] = {}
        self._failed: dict[str, exceptions.StoreError] = {}

    def _make_tree(self) -> tree.Tree:
        return tree.Tree(self.settings.path, **self._writing_options())

    def _writing_options(self) -> dict[str, Any]:
        return {'file_mode': self.settings.file_mode, 'group': self.settings.group,
                'directory_mode': self.settings.directory_mode,
                'durable': self.settings.durability != 'none'}

    def capabilities(self) -> model.Capabilities:
        return model.Capabilities(
            ranged_read=True, conditional_create=True, lists_containers=True, reports_size=True,
            reports_free_space=True, reports_clock=True,
            durable=self.settings.durability != 'none',
            durable_together=self.settings.durability == 'backup', connections=16,
            longest_name=511)

    def check_for_setup_error(self) -> None:
        """Make `path` if it is missing and prove that files can be made and removed in it."""
        with self._io('prepare the store'):
            self._tree.probe(create=True)

    def before_operation(self, kind: str) -> None:
        """Where there is no store, all but a backup is refused: to the verbs it is an empty one."""
        if kind == 'backup':
            return
        with self._io('find the store'):
            try:
                os.close(self._tree.open_root())
            except FileNotFoundError:
                raise exceptions.StoreError(
                    f'there is no directory {self._tree.path}: correct path, or is a disk not '
                    'mounted there?') from None

    def close(self) -> None:
        with self._lock:
            self._failed.clear()
        self._tree.close()

    def put_container(self, container: str) -> None:
        with self._io('make the container', container):
            parts = parts_of(container)
            try:
                os.close(self._tree.make_directory(parts))
            except NotADirectoryError:
                raise exceptions.StoreError(
                    f'{self._tree.spell(*parts)} cannot be made: a file has the name of one of '
                    'its directories') from None
            self._touch(container, parts)

    def get_container_entries(self, container: str, prefix: str) -> Iterable[str]:
        """Names are read a directory at a time, so that objects may be deleted meanwhile."""
        with self._io('list', container), self._tree.directory(parts_of(container)):
            pass
        return self._entries(container, prefix)

    def _entries(self, container: str, prefix: str) -> Iterator[str]:
        inner, _, leaf = prefix.rpartition('/')
        if any(part in ('', '.', '..') for part in prefix.split('/')[:-1]):
            return
        with self._io('list', container):
            above, below = parts_of(container), parts_of(inner) if inner else ()
        walk = self._tree.walk(above, below, leaf.encode(errors='surrogatepass'))
        while True:
            with self._io('list', container):
                try:
                    parts, (names, _) = next(walk)
                except (StopIteration, *MISSING):
                    return
            head = b'/'.join((*parts[len(above):], b'')).decode()
            yield from [head + name.decode() for name in names]

    def list_containers(self) -> Iterable[str]:
        """Every directory that directly holds an object, and every empty one.

        Where the name of an unmarked container ends cannot be told, so an object `a/b` of
        container `c` is found as `b` in `c/a`, where its bytes can be read as well. Cinder's names
        for object stores are known: with `volume_<id>/<14 digits>/<name>` the container is the
        directory above `volume_<id>`.
        """
        found: set[Parts] = set()
        with self._io('list the containers'), contextlib.suppress(*MISSING):
            for parts, (names, directories) in self._tree.walk((), every=True):
                if parts and (names or not directories):
                    found.add(tree.container_of(parts))
        return sorted(b'/'.join(parts).decode() for parts in found)

    @contextlib.contextmanager
    def get_object_writer(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[files.Writer]:
        guard = functools.partial(self._io, 'write', container, object_name)
        durability = self.settings.durability
        with guard():
            above, name = parts_of(container), parts_of(object_name)
            if any(part.startswith(b'.') for part in name):
                raise exceptions.NotSupported(
                    f'cannot write {object_name}: names that begin with a dot are temporary here')
            writer = files.Writer(self._tree, above, name, guard=guard,
                                  durable=durability == 'object')
        try:
            yield writer
            with guard():
                writer.publish()
                self._touch(container, (*above, *name[:-1]),
                            *([name[-1]] if durability == 'backup' else []))
        finally:
            writer.discard()

    @contextlib.contextmanager
    def get_object_reader(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[files.Reader]:
        guard = functools.partial(self._reading, container, object_name)
        with guard():
            fd, size = self._open_object(container, object_name)
        reader = files.Reader(fd, size, self._spell(container, object_name), guard)
        try:
            yield reader
        finally:
            with guard():
                reader.close()

    def delete_object(self, container: str, object_name: str) -> None:
        """Remove the object, then the directories above it that are empty now."""
        with self._io('delete', container, object_name):
            above, name = parts_of(container), parts_of(object_name)
            with (contextlib.suppress(*MISSING),
                  self._tree.directory(above, name[:-1]) as directory):
                files.require_regular(
                    os.stat(name[-1], dir_fd=directory, follow_symlinks=False))
                os.unlink(name[-1], dir_fd=directory)
            self._touch(container, (*above, *name[:-1]))
            self._tree.prune((*above, *name[:-1]))

    def object_size(self, container: str, object_name: str) -> int:
        with self._io('ask the size of', container, object_name):
            fd, size = self._open_object(container, object_name)
            os.close(fd)
            return size

    def free_space(self) -> int:
        """Bytes that this user can store; while `path` is missing, on the disk it will be on."""
        with self._io('ask the free space'):
            try:
                fd = self._tree.open_root()
            except FileNotFoundError:
                fd = os.open(_existing(self._tree.path), tree.DIRECTORY)
            try:
                status = os.fstatvfs(fd)
            finally:
                os.close(fd)
            return status.f_bavail * status.f_frsize

    def clock(self) -> float:
        """What the file system dates a new file with: on a share, the server's time."""
        with self._io('ask the time'):
            return self._tree.probe().st_mtime

    def host_paths(self) -> list[str]:
        return [self._tree.path]

    def remove_temporary(self, older_than: float) -> int:
        """Remove `.tmp-*` files last written more than `older_than` seconds ago; how many."""
        removed, before = 0, time.time() - older_than
        with self._io('remove temporary files'), contextlib.suppress(*MISSING):
            for parts, _ in self._tree.walk((), every=True):
                gone = self._tree.remove_temporary(parts, before)
                removed += gone
                if gone:
                    self._tree.prune(parts)
        return removed

    def sync(self, container: str) -> None:
        """Make what was written to the container durable; calls wait for one another.

        After a failed fsync the system may take lost pages for written ones, and asking again
        would succeed. So a container that failed goes on failing until `close`.
        """
        if self.settings.durability == 'none':
            return
        with self._sync_lock:
            with self._lock:
                failure = self._failed.get(container)
                touched = self._touched.pop(container, {})
            if failure is not None:
                raise type(failure)(str(failure), container=container)
            try:
                with self._io('make durable', container):
                    self._sync(container, touched)
            except BaseException:
                for parts, names in touched.items():
                    self._touch(container, parts, *names)
                raise

    def _touch(self, container: str, parts: Parts, *names: bytes) -> None:
        """Note a directory, and files in it, that `sync` has to make durable."""
        if self.settings.durability == 'none':
            return
        with self._lock:
            self._touched.setdefault(container, {}).setdefault(parts, set()).update(names)

    def _sync(self, container: str, touched: dict[Parts, set[bytes]]) -> None:
        """Files first, then directories up to the store's own.

        A directory above may be new, made by another process that has not synced it yet.
        """
        for parts, names in touched.items():
            with contextlib.suppress(*MISSING), self._tree.directory(parts) as directory:
                for name in names:
                    self._sync_file(container, directory, name)
        directories = {parts[:depth] for parts in touched for depth in range(len(parts) + 1)}
        for parts in sorted(directories, key=len, reverse=True):
            with contextlib.suppress(*MISSING), self._tree.directory(parts) as directory:
                self._fsync(container, directory)

    def _sync_file(self, container: str, directory: int, name: bytes) -> None:
        with contextlib.suppress(*MISSING):
            fd, _ = files.open_regular(directory, name)
            try:
                self._fsync(container, fd)
            finally:
                os.close(fd)

    def _fsync(self, container: str, fd: int) -> None:
        try:
            os.fsync(fd)
        except OSError as error:
            if error.errno == errno.EINVAL and stat.S_ISDIR(os.fstat(fd).st_mode):
                return  # there are file systems that cannot sync a directory
            failure = self._not_durable(error, container)
            with self._lock:
                self._failed[container] = failure
            raise failure from error

    def _not_durable(self, error: OSError, container: str) -> exceptions.StoreError:
        full = error.errno in FULL
        kind = exceptions.StoreFull if full else exceptions.StoreError
        return kind(
            f'container {container} in {self._tree.path} could not be made durable '
            f'({error.strerror or error}), and what the running backup wrote may be lost: '
            f'{"make room" if full else "check the disk"} and make the backup again',
            container=container)

    def _open_object(self, container: str, object_name: str) -> tuple[int, int]:
        """A descriptor of an object's file and its size."""
        name = parts_of(object_name)
        with self._tree.directory(parts_of(container), name[:-1]) as directory:
            return files.open_regular(directory, name[-1])

    def _spell(self, container: str, name: str) -> str:
        return self._tree.spell(*parts_of(container), *parts_of(name))

    @contextlib.contextmanager
    def _io(self, doing: str, container: str | None = None,
            name: str | None = None) -> Iterator[None]:
        """Around every piece of a verb that calls the system: only StoreErrors come out."""
        try:
            yield
        except exceptions.StoreError as error:
            error.container = error.container or container
            error.name = error.name or name
            raise
        except OSError as error:
            self._fail(error, sentence(doing, container, name), container, name)

    @contextlib.contextmanager
    def _reading(self, container: str, name: str) -> Iterator[None]:
        """Around what reads an object. A disk that answers has lost what it cannot read, and trying
        again would not help: it is an error of the object, and others can be read."""
        try:
            with self._io('read', container, name):
                yield
        except exceptions.StoreUnavailable as error:
            if getattr(error.__cause__, 'errno', None) == errno.EIO and self._answers():
                raise exceptions.StoreError(f'{error}: is the disk failing?', container=container,
                                            name=name) from error.__cause__
            raise

    def _answers(self) -> bool:
        try:
            return self.free_space() >= 0
        except exceptions.StoreError:
            return False

    def _fail(self, error: OSError, sentence: str, container: str | None,
              name: str | None) -> NoReturn:
        kind, advice = self._judge(error, container, name)
        raise kind(f'cannot {sentence} in {self._tree.path}: {error.strerror or error}{advice}',
                   container=container, name=name) from error

    def _judge(self, error: OSError, container: str | None, name: str | None
               ) -> tuple[type[exceptions.StoreError], str]:
        """The StoreError for a system error, and what its message says beside the reason."""
        number = error.errno or 0
        if isinstance(error, MISSING) and container is not None:
            return exceptions.ContainerNotFound if name is None else exceptions.ObjectNotFound, ''
        if isinstance(error, NotADirectoryError):
            return exceptions.StoreError, '; path has to be a directory'
        if number in DENIED:
            return exceptions.PermissionDenied, (
                f'; user id {os.geteuid()} needs read and write access there')
        if number in FULL:
            return exceptions.StoreFull, self._what_is_full(number)
        if number in IRREGULAR:
            return exceptions.StoreError, (
                '; it has to be a regular file, and links in a store are not followed')
        if number in UNAVAILABLE:
            return exceptions.StoreUnavailable, ''
        return exceptions.StoreError, ''

    def _what_is_full(self, number: int) -> str:
        if number == errno.EDQUOT:
            return '; the quota of this user or group is used up'
        try:
            status = os.statvfs(self._tree.path)
        except OSError:
            return ''
        if status.f_files and not status.f_favail:
            return '; the file system has no inodes left: remove files or delete old backups'
        return (f'; {status.f_bavail * status.f_frsize} bytes are free: make room or delete old '
                'backups')


def _existing(path: str) -> str:
    """The nearest directory above that exists."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def sentence(doing: str, container: str | None, name: str | None) -> str:
    if container is None:
        return doing
    if name is None:
        return f'{doing} {container}'
    return f'{doing} {name} of container {container}'
