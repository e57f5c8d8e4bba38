"""What changes a store's directories: they are made, marked, removed when empty; files get names.

Writers and deletions of several machines meet here. A deletion removes empty directories, and a
writer whose directory vanished makes it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import secrets
import stat
import time

from backup_framework import exceptions
from backup_framework.drivers.tree import MARK, TEMPORARY, Parts, is_default
from backup_framework_sftp.layout import MISSING, Layout, is_there, missing_is_fine, unless_missing
from backup_framework_sftp.packets import Attributes, Code, Flag
from backup_framework_sftp.protocol import (
    FSYNC,
    POSIX_RENAME,
    Session,
    StatusError,
)

CREATE = Flag.WRITE | Flag.CREAT | Flag.EXCL
PRIVATE = 0o600
"""Permissions of a file until it has those that it is to have."""
ATTEMPTS = 200
"""How often a directory is made again that another backup's deletion took away meanwhile."""
TAKEN = {Code.FAILURE, Code.FILE_ALREADY_EXISTS}
"""What servers answer where a name is taken; and, the first, to much else."""
SYNCED_AT_ONCE = 64
VANISHED = 5
"""How often a name may have been free after all before it is something else."""


class Changes:
    """Changes of the directories of a layout; permissions are those asked for, whatever umask.

    :ivar keeps_modes: whether the server did not refuse to set them so far.
    """

    def __init__(self, layout: Layout, *, file_mode: int, directory_mode: int) -> None:
        self._layout = layout
        self._at = layout.at
        self._file_mode = file_mode
        self._directory_mode = directory_mode
        self.keeps_modes = True

    def make_root(self, session: Session) -> None:
        """Make the store's directory with those above it."""
        found = unless_missing(session.stat(self._layout.path))
        if found is None:
            self._make_above(session)
        else:
            self._require_directory(self._layout.path, found)

    def make_container(self, session: Session, container: Parts) -> None:
        """Make a container's directory, and mark it where it needs a mark."""
        for _ in _attempts():
            with missing_is_fine():
                self._make(session, container, ())
                self._mark(session, container)
                return
        raise self._vanishing(container)

    def make_temporary(self, session: Session, container: Parts, inner: Parts, name: bytes
                       ) -> bytes:
        """The handle of a new file in a directory, which is made if it is missing."""
        for _ in _attempts():
            with missing_is_fine():
                self._make(session, container, inner)
                return _create(session, self._at(*container, *inner, name))
        raise self._vanishing((*container, *inner))

    def now(self, session: Session) -> int:
        """The server's time: that of a file which is made for this, and removed."""
        path = self._at(temporary_name())
        handle = _create(session, path)
        found = session.fstat(handle)
        session.close_handle(handle)
        session.remove(path)
        modified = found.get().modified
        if modified is None:
            raise exceptions.NotSupported('the server does not tell the times of files')
        return modified

    def publish(self, session: Session, temporary: bytes, parts: Parts) -> None:
        """Give a temporary file the name of an object, in the place of one that has it."""
        path = self._at(*parts)
        try:
            if session.offers(POSIX_RENAME):
                session.replace(temporary, path).get()
            else:
                self._rename(session, temporary, path)
        except StatusError:
            found = unless_missing(session.lstat(path))
            if found is not None and found.mode is not None and stat.S_ISDIR(found.mode):
                raise exceptions.StoreError(
                    f'{self._layout.spell(*parts)} is a directory') from None
            if not is_there(session.lstat(temporary)):
                raise exceptions.StoreUnavailable(
                    f'the temporary file of {self._layout.spell(*parts)} was removed while it was '
                    'written') from None
            raise

    def remove_objects(self, session: Session, container: Parts,
                       groups: Mapping[Parts, list[bytes]]) -> None:
        """Remove objects and the directories that are empty then; those missing are fine.

        One that cannot be removed keeps no other; it is an error in the end.

        :param groups: names by the directory of the container that they are in.
        """
        errors: list[Exception] = []
        for inner, names in groups.items():
            with _kept(errors):
                self._remove_files(session, container, inner, names, errors)
            self.prune(session, (*container, *inner))
        if errors:
            raise errors[0]

    def prune(self, session: Session, parts: Parts) -> None:
        """Remove a directory and those above it as long as they are empty, but not the store's."""
        while parts:
            try:
                with missing_is_fine():
                    self._remove_empty(session, parts)
            except StatusError:
                return
            parts = parts[:-1]

    def remove_temporary(self, session: Session, parts: Parts, before: int) -> int:
        """Remove temporary files of a directory last written up to a time; how many.

        The directory goes too if it is empty then.
        """
        removed = 0
        with missing_is_fine():
            old = [name for name, attributes in self._layout.entries(session, parts)
                   if TEMPORARY.fullmatch(name) and _is_older(attributes, before)]
            for name in old:
                with missing_is_fine():
                    session.remove(self._at(*parts, name)).get()
                    removed += 1
        if removed:
            self.prune(session, parts)
        return removed

    def _remove_files(self, session: Session, container: Parts, inner: Parts, names: list[bytes],
                      errors: list[Exception]) -> None:
        """Remove objects of one directory, many requests at once."""
        verdict = self._layout.look(session, container, inner)
        seen = [((*container, *inner, name), session.lstat(self._at(*container, *inner, name)))
                for name in names]
        verdict()
        asked = []
        for parts, reply in seen:
            with _kept(errors):
                self._layout.size_of(reply.get(), parts)
                asked.append(session.remove(self._at(*parts)))
        for removed in asked:
            with _kept(errors):
                removed.get()

    def _rename(self, session: Session, temporary: bytes, path: bytes) -> None:
        """Replace where the server only renames to names that are free.

        One that was taken a moment ago is free when another writer of the same object removed it.
        """
        vanished = 0
        for _ in _attempts():
            try:
                session.rename(temporary, path).get()
                return
            except StatusError as error:
                found = unless_missing(session.lstat(path))
                vanished += found is None
                mode = found.mode if found is not None else None
                if error.code not in TAKEN or vanished > VANISHED or not _may_be_regular(mode):
                    raise
            unless_missing(session.remove(path))
        raise exceptions.StoreUnavailable('others write the same object again and again')

    def _make(self, session: Session, container: Parts, inner: Parts) -> None:
        """Make directories unless they are there.

        One may vanish before something is in it: then this or what follows finds it missing.
        """
        with missing_is_fine():
            self._layout.look(session, container, inner, create=True)()
            return
        session.settle()
        self.make_root(session)
        parts = (*container, *inner)
        for depth in range(1, len(parts) + 1):
            self._make_directory(session, parts[:depth])
            if depth == len(container):
                self._mark(session, container)
        self._layout.look(session, container, inner, create=True)()

    def _make_directory(self, session: Session, parts: Parts) -> None:
        path = self._at(*parts)
        for more in reversed(range(VANISHED + 1)):
            try:
                session.make_directory(path, self._directory_mode).get()
            except StatusError as error:
                found = unless_missing(session.lstat(path))
                if found is not None:
                    self._layout.require_directory(parts, found, create=True)
                    return
                # It may have been there a moment ago, until a deletion removed it.
                if error.code not in TAKEN or not more:
                    raise
            else:
                self._own(session, path)
                return

    def _make_above(self, session: Session) -> None:
        for path in self._layout.leading():
            try:
                session.make_directory(path, self._directory_mode).get()
            except StatusError as error:
                self._look_above(session, path, error)
                continue
            self._own(session, path)
            # `sync` ends at the store's directory, and those above may be closed to us.
            with contextlib.suppress(StatusError):
                fsync(session, path.rpartition(b'/')[0] or self._layout.top)

    def _look_above(self, session: Session, path: bytes, error: StatusError) -> None:
        """Accept a directory that could not be made if it is there; nobody removes these."""
        found = unless_missing(session.stat(path))
        if found is not None:
            self._require_directory(path, found)
            return
        spelled = self._layout.spell_path(path)
        if is_there(session.lstat(path)):
            raise exceptions.StoreError(
                f'{spelled} is a symbolic link to what is not there; correct path, or is a disk '
                'not mounted there?') from error
        if error.code in MISSING:
            raise exceptions.StoreError(
                f'{spelled} cannot be made ({error}); correct path') from error
        raise error

    def _require_directory(self, path: bytes, found: Attributes) -> None:
        if found.mode is not None and not stat.S_ISDIR(found.mode):
            raise exceptions.StoreError(
                f'{self._layout.spell_path(path)} is not a directory; correct path')

    def _own(self, session: Session, path: bytes) -> None:
        """Give a new directory what a umask took from its permissions."""
        mode = session.lstat(path).get().mode
        if mode is not None and self._directory_mode & ~mode:
            try:
                session.set_mode(path, stat.S_IMODE(mode) | self._directory_mode).get()
            except StatusError:
                self.keeps_modes = False

    def _mark(self, session: Session, container: Parts) -> None:
        """Mark a container that an outer one could take for a directory of its own objects.

        One that holds objects already keeps its meaning.
        """
        if len(container) == 1 or is_default(container):
            return
        if is_there(session.lstat(self._at(*container, MARK))):
            return
        if not self._layout.scan(session, container).names:
            self._make_mark(session, container)

    def _make_mark(self, session: Session, container: Parts) -> None:
        path = self._at(*container, MARK)
        try:
            handle = _create(session, path)
        except StatusError:
            if is_there(session.lstat(path)):
                return
            raise
        # Only its name counts: it does no harm where this is refused.
        session.set_file_mode(handle, self._file_mode)
        session.close_handle(handle).get()

    def _remove_empty(self, session: Session, parts: Parts) -> None:
        """Remove a directory that holds nothing, or only the mark; StatusError if it has more."""
        path = self._at(*parts)
        try:
            session.remove_directory(path).get()
            return
        except StatusError:
            if not is_there(session.lstat(self._at(*parts, MARK))):
                raise
            with contextlib.closing(self._layout.entries(session, parts)) as entries:
                if any(name != MARK for name, _ in entries):
                    raise
        session.remove(self._at(*parts, MARK)).get()
        try:
            session.remove_directory(path).get()
        except StatusError:
            self._make_mark(session, parts)
            raise

    def _vanishing(self, parts: Parts) -> exceptions.StoreUnavailable:
        return exceptions.StoreUnavailable(
            f'{self._layout.spell(*parts)} is removed as soon as it is made')


