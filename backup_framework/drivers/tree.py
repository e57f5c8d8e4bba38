"""The directories of a store on a file system, every one reached from the descriptor of the last.

Nothing below the store's own directory is reached by following a symbolic link. System errors
leave as OSError: the driver makes StoreErrors of them.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import errno
import grp
import os
import re
import secrets
import stat
import time

from backup_framework import exceptions

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW

MISSING = (FileNotFoundError, NotADirectoryError)
MARK = b'.container'
"""An empty file in a container that lies in another directory of the store."""
TEMPORARY = re.compile(rb'\.tmp-[0-9a-f]{32}')
ATTEMPTS = 500
"""How often a directory is made again that another backup's deletion took away meanwhile."""

Parts = tuple[bytes, ...]
Scanned = tuple[list[bytes], list[bytes]]


class Tree:
    """The store's directory and those below.

    A directory below a container holds objects with a slash in their names, unless it is a
    container itself. It is one if it has a mark or is where Cinder puts a backup by default,
    `ab/cd/abcd…`.

    :param path: of the store's directory; may be a symbolic link.
    :param group: name or number, or None for what the system gives.
    :param durable: fsync the directory above each that is made for `path` itself.
    """

    def __init__(self, path: str, *, file_mode: int, directory_mode: int,
                 group: str | None, durable: bool) -> None:
        self.path = os.path.abspath(path)
        self._file_mode = file_mode
        self._directory_mode = directory_mode
        self._group_name = group
        self._durable = durable

    def open_root(self, create: bool = False) -> int:
        """A descriptor of the store's directory; `create` makes it with those above it."""
        return self._open_path(self.path, create)

    def admit(self, fd: int, path: str) -> None:
        """Raise a StoreError if the directory `fd` must not be used: `path` or one above it."""

    def close(self) -> None:
        """Let go of what is kept open between calls."""

    def spell(self, *parts: bytes) -> str:
        """For messages."""
        return os.path.join(self.path, *(part.decode(errors='backslashreplace') for part in parts))

    @contextlib.contextmanager
    def directory(self, container: Parts, inner: Parts = ()) -> Iterator[int]:
        """A descriptor of a container's directory, or of one in it that holds objects.

        :raises OSError: one of MISSING where it is not there.
        """
        with _closing(self._reach(container, inner)) as fd:
            yield fd

    def make_directory(self, container: Parts, inner: Parts = ()) -> int:
        """A descriptor of a directory, made if it is missing.

        It may vanish before something is in it: a deletion removes empty directories.
        """
        for _ in _attempts():
            with (contextlib.suppress(FileNotFoundError),
                  _closing(self.open_root(create=True)) as root, _unless_stale()):
                return self._descend(root, container, inner, create=True)
        raise self._vanishing(container, inner)

    def make_temporary(self, container: Parts, inner: Parts) -> tuple[int, bytes, int]:
        """A new temporary file: descriptor of its directory, its name, its own descriptor."""
        for _ in _attempts():
            directory = self.make_directory(container, inner)
            with contextlib.suppress(FileNotFoundError), _unless_stale():
                try:
                    return directory, *self.temporary(directory)
                except BaseException:
                    os.close(directory)
                    raise
        raise self._vanishing(container, inner)

    def temporary(self, directory: int) -> tuple[bytes, int]:
        """A new temporary file in an open directory: its name and its descriptor."""
        name = b'.tmp-' + secrets.token_hex(16).encode()
        fd = os.open(name, CREATE, self._first_mode(self._file_mode), dir_fd=directory)
        try:
            self._own(fd, self._file_mode)
        except BaseException:
            os.close(fd)
            os.unlink(name, dir_fd=directory)
            raise
        return name, fd

    def probe(self, create: bool = False) -> os.stat_result:
        """The status of a new file in the store's directory; the file is removed at once."""
        with _closing(self.open_root(create)) as root:
            name, fd = self.temporary(root)
            try:
                with _closing(fd):
                    return os.fstat(fd)
            finally:
                os.unlink(name, dir_fd=root)

    def prune(self, parts: Parts) -> None:
        """Remove a directory and those above it as long as they are empty, but not the store's."""
        while parts:
            try:
                with self.directory(parts[:-1]) as above:
                    self._remove_empty(above, parts[-1])
            except MISSING:
                pass
            except OSError:
                return
            parts = parts[:-1]

    def walk(self, container: Parts, inner: Parts = (), leaf: bytes = b'', *,
             every: bool = False) -> Iterator[tuple[Parts, Scanned]]:
        """Directories of a container with their object names and the directories in them.

        A directory is read as a whole, so that objects may be deleted between two steps.

        :param inner: where to begin.
        :param leaf: what names there begin with.
        :param every: also directories that are containers themselves.
        :raises OSError: one of MISSING where the first directory is not there.
        """
        start = (*container, *inner)
        waiting = [start]
        while waiting:
            parts = waiting.pop()
            below = () if every else parts[len(container):]
            try:
                names, directories = self._read_directory(
                    parts[:len(parts) - len(below)], below, leaf if parts == start else b'')
            except MISSING:
                if parts == start:
                    raise
                continue
            yield parts, (names, directories)
            waiting += [(*parts, name) for name in directories if parts or name != b'lost+found']

    def remove_temporary(self, parts: Parts, before: float) -> int:
        """Remove temporary files of a directory last written before a time; how many."""
        removed = 0
        with contextlib.suppress(*MISSING), self.directory(parts) as fd:
            for name in map(os.fsencode, os.listdir(fd)):
                if TEMPORARY.fullmatch(name):
                    removed += _remove_older(fd, name, before)
        return removed

    def _reach(self, container: Parts, inner: Parts) -> int:
        for _ in _attempts():
            with _closing(self.open_root()) as root, _unless_stale():
                return self._descend(root, container, inner, create=False)
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    def _read_directory(self, container: Parts, inner: Parts, leaf: bytes) -> Scanned:
        for _ in _attempts():
            with self.directory(container, inner) as fd, _unless_stale():
                return _scan(fd, leaf)
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    def _vanishing(self, container: Parts, inner: Parts) -> exceptions.StoreUnavailable:
        return exceptions.StoreUnavailable(
            f'{self.spell(*container, *inner)} is removed as soon as it is made')

    def _open_path(self, path: str, create: bool) -> int:
        try:
            fd = os.open(path, DIRECTORY)
        except FileNotFoundError:
            return self._open_missing(path, create)
        try:
            self.admit(fd, path)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _open_missing(self, path: str, create: bool) -> int:
        """Make `path`, or raise; a directory above it is asked in any case whether it will do."""
        missing = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        above, name = os.path.split(path)
        if not name:
            raise missing
        with _closing(self._open_path(above, create)) as parent:
            if not create:
                raise missing
            fd = self._enter(parent, os.fsencode(name), create=True)
            if self._durable:
                os.fsync(parent)
            return fd

    def _descend(self, root: int, container: Parts, inner: Parts, create: bool) -> int:
        fd = os.open(b'.', DIRECTORY, dir_fd=root)
        for depth, name in enumerate((*container, *inner), start=1):
            with _closing(fd):
                fd = self._enter(fd, name, create)
            try:
                if create and depth == len(container):
                    self._mark(fd, container)
                if depth > len(container):
                    self._require_no_container(fd, (*container, *inner)[:depth], create)
            except BaseException:
                os.close(fd)
                raise
        return fd

    def _enter(self, directory: int, name: bytes, create: bool) -> int:
        """A descriptor of a directory in another."""
        made = False
        if create:
            with contextlib.suppress(FileExistsError):
                self._make(directory, name)
                made = True
        try:
            fd = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                self._refuse_link(directory, name)
            raise
        if made:
            try:
                self._own(fd, self._directory_mode)
            except BaseException:
                os.close(fd)
                raise
        return fd

    def _make(self, directory: int, name: bytes) -> None:
        try:
            os.mkdir(name, self._first_mode(self._directory_mode), dir_fd=directory)
        except FileNotFoundError:
            above = _path_of(directory)
            if above is None:
                raise  # another process removed it
            raise exceptions.StoreError(
                f'{name.decode(errors="backslashreplace")} cannot be made in {above}: its file '
                'system lets nobody make directories there') from None

    def _refuse_link(self, directory: int, name: bytes) -> None:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            raise exceptions.PermissionDenied(
                f'{name.decode(errors="backslashreplace")} in the store {self.path} is a symbolic '
                'link, and links in a store are not followed; put a directory in its place')

    def _mark(self, fd: int, container: Parts) -> None:
        """Mark a container that an outer one could take for a directory of its own objects.

        One that holds objects already keeps its meaning.
        """
        if len(container) == 1 or is_default(container) or exists(fd, MARK) or _has_object(fd):
            return
        with contextlib.suppress(FileExistsError):
            mark = os.open(MARK, CREATE, self._first_mode(self._file_mode), dir_fd=fd)
            with _closing(mark):
                self._own(mark, self._file_mode)

    def _require_no_container(self, fd: int, parts: Parts, create: bool) -> None:
        if not (is_default(parts) or exists(fd, MARK)):
            return
        if create:
            raise exceptions.StoreError(
                f'{self.spell(*parts)} is a container of its own and cannot hold objects of '
                'another one; choose another name')
        raise FileNotFoundError(errno.ENOENT, 'it is a container', self.spell(*parts))

    def _remove_empty(self, above: int, name: bytes) -> None:
        """Remove a directory that holds nothing, or only the mark; OSError where it holds more."""
        try:
            os.rmdir(name, dir_fd=above)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            with _closing(self._enter(above, name, create=False)) as fd:
                if not exists(fd, MARK) or _holds_more(fd):
                    raise
                os.unlink(MARK, dir_fd=fd)
                try:
                    os.rmdir(name, dir_fd=above)
                except OSError:
                    os.close(os.open(MARK, CREATE, self._file_mode, dir_fd=fd))
                    raise

    def _first_mode(self, mode: int) -> int:
        """The mode to create with: nothing for a group as long as it is not the right one."""
        return mode if self._group_name is None else mode & ~0o070

    def _own(self, fd: int, mode: int) -> None:
        """Give a new file or directory its group, and what a umask took from its mode."""
        status = os.fstat(fd)
        group = self._group()
        if group is not None and status.st_gid != group:
            os.fchown(fd, -1, group)
        if mode & ~status.st_mode:
            os.fchmod(fd, stat.S_IMODE(status.st_mode) | mode)

    def _group(self) -> int | None:
        name = self._group_name
        if name is None or str(name).isdecimal():
            return None if name is None else int(name)
        try:
            return grp.getgrnam(name).gr_gid
        except KeyError:
            raise exceptions.StoreError(
                f'there is no group {name!r} on this host: correct the option group of the store '
                f'{self.path}') from None


