"""Volume metadata as Cinder keeps it in a backup: the JSON of its BackupMetadataAPI.

Versions 1 and 2 are understood. Source: `cinder.backup.driver.BackupMetadataAPI`, whose rules for
putting metadata back are kept: names only into a volume without a name of its own, user metadata
and image metadata replaced as a whole.
"""

from __future__ import annotations

import json
from typing import Any, Protocol

from backup_framework import exceptions, model
from backup_framework.formats import document

BASE = 'volume-base-metadata'
USER = 'volume-metadata'
IMAGE = 'volume-glance-metadata'

_RESTORED_NAME = 'restore_backup_'


class VolumeMetadata(Protocol):
    """What a driver knows of volumes; the manager hands one in."""

    def get(self, volume_id: str) -> str | None:
        """The volume's metadata as JSON text, or None where the volume is not known."""

    def put(self, volume_id: str, json_metadata: str) -> None:
        """Give the volume the metadata of a backup."""


class NoMetadata:
    """Keeps none: for a driver that nobody gave volumes to."""

    def get(self, volume_id: str) -> str | None:
        return None

    def put(self, volume_id: str, json_metadata: str) -> None:
        pass


def dump(volume: model.Volume, version: int = 2) -> str:
    """A volume's metadata as JSON text of version 1 or 2."""
    base = volume.base | {'id': volume.id, 'display_name': volume.name, 'path': volume.path,
                          'size': model.size_gib(volume.size_bytes or 0)}
    container: dict[str, Any] = {'version': version, BASE: base, USER: volume.metadata}
    if volume.image_metadata:
        container[IMAGE] = volume.image_metadata
    return json.dumps(container, sort_keys=True)


def apply(json_metadata: str, volume: model.Volume) -> dict[str, Any]:
    """Fields to change in `volume` to give it the metadata of a backup.

    :raises InvalidBackup: the text is not such metadata, or of an unknown version.
    """
    container = _parse(json_metadata)
    changes: dict[str, Any] = {}
    base = container.get(BASE)
    if isinstance(base, dict):
        changes |= _base_changes(base, volume, container['version'])
    for group, field in ((USER, 'metadata'), (IMAGE, 'image_metadata')):
        values = container.get(group)
        if isinstance(values, dict):
            changes[field] = {str(key): str(value) for key, value in values.items()}
    return changes


def _base_changes(base: dict[str, Any], volume: model.Volume, version: int) -> dict[str, Any]:
    """Version 1 brings name and description back, version 2 the encryption key as well.

    With the key comes the volume's type: Cinder cannot restore a key without one.
    """
    kept = dict(volume.base)
    changes: dict[str, Any] = {}
    name = base.get('display_name')
    # What a source has is called what the source calls it.
    if isinstance(name, str) and name and volume.source is None and (
            not volume.name or volume.name.startswith(_RESTORED_NAME)):
        changes['name'] = name
        kept['display_description'] = base.get('display_description')
    if version == 2 and base.get('encryption_key_id') is not None:
        kept['encryption_key_id'] = base['encryption_key_id']
        kept['volume_type_id'] = base.get('volume_type_id')
    return changes | ({'base': kept} if kept != volume.base else {})


def _parse(json_metadata: str) -> dict[str, Any]:
    try:
        container = document.loads(json_metadata)
    except (ValueError, RecursionError, TypeError):
        raise exceptions.InvalidBackup('the volume metadata of the backup are not JSON') from None
    if not isinstance(container, dict) or container.get('version') not in (1, 2):
        raise exceptions.InvalidBackup(
            'the volume metadata of the backup are of a version that is not known here')
    return container
