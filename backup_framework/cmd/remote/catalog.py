"""What a service has, asked for as the commands ask the local catalog."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
import contextlib
from typing import Any
import urllib.parse

from backup_framework import exceptions
from backup_framework.cmd.remote import records
from backup_framework.cmd.remote.connection import Connection
from backup_framework.model import Backup, Volume


class Catalog:
    """Backups and volumes of a service that the caller may see."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._depended: set[str] = set()

    def get_backup(self, ref: str, *, exact: bool = False) -> Backup:
        """The backup with this id, else name.

        :param exact: ids and names are never shortened here.
        :raises BackupNotFound: there is none.
        :raises InvalidInput: several have this name.
        """
        found = self._find('backups', 'backup', ref)
        if found is None:
            raise exceptions.BackupNotFound(
                f'service {self._connection.name} has no backup {ref}')
        return self._backup(found)

    def backups(self, *, volume_id: str | None = None, backend: str | None = None,
                status: str | None = None, limit: int | None = None, marker: str | None = None
                ) -> list[Backup]:
        """Newest first."""
        if backend is not None:
            raise exceptions.InvalidInput('a service does not list backups by backend')
        query = {'volume_id': volume_id, 'status': status, 'marker': marker,
                 'sort': 'created_at:desc'}
        return [self._backup(view)
                for view in self._connection.pages('backups', query, limit)]

    def dependents(self, backup_id: str) -> Collection[str]:
        """Not which ones, but whether there are."""
        return self._depended & {backup_id}

    def get_volume(self, ref: str) -> Volume:
        """The volume with this id, else name; raises VolumeNotFound, InvalidInput."""
        found = self._find('volumes', 'volume', ref)
        if found is None:
            raise exceptions.VolumeNotFound(f'service {self._connection.name} has no volume {ref}')
        return records.volume(found)

    def volumes(self, ids: Iterable[str] | None = None) -> list[Volume]:
        """All, or those of these ids that are still there."""
        if ids is None:
            return [records.volume(view) for view in self._connection.pages('volumes', {})]
        found = []
        for volume_id in ids:
            with contextlib.suppress(exceptions.NotFound):
                found.append(records.volume(self._one('volumes', 'volume', volume_id)))
        return found

    def _backup(self, view: Mapping[str, Any]) -> Backup:
        backup = records.backup(view)
        if view.get('has_dependent_backups') is True:
            self._depended.add(backup.id)
        return backup

    def _find(self, collection: str, member: str, ref: str) -> Mapping[str, Any] | None:
        with contextlib.suppress(exceptions.NotFound):
            return self._one(collection, member, ref)
        named = list(self._connection.pages(collection, {'name': ref}, 2))
        if len(named) > 1:
            raise exceptions.InvalidInput(f'several {collection} are called {ref}: give the id')
        return named[0] if named else None

    def _one(self, collection: str, member: str, id: str) -> Mapping[str, Any]:
        path = f'/{collection}/{urllib.parse.quote(id, safe="")}'
        view = self._connection.call('GET', path).get(member)
        if not isinstance(view, dict):
            raise exceptions.NotFound(f'service {self._connection.name} does not tell of {id}')
        return view
