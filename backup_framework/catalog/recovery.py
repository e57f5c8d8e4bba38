"""Finding the operations that died, and recording what their death means.

An operation of this installation is dead when its lock is free. Its lock was taken before its row
was inserted and is let go after the row is deleted, so a row that is seen has a held lock, or a
dead owner, or an owner that has just ended well; in the last case the row is gone when it is to be
deleted here, and nothing else is done. Of another installation only the lease is known. What
belongs to a job that has not ended lives: the service has another worker go on with it.
"""

from __future__ import annotations

import dataclasses
import os

import sqlalchemy as sa

from backup_framework.catalog import backups, jobs, locks, operations, records, schema
from backup_framework.model import Backup, Status, utcnow

_backups = schema.backups
_operations = schema.operations

_FATES = {
    Status.CREATING: (Status.ERROR, 'the process that made it ended before it was complete'),
    Status.DELETING: (Status.ERROR_DELETING, 'the process that deleted it ended before it was '
                                             'gone'),
}
_KINDS = {'create': Status.CREATING, 'delete': Status.DELETING}


@dataclasses.dataclass(frozen=True)
class Dead:
    """An operation without a living owner, or (id None) a backup that nobody works on.

    :param waits: it went on with a delete that had waited, and that waits again.
    """

    id: str | None
    kind: str
    backup_id: str | None
    detail: str | None
    waits: bool = False


def find(connection: sa.Connection) -> list[sa.RowMapping]:
    """Every operation, and every unfinished backup without one: all that may be dead.

    A delete that waits for running backups is not: it has no operation until it goes on. What
    belongs to a job that has not ended is not either.
    """
    nobody = ~sa.exists().where(_operations.c.backup_id == _backups.c.id)
    waiting = sa.and_(_backups.c.status == str(Status.DELETING), _backups.c.waits_for.is_not(None))
    states = [str(status) for status in _FATES]
    columns = ('id', 'kind', 'backup_id', 'installation', 'lease_until', 'lock_file', 'detail')
    abandoned = {'kind': _backups.c.status, 'backup_id': _backups.c.id}
    again = sa.exists().where(_backups.c.id == _operations.c.backup_id, waiting)
    chosen = sa.union_all(
        sa.select(*(_operations.c[name] for name in columns), again.label('waits')).where(
            ~jobs.of_operation(_operations)),
        sa.select(*(abandoned.get(name, sa.null().cast(sa.String(255))).label(name)
                    for name in columns), sa.false()).where(
                        _backups.c.status.in_(states), nobody, ~waiting, ~jobs.of_backup(_backups)))
    return list(connection.execute(chosen).mappings())


def dead(rows: list[sa.RowMapping], installation: str | None, directory: str) -> list[Dead]:
    """Those of the rows whose owner does not live."""
    return [_dead(row) for row in rows if is_dead(row, installation, directory)]


def _dead(row: sa.RowMapping) -> Dead:
    kinds = {status: kind for kind, status in _KINDS.items()}
    kind = kinds[Status(row['kind'])] if row['id'] is None else row['kind']
    return Dead(row['id'], kind, row['backup_id'], row['detail'], bool(row['waits']))


def is_dead(row: sa.RowMapping, installation: str | None, directory: str) -> bool:
    if row['id'] is None:
        return True
    if row.get('has_job'):
        return False
    if row['installation'] == installation:
        # Only the last part: a row may come from elsewhere and must not name another path.
        return locks.is_free(os.path.join(directory, os.path.basename(row['lock_file'])))
    return bool(row['lease_until'] < records.time_text(utcnow()))


def bury(connection: sa.Connection, found: list[Dead]) -> list[str]:
    """Delete their rows and mark their backups; what to tell the user, one sentence each."""
    sentences = [_bury(connection, each) for each in found]
    return [sentence for sentence in sentences if sentence]


def _bury(connection: sa.Connection, each: Dead) -> str | None:
    if each.id is not None and not operations.remove(connection, each.id):
        return None
    backup = backups.find(connection, each.backup_id or '')
    if each.kind == 'restore':
        return _damage(backups.describe(backup) if backup else f'backup {each.backup_id}',
                       each.detail or 'a target that was not recorded')
    if each.kind == operations.REKEY:
        return (f'changing the keys of backend {each.detail} was interrupted; the same command '
                f'goes on with it')
    if backup is None or each.waits or backup.status != _KINDS.get(each.kind):
        return None
    if each.id is None and _has_operation(connection, backup.id):
        return None
    status, reason = _fate(each)
    backups.update(connection, backup.id,
                   {'status': status, 'fail_reason': f'interrupted: {reason}'})
    return f'{backups.describe(backup)} was interrupted: {reason}; it is marked {status} now'


def _damage(backup: str, target: str) -> str:
    """What became of the target of a restore; a new file gets its name when it is whole."""
    interrupted = f'a restore of {backup} into {target} was interrupted'
    if not os.path.isabs(target) or os.path.lexists(target):
        return f'{interrupted}; its target is damaged'
    return (f'{interrupted} before that file was made; what was written is a hidden file beside '
            f'it, .{os.path.basename(target)}.*.partial, which the next restore to it takes up '
            'with --resume, and removes without')


def _has_operation(connection: sa.Connection, backup_id: str) -> bool:
    chosen = sa.select(_operations.c.id).where(_operations.c.backup_id == backup_id)
    return connection.execute(chosen).first() is not None


def _fate(each: Dead) -> tuple[Status, str]:
    return _FATES[_KINDS[each.kind]]


def pretend(backup: Backup, found: dict[str | None, Dead]) -> Backup:
    """Show what `bury` could not write because the catalog can only be read."""
    each = found.get(backup.id)
    if each is None or each.waits:
        return backup
    if each.kind == 'restore' and backup.status == Status.RESTORING:
        backup.status = Status.AVAILABLE
    elif backup.status == _KINDS.get(each.kind):
        backup.status, reason = _fate(each)
        backup.fail_reason = f'interrupted: {reason}'
    return backup


def living_locks(connection: sa.Connection) -> set[str]:
    return set(connection.execute(sa.select(_operations.c.lock_file)).scalars())
