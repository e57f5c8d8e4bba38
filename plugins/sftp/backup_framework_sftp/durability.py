"""What `sync` has to make durable: the directories whose entries changed."""

from __future__ import annotations

import threading

from backup_framework import exceptions
from backup_framework.drivers.tree import Parts
from backup_framework_sftp.changes import fsync
from backup_framework_sftp.layout import Layout
from backup_framework_sftp.protocol import FSYNC, Session, StatusError


class Durability:
    """Remembers which directories of each container changed. Serves all threads.

    After a failed fsync a system may take lost pages for written ones, and asking again would
    succeed. So a container that failed goes on failing until `close`.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._touched: dict[str, set[Parts]] = {}
        self._failed: dict[str, str] = {}
        self._works: bool | None = None

    def touch(self, container: str, *directories: Parts) -> None:
        with self._lock:
            self._touched.setdefault(container, set()).update(directories)

    def close(self) -> None:
        with self._lock:
            self._failed.clear()

    def refuses_directories(self) -> bool:
        """Whether the server has an fsync that does not work on directories."""
        return self._works is False

    def probe(self, session: Session) -> None:
        """Find out, once, whether directories can be synced, with the store's own."""
        if self._works is None:
            self._fsync(session, ())

    def sync(self, session: Session, container: str) -> None:
        """Make the changes of a container durable; calls wait for one another.

        :raises StoreError: what was written may be lost.
        """
        with self._sync_lock:
            with self._lock:
                failure = self._failed.get(container)
                touched = self._touched.pop(container, set())
            if failure is not None:
                raise exceptions.StoreError(failure)
            try:
                self._sync(session, container, touched)
            except BaseException:
                self.touch(container, *touched)
                raise

    def _sync(self, session: Session, container: str, touched: set[Parts]) -> None:
        """All up to the store's own.

        A directory above may be new, made by another process that has not synced it yet.
        """
        directories = {parts[:depth] for parts in touched for depth in range(len(parts) + 1)}
        try:
            self._fsync(session, *sorted(directories, key=len, reverse=True))
        except StatusError as error:
            failure = (
                f'container {container} in {self._layout.spell()} could not be made durable '
                f'({error}), and what the running backup wrote may be lost: check the disk of '
                'the server and make the backup again')
            with self._lock:
                self._failed[container] = failure
            raise exceptions.StoreError(failure) from error

    def _fsync(self, session: Session, *directories: Parts) -> None:
        """A failure counts once it has worked: there are servers that only sync files."""
        if self._works is False or not session.offers(FSYNC):
            return
        try:
            if fsync(session, *(self._layout.at(*parts) for parts in directories)):
                self._works = True
        except StatusError:
            if self._works:
                raise
            self._works = False