def temporary_name() -> bytes:
    return b'.tmp-' + secrets.token_hex(16).encode()


def fsync(session: Session, *paths: bytes) -> int:
    """Have the entries of directories on the disk, where FSYNC is offered; those missing are fine.

    :returns: how many were.
    :raises StatusError: one is not; the others were tried.
    """
    if not session.offers(FSYNC):
        return 0
    synced, errors = 0, list[Exception]()
    for batch in _batches(paths):
        handles = list[bytes]()
        for opened in [session.open(path, Flag.READ) for path in batch]:
            with _kept(errors):
                handles.append(opened.get())
        for reply in [session.fsync(handle) for handle in handles]:
            with _kept(errors):
                reply.get()
                synced += 1
        for handle in handles:
            session.close_handle(handle)
    if errors:
        raise errors[0]
    return synced


def _batches(paths: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(paths), SYNCED_AT_ONCE):
        yield paths[start:start + SYNCED_AT_ONCE]


def _create(session: Session, path: bytes) -> bytes:
    """The handle of a new file."""
    return session.open(path, CREATE, PRIVATE).get()


@contextlib.contextmanager
def _kept(errors: list[Exception]) -> Iterator[None]:
    """A block whose refusal is kept for later; what is missing is fine."""
    try:
        with missing_is_fine():
            yield
    except (StatusError, exceptions.StoreError) as error:
        errors.append(error)


def _attempts() -> Iterator[None]:
    """ATTEMPTS turns, out of step with whoever removes what was made in the last one."""
    for attempt in range(ATTEMPTS):
        if attempt > 10:
            time.sleep(secrets.randbelow(1000) / 1e5)
        yield


def _is_older(attributes: Attributes, before: int) -> bool:
    return (attributes.modified is not None and attributes.modified <= before
            and _may_be_regular(attributes.mode))


def _may_be_regular(mode: int | None) -> bool:
    return mode is None or stat.S_ISREG(mode)
