"""The keys of sealed backups as they are kept beside them: `<prefix>_keys-G`, untrusted when read.

A backup's keys are the data keys of all backups whose objects it uses, its own among them. They are
sealed with a key that is made for each generation and wrapped for each recipient. To change who can
open a backup is to write its next generation; nothing else of it changes.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Iterable, Mapping, Sequence
import dataclasses
import hashlib
import json
from typing import Any, NamedTuple

from backup_framework import exceptions, store
from backup_framework.formats import base, document, keyring
from backup_framework.formats.v2 import names, sealing

VERSION = '2.0.0'
LARGEST = 16 << 20
LARGEST_WRAPPED = 4 << 10
"""Bytes of a wrapped key as JSON."""
MOST_TRIED = 16
"""Generations that are looked at, from the latest one on: what was interrupted leaves one more."""

_LOOKS = 3
_LONGEST_NAME = 255
_CONTEXT = b'backup_framework 2 keys\0'
_KEYS = b',\n  "keys": "'

_Gone = (exceptions.ObjectNotFound, exceptions.ContainerNotFound)


@dataclasses.dataclass(frozen=True)
class KeySet:
    """One generation of a backup's keys, opened.

    :param entries: as `Keyring.wrap` made them.
    :param keys: the data key of each backup whose objects it may use, by its prefix.
    """

    prefix: str
    generation: int
    entries: Sequence[Mapping[str, Any]]
    keys: Mapping[str, bytes] = dataclasses.field(repr=False)


class Recipient(NamedTuple):
    """Whom keys are sealed for, as their object says."""

    name: str
    type: str


def generations(container: store.Container) -> dict[str, list[int]]:
    """The generations of the keys of each sealed backup that is committed, the latest first."""
    return generations_in(container.names(''))


def generations_in(there: Collection[str]) -> dict[str, list[int]]:
    """See `generations`.

    :param there: all names of a container.
    """
    committed = {name.removesuffix(base.MANIFEST) for name in there
                 if name.endswith(base.MANIFEST)}
    found: dict[str, list[int]] = {}
    for prefix, generation in filter(None, map(names.keys_of, there)):
        if prefix in committed:
            found.setdefault(prefix, []).append(generation)
    return {prefix: sorted(found[prefix], reverse=True) for prefix in sorted(found)}


def generations_of(container: store.Container, prefix: str) -> list[int]:
    """The generations of a backup's keys, committed or not, the latest first."""
    found = [names.keys_of(name) for name in container.names(prefix + names.KEYS)]
    return sorted((pair[1] for pair in found if pair and pair[0] == prefix), reverse=True)


def read(container: store.Container, prefix: str, keys: keyring.Keyring | None,
         known: Sequence[int] | None = None) -> KeySet:
    """The latest generation that opens.

    :param keys: None has none.
    :param known: the generations that are there, the latest first, where they were listed before.
    :raises MissingObject: there is none.
    :raises KeyUnavailable: they are sealed for others; the message names them.
    :raises CorruptObject: they are damaged.
    """
    for _ in range(_LOOKS):
        errors: list[exceptions.FormatError] = []
        for generation in _known(container, prefix, known)[:MOST_TRIED]:
            try:
                return _open(container, prefix, generation, keys)
            except exceptions.FormatError as error:
                errors.append(error)
        known = None
        if not any(isinstance(error, exceptions.MissingObject) for error in errors):
            break
        # One that was listed and is gone was replaced by a later one: look again.
    if not errors:
        raise _missing(container, prefix)
    raise errors[0]


