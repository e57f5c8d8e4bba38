"""Verifying backups: which ones, what was found, whom it hurts, and what is kept of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
import contextlib
import dataclasses
import datetime
from typing import Any

from backup_framework import exceptions, model
from backup_framework.catalog import bad_objects
from backup_framework.driver.chunked import ChunkedBackupDriver
from backup_framework.engine.monitor import Operation, Sample
from backup_framework.engine.verify import Report
from backup_framework.formats import base
from backup_framework.manager.context import Context, refuse_unreadable
from backup_framework.model import Backup, Extent, Status

_SHOWN = 3
_NEVER = datetime.datetime.min.replace(tzinfo=datetime.UTC)


FOUND = 'problems were found'
"""How a job fails that found damage; others could not look."""


@dataclasses.dataclass(frozen=True)
class How:
    """What `backup verify` is to do with each backup.

    :param quick: manifests and presence only.
    :param sample: only a part; None is all.
    :param mark_bad: nothing that is stored later refers to the objects that are found damaged.
    """

    quick: bool = False
    sample: Sample | None = None
    mark_bad: bool = False

    @property
    def name(self) -> str:
        if self.quick:
            return model.QUICK
        return model.SAMPLED if self.sample else model.FULL


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which backups to verify: those that are named, or all that fit.

    :param older_than: seconds since their last full verification; those without one fit too.
    :param limit: at most so many, those first whose last full verification is the oldest.
    """

    backups: Sequence[str] = ()
    volume_id: str | None = None
    backend: str | None = None
    container: str | None = None
    older_than: float | None = None
    limit: int | None = None


@dataclasses.dataclass(frozen=True)
class Hurt:
    """Another backup that needs a bad object.

    :param extents: of its volume, as exact as it can be told without reading objects; none where it
        could not be found out whether it needs it at all.
    """

    backup_id: str
    container: str
    object: str
    extents: Sequence[Extent]


@dataclasses.dataclass
class Verified:
    """How the verification of a backup ended.

    :param how: full, quick or sampled.
    :param unmarked: later backups may use an object that was found damaged.
    """

    backup: Backup
    how: str
    at: datetime.datetime
    report: Report
    hurt: list[Hurt] = dataclasses.field(default_factory=list)
    unmarked: bool = False


def select(context: Context, selection: Selection) -> list[Backup]:
    """The backups, in the order in which to verify them; see `Selection`.

    :raises NotFound: what was named is not there.
    """
    if selection.backups:
        named = [context.catalog.get_backup(ref) for ref in selection.backups]
        return list({backup.id: backup for backup in named}.values())
    if selection.backend is not None:
        context.configuration.backend(selection.backend)
    container = selection.container
    if container is not None and not context.catalog.backups(container=container, limit=1):
        raise exceptions.NotFound(f'the catalog knows no backup in a container {container!r}')
    found = [backup for backup in _readable(context, selection.backend, selection.volume_id)
             if selection.container in (None, backup.container)]
    if selection.older_than is not None:
        latest = model.utcnow() - datetime.timedelta(seconds=selection.older_than)
        found = [backup for backup in found if (backup.fully_verified_at or _NEVER) < latest]
    found.sort(key=lambda backup: backup.fully_verified_at or _NEVER)
    return found[:selection.limit]


def _readable(context: Context, backend: str | None, volume_id: str | None = None
              ) -> list[Backup]:
    return [backup for backup in context.catalog.backups(backend=backend, volume_id=volume_id)
            if backup.status in (Status.AVAILABLE, Status.RESTORING)]


def run(context: Context, backups: Iterable[Backup], how: How
        ) -> Iterator[tuple[Backup, Verified | Exception]]:
    """Verify one after the other; one failing stops no other.

    :raises CatalogReadOnly: objects are to be marked, and the catalog cannot be written.
    """
    if how.mark_bad:
        context.catalog.check_writable('no object can be marked as bad')
    search = _Search(context)
    for backup in backups:
        try:
            yield backup, verify(context, backup, how, search)
        except exceptions.OperationCancelled:
            raise
        except Exception as error:
            yield backup, error


def verify(context: Context, backup: Backup, how: How, search: _Search | None = None,
           job_id: str | None = None) -> Verified:
    """Verify one backup, and keep what was found."""
    refuse_unreadable(backup)
    context.catalog.chain(backup)
    driver = context.drivers.chunked(str(backup.backend), 'verify backups')
    with context.running('verify', backup, job_id=job_id, quick=how.quick, sample=how.sample
                         ) as (row, operation):
        report = driver.verify(backup, operation=operation)
        verified = Verified(backup, how.name, model.utcnow(), report)
        search = search or _Search(context)
        verified.hurt = search.of(driver, backup, report, operation)
        if row.recorded or how.mark_bad:
            _record(context, verified, how, search.looked_at)
        verified.unmarked = _is_unmarked(context, backup, report)
    return verified


