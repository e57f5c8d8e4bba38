"""Where things are in a store on a server, and what is there.

The layout is the local driver's, so one store can be used over SFTP and, on the server itself, by
the local driver. A directory below a container holds objects with a slash in their names, unless it
is a container itself: it is one if it has a mark or is where Cinder puts a backup by default.
Links below `path` are refused where the server shows them. This is no fence against somebody on the
server who puts one there between looking and using.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
import contextlib
import stat
from typing import NamedTuple, TypeVar

from backup_framework import exceptions
from backup_framework.drivers.tree import MARK, Parts, is_default
from backup_framework_sftp.packets import Attributes, Code, Flag, Space
from backup_framework_sftp.protocol import Reply, Session, SFTPError, StatusError

T = TypeVar('T')

MISSING = {Code.NO_SUCH_FILE, Code.NO_SUCH_PATH}
PAGES = 4
"""Pages of a directory that are asked for at once."""
LARGEST_DIRECTORY = 640 << 20
"""Bytes of memory for the names in one directory, which is five million usual ones: more are taken
for a broken server's."""
NAME_OVERHEAD = 64
"""Bytes that Python needs for a name beside those of the name."""
LONGEST_PATH = 4096

Lend = Callable[[], contextlib.AbstractContextManager[Session]]
Verdict = Callable[[], None]


class Scanned(NamedTuple):
    """The names of objects and of directories in a directory."""

    parts: Parts
    names: list[bytes]
    directories: list[bytes]


