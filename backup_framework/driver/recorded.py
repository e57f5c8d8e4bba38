"""Whether a manifest is the one that the record of its backup means."""

from __future__ import annotations

from backup_framework import exceptions, model
from backup_framework.formats import base, versions


def check(backup: model.Backup, header: base.Header) -> None:
    """:raises CorruptManifest: it is of another backup, or another one than was recorded."""
    told: list[tuple[str, str | None, str | None]] = [('backup', header.backup_id, backup.id)]
    if versions.format_of(header.version).needs_parent:
        told.append(('parent', header.parent_id, backup.parent_id))
    for what, theirs, ours in told:
        if theirs is not None and theirs != ours:
            raise exceptions.CorruptManifest(
                f'the manifest of backup {backup.id} says that its {what} is {theirs[:80]!r}, '
                f'its record says {ours!r}')
    if backup.manifest_digest not in (None, header.manifest_digest):
        raise exceptions.CorruptManifest(
            f'the manifest of backup {backup.id} is not the one that was recorded: it was '
            'replaced, or the store was put back to an earlier state. Put the right one back. If '
            f'the one in the store is to count, "backup forget {backup.id}" and "catalog rebuild" '
            'take it as it is.')