def _is_unmarked(context: Context, backup: Backup, report: Report) -> bool:
    bad = _objects(report)
    marked = {(container, name) for container in {container for container, _ in bad}
              for name in context.catalog.bad_objects(str(backup.backend), container)}
    return not bad <= marked


def _record(context: Context, verified: Verified, how: How, looked_at: Iterable[str]) -> None:
    """What was found, in the catalog; what the user asked for beside that must succeed."""
    backup, report = verified.backup, verified.report
    fields: dict[str, Any] = {}
    if how.name == model.FULL and report.ok and backup.manifest_digest is None:
        # Older releases recorded none.
        fields['manifest_digest'] = report.manifest_digest
    try:
        context.catalog.record_verification(backup.id, how.name, report.problems, **fields)
    except (exceptions.CatalogError, exceptions.NoSpace) as error:
        context.warn(f'what verifying backup {backup.id} found was not recorded: {error}')
    if how.mark_bad and report.bad:
        _mark(context, verified, looked_at)


def _mark(context: Context, verified: Verified, looked_at: Iterable[str]) -> None:
    damage: dict[str, list[str]] = {backup_id: [] for backup_id in looked_at}
    for hurt in verified.hurt:
        damage[hurt.backup_id].append(spelled(hurt))
    context.catalog.mark_bad(str(verified.backup.backend), _objects(verified.report), damage)


def _objects(report: Report) -> set[tuple[str, str]]:
    """The bad objects that backups share. A manifest has one backup, which is none without it."""
    return {(container, name) for container, name in report.bad
            if not name.endswith(base.MANIFEST)}


def spelled(hurt: Hurt) -> str:
    """What its bad object means for a backup."""
    if not hurt.extents:
        return bad_objects.suspicion(hurt.container, hurt.object)
    shown = ', '.join(f'{extent.offset} to {extent.end}' for extent in hurt.extents[:_SHOWN])
    more = len(hurt.extents) - _SHOWN
    called = bad_objects.called(hurt.container, hurt.object)
    return (f'{called} is bad, and is needed for bytes {shown}'
            + (f' and {more} more extents' if more > 0 else '') + ' of the volume')


class _Search:
    """Finds the backups that need bad objects; each object is looked for once.

    :ivar looked_at: the ids of all that were there to be looked at.
    """

    def __init__(self, context: Context) -> None:
        self.looked_at: set[str] = set()
        self._context = context
        self._known: dict[tuple[str, str], list[Hurt]] = {}

    def of(self, driver: ChunkedBackupDriver, backup: Backup, report: Report,
           operation: Operation) -> list[Hurt]:
        """Those beside this backup."""
        bad = _objects(report)
        new = bad - self._known.keys()
        if new:
            self._known |= {each: [] for each in new}
            for other in self._candidates(backup, {container for container, _ in new}):
                try:
                    self._look_at(driver, other, new, operation)
                except exceptions.OperationCancelled:
                    raise
                except exceptions.BackupFrameworkError as error:
                    if other.id == backup.id:
                        continue  # that it cannot be opened is told already
                    report.notes.append(f'whether backup {other.id} needs what is bad could not be '
                                        f'found out: {error}')
                    self._suspect(other, new)
        return [hurt for each in sorted(bad) for hurt in self._known[each]
                if hurt.backup_id != backup.id]

    def _suspect(self, other: Backup, bad: Collection[tuple[str, str]]) -> None:
        containers = {member.container for member in other.chain()}
        for container, name in bad:
            if container in containers:
                self._known[container, name].append(Hurt(other.id, container, name, ()))

    def _candidates(self, backup: Backup, containers: Collection[str]) -> Iterator[Backup]:
        """What may use objects of these containers, by itself or by its parents."""
        for other in _readable(self._context, str(backup.backend)):
            with contextlib.suppress(exceptions.InvalidBackup):  # a parent is not known here
                chain = self._context.catalog.chain(other)
                self.looked_at.add(other.id)
                if any(member.container in containers for member in chain):
                    yield other

    def _look_at(self, driver: ChunkedBackupDriver, other: Backup,
                 bad: Collection[tuple[str, str]], operation: Operation) -> None:
        containers = {name: container for container, name in bad}
        with contextlib.closing(driver.open_state(other, operation)) as state:
            for name, extents in state.extents_of(containers).items():
                self._known[containers[name], name].append(
                    Hurt(other.id, containers[name], name, extents))
