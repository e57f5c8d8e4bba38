"""Records as a service tells them, as ours; they come from outside, so each value is checked."""

from __future__ import annotations

from collections.abc import Mapping
import datetime
from typing import Any

from backup_framework.model import GIB, Backup, Volume

_TEXTS = ('container', 'snapshot_id', 'availability_zone', 'fail_reason', 'user_id',
          'encryption_key_id')
_TIMES = ('created_at', 'updated_at', 'data_timestamp')


def backup(view: Mapping[str, Any]) -> Backup:
    """What Cinder's interface does not tell, such as the backend, stays unknown."""
    made = Backup(
        id=_text(view.get('id')) or '', status=_text(view.get('status')) or '',
        volume_id=_text(view.get('volume_id')) or '', size=_number(view.get('size')),
        object_count=_number(view.get('object_count')), metadata=_pairs(view.get('metadata')))
    for name in _TEXTS:
        setattr(made, name, _text(view.get(name)))
    for name in _TIMES:
        setattr(made, name, _time(view.get(name)))
    made.display_name = _text(view.get('name'))
    made.display_description = _text(view.get('description'))
    made.project_id = _text(view.get('os-backup-project-attr:project_id'))
    made.size_bytes = made.size * GIB or None
    # Which one it is nobody says; that there is one is what is shown.
    made.parent_id = '' if view.get('is_incremental') is True else None
    return made


def volume(view: Mapping[str, Any]) -> Volume:
    return Volume(
        id=_text(view.get('id')) or '', name=_text(view.get('name')),
        size_bytes=_number(view.get('size')) * GIB or None,
        status=_text(view.get('status')) or '', created_at=_time(view.get('created_at')),
        metadata=_pairs(view.get('metadata')))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _pairs(value: object) -> dict[str, str]:
    return {str(key): str(each) for key, each in value.items()} if isinstance(value, dict) else {}


def _time(value: object) -> datetime.datetime | None:
    """UTC, which is written without a zone."""
    try:
        return datetime.datetime.fromisoformat(str(value)).replace(tzinfo=datetime.UTC)
    except ValueError:
        return None