class Layout:
    """The places of a store. Keeps neither a session nor what it saw.

    :param server: for messages.
    :param path: of the store's directory; may be a symbolic link, and relative to where logins
        begin.
    :ivar top: the directory that `path` begins in.
    """

    def __init__(self, server: str, path: str) -> None:
        self._server = server
        self.path = path.encode(errors='surrogateescape').rstrip(b'/') or b'/'
        self.top = b'/' if self.path.startswith(b'/') else b'.'

    def at(self, *parts: bytes) -> bytes:
        """The path on the server."""
        return b'/'.join((self.path.rstrip(b'/'), *parts)) if parts else self.path

    def spell(self, *parts: bytes) -> str:
        """For messages."""
        return self.spell_path(self.at(*parts))

    def spell_path(self, path: bytes) -> str:
        return f'{self._server}:{path.decode(errors="backslashreplace")}'

    def require_root(self, session: Session) -> None:
        """:raises StoreError: `path` is no directory."""
        found = unless_missing(session.stat(self.path))
        if found is None or found.mode is not None and not stat.S_ISDIR(found.mode):
            raise exceptions.StoreError(
                f'there is no directory {self.spell()}: correct path, or is a disk not mounted '
                'there?')

    def look(self, session: Session, container: Parts, inner: Parts = (), *,
             create: bool = False) -> Verdict:
        """Ask what a container's directory and those in it are; the verdict says what is wrong.

        :param create: something will be made there.
        :returns: raises StatusError with one of MISSING, or a StoreError.
        """
        parts = (*container, *inner)
        asked = [(parts[:depth], session.lstat(self.at(*parts[:depth])),
                  session.lstat(self.at(*parts[:depth], MARK)) if depth > len(container) else None)
                 for depth in range(1, len(parts) + 1)]

        def verdict() -> None:
            for directory, seen, mark in asked:
                self.require_directory(directory, seen.get(), create)
                if mark is not None and (is_there(mark) or is_default(directory)):
                    self._refuse_container(directory, create)

        return verdict

    def open_object(self, session: Session, container: Parts, name: Parts) -> tuple[bytes, int]:
        """A handle of an object's file and its size."""
        verdict = self.look(session, container, name[:-1])
        path = self.at(*container, *name)
        seen, opened = session.lstat(path), session.open(path, Flag.READ)
        try:
            verdict()
            size = self.size_of(seen.get(), (*container, *name))
        except BaseException:
            with contextlib.suppress(SFTPError):
                session.close_handle(opened.get())
            raise
        return opened.get(), size

    def object_size(self, session: Session, container: Parts, name: Parts) -> int:
        verdict = self.look(session, container, name[:-1])
        seen = session.lstat(self.at(*container, *name))
        verdict()
        return self.size_of(seen.get(), (*container, *name))

    def entries(self, session: Session, parts: Parts
                ) -> Generator[tuple[bytes, Attributes], None, None]:
        """What is in a directory, some pages being on their way at once.

        What is still on its way when the iteration is left is settled with the session.
        """
        handle = session.open_directory(self.at(*parts)).get()
        size = 0
        pages = [session.read_directory(handle)]
        try:
            while (page := _page(pages.pop(0))) is not None:
                pages += [session.read_directory(handle) for _ in range(PAGES - len(pages))]
                size += sum(len(name) + NAME_OVERHEAD for name, _ in page)
                if size > LARGEST_DIRECTORY:
                    raise exceptions.StoreError(
                        f'the names in {self.spell(*parts)} need more than {LARGEST_DIRECTORY} '
                        'bytes of memory: the server is broken, or somebody else fills this '
                        'directory')
                yield from (entry for entry in page if entry[0] not in (b'.', b'..'))
        finally:
            with contextlib.suppress(SFTPError):
                session.close_handle(handle)

    def scan(self, session: Session, container: Parts, inner: Parts = (), leaf: bytes = b''
             ) -> Scanned:
        """The names in a directory that begin with `leaf`.

        Left out is what begins with a dot (temporary files, marks, `.snapshot` and `.nfs…` of file
        systems), what is neither file nor directory, and what is not UTF-8 and so none of ours.
        """
        self.look(session, container, inner)()
        found = Scanned((*container, *inner), [], [])
        for name, attributes in self.entries(session, found.parts):
            if name.startswith(b'.') or not name.startswith(leaf) or not _is_utf8(name):
                continue
            mode = attributes.mode
            if mode is None:
                mode = self._mode_of(session, (*found.parts, name))
            if stat.S_ISDIR(mode):
                found.directories.append(name)
            elif stat.S_ISREG(mode):
                found.names.append(name)
        return found

    def walk(self, lend: Lend, container: Parts, inner: Parts = (), leaf: bytes = b'', *,
             every: bool = False) -> Iterator[Scanned]:
        """What a container's directories hold, a directory at a time, with a session for each.

        So objects may be deleted between two steps. A directory that is not there is left out.

        :param inner: where to begin.
        :param leaf: what names there begin with.
        :param every: also directories that are containers themselves.
        """
        start = (*container, *inner)
        waiting = [start]
        while waiting:
            parts = waiting.pop()
            depth = len(parts) if every else len(container)
            found = None
            with lend() as session, missing_is_fine():
                found = self.scan(session, parts[:depth], parts[depth:],
                                  leaf if parts == start else b'')
            if found is not None:
                yield found
                waiting += self._below(found)

    def space(self, session: Session) -> Space:
        """Of the file system of `path`; while `path` is missing, of the one it will be on."""
        for path in reversed(self.leading()):
            found = unless_missing(session.space(path))
            if found is not None:
                return found
        return session.space(self.top).get()

    def leading(self) -> list[bytes]:
        """`path` and the directories above it that it names, the topmost first."""
        parts = self.path.split(b'/')
        return [b'/'.join(parts[:depth]) for depth in range(1, len(parts) + 1) if parts[depth - 1]]

    def size_of(self, attributes: Attributes, parts: Parts) -> int:
        """The size of what has to be a regular file; a directory in its place is a missing one."""
        mode = attributes.mode
        if mode is not None and stat.S_ISDIR(mode):
            raise StatusError(Code.NO_SUCH_FILE, 'it is a directory')
        if mode is not None and not stat.S_ISREG(mode):
            raise exceptions.PermissionDenied(
                f'{self.spell(*parts)} is not a regular file, and links in a store are not '
                'followed')
        if attributes.size is None:
            raise exceptions.StoreError(f'{self._server} does not tell the sizes of files')
        return attributes.size

    def require_directory(self, parts: Parts, attributes: Attributes, create: bool) -> None:
        mode = attributes.mode
        if mode is None or stat.S_ISDIR(mode):
            return
        if stat.S_ISLNK(mode):
            raise exceptions.PermissionDenied(
                f'{self.spell(*parts)} is a symbolic link, and links in a store are not followed; '
                'put a directory in its place')
        if create:
            raise exceptions.StoreError(
                f'{self.spell(*parts)} cannot be made a directory: a file has this name')
        raise StatusError(Code.NO_SUCH_FILE, 'it is not a directory')

    def _refuse_container(self, parts: Parts, create: bool) -> None:
        if create:
            raise exceptions.StoreError(
                f'{self.spell(*parts)} is a container of its own and cannot hold objects of '
                'another one; choose another name')
        raise StatusError(Code.NO_SUCH_FILE, 'it is a container')

    def _mode_of(self, session: Session, parts: Parts) -> int:
        """The mode of what may be gone, for servers that do not tell it in listings."""
        found = unless_missing(session.lstat(self.at(*parts)))
        return found.mode or 0 if found is not None else 0

    def _below(self, found: Scanned) -> list[Parts]:
        """The directories of a directory that are walked too."""
        if len(self.at(*found.parts)) > LONGEST_PATH:
            raise exceptions.StoreError(
                f'directories in {self.spell()} are nested deeper than a path can name: '
                f'{self.spell(*found.parts)[:200]}…')
        return [(*found.parts, name) for name in found.directories
                if found.parts or name != b'lost+found']


@contextlib.contextmanager
def missing_is_fine() -> Iterator[None]:
    """A block that is left where something is missing."""
    try:
        yield
    except StatusError as error:
        if error.code not in MISSING:
            raise


def unless_missing(reply: Reply[T]) -> T | None:
    """What a reply gives, None where what was asked about is missing."""
    with missing_is_fine():
        return reply.get()
    return None


def is_there(reply: Reply[Attributes]) -> bool:
    return unless_missing(reply) is not None


def _page(reply: Reply[list[tuple[bytes, Attributes]]]) -> list[tuple[bytes, Attributes]] | None:
    """A page of a directory, None behind the last."""
    try:
        return reply.get()
    except StatusError as error:
        if error.code == Code.EOF:
            return None
        raise


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
