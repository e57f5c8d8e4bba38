"""What other backups of a container have stored, kept on disk so that a backup can refer to it.

The file is a cache of block tables that can be made again, and is not trusted: what it says of a
block carries a check over all of it, and is used only while the backup that stored the object is
committed, and the object is there. A committed backup keeps its objects until it is deleted, and a
delete waits for the backups that were running then. So a cache that is stale, of another store or
damaged costs savings, never a right restore.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
import hashlib
import logging
import os
import sqlite3
import struct

from backup_framework import exceptions, store
from backup_framework.formats import base, document, keyring
from backup_framework.formats.v2 import chunk_map, digest, frames, key_sets, manifest, names
from backup_framework.formats.v2.packing import Frame, Place
from backup_framework.formats.v2.reader import Reader

LOG = logging.getLogger(__name__)

MOST = 4 << 20
"""Blocks in a cache at most, each with some 150 bytes of disk."""

_RECORD = struct.Struct('<BQIII32sIQ16s')
"""Codec, offset, stored and plain length of the frame, the block's place there, the frame's digest,
blocks and length of its object, and a check over all of it and the digest and object beside it."""
_CHECK_SIZE = 16
_SCHEMA = """
CREATE TABLE IF NOT EXISTS backups (prefix TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS blocks (digest BLOB PRIMARY KEY, object TEXT, record BLOB)
    WITHOUT ROWID;
"""


class Shared:
    """The blocks of all committed backups of a container with these blocks and digests.

    :param directory: where the cache is kept; None makes it anew each time.
    :param owner: only the backups of this installation are looked at: others may delete their own
        at any time, for they know nothing of what runs here.
    :param without: objects that are not to be referred to.
    :param described: learns, by name, of each object in which something was found.
    :param ring: what opens the backups that may be referred to, which are sealed; None refers to
        none that is sealed.
    :ivar keys: the data keys of those that are sealed, by prefix.
    """

    def __init__(self, container: store.Container, algorithm: digest.Algorithm, block_size: int,
                 directory: str | None, owner: str | None, without: Collection[str],
                 described: dict[str, chunk_map.Object], ring: keyring.Keyring | None = None
                 ) -> None:
        self._described = described
        self._container = container
        self._algorithm = algorithm
        self._block_size = block_size
        self._owner = owner
        self._without = without
        # Listed once: while a block is looked for its thread has a writer open.
        self._there = frozenset(container.names(''))
        self._committed = {name.removesuffix(base.MANIFEST) for name in self._there
                           if name.endswith(base.MANIFEST)}
        self._ring = ring
        self.keys = {} if ring is None else self._readable(ring)
        self._failed = False
        self._database = self._open(directory)

    def _readable(self, ring: keyring.Keyring) -> dict[str, bytes]:
        """The data keys of all committed backups that can be opened.

        Now, for a backup that turns out at its end to use what it cannot open has failed.
        """
        found = {}
        for prefix, known in key_sets.generations_in(self._there).items():
            try:
                found[prefix] = key_sets.read(self._container, prefix, ring, known).keys[prefix]
            except (exceptions.FormatError, exceptions.StoreError) as error:
                LOG.warning('What the backup with prefix %s has stored is not looked at for '
                            'duplicates: %s', prefix, error)
        return found

    def find(self, found: bytes) -> Place | None:
        """Any thread: SQLite lets one in at a time."""
        if self._database is None or self._failed:
            return None
        try:
            row = self._database.execute(
                'SELECT object, record FROM blocks WHERE digest = ?', (found,)).fetchone()
        except sqlite3.Error as error:
            LOG.warning('The cache of duplicates cannot be read, none are found from now on: %s',
                        error)
            self._failed = True
            return None
        return self._place(found, *row) if row else None

    def _place(self, found: bytes, name: str, record: bytes) -> Place | None:
        if (len(record) != _RECORD.size or record != self._checked(found, name, record)
                or not self._is_there(name)):
            return None
        codec, offset, stored, plain, place, stored_digest, blocks, length, _ = (
            _RECORD.unpack(record))
        self._described[name] = chunk_map.Object(name, blocks, length)
        return Frame(name, codec, offset, stored, plain, stored_digest), place

    def _checked(self, found: bytes, name: str, record: bytes) -> bytes:
        """The record with the check that it has if nothing became of it."""
        fields = record[:-_CHECK_SIZE]
        return fields + self._algorithm.of_all(found, name.encode(), fields)[:_CHECK_SIZE]

    def _is_there(self, name: str) -> bool:
        prefix = names.prefix_of(name)
        return (name in self._there and name not in self._without and prefix in self._committed
                and (self._ring is None or prefix in self.keys))

    def close(self) -> None:
        if self._database is not None:
            self._database.close()

    def _open(self, directory: str | None) -> sqlite3.Connection | None:
        path = self._path(directory) if directory else ''
        try:
            try:
                return self._filled(path)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as error:
                LOG.warning('The cache of duplicates %s is damaged (%s) and made anew', path, error)
                os.unlink(path)
                return self._filled(path)
        except (sqlite3.Error, OSError) as error:
            LOG.warning('Duplicates of other backups of container %s are not looked for: the '
                        'cache %s cannot be used: %s', self._container.name, path, error)
            return None

    def _path(self, directory: str) -> str:
        key = '\0'.join((self._container.name, self._algorithm.name, str(self._block_size),
                         str(self._owner), *(['sealed'] if self._ring else [])))
        return os.path.join(
            directory, f'duplicates-{hashlib.sha256(key.encode()).hexdigest()[:32]}.sqlite')

    def _filled(self, path: str) -> sqlite3.Connection:
        if path:
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        database = sqlite3.connect(path, check_same_thread=False)
        try:
            # What a power cut takes from it is missed no more than a block.
            database.executescript('PRAGMA synchronous = OFF;' + _SCHEMA)
            self._forget(database)
            known = {prefix for prefix, in database.execute('SELECT prefix FROM backups')}
            count, = database.execute('SELECT count(*) FROM blocks').fetchone()
            wanted = self._committed if self._ring is None else self.keys.keys()
            for prefix in sorted(wanted - known):
                if count + database.total_changes < MOST:
                    self._try_to_learn(database, prefix)
        except BaseException:
            database.close()
            raise
        return database

    def _forget(self, database: sqlite3.Connection) -> None:
        """Drop what backups that are gone have stored."""
        known = {prefix for prefix, in database.execute('SELECT prefix FROM backups')}
        with database:
            for prefix in known - self._committed:
                database.execute('DELETE FROM backups WHERE prefix = ?', (prefix,))
                database.execute('DELETE FROM blocks WHERE substr(object, 1, ?) = ?',
                                 (len(prefix) + 1, prefix + '-'))

    def _try_to_learn(self, database: sqlite3.Connection, prefix: str) -> None:
        """A store that fails now is asked again when the next backup opens the cache."""
        try:
            with database:
                self._learn(database, prefix)
        except exceptions.StoreError as error:
            LOG.warning('What the backup with prefix %s has stored is not looked at for '
                        'duplicates this time: %s', prefix, error)

    def _learn(self, database: sqlite3.Connection, prefix: str) -> None:
        """Read in what a backup has stored itself; the rest is learnt from those that did."""
        database.execute('INSERT INTO backups VALUES (?)', (prefix,))
        try:
            reader = self._reader(prefix)
            if reader is not None:
                database.executemany('INSERT OR REPLACE INTO blocks VALUES (?, ?, ?)',
                                     self._records(reader))
        except (exceptions.FormatError, exceptions.ObjectNotFound) as error:
            LOG.warning('What the backup with prefix %s has stored is not looked at for '
                        'duplicates: %s', prefix, error)

    def _reader(self, prefix: str) -> Reader | None:
        """None for a backup of another owner or format, with other blocks or digests, or that is
        not sealed alike."""
        data = self._container.get(names.manifest_name(prefix), base.LARGEST_MANIFEST)
        members = document.parse(data)
        alike = [members.get(name) for name in ('version', 'owner', 'block_size', 'digest')] == [
            manifest.VERSION, self._owner, self._block_size, self._algorithm.name]
        if not alike or (members.get('sealing') is not None) != (prefix in self.keys):
            return None
        return Reader(self._container, prefix, data, members, self._ring)

    def _records(self, reader: Reader) -> Iterable[tuple[bytes, str, bytes]]:
        with reader.open_rows() as rows:
            number = 0
            for row in rows:
                if isinstance(row, chunk_map.Zeros):
                    number += row.chunks
                    continue
                holder = rows.objects[row.object].name
                if names.prefix_of(holder) == reader.prefix:
                    described = {rows.objects[used].name: rows.objects[used]
                                 for used, _ in row.references}
                    old = frames.old_of(reader.table(number, row, rows.objects), holder)
                    for found, place in zip(old.digests, old.places):
                        if place and names.prefix_of(str(place[0].object)) == reader.prefix:
                            yield self._record(found, place, described[str(place[0].object)])
                number += 1

    def _record(self, found: bytes, place: Place, described: chunk_map.Object
                ) -> tuple[bytes, str, bytes]:
        frame, at = place
        record = _RECORD.pack(frame.codec, frame.offset, frame.stored, frame.plain, at,
                              frame.digest, described.blocks, described.length, bytes(_CHECK_SIZE))
        return found, described.name, self._checked(found, described.name, record)
