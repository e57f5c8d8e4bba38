"""Format 1.0.0 as what stands above sees it."""

from __future__ import annotations

from collections.abc import Sequence

from backup_framework import store
from backup_framework.formats import base, manifest
from backup_framework.formats.cinder_v1 import names
from backup_framework.formats.cinder_v1.reader import Reader
from backup_framework.formats.cinder_v1.state import State
from backup_framework.formats.cinder_v1.writer import Writer
from backup_framework.model import Backup


def _leftovers(container: store.Container, prefix: str, *, committed: bool, tick: base.Tick
               ) -> Sequence[Sequence[str]]:
    """No other backup refers to its objects."""
    return [[name for name in container.names(prefix) if names.belongs(prefix, name)]]


def _container(backup: Backup) -> str:
    """As Cinder has it on file systems: one container a backup."""
    return f'{backup.id[:2]}/{backup.id[2:4]}/{backup.id}'


FORMAT = base.Format(
    version=manifest.VERSION, needs_parent=True, open_reader=Reader, open_state=State,
    open_writer=Writer, leftovers=_leftovers, container=_container)
