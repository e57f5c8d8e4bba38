"""One backup of format 1.0.0 in a store: its manifest and its hash list."""

from __future__ import annotations

import hashlib
from typing import Any

from backup_framework import exceptions, store
from backup_framework.formats import base, codec, digests, hash_list, manifest
from backup_framework.formats.cinder_v1 import names, zeros
from backup_framework.model import Extent


class Reader:
    """See `formats.base.Reader`.

    :ivar objects: sorted by offset, without overlaps.
    :ivar extents: what each of them has of the volume.
    :ivar zeros: whether it is known to be all zeros.
    :raises CorruptManifest: it is none that any release of Cinder or of ours wrote.
    """

    def __init__(self, container: store.Container, prefix: str, document: bytes,
                 members: dict[str, Any]) -> None:
        self.container = container
        self._prefix = prefix
        self.header, self.objects = manifest.read(members, prefix)
        self.extents = [Extent(stored.offset, stored.length) for stored in self.objects]
        zero = zeros.ZeroTest()
        self.zeros = [zero(stored) for stored in self.objects]

    @property
    def object_count(self) -> int:
        return len(self.objects)

    @property
    def end(self) -> int:
        """Where the last of its objects ends in the volume."""
        return self.extents[-1].end if self.extents else 0

    def problems(self, sizes: bool) -> list[base.Problem]:
        """Which objects are not there, or, with `sizes`, have another size than is known."""
        there = set(self.container.names(self._prefix))
        missing = [base.of_object(self.container.name, stored.name, 'is missing')
                   for stored in self.objects if stored.name not in there]
        if not sizes:
            return missing
        plain = [stored for stored in self.objects
                 if stored.name in there and codec.canonical(stored.compression) == codec.NONE]
        found = ((stored, self.container.size(stored.name)) for stored in plain)
        return missing + [
            base.of_object(self.container.name, stored.name,
                           f'has {size} bytes instead of {stored.length}')
            for stored, size in found if size != stored.length]

    def digests(self, spool_directory: str | None = None) -> digests.Spool | None:
        """The hash list in a spool that the caller closes; None where the store has none.

        :raises CorruptManifest: it is damaged.
        """
        name = names.hash_list_name(self._prefix)
        try:
            with self.container.open(name) as reader:
                hashing = _Hashing(reader)
                fields, spool = hash_list.parse(hashing, spool_directory)
        except (exceptions.ObjectNotFound, exceptions.ContainerNotFound):
            return None
        except exceptions.CorruptManifest as error:
            raise exceptions.CorruptManifest(
                f'{name} of container {self.container.name}: {error}',
                container=self.container.name, name=name) from None
        if self._is_own(fields, hashing.sha256.hexdigest()):
            return spool
        spool.close()
        raise exceptions.CorruptManifest(
            f'{name} of container {self.container.name} is not the hash list that was stored with '
            'its manifest', container=self.container.name, name=name)

    def _is_own(self, fields: dict[str, Any], sha256: str) -> bool:
        """What it leaves out of the next incremental would be lost if it were another's."""
        if self.header.digests_sha256 is not None:
            return sha256 == self.header.digests_sha256
        told = ((fields.get('backup_id'), self.header.backup_id),
                (fields.get('volume_id'), self.header.volume_id))
        return all(theirs == ours for theirs, ours in told if theirs and ours)


class _Hashing:
    """A reader that hashes what it reads."""

    def __init__(self, reader: hash_list.Readable) -> None:
        self._reader = reader
        self.sha256 = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        data = self._reader.read(size)
        self.sha256.update(data)
        return data
