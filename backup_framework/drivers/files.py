"""An object's file while it is written and while it is read."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import errno
import os
import stat

from backup_framework import exceptions
from backup_framework.drivers import tree

READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
"""Not blocking, because opening a FIFO that somebody put in an object's place would wait."""
NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS, errno.EXDEV}
COMPARED = 1 << 20
"""Bytes of two files that are compared at a time."""

Guard = Callable[[], contextlib.AbstractContextManager[None]]


class Writer:
    """An object that is being written. Bytes go straight to the file system.

    :param guard: a block around system calls that makes StoreErrors of OSErrors.
    :param durable: fsync the file before it gets its name.
    """

    def __init__(self, where: tree.Tree, container: tree.Parts, name: tree.Parts, *,
                 guard: Guard, durable: bool) -> None:
        self._guard = guard
        self._durable = durable
        self._spelled = where.spell(*container, *name)
        self._name = name[-1]
        self._broken = False
        try:
            self._directory, self._temporary, self._fd = where.make_temporary(container, name[:-1])
        except NotADirectoryError:
            raise exceptions.StoreError(
                f'{self._spelled} cannot be written: a file has the name of one of its directories'
            ) from None

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Write all of it; how many bytes that were."""
        view = memoryview(data).cast('B')
        done = 0
        with self._guard():
            if self._fd < 0:
                raise exceptions.StoreError(f'{self._spelled} is not open any more')
            self._broken = True
            while done < len(view):
                done += os.write(self._fd, view[done:])
            self._broken = False
        return done

    def publish(self) -> None:
        """Give the object its name, once all its bytes are there and no other object has it."""
        if self._broken:
            raise exceptions.StoreUnavailable(f'{self._spelled}: writing it failed before')
        if self._durable:
            os.fsync(self._fd)
        status = os.fstat(self._fd)
        self._close()
        try:
            self._link(status)
        except FileExistsError:
            self._compare()
        except FileNotFoundError:
            raise exceptions.StoreUnavailable(
                f'the temporary file of {self._spelled} was removed while it was written'
            ) from None

    def discard(self) -> None:
        """Let go of the descriptors and of the temporary name."""
        with contextlib.suppress(exceptions.StoreError), self._guard():
            self._close()
        directory, self._directory = self._directory, -1
        if directory >= 0:
            # A name that cannot be removed now is left to remove_temporary.
            with contextlib.suppress(exceptions.StoreError), self._guard():
                os.unlink(self._temporary, dir_fd=directory)
            os.close(directory)

    def _link(self, status: os.stat_result) -> None:
        """Give the temporary file, whose status is given, its name; FileExistsError if taken.

        A network file system may answer that a call failed which it did, because it sent the call
        twice: then the name is the file's already.
        """
        try:
            os.link(self._temporary, self._name, src_dir_fd=self._directory,
                    dst_dir_fd=self._directory, follow_symlinks=False)
        except OSError as error:
            if self._is_named(status):
                return
            if error.errno not in NO_LINKS:
                raise
            self._rename(status)

    def _rename(self, status: os.stat_result) -> None:
        """`_link` where the file system has no hard links.

        A file of the name that another process makes between the two calls is replaced; the
        framework never writes a name twice with different bytes.
        """
        if tree.exists(self._directory, self._name):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        try:
            os.rename(self._temporary, self._name, src_dir_fd=self._directory,
                      dst_dir_fd=self._directory)
        except OSError:
            if not self._is_named(status):
                raise

    def _is_named(self, status: os.stat_result) -> bool:
        try:
            found = os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
        except OSError:
            return False
        return os.path.samestat(found, status)

    def _compare(self) -> None:
        """Accept an object that has the name already if its bytes are the same."""
        try:
            same = self._is_same()
        except FileNotFoundError:
            if tree.exists(self._directory, self._name):
                raise exceptions.StoreError(f'{self._spelled} is a directory') from None
            raise exceptions.StoreUnavailable(
                f'{self._spelled} was removed while it was written') from None
        if not same:
            raise exceptions.ObjectExists(f'{self._spelled} is there already, with other bytes')

    def _is_same(self) -> bool:
        with contextlib.ExitStack() as stack:
            new, size = open_regular(self._directory, self._temporary)
            stack.callback(os.close, new)
            old, old_size = open_regular(self._directory, self._name)
            stack.callback(os.close, old)
            if size != old_size or not _equal(new, old):
                return False
            if self._durable:
                os.fsync(old)
            return True

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class Reader:
    """An object that is being read.

    :param fd: descriptor of its file, closed by `close`.
    :param size: its bytes when it was opened.
    :param guard: a block around system calls that makes StoreErrors of OSErrors.
    """

    def __init__(self, fd: int, size: int, spelled: str, guard: Guard) -> None:
        self._fd = fd
        self._size = size
        self._spelled = spelled
        self._guard = guard
        self._position = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """The next `size` bytes, all that are left without it, fewer only at the end."""
        left = max(0, self._size - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        pieces = []
        with self._guard():
            while wanted:
                piece = os.pread(self._fd, wanted, self._position)
                if not piece:
                    raise exceptions.StoreUnavailable(
                        f'{self._spelled} ends after {self._position} of {self._size} bytes')
                pieces.append(piece)
                self._position += len(piece)
                wanted -= len(piece)
        return pieces[0] if len(pieces) == 1 else b''.join(pieces)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError('a position before the start of the object')
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def open_regular(directory: int, name: bytes) -> tuple[int, int]:
    """A descriptor of a regular file and its size. A directory in its place is a missing file."""
    fd = os.open(name, READ, dir_fd=directory)
    try:
        status = os.fstat(fd)
        require_regular(status)
    except BaseException:
        os.close(fd)
        raise
    return fd, status.st_size


def require_regular(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise FileNotFoundError(errno.ENOENT, 'it is a directory')
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.ELOOP, 'not a regular file')


def _equal(one: int, other: int) -> bool:
    """Whether two files of the same size have the same bytes."""
    with open(one, 'rb', closefd=False) as left, open(other, 'rb', closefd=False) as right:
        while piece := left.read(COMPARED):
            if piece != right.read(COMPARED):
                return False
    return True
