"""The manifest of format 2.0.0: one JSON object with its own digest, untrusted when it is read.

That of a sealed backup is authenticated too, and what describes the volume is sealed in it. What
stays readable is what anybody can see from names and lengths, or needs who has no key.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
import dataclasses
import datetime
import hmac
import json
import re
from typing import Any

from backup_framework import exceptions
from backup_framework.formats import base
from backup_framework.formats import document as documents
from backup_framework.formats.v2 import chunk_map, digest, layout, names, sealing

VERSION = '2.0.0'
SMALLEST_BLOCK, LARGEST_BLOCK = 512, layout.LARGEST_PLAIN

SEALED = ('backup_name', 'backup_description', 'volume_meta', 'extra_metadata', 'properties')
"""Members that are null in a sealed manifest, and sealed beside."""

_MOST_OBJECTS = 1 << 40
_HEXADECIMAL = re.compile(r'[0-9a-f]{64}\Z')


@dataclasses.dataclass(frozen=True)
class Parameters:
    """What a manifest says beside its header.

    :param digest: the name of the algorithm.
    :param compression: of new frames.
    :param references: the prefixes of the other backups whose objects the map names, sorted.
    :param object_count: data objects that the backup itself stored.
    :param is_sealed: what else it is, beside its manifest, needs its keys.
    """

    chunk_size: int
    block_size: int
    digest: str
    compression: str
    map_name: str
    map_length: int
    map_digest: bytes
    references: Sequence[str]
    object_count: int
    is_sealed: bool = False


def dump(header: base.Header, parameters: Parameters, prefix: str = '',
         data_key: bytes | None = None) -> bytes:
    """The object's bytes. `header` has the sizes by now.

    :param prefix: of the backup, which counts where it is sealed.
    :param data_key: of a sealed backup.
    """
    members = {
        'version': VERSION,
        'backup_id': header.backup_id, 'volume_id': header.volume_id,
        'backup_name': header.name, 'backup_description': header.description,
        'created_at': _iso(header.created_at), 'parent_id': header.parent_id,
        'volume_meta': header.volume_meta, 'extra_metadata': header.extra_metadata,
        'size': header.size, 'chunk_size': parameters.chunk_size,
        'block_size': parameters.block_size, 'digest': parameters.digest,
        'compression': parameters.compression,
        'map': {'name': parameters.map_name, 'length': parameters.map_length,
                'digest': parameters.map_digest.hex()},
        'references': list(parameters.references), 'object_count': parameters.object_count,
        'stored_bytes': header.stored_bytes, 'sealing': None, 'owner': header.owner,
        'data_timestamp': _iso(header.data_timestamp), 'snapshot_id': header.snapshot_id,
        'properties': header.properties}
    if data_key is not None:
        members |= _sealed(members, prefix, data_key)
    body = json.dumps(members, indent=2).removesuffix('\n}').encode()
    if data_key is not None:
        body += _mac(body, data_key)
    return body + _tail(digest.algorithm(parameters.digest).of(body))


def check(document: bytes, members: dict[str, Any]) -> bool:
    """Whether the backup is sealed, once the manifest is found undamaged.

    :param members: of the document, as JSON.
    :raises CorruptManifest: it is not what was stored.
    :raises UnsupportedVersion: its digests, or what seals it, are of an unknown algorithm.
    """
    algorithm = digest.algorithm(_required(members, 'digest'))
    length = len(_tail(bytes(digest.SIZE)))
    if document[-length:] != _tail(algorithm.of(document[:-length])):
        raise exceptions.CorruptManifest('it does not say what it said when it was stored')
    told = members.get('sealing')
    if told is None:
        return False
    if not isinstance(told, dict) or told.get('cipher') != sealing.CIPHER:
        raise exceptions.UnsupportedVersion(
            f'what seals the backup is unknown; this release knows {sealing.CIPHER}')
    return True


def opened(document: bytes, members: dict[str, Any], prefix: str, data_key: bytes
           ) -> dict[str, Any]:
    """All members of a sealed manifest that was checked.

    :raises CorruptManifest: nobody who has the key wrote it.
    """
    covered = document[:-len(_tail(bytes(digest.SIZE)))]
    body = covered[:-len(_mac(b'', data_key))]
    if not hmac.compare_digest(covered[len(body):], _mac(body, data_key)):
        raise exceptions.CorruptManifest(
            'it is not authentic: nobody who has the key of this backup wrote it')
    told = members['sealing']
    salt = _text(told, 'salt') or ''
    if not _HEXADECIMAL.match(salt):
        raise exceptions.CorruptManifest('its salt is impossible')
    cipher = sealing.cipher_of(data_key, bytes.fromhex(salt), names.manifest_name(prefix))
    try:
        plain = cipher.open(sealing.MEMBERS, 0,
                            base64.b64decode(_required(told, 'members'), validate=True))
    except (binascii.Error, exceptions.CorruptObject) as error:
        raise exceptions.CorruptManifest(f'its sealed members do not open: {error}') from None
    found = documents.parse(plain)
    return members | {key: found.get(key) for key in SEALED}


def _sealed(members: dict[str, Any], prefix: str, data_key: bytes) -> dict[str, Any]:
    """The members that are others in the manifest of a sealed backup."""
    salt = sealing.new_salt()
    plain = json.dumps({key: members[key] for key in SEALED}).encode()
    box = sealing.cipher_of(data_key, salt, names.manifest_name(prefix)).seal(
        sealing.MEMBERS, 0, plain)
    return dict.fromkeys(SEALED) | {'sealing': {
        'cipher': sealing.CIPHER, 'salt': salt.hex(), 'members': base64.b64encode(box).decode()}}


def read(members: dict[str, Any], prefix: str) -> tuple[base.Header, Parameters]:
    """What a manifest says that was checked, and opened where it is sealed.

    :raises CorruptManifest: it breaks the format.
    """
    return _header(members), parameters(members, prefix)


def _mac(body: bytes, data_key: bytes) -> bytes:
    """The member that says that who wrote the manifest had the key."""
    found = hmac.digest(sealing.manifest_key(data_key), body, 'sha256')
    return b',\n  "manifest_mac": "%s"' % found.hex().encode()


def _tail(found: bytes) -> bytes:
    """How a manifest ends: its bytes are all covered, or given."""
    return b',\n  "manifest_digest": "%s"\n}' % found.hex().encode()


def _header(members: dict[str, Any]) -> base.Header:
    return base.Header(
        version=VERSION, backup_id=_text(members, 'backup_id'),
        volume_id=_text(members, 'volume_id'), name=_text(members, 'backup_name'),
        description=_text(members, 'backup_description'),
        created_at=_time(members, 'created_at'), parent_id=_text(members, 'parent_id'),
        volume_meta=_text(members, 'volume_meta'), extra_metadata=members.get('extra_metadata'),
        size=_number(members, 'size', 0, chunk_map.LARGEST),
        stored_bytes=_number(members, 'stored_bytes', 0, chunk_map.LARGEST),
        data_timestamp=_time(members, 'data_timestamp'),
        snapshot_id=_text(members, 'snapshot_id'), owner=_text(members, 'owner'),
        sealed=members.get('sealing') is not None,
        properties=_properties(members))


def parameters(members: dict[str, Any], prefix: str) -> Parameters:
    """What can be read without a key. See `read`."""
    block_size = _number(members, 'block_size', SMALLEST_BLOCK, LARGEST_BLOCK)
    if block_size & (block_size - 1):
        raise exceptions.CorruptManifest(f'block_size {block_size} is not a power of two')
    chunk_size = _number(members, 'chunk_size', block_size, layout.MOST_BLOCKS * block_size)
    if chunk_size % block_size:
        raise exceptions.CorruptManifest(
            f'chunk_size {chunk_size} is not a multiple of block_size {block_size}')
    compression = _required(members, 'compression')
    if compression not in layout.CODECS:
        raise exceptions.CorruptManifest(f'its compression is unknown: {compression[:40]!r}')
    name, length, map_digest = _map(members, prefix)
    return Parameters(
        chunk_size, block_size, _required(members, 'digest'), compression, name, length,
        map_digest, _references(members, prefix),
        _number(members, 'object_count', 0, _MOST_OBJECTS), members.get('sealing') is not None)


def _map(members: dict[str, Any], prefix: str) -> tuple[str, int, bytes]:
    """Name, length and digest."""
    described = members.get('map')
    if not isinstance(described, dict):
        raise exceptions.CorruptManifest('it does not describe its map')
    name = _required(described, 'name')
    if not names.is_map(prefix, name):
        raise exceptions.CorruptManifest(f'its map {name[:80]!r} is not one of {prefix}')
    told = _required(described, 'digest')
    if not _HEXADECIMAL.match(told):
        raise exceptions.CorruptManifest(f'the digest of its map is impossible: {told[:80]!r}')
    length = _number(described, 'length', chunk_map.SMALLEST, chunk_map.LARGEST)
    return name, length, bytes.fromhex(told)


def _references(members: dict[str, Any], prefix: str) -> list[str]:
    found = members.get('references')
    if not isinstance(found, list):
        raise exceptions.CorruptManifest('it has no list of references')
    try:
        references = [names.check_prefix(reference) for reference in found]
    except exceptions.InvalidName as error:
        raise exceptions.CorruptManifest(f'its references are impossible: {error}') from None
    if references != sorted(set(references)) or prefix in references:
        raise exceptions.CorruptManifest(
            'its references are not the sorted prefixes of other backups')
    return references


def _properties(members: dict[str, Any]) -> dict[str, str]:
    found = members.get('properties')
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise exceptions.CorruptManifest('its properties are not text')
    return found


def _number(members: dict[str, Any], key: str, smallest: int, largest: int) -> int:
    value = members.get(key)
    if type(value) is not int or not smallest <= value <= largest:
        raise exceptions.CorruptManifest(f'{key} is impossible: {str(value)[:40]}')
    return value


def _text(members: dict[str, Any], key: str) -> str | None:
    value = members.get(key)
    if value is not None and not isinstance(value, str):
        raise exceptions.CorruptManifest(f'{key} is not text')
    return value


def _required(members: dict[str, Any], key: str) -> str:
    value = _text(members, key)
    if value is None:
        raise exceptions.CorruptManifest(f'{key} is missing')
    return value


def _time(members: dict[str, Any], key: str) -> datetime.datetime | None:
    value = _text(members, key)
    if value is None:
        return None
    try:
        time = datetime.datetime.fromisoformat(value)
        if time.tzinfo is not None:
            return time.astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        pass
    raise exceptions.CorruptManifest(f'{key} is not a time: {value[:40]!r}')


def _iso(time: datetime.datetime | None) -> str | None:
    return time.astimezone(datetime.UTC).isoformat() if time else None