def write(container: store.Container, prefix: str, recipients: keyring.Keyring,
          keys: Mapping[str, bytes], generation: int) -> KeySet:
    """Store keys, durable on return.

    :param generation: one that was not used before.
    :raises KeyUnavailable: a recipient's key is not at hand.
    """
    if generation > names.LAST_GENERATION:
        raise exceptions.Refused(
            f'the keys of the backup with prefix {prefix} were written {names.LAST_GENERATION} '
            'times, and no more names are left: copy the backup instead')
    key = sealing.new_key()
    entries = recipients.wrap(key, _context(prefix, generation))
    try:
        _check_entries(entries)
    except (exceptions.CorruptObject, TypeError) as error:
        raise exceptions.ConfigurationError(
            f'a key manager wraps keys as none may: {error}') from None
    data = _dump(prefix, generation, entries, keys, key)
    if len(data) > LARGEST:
        raise exceptions.InvalidBackup(
            f'the backup would use objects of {len(keys)} others: their keys have '
            f'{len(data)} bytes, and {LARGEST} is the most. Make a full backup')
    container.put(names.keys_name(prefix, generation), lambda: [data])
    container.sync()
    return KeySet(prefix, generation, entries, dict(keys))


def rewrap(container: store.Container, prefix: str, keys: keyring.Keyring,
           known: Sequence[int] | None = None) -> None:
    """Seal a backup's keys for exactly `keys.recipients` from now on.

    Killed at any step it leaves a generation that those of before can open, or one that those of
    now can, or both.

    :param known: as for `read`.
    """
    older = _known(container, prefix, known)
    found = read(container, prefix, keys, older)
    written = write(container, prefix, keys, found.keys, max(older) + 1)
    again = _open(container, prefix, written.generation, keys)
    if again.keys != found.keys:
        raise exceptions.CorruptObject(
            f'{_called(container, prefix, written.generation)} was just written, and says '
            'something else: who else writes there? Nothing was removed')
    remove(container, prefix, older)


def remove(container: store.Container, prefix: str, older: Iterable[int]) -> None:
    """Delete generations, for good on return."""
    container.delete_many([names.keys_name(prefix, generation) for generation in older])
    container.sync()


def recipients(container: store.Container, prefix: str) -> list[Recipient]:
    """For whom a backup is sealed, as the latest generation says, which is not opened.

    :raises MissingObject: it has no keys.
    :raises CorruptObject: they are damaged.
    """
    for generation in generations_of(container, prefix):
        members, _, _ = _parse(container, prefix, generation)
        return [Recipient(entry['name'], entry['type']) for entry in members['entries']]
    raise _missing(container, prefix)


def _known(container: store.Container, prefix: str, known: Sequence[int] | None) -> Sequence[int]:
    return generations_of(container, prefix) if known is None else known


def _open(container: store.Container, prefix: str, generation: int,
          keys: keyring.Keyring | None) -> KeySet:
    members, body, sealed = _parse(container, prefix, generation)
    entries = members['entries']
    try:
        key = (keys or keyring.Keyring(())).unwrap(entries, _context(prefix, generation))
        if len(key) != sealing.KEY_SIZE:
            raise exceptions.KeyUnavailable('a key manager gave a key of another size')
    except exceptions.KeyUnavailable as error:
        raise exceptions.KeyUnavailable(
            f'backup with prefix {prefix} of container {container.name}: {error}') from error
    try:
        found = _keys(sealing.Cipher(key).open(sealing.KEYS, 0, sealed, body))
        if prefix not in found:
            raise exceptions.CorruptObject('the key of the backup itself is not among them')
    except exceptions.FormatError as error:
        raise _damaged(container, prefix, generation, error) from None
    return KeySet(prefix, generation, entries, found)


def _dump(prefix: str, generation: int, entries: Sequence[Mapping[str, Any]],
          keys: Mapping[str, bytes], key: bytes) -> bytes:
    """The object's bytes. All in front of `keys` is bound to it, as it stands there."""
    body = json.dumps({'version': VERSION, 'prefix': prefix, 'generation': generation,
                       'entries': list(entries)}, indent=2).removesuffix('\n}').encode()
    plain = json.dumps({other: base64.b64encode(keys[other]).decode()
                        for other in sorted(keys)}).encode()
    sealed = sealing.Cipher(key).seal(sealing.KEYS, 0, plain, body)
    covered = body + _KEYS + base64.b64encode(sealed) + b'"'
    return covered + _tail(covered)


