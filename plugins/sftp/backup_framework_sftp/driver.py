"""The SFTP driver: containers are directories below `path` on a server, objects files in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
import contextlib
import dataclasses
import functools
from typing import Any

from backup_framework import exceptions, model
from backup_framework.driver import chunked
from backup_framework.drivers.tree import Parts, container_of, parts_of
from backup_framework_sftp import connect, objects, options, pool, protocol
from backup_framework_sftp.changes import Changes, temporary_name
from backup_framework_sftp.durability import Durability
from backup_framework_sftp.layout import Layout, is_there
from backup_framework_sftp.protocol import Session
from backup_framework_sftp.refusals import Deed, store_error

DELETED_AT_ONCE = 100

LACKS = {
    protocol.FSYNC: 'what is written is not forced to its disk, and a power cut there can damage '
                    'backups that were reported as done',
    protocol.POSIX_RENAME: 'an object that is written again is removed first, and missing for a '
                           'moment',
    protocol.STATVFS: 'its free space is not known, and a full disk not told from other failures',
    protocol.LIMITS: 'requests have 32 KiB, which is slower',
}


class SFTPBackupDriver(chunked.ChunkedBackupDriver):
    """Keeps objects as files on an SFTP server, in the layout of the local driver.

    An object is written as `.tmp-*` beside its final place and renamed when it is whole. Object
    names with a component that begins with a dot are refused: such names are temporary files here,
    or of the file system's own.
    """

    OPTIONS = options.OPTIONS

    def __init__(self, settings: model.Settings, context: Any = None) -> None:
        super().__init__(settings, context)
        options.check(settings)
        self._layout = Layout(options.where(settings), settings.path)
        self._changes = Changes(self._layout, file_mode=settings.file_mode,
                                directory_mode=settings.directory_mode)
        self._durability = Durability(self._layout)
        self._pool = pool.Pool(self._make_session, keep=settings.connections)
        self._capabilities: model.Capabilities | None = None

    def connect(self) -> protocol.Stream:
        """A new stream to the server. Another way to get there may override this."""
        return connect.connect(self.settings)

    def capabilities(self) -> model.Capabilities:
        """What the server can do: asked once."""
        if self._capabilities is None:
            with self._session(Deed('ask what the server can do')) as session:
                self._durability.probe(session)
                self._capabilities = model.Capabilities(
                    ranged_read=True, lists_containers=True, reports_size=True,
                    reports_free_space=session.offers(protocol.STATVFS), reports_clock=True,
                    durable=(session.offers(protocol.FSYNC)
                             and not self._durability.refuses_directories()),
                    atomic_replace=session.offers(protocol.POSIX_RENAME),
                    connections=self.settings.connections, delete_batch=DELETED_AT_ONCE,
                    longest_name=511, writer_buffer=session.write_size)
        return self._capabilities

    def remarks(self) -> Iterable[str]:
        found = [connect.choose(self.settings).reason]
        with self._session(Deed('ask what the server can do')) as session:
            found += [f'the server does not offer {name.decode()}: {consequence}'
                      for name, consequence in LACKS.items() if not session.offers(name)]
        if self._durability.refuses_directories():
            found.append('the server syncs files but no directories: a power cut there can take '
                         'the names of objects that were just stored')
        if not self._changes.keeps_modes:
            found.append('the server does not keep permissions: objects or directories have others '
                         f'than file_mode, {self.settings.file_mode:o}, and directory_mode, '
                         f'{self.settings.directory_mode:o}')
        return found

    def check_for_setup_error(self) -> None:
        """Make `path` if it is missing; prove that files can be made, renamed and removed in it."""
        deed = Deed('prepare the store', size=0)
        with self._session(deed) as session:
            self._changes.make_root(session)
            with self._writing(deed, session) as (writer, path):
                writer.write(b'probe')
                self._finish(writer)
                name = temporary_name()
                self._changes.publish(session, path, (name,))
            session.remove(self._layout.at(name)).get()
            self._durability.probe(session)

    def before_operation(self, kind: str) -> None:
        """Where there is no store, all but a backup is refused: to the verbs it is an empty one."""
        if kind == 'backup':
            return
        with self._session(Deed('find the store')) as session:
            self._layout.require_root(session)

    def close(self) -> None:
        self._durability.close()
        self._pool.close()

    def put_container(self, container: str) -> None:
        with self._session(Deed('make the container', container, size=0)) as session:
            parts = parts_of(container)
            self._changes.make_container(session, parts)
            self._durability.touch(container, parts)

    def get_container_entries(self, container: str, prefix: str) -> Iterable[str]:
        """Names are read a directory at a time, so that objects may be deleted meanwhile."""
        with self._session(Deed('list', container)) as session:
            self._layout.look(session, parts_of(container))()
        return self._entries(container, prefix)

    def _entries(self, container: str, prefix: str) -> Iterator[str]:
        inner, _, leaf = prefix.rpartition('/')
        if any(part in ('', '.', '..') for part in prefix.split('/')[:-1]):
            return
        above, below = parts_of(container), parts_of(inner) if inner else ()
        lend = functools.partial(self._session, Deed('list', container))
        for found in self._layout.walk(lend, above, below, leaf.encode(errors='surrogatepass')):
            head = b'/'.join((*found.parts[len(above):], b'')).decode()
            yield from (head + name.decode() for name in found.names)

    def list_containers(self) -> Iterable[str]:
        """Every directory that directly holds an object, and every empty one; as local does."""
        containers: set[Parts] = set()
        lend = functools.partial(self._session, Deed('list the containers'))
        for found in self._layout.walk(lend, (), every=True):
            if found.parts and (found.names or not found.directories):
                containers.add(container_of(found.parts))
        return sorted(b'/'.join(parts).decode() for parts in containers)

    @contextlib.contextmanager
    def get_object_writer(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[objects.Writer]:
        deed = Deed('write', container, object_name, size=0)
        above, name = parts_of(container), parts_of(object_name)
        if any(part.startswith(b'.') for part in name):
            raise exceptions.NotSupported(
                f'cannot write {object_name}: names that begin with a dot are temporary here',
                container=container, name=object_name)
        with (self._lend(deed) as session,
              self._writing(deed, session, above, name[:-1]) as (writer, path)):
            yield writer
            with self._guard(session, dataclasses.replace(deed, size=writer.size)):
                self._finish(writer)
                self._changes.publish(session, path, (*above, *name))
        self._durability.touch(container, (*above, *name[:-1]))

    @contextlib.contextmanager
    def get_object_reader(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[objects.Reader]:
        deed = Deed('read', container, object_name)
        above, name = parts_of(container), parts_of(object_name)
        with self._lend(deed) as session:
            guard = functools.partial(self._guard, session, deed)
            with guard():
                handle, size = self._layout.open_object(session, above, name)
            reader = objects.Reader(session, handle, size, self._layout.spell(*above, *name), guard)
            try:
                yield reader
            finally:
                reader.close()

    def delete_object(self, container: str, object_name: str) -> None:
        self._delete(Deed('delete', container, object_name), container, [object_name])

    def delete_objects(self, container: str, object_names: Sequence[str]) -> None:
        self._delete(Deed('delete objects of container', container), container, object_names)

    def object_size(self, container: str, object_name: str) -> int:
        with self._session(Deed('ask the size of', container, object_name)) as session:
            return self._layout.object_size(session, parts_of(container), parts_of(object_name))

    def free_space(self) -> int:
        """Bytes that this account can store; while `path` is missing, on the disk it will be on."""
        with self._session(Deed('ask the free space')) as session:
            if not session.offers(protocol.STATVFS):
                raise exceptions.NotSupported('the server does not tell its free space')
            return self._layout.space(session).free

    def clock(self) -> float:
        """What the server takes for the time of a file that is made now; whole seconds."""
        with self._session(Deed('ask the time', size=0)) as session:
            return float(self._changes.now(session))

    def remove_temporary(self, older_than: float) -> int:
        """Remove `.tmp-*` files last written more than `older_than` seconds ago; how many.

        The server's clock says how long ago that is.
        """
        lend = functools.partial(self._session, Deed('remove temporary files'))
        with lend() as session:
            if not is_there(session.stat(self._layout.path)):
                return 0
            before = int(self._changes.now(session) - older_than)
        removed = 0
        for found in self._layout.walk(lend, (), every=True):
            with lend() as session:
                removed += self._changes.remove_temporary(session, found.parts, before)
        return removed

    def sync(self, container: str) -> None:
        with self._session(Deed('make durable', container)) as session:
            self._durability.sync(session, container)

    def _delete(self, deed: Deed, container: str, object_names: Sequence[str]) -> None:
        above = parts_of(container)
        groups: dict[Parts, list[bytes]] = {}
        for name in map(parts_of, object_names):
            groups.setdefault(name[:-1], []).append(name[-1])
        with self._session(deed) as session:
            self._changes.remove_objects(session, above, groups)
        self._durability.touch(container, *((*above, *inner) for inner in groups))

    @contextlib.contextmanager
    def _writing(self, deed: Deed, session: Session, container: Parts = (), inner: Parts = ()
                 ) -> Iterator[tuple[objects.Writer, bytes]]:
        """A writer to a temporary file, and the file's path; removed when the block fails."""
        name = temporary_name()
        path = self._layout.at(*container, *inner, name)
        with contextlib.ExitStack() as undo:
            # Also where the answer to making it is lost.
            undo.callback(self._discard, session, path)
            with self._guard(session, deed):
                handle = self._changes.make_temporary(session, container, inner, name)
                writer = objects.Writer(
                    session, handle, self.settings.file_mode,
                    self._layout.spell(*container, *inner),
                    lambda: self._guard(session, dataclasses.replace(deed, size=writer.size)))
            undo.callback(writer.abandon)
            yield writer, path
            undo.pop_all()

    def _finish(self, writer: objects.Writer) -> None:
        if not writer.finish():
            self._changes.keeps_modes = False

    def _discard(self, session: Session, path: bytes) -> None:
        """Remove a temporary file; one that cannot be removed now is left to remove_temporary."""
        with contextlib.suppress(exceptions.StoreError, protocol.SFTPError):
            if not session.is_lost:
                session.remove(path).get()
            elif not session.is_silent:
                with self._lend(Deed('remove a temporary file')) as other:
                    other.remove(path).get()

    def _make_session(self) -> Session:
        return Session(self.connect())

    @contextlib.contextmanager
    def _session(self, deed: Deed) -> Iterator[Session]:
        """A session for a block in which nothing but this driver works."""
        with self._lend(deed) as session, self._guard(session, deed):
            yield session

    @contextlib.contextmanager
    def _lend(self, deed: Deed) -> Iterator[Session]:
        """A session of one's own; what leaves the block is not touched."""
        with contextlib.ExitStack() as stack:
            with self._guard(None, deed):
                session = stack.enter_context(self._pool.lend())
            try:
                yield session
            finally:
                session.settle()

    @contextlib.contextmanager
    def _guard(self, session: Session | None, deed: Deed) -> Iterator[None]:
        """Around every piece of a verb that asks the server: only StoreErrors come out."""
        try:
            yield
        except exceptions.StoreError as error:
            error.container = error.container or deed.container
            error.name = error.name or deed.name
            raise
        except protocol.SFTPError as error:
            raise store_error(error, deed, self._layout, session) from error
