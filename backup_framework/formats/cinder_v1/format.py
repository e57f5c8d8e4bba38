"""Format 1.0.0 as what stands above sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backup_framework import store
from backup_framework.formats import base, manifest
from backup_framework.formats.cinder_v1 import names
from backup_framework.formats.cinder_v1.reader import Reader
from backup_framework.formats.cinder_v1.state import State
from backup_framework.formats.cinder_v1.writer import Writer
from backup_framework.formats.keyring import Keyring
from backup_framework.model import Backup


def _open_reader(container: store.Container, prefix: str, document: bytes,
                 members: dict[str, Any], keyring: Keyring | None = None) -> Reader:
    """It cannot be sealed."""
    return Reader(container, prefix, document, members)


def _leftovers(container: store.Container, prefix: str, *, committed: bool, tick: base.Tick,
               keyring: Keyring | None = None) -> Sequence[Sequence[str]]:
    """No other backup refers to its objects."""
    return [[name for name in container.names(prefix) if names.belongs(prefix, name)]]


def _container(backup: Backup) -> str:
    """As Cinder has it on file systems: one container a backup."""
    return f'{backup.id[:2]}/{backup.id[2:4]}/{backup.id}'


FORMAT = base.Format(
    version=manifest.VERSION, needs_parent=True, open_reader=_open_reader,
    open_state=State, open_writer=Writer, leftovers=_leftovers, container=_container,
    stored_by=names.stored_by)