def _tail(covered: bytes) -> bytes:
    """Tells damage from a key that does not fit, also to those who have none."""
    return b',\n  "keys_digest": "%s"\n}' % hashlib.sha256(covered).hexdigest().encode()


def _parse(container: store.Container, prefix: str, generation: int
           ) -> tuple[dict[str, Any], bytes, bytes]:
    """Members of the object, what is bound to its keys, and these; the shape of all checked."""
    name = names.keys_name(prefix, generation)
    try:
        return _checked(container.get(name, LARGEST), prefix, generation)
    except _Gone:
        raise exceptions.MissingObject(f'{_called(container, prefix, generation)} is gone',
                                       container=container.name, name=name) from None
    except exceptions.UnsupportedVersion as error:
        raise exceptions.UnsupportedVersion(
            f'{_called(container, prefix, generation)}: {error}') from None
    except exceptions.FormatError as error:
        raise _damaged(container, prefix, generation, error) from None


def _checked(data: bytes, prefix: str, generation: int) -> tuple[dict[str, Any], bytes, bytes]:
    covered = data[:-len(_tail(b''))]
    if data[len(covered):] != _tail(covered):
        raise exceptions.CorruptObject('its digest is not the one of its bytes')
    members = document.parse(data)
    if members.get('version') != VERSION:
        raise exceptions.UnsupportedVersion(
            f'it has version {str(members.get("version"))[:40]!r}, which this release does not '
            'know')
    if members.get('prefix') != prefix or members.get('generation') != generation:
        raise exceptions.CorruptObject('it is of another backup, or another generation')
    _check_entries(members.get('entries'))
    body, found, sealed = covered.removesuffix(b'"').rpartition(_KEYS)
    if not found:
        raise exceptions.CorruptObject('it has no keys')
    return members, body, _decoded(sealed)


def _check_entries(entries: Any) -> None:
    if not isinstance(entries, list) or not 0 < len(entries) <= keyring.MOST_RECIPIENTS:
        raise exceptions.CorruptObject('its list of recipients is impossible')
    for entry in entries:
        if (not isinstance(entry, dict)
                or not all(_is_name(entry.get(key)) for key in ('name', 'type'))
                or not isinstance(entry.get('wrapped'), dict)
                or len(json.dumps(entry['wrapped'])) > LARGEST_WRAPPED):
            raise exceptions.CorruptObject('one of its recipients is impossible')


def _is_name(value: object) -> bool:
    """Whether this may be said in a message."""
    return isinstance(value, str) and value.isprintable() and 0 < len(value) <= _LONGEST_NAME


def _keys(plain: bytes) -> dict[str, bytes]:
    keys = {}
    for prefix, told in document.parse(plain).items():
        key = _decoded(told.encode()) if isinstance(told, str) else b''
        if len(key) != sealing.KEY_SIZE:
            raise exceptions.CorruptObject('one of its keys is none')
        keys[prefix] = key
    return keys


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise exceptions.CorruptObject('its base64 is none') from None


def _context(prefix: str, generation: int) -> bytes:
    """What a wrapped key is for."""
    return b'%s%s\0%d' % (_CONTEXT, prefix.encode(), generation)


def _called(container: store.Container, prefix: str, generation: int) -> str:
    return f'object {names.keys_name(prefix, generation)} of container {container.name} (the keys)'


def _damaged(container: store.Container, prefix: str, generation: int,
             error: exceptions.FormatError) -> exceptions.CorruptObject:
    return exceptions.CorruptObject(
        f'{_called(container, prefix, generation)} is damaged: {error}',
        container=container.name, name=names.keys_name(prefix, generation))


def _missing(container: store.Container, prefix: str) -> exceptions.MissingObject:
    return exceptions.MissingObject(
        f'backup with prefix {prefix} of container {container.name} is sealed, and its keys '
        f'({prefix}{names.KEYS}…) are missing: without them nothing opens it')
