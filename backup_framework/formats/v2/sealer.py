"""The keys of a backup while it is taken: its own, and those of others whose objects it uses."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from backup_framework import exceptions, store
from backup_framework.formats import base, keyring
from backup_framework.formats.v2 import key_sets, names, sealing
from backup_framework.formats.v2.parent import Parent


class Sealer:
    """Knows what a backup is sealed with, and keeps it for its recipients.

    :ivar data_key: of the backup; None where it is not sealed.
    :ivar others: data keys of backups that may be used beside the parent, by prefix.
    :ivar notes: sentences for the user.
    :param joins: others take the same backup, and its keys were written before; they are left as
        they are, unless it turns out in the end that the backup needs more.
    :raises ConfigurationError: it should be sealed, and what is needed is not installed.
    :raises FormatError: the backup's keys, which are there already, cannot be read.
    """

    def __init__(self, container: store.Container, prefix: str, choices: base.Choices,
                 parent: Parent | None, *, joins: bool = False) -> None:
        self.keyring = choices.keyring if choices.seals else None
        self.data_key: bytes | None = None
        self.others: Mapping[str, bytes] = {}
        self.notes: list[str] = []
        self._container = container
        self._prefix = prefix
        self._joins = joins
        self._keys: dict[str, bytes] = {}
        self._before: Mapping[str, bytes] = {}
        self._kept: Mapping[str, bytes] = {}
        self._asked: dict[str, bytes] = {}
        self._generations: Sequence[int] = ()
        if self.keyring is not None:
            sealing.require()
            if joins:
                self._before = self._kept = self._written(self.keyring)
            elif choices.resume:
                self._before = self._of_interrupted(self.keyring)
            self.data_key = self._before.get(prefix) or sealing.new_key()
            self._keys = {prefix: self.data_key}
            if parent is not None and parent.reader.keys is not None:
                # What else its keys open is no business of this backup.
                self._keys.update((used, parent.reader.keys[used]) for used in (
                    parent.reader.prefix, *parent.reader.references))

    def _written(self, ring: keyring.Keyring) -> Mapping[str, bytes]:
        """The keys that are there already."""
        self._generations = key_sets.generations_of(self._container, self._prefix)
        return key_sets.read(self._container, self._prefix, ring, self._generations).keys

    def _of_interrupted(self, ring: keyring.Keyring) -> Mapping[str, bytes]:
        """The keys that an interrupted run kept.

        Without them what it stored cannot be opened, and is stored anew under a key of now.
        """
        self._generations = key_sets.generations_of(self._container, self._prefix)
        if not self._generations:
            return {}
        try:
            return key_sets.read(self._container, self._prefix, ring, self._generations).keys
        except exceptions.FormatError as error:
            self.notes.append(f'nothing of what was stored before is kept: {error}')
            return {}

    def begin(self) -> None:
        """Keep the keys, durable before anything is sealed with them.

        Those of an interrupted run are written anew: others may be its recipients by now.
        """
        if not self._joins:
            self._keep({**self._before, **self._keys})

    def end(self, references: Collection[str]) -> list[str]:
        """See to it that the keys that are kept open all that the backup uses.

        :param references: the prefixes of other backups whose objects it uses.
        :returns: the names of what must be there for good.
        """
        if self.keyring is None:
            return []
        self._keep({used: self._key_of(used, self.keyring) for used in (self._prefix, *references)})
        return [names.keys_name(self._prefix, self._generations[0])]

    def cipher(self, name: str, salt: bytes | None) -> sealing.Cipher | None:
        """What opens an object that the backup may use; None where backups are not sealed.

        :param salt: from its header.
        :raises CorruptObject: it is not sealed, and the backup is, or the other way round.
        :raises KeyUnavailable: it is of a backup whose keys do not open.
        """
        if (salt is None) != (self.keyring is None):
            raise exceptions.CorruptObject('it is not sealed' if salt is None else 'it is sealed')
        if salt is None or self.keyring is None:
            return None
        return sealing.cipher_of(self._key_of(names.prefix_of(name), self.keyring), salt, name)

    def _key_of(self, prefix: str, ring: keyring.Keyring) -> bytes:
        for known in (self._keys, self._before, self.others, self._asked):
            if prefix in known:
                return known[prefix]
        found = self._asked[prefix] = key_sets.read(self._container, prefix, ring).keys[prefix]
        return found

    def _keep(self, keys: Mapping[str, bytes]) -> None:
        """Write the next generation where the last one has not all of these."""
        if self.keyring is None or self._kept.keys() >= keys.keys():
            return
        generation = max(self._generations, default=0) + 1
        key_sets.write(self._container, self._prefix, self.keyring, keys, generation)
        if self._generations:
            key_sets.remove(self._container, self._prefix, self._generations)
        self._kept, self._generations = keys, [generation]
