"""Opening by its path what a volume is restored to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
import contextlib
import errno
import fcntl
import hashlib
import os
import re
import secrets
import stat
from typing import BinaryIO

from backup_framework import exceptions
from backup_framework.engine import directories, mounts, writing


@contextlib.contextmanager
def open_target(path: str, size: int, *, force: bool = False, truncate: bool = False,
                forbidden: Iterable[str] = (), content: str = '', resume: bool = False
                ) -> Iterator[tuple[BinaryIO, bool]]:
    """The file to restore `size` bytes to, and whether it is fresh.

    A new file is written under a partial name beside `path` and appears when the block ends well.
    An existing file or device wants `force`, and is damaged where the block fails after a write.

    :param truncate: cut or lengthen an existing file to `size`, when the block ends well.
    :param forbidden: directories in which nothing may be restored.
    :param content: says what is restored, the same as the same.
    :param resume: take up what an interrupted restore of the same content to a new file left, which
        is not fresh then; and if this one is interrupted, leave it for the next.
    :raises InvalidTarget: before a byte was written.
    """
    _refuse_name(path)
    _refuse_inside(path, forbidden)
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        with _new_file(path, size, content, resume) as opened:
            yield opened
        return
    except OSError as error:
        raise exceptions.InvalidTarget(f'cannot restore to {path}: {error.strerror}') from error
    with _existing(path, mode, size, force, truncate) as file:
        untouched = _modified(file)
        try:
            yield file, False
        except BaseException as error:
            if untouched is None or _modified(file) != untouched:
                error.add_note(f'{path} is damaged now: it holds a part of the backup. '
                               'Restore to it again before you use it.')
            raise
        if truncate and stat.S_ISREG(mode):
            with writing.told(size):
                os.ftruncate(file.fileno(), size)
                os.fsync(file.fileno())


def _modified(file: BinaryIO) -> int | None:
    """When a regular file was last written, in ns; None for a device, which does not say."""
    found = os.fstat(file.fileno())
    return found.st_mtime_ns if stat.S_ISREG(found.st_mode) else None


def tail_of(path: str, size: int) -> int:
    """Bytes that an existing regular file has behind `size`."""
    try:
        found = os.stat(path)
    except OSError:
        return 0
    return max(0, found.st_size - size) if stat.S_ISREG(found.st_mode) else 0


_INTERRUPTED = (exceptions.OperationCancelled, exceptions.StoreError, KeyboardInterrupt)


@contextlib.contextmanager
def _new_file(path: str, size: int, content: str, resume: bool
              ) -> Iterator[tuple[BinaryIO, bool]]:
    directory, name = os.path.split(os.path.abspath(path))
    if os.path.lexists(path):
        raise exceptions.InvalidTarget(f'{path} is a link to nowhere')
    # Cut as bytes: a name may have 255 of them.
    beginning = f'.{os.fsdecode(os.fsencode(name)[:200])}.'
    partial = os.path.join(directory, f'{beginning}{_digits(name)}{_digits(content)}.partial')
    try:
        fd = _take_up(partial, path, size) if resume else None
        fresh = fd is None
        _remove_abandoned(directory, beginning, path, partial if fd is not None else None)
        if fd is None:
            partial, fd = _make_partial(partial, beginning)
    except OSError as error:
        raise exceptions.InvalidTarget(
            f'cannot make a file in {directory}: {error.strerror}') from error
    try:
        with _closing(open(fd, 'r+b', buffering=0)) as file:
            yield file, fresh
            # Before its lock goes.
            _publish(partial, path)
    except BaseException as error:
        if resume and isinstance(error, _INTERRUPTED):
            error.add_note(f'What was restored stays in {partial}: the same restore with --resume '
                           'goes on with it, and one without removes it.')
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial)
        raise


@contextlib.contextmanager
def _closing(file: BinaryIO) -> Iterator[BinaryIO]:
    """All is on the disk when it is closed, or an error on its way says why not."""
    try:
        yield file
    finally:
        with contextlib.suppress(OSError):
            file.close()


def _digits(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:8]


def _take_up(partial: str, path: str, size: int) -> int | None:
    """The descriptor of what an interrupted restore left, locked.

    None where nothing is there, or what somebody else could write to meanwhile.
    """
    try:
        fd = os.open(partial, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found = os.fstat(fd)
        if (stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1
                and not found.st_mode & 0o077):
            if found.st_size > size:
                os.ftruncate(fd, size)
            return fd
    except BlockingIOError:
        os.close(fd)
        raise _busy(path) from None
    except OSError:
        pass  # where nothing can be locked nothing is taken up
    os.close(fd)
    return None


def _make_partial(partial: str, beginning: str) -> tuple[str, int]:
    """A new file that is locked: path and descriptor; by another name where this one is taken."""
    while True:
        try:
            fd = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            partial = os.path.join(os.path.dirname(partial),
                                   f'{beginning}{secrets.token_hex(8)}.partial')
            continue
        with contextlib.suppress(OSError):  # where nothing can be locked nothing is removed
            fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return partial, fd
        os.close(fd)  # another restore took it for abandoned before it was locked


def _remove_abandoned(directory: str, beginning: str, path: str, taken: str | None) -> None:
    """Remove what killed restores to the same name left: nobody holds its lock any more.

    :param taken: is ours.
    :raises InvalidTarget: a restore to `path` is running.
    """
    pattern = re.compile(re.escape(beginning) + r'([0-9a-f]{8})[0-9a-f]{8}\.partial')
    for found in filter(None, map(pattern.fullmatch, os.listdir(directory))):
        partial = os.path.join(directory, found[0])
        if partial == taken:
            continue
        with (contextlib.suppress(OSError),
              open(partial, 'rb', buffering=0, opener=_without_following) as file):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if found[1] == _digits(os.path.basename(path)):
                    raise _busy(path) from None
                raise
            os.unlink(partial)


def _busy(path: str) -> exceptions.InvalidTarget:
    return exceptions.InvalidTarget(f'another restore to {path} is running; wait until it has '
                                    'ended')


def _without_following(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _publish(partial: str, path: str) -> None:
    """Give the finished file its name, unless something has it by now."""
    try:
        os.link(partial, path)
    except OSError as error:
        if isinstance(error, FileExistsError) or os.path.lexists(path):
            raise exceptions.InvalidTarget(
                f'{path} came into being meanwhile; it was left alone') from None
        # No hard links here.
        os.rename(partial, path)
    else:
        # It is there. A second name that cannot be removed now goes with the next restore to it.
        with contextlib.suppress(OSError):
            os.unlink(partial)
    try:
        directories.sync(os.path.dirname(os.path.abspath(path)))
    except OSError as error:
        # What is said to have failed must not be found as if it had not.
        os.unlink(path)
        raise exceptions.VolumeError(
            f'the name {path} cannot be made durable ({error.strerror or error}), so the file was '
            'removed: check the disk and restore again') from error


@contextlib.contextmanager
def _existing(path: str, mode: int, size: int, force: bool, truncate: bool
              ) -> Iterator[BinaryIO]:
    device = stat.S_ISBLK(mode)
    if not device and not stat.S_ISREG(mode):
        raise exceptions.InvalidTarget(f'{path} is neither a regular file nor a block device')
    if not force:
        raise exceptions.InvalidTarget(
            f'{path} exists; --force overwrites it with the backup')
    _refuse_mounted(path)
    file = _open_existing(path, device)
    with file:
        try:
            length = os.lseek(file.fileno(), 0, os.SEEK_END)
        except OSError as error:
            raise exceptions.InvalidTarget(
                f'{path} has no size, so it cannot be a target: {error.strerror}') from error
        if not device and os.fstat(file.fileno()).st_nlink > 1:
            raise exceptions.InvalidTarget(
                f'{path} has other names (hard links), whose content would change as well')
        if length < size and (device or not truncate):
            raise exceptions.InvalidTarget(
                f'{path} has {length} bytes, the backup has {size}'
                + ('' if device else '; --truncate gives the file the length of the backup'))
        yield file


def _open_existing(path: str, device: bool) -> BinaryIO:
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_EXCL if device else 0)
    try:
        try:
            fd = os.open(path, flags)
        except BlockingIOError:
            # Somebody has a lease on the file, and knows by now that it is to be given back.
            fd = os.open(path, flags & ~os.O_NONBLOCK)
    except OSError as error:
        reason = 'it is in use' if error.errno == errno.EBUSY else error.strerror
        raise exceptions.InvalidTarget(f'cannot restore to {path}: {reason}') from error
    os.set_blocking(fd, True)
    return open(fd, 'r+b', buffering=0)


def _refuse_mounted(path: str) -> None:
    devices = mounts.devices_of(path)
    for mount in mounts.mounts():
        if mount.device in devices:
            raise exceptions.InvalidTarget(f'{path} is mounted at {mount.mount_point}')


def _refuse_name(path: str) -> None:
    try:
        possible = os.path.basename(path) != '' and b'\0' not in os.fsencode(path)
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise exceptions.InvalidTarget(f'{path!r} cannot be the name of a file')


def _refuse_inside(path: str, forbidden: Iterable[str]) -> None:
    """By the directories themselves, because a store may be seen under several paths."""
    above = set(_identities(os.path.realpath(path)))
    device, place = mounts.place_of(path)
    for directory in forbidden:
        theirs, top = mounts.place_of(directory)
        if _identity(os.path.realpath(directory)) in above or (
                device == theirs and os.path.commonpath([place, top]) == top):
            raise exceptions.InvalidTarget(
                f'{path} is inside {directory}, where backups are kept, or their records')


def _identities(path: str) -> Iterator[tuple[int, int] | str]:
    """Of a path and of all directories above it."""
    while True:
        yield _identity(path)
        parent = os.path.dirname(path)
        if parent == path:
            return
        path = parent


def _identity(path: str) -> tuple[int, int] | str:
    """Device and inode; the path itself where nothing is there."""
    try:
        found = os.stat(path)
    except OSError:
        return path
    return found.st_dev, found.st_ino
