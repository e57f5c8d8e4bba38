"""Format 2.0.0 as what stands above sees it."""

from __future__ import annotations

from collections.abc import Sequence

from backup_framework.formats import base
from backup_framework.formats.splitting import Splitting
from backup_framework.formats.v2 import manifest, names, owner, parts, sweep
from backup_framework.formats.v2.reader import Reader
from backup_framework.formats.v2.state import State
from backup_framework.formats.v2.writer import Writer
from backup_framework.model import Backup


def _container(backup: Backup) -> str:
    """One container a volume: its backups share what they have stored."""
    volume = backup.volume_id
    return f'{volume[:2]}/{volume[2:4]}/{volume}'


def _open_state(readers: Sequence[Reader], *, spool_directory: str | None, whole_limit: int
                ) -> State:
    """Each backup is complete by itself, and read by ranges: nothing is held as a whole."""
    return State(readers[-1], spool_directory)


FORMAT = base.Format(
    version=manifest.VERSION, needs_parent=False, open_reader=Reader, open_state=_open_state,
    open_writer=Writer, leftovers=sweep.leftovers, container=_container,
    stored_by=names.stored_by, ownership=owner, resumes=True,
    splitting=Splitting(parts.begin, parts.PartWriter, parts.EndWriter))