def parts_of(name: str) -> Parts:
    """The components of a container's or object's name as the file system spells them."""
    try:
        parts = tuple(part.encode() for part in name.split('/'))
    except UnicodeEncodeError:
        raise exceptions.StoreError(f'{name!a} is not a name: it is not UTF-8') from None
    if any(part in (b'', b'.', b'..') or b'\0' in part for part in parts):
        raise exceptions.StoreError(f'{name!a} is not a name that a file can have')
    return parts


def container_of(parts: Parts) -> Parts:
    """The container of the objects in a directory, as far as can be told from its name.

    Cinder's names for object stores are `volume_<id>/<14 digits>/<name>`.
    """
    slashes = len(parts) > 2 and parts[-2].startswith(b'volume_')
    return parts[:-2] if slashes and re.fullmatch(b'[0-9]{14}', parts[-1]) else parts


def exists(directory: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _attempts() -> Iterator[None]:
    """ATTEMPTS turns, out of step with whoever removes what was made in the last one."""
    for attempt in range(ATTEMPTS):
        if attempt > 10:
            time.sleep(secrets.randbelow(1000) / 1e6)
        yield


@contextlib.contextmanager
def _unless_stale() -> Iterator[None]:
    """Go on after the block where NFS finds a directory gone that was open in it.

    It says ESTALE where other file systems serve it as an empty one. Whether it is missing now,
    its path tells.
    """
    try:
        yield
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise


@contextlib.contextmanager
def _closing(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


def _path_of(directory: int) -> str | None:
    """Where an open directory is; None where it was removed, or that cannot be told."""
    try:
        path = os.readlink(f'/proc/self/fd/{directory}')
        is_there = os.path.samestat(os.stat(path), os.fstat(directory))
    except OSError:
        return None
    return path if is_there else None


def is_default(parts: Parts) -> bool:
    """Whether this is `ab/cd/abcd…`."""
    return (len(parts) == 3 and len(parts[0]) == len(parts[1]) == 2
            and parts[2].startswith(parts[0] + parts[1]))


def _has_object(directory: int) -> bool:
    with os.scandir(directory) as entries:
        return any(not entry.name.startswith('.') and entry.is_file(follow_symlinks=False)
                   for entry in entries)


def _holds_more(directory: int) -> bool:
    """Whether a directory has any entry beside the mark."""
    with os.scandir(directory) as entries:
        return any(os.fsencode(entry.name) != MARK for entry in entries)


def _scan(directory: int, leaf: bytes) -> Scanned:
    """The names of objects and of directories that begin with `leaf`.

    Left out are names that begin with a dot (temporary files; `.snapshot` and `.nfs…` of file
    systems), what is neither file nor directory, and what is not UTF-8 and so none of ours.
    """
    names, directories = [], []
    with os.scandir(directory) as entries:
        for entry in entries:
            name = os.fsencode(entry.name)
            if name.startswith(b'.') or not name.startswith(leaf) or not _is_utf8(name):
                continue
            if entry.is_dir(follow_symlinks=False):
                directories.append(name)
            elif entry.is_file(follow_symlinks=False):
                names.append(name)
    return names, directories


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _remove_older(directory: int, name: bytes, before: float) -> bool:
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if status.st_mtime > before or not stat.S_ISREG(status.st_mode):
            return False
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    return True
