"""The manifest of format 1.0.0: one JSON object, untrusted when it is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
import dataclasses
import datetime
import hashlib
import itertools
import json
import re
from typing import Any

from backup_framework import __version__, exceptions, store
from backup_framework.formats import base, codec

VERSION = '1.0.0'
OURS = 'backup_framework'
"""The member of the manifest that Cinder does not have: exact sizes, times and properties."""

LARGEST_OBJECT = 1 << 40
_LARGEST_OFFSET = 1 << 62
_NUMBER = re.compile(r'-[0-9]{5,}\Z')
_MD5 = re.compile(r'[0-9a-f]{32}\Z')


@dataclasses.dataclass(frozen=True, slots=True)
class StoredObject:
    """An entry of the manifest. `md5` is of the uncompressed bytes."""

    name: str
    offset: int
    length: int
    compression: str
    md5: str


def common(header: base.Header) -> dict[str, Any]:
    """The members that manifest and hash list share."""
    return {'version': VERSION, 'backup_id': header.backup_id, 'volume_id': header.volume_id,
            'backup_name': header.name, 'backup_description': header.description,
            'created_at': str(header.created_at)}


def dump(header: base.Header, objects: Iterable[StoredObject], block_size: int) -> bytes:
    """The object's bytes, spelled as Cinder spells them. `header` has the sizes by now.

    Our member holds a digest over all that the manifest says.
    """
    manifest = common(header) | {
        'objects': [_entry(stored) for stored in objects],
        'parent_id': header.parent_id, 'volume_meta': header.volume_meta,
        OURS: {'version': __version__, 'size': header.size, 'stored_bytes': header.stored_bytes,
               'block_size': block_size, 'properties': header.properties,
               'snapshot_id': header.snapshot_id, 'owner': header.owner,
               'digests_sha256': header.digests_sha256,
               'data_timestamp': _iso(header.data_timestamp)}}
    if header.extra_metadata:
        manifest['extra_metadata'] = header.extra_metadata
    manifest[OURS]['sha256'] = _digest(manifest)
    return json.dumps(manifest, sort_keys=True, indent=2).encode()


def read(members: dict[str, Any], prefix: str) -> tuple[base.Header, list[StoredObject]]:
    """Header and objects, sorted by offset and without overlaps.

    :raises CorruptManifest: it is none that any release of Cinder or of ours wrote.
    """
    _check_digest(members)
    header = _header(members)
    ordered = sorted(_objects(members, prefix), key=lambda stored: stored.offset)
    _check_extents(ordered, header.size)
    return header, ordered


def _digest(manifest: dict[str, Any]) -> str:
    """SHA-256 of what the manifest says, its own digest left out: of JSON with sorted keys."""
    ours = {key: value for key, value in manifest[OURS].items() if key != 'sha256'}
    return hashlib.sha256(json.dumps(manifest | {OURS: ours}, sort_keys=True).encode()).hexdigest()


def _check_digest(manifest: dict[str, Any]) -> None:
    """Only our manifests have one."""
    ours = manifest.get(OURS)
    if not isinstance(ours, dict) or 'sha256' not in ours:
        return
    try:
        right = ours['sha256'] == _digest(manifest)
    except RecursionError:
        right = False
    if not right:
        raise exceptions.CorruptManifest('it does not say what it said when it was stored')


def _entry(stored: StoredObject) -> dict[str, dict[str, Any]]:
    return {stored.name: {'offset': stored.offset, 'length': stored.length,
                          'compression': stored.compression, 'md5': stored.md5}}


def _header(manifest: dict[str, Any]) -> base.Header:
    ours = manifest.get(OURS)
    ours = ours if isinstance(ours, dict) else {}
    properties = ours.get('properties')
    return base.Header(
        version=VERSION, backup_id=_text(manifest, 'backup_id'),
        volume_id=_text(manifest, 'volume_id'), name=_text(manifest, 'backup_name'),
        description=_text(manifest, 'backup_description'),
        created_at=_time(manifest.get('created_at')), parent_id=_text(manifest, 'parent_id'),
        volume_meta=_text(manifest, 'volume_meta'), extra_metadata=manifest.get('extra_metadata'),
        size=_number(ours, 'size', _LARGEST_OFFSET) if 'size' in ours else None,
        stored_bytes=(_number(ours, 'stored_bytes', _LARGEST_OFFSET)
                      if 'stored_bytes' in ours else None),
        data_timestamp=_time(ours.get('data_timestamp')), snapshot_id=_text(ours, 'snapshot_id'),
        owner=_text(ours, 'owner'), digests_sha256=_text(ours, 'digests_sha256'),
        properties={str(key): str(value) for key, value in properties.items()}
        if isinstance(properties, dict) else {})


def _objects(manifest: dict[str, Any], prefix: str) -> Iterable[StoredObject]:
    entries = manifest.get('objects')
    if not isinstance(entries, list):
        raise exceptions.CorruptManifest('it has no list of objects')
    names: set[str] = set()
    for entry in entries:
        if not isinstance(entry, dict) or len(entry) != 1:
            raise exceptions.CorruptManifest('an entry of its objects is not one name with values')
        (name, values), = entry.items()
        if not isinstance(values, dict) or name in names:
            raise exceptions.CorruptManifest(f'its entry {name[:80]!r} is impossible')
        names.add(name)
        yield _object(name, values, prefix)


def _object(name: str, values: dict[str, Any], prefix: str) -> StoredObject:
    try:
        store.check_name(name)
    except exceptions.InvalidName as error:
        raise exceptions.CorruptManifest(str(error)) from None
    if not name.startswith(prefix) or not _NUMBER.match(name, len(prefix)):
        raise exceptions.CorruptManifest(
            f'its object {name[:80]!r} is not {prefix}- with a number')
    compression, md5 = values.get('compression'), values.get('md5')
    if not isinstance(compression, str) or compression.lower() not in codec.NAMES:
        raise exceptions.CorruptManifest(f'{name} has an unknown compression: {compression!r:.40}')
    if not isinstance(md5, str) or not _MD5.match(md5.lower()):
        raise exceptions.CorruptManifest(f'{name} has no MD5, so nothing could be verified')
    return StoredObject(name, _number(values, 'offset', _LARGEST_OFFSET),
                        _number(values, 'length', LARGEST_OBJECT), compression, md5.lower())


def _check_extents(ordered: Sequence[StoredObject], size: int | None) -> None:
    for before, after in itertools.pairwise(ordered):
        if after.offset < before.offset + before.length:
            raise exceptions.CorruptManifest(f'{before.name} and {after.name} overlap')
    end = ordered[-1].offset + ordered[-1].length if ordered else 0
    if size is not None and end > size:
        raise exceptions.CorruptManifest(
            f'its objects end at {end}, behind the size it tells, {size}')


def _number(values: dict[str, Any], key: str, largest: int) -> int:
    value = values.get(key)
    if type(value) is not int or not 0 <= value <= largest:
        raise exceptions.CorruptManifest(f'{key} is impossible: {str(value)[:40]}')
    return value


def _text(values: dict[str, Any], key: str) -> str | None:
    value = values.get(key)
    if value is not None and not isinstance(value, str):
        raise exceptions.CorruptManifest(f'{key} is not text')
    return value


def _time(value: object) -> datetime.datetime | None:
    """An aware datetime; Cinder writes the word None for none."""
    if not isinstance(value, str):
        return None
    try:
        time = datetime.datetime.fromisoformat(value)
        return (time if time.tzinfo else time.replace(tzinfo=datetime.UTC)
                ).astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        return None


def _iso(time: datetime.datetime | None) -> str | None:
    return time.isoformat() if time else None
