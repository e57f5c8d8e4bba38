"""Comparing the catalog with the stores, and removing leftovers."""

from __future__ import annotations

from collections.abc import Iterator
import datetime
import re

from backup_framework import exceptions, model, store
from backup_framework.driver.chunked import ChunkedBackupDriver
from backup_framework.driver.inspecting import Inspection
from backup_framework.engine.monitor import Operation
from backup_framework.manager import cleaning, deleting, drift
from backup_framework.manager.context import Context
from backup_framework.manager.drift import Finding, Repair
from backup_framework.manager.freeing import Freeing
from backup_framework.model import Status

GRACE = 86400.0
"""Seconds since a backup began of which nobody knows, for which it may be running still."""

_BEGUN = re.compile(r'_([0-9]{14})_backup_[^_]+\Z')
_WOULD = {
    Repair.SWEEP: 'would be removed', Repair.DISCARD: 'would be removed',
    Repair.MARK: 'would be marked as failed', Repair.TAKE_UP: 'would be gone on with',
    Repair.RELEASE: 'would be removed'}


def check(context: Context, *, repair: bool = False, dry_run: bool = False,
          older_than: float = GRACE) -> Iterator[Finding]:
    """What is wrong; see Manager.check_catalog."""
    for sentence in context.catalog.check():
        yield Finding('catalog', sentence)
    acting = repair and not dry_run
    yield from _deletes(context, acting, dry_run)
    for backend in context.configuration.enabled_backends:
        try:
            driver = context.drivers.get(backend)
            if isinstance(driver, ChunkedBackupDriver):
                checked = _Backend(context, driver, backend, older_than)
                yield from checked.findings(acting, dry_run)
        except (exceptions.BackupDriverException, exceptions.ConfigurationError) as error:
            yield Finding('backend', f'backend {backend} could not be compared with the catalog: '
                          f'{error}', backend)
    yield from _without_backend(context)


def _deletes(context: Context, acting: bool, dry_run: bool) -> Iterator[Finding]:
    """Deletes that could go on."""
    waiting = [backup_id for backup_id, running in context.catalog.postponed().items()
               if not running]
    if acting and waiting:
        deleting.take_up(context)
    for backup_id in waiting:
        still = acting and context.catalog.has_backup(backup_id)
        yield Finding(
            'delete', f'the delete of backup {backup_id} waits for backups that have ended',
            repair=Repair.TAKE_UP, is_mended=acting and not still,
            outcome=('left: it could not be finished' if still else 'done' if acting
                     else _WOULD[Repair.TAKE_UP] if dry_run else ''))


def _without_backend(context: Context) -> Iterator[Finding]:
    enabled = context.configuration.enabled_backends
    for backup in context.catalog.backups():
        if backup.backend not in enabled:
            try:
                context.configuration.backend(str(backup.backend))
            except exceptions.BackupFrameworkError as error:
                yield Finding('backend', f'backup {backup.id}: {error}', backup.backend,
                              backup.container, backup)


class _Backend:
    """One backend that is checked."""

    def __init__(self, context: Context, driver: ChunkedBackupDriver, name: str,
                 older_than: float) -> None:
        self._context = context
        self._driver = driver
        self._name = name
        self._older_than = older_than

    def findings(self, acting: bool, dry_run: bool) -> Iterator[Finding]:
        calls = store.Calls(self._driver, retry_deadline=self._driver.settings.retry_deadline,
                            sleep=self._context.monitor.sleep)
        calls.retry(lambda: self._driver.before_operation('verify'))
        for container in drift.containers(self._context, self._name, calls, self._driver):
            freeing = Freeing(self._context, container)
            inspection = self._inspection(freeing)
            box = drift.look(self._context, self._driver, inspection, self._name, container)
            for finding in drift.compare(box, inspection):
                if dry_run:
                    finding.outcome = self._why_not(finding, box, inspection, calls) or _WOULD.get(
                        finding.repair, '')
                elif acting:
                    self._mend(finding, box, inspection, calls)
                yield finding
        if acting:
            yield from self._clean()

    def _inspection(self, freeing: Freeing) -> Inspection:
        return Inspection(self._driver, Operation(
            self._context.monitor, owner=self._context.catalog.owner, may_sweep=freeing))

    def _why_not(self, finding: Finding, box: drift.Box, inspection: Inspection,
                 calls: store.Calls) -> str:
        """Why it is not repaired; empty where it is."""
        if finding.repair in (Repair.SWEEP, Repair.DISCARD) and box.unreadable:
            return 'left: a manifest of the container cannot be read'
        if finding.kind == 'unknown' and not self._is_old(finding, inspection, calls):
            return 'left: it may belong to a backup that is running somewhere'
        return ''

    def _is_old(self, finding: Finding, inspection: Inspection, calls: store.Calls) -> bool:
        """Whether an unknown backup of this installation began so long ago that it is dead."""
        assert finding.backup is not None and finding.container is not None
        begun = _BEGUN.search(str(finding.backup.service_metadata))
        try:
            if begun is None or not inspection.is_marked(finding.container):
                return False
            at = datetime.datetime.strptime(begun[1] + 'Z', '%Y%m%d%H%M%S%z').timestamp()
        except (ValueError, exceptions.ForeignContainer):
            return False
        if calls.retry(self._driver.capabilities).reports_clock:
            now = calls.retry(self._driver.clock)
        else:
            now = model.utcnow().timestamp()
        return now - at > self._older_than

    def _mend(self, finding: Finding, box: drift.Box, inspection: Inspection,
              calls: store.Calls) -> None:
        finding.outcome = self._why_not(finding, box, inspection, calls)
        if finding.outcome or finding.repair is Repair.NONE:
            return
        try:
            done = self._repaired(finding, box, inspection)
        except exceptions.BackupFrameworkError as error:
            if isinstance(error, exceptions.OperationCancelled):
                raise
            finding.outcome = f'left: {error}'
            return
        finding.is_mended = done
        finding.outcome = (_WOULD[finding.repair].replace('would be ', '') if done
                           else 'left: a backup that is running may need it')

    def _repaired(self, finding: Finding, box: drift.Box, inspection: Inspection) -> bool:
        if finding.repair is Repair.MARK:
            assert finding.backup is not None
            if inspection.is_committed(box.name, str(finding.backup.service_metadata)):
                raise exceptions.InvalidBackup('its manifest is there by now')
            self._context.catalog.transition(
                finding.backup.id, [Status.AVAILABLE], Status.ERROR,
                fail_reason='its manifest is not in the store')
        elif finding.repair is Repair.SWEEP:
            return self._sweep(finding, box, inspection)
        elif finding.repair is Repair.DISCARD:
            return inspection.discard(box.name, finding.names, sorted(box.manifests))
        else:
            inspection.release(box.name)
        return True

    def _sweep(self, finding: Finding, box: drift.Box, inspection: Inspection) -> bool:
        backup = finding.backup
        assert backup is not None
        if not self._context.catalog.has_backup(backup.id):
            # Nobody knows its format, whose rules say what goes with it: only what nothing uses.
            return (not inspection.is_committed(box.name, str(backup.service_metadata))
                    and inspection.discard(box.name, finding.names, sorted(box.manifests)))
        # As a delete of it, for nobody may go on with it meanwhile.
        with self._context.running('delete', backup):
            return inspection.sweep(backup)

    def _clean(self) -> Iterator[Finding]:
        """A store does not tell its temporary objects before they are removed."""
        count = cleaning.clean(self._context, self._name)
        if count:
            yield Finding('temporary', f'{count} temporary objects were left', self._name,
                          outcome='removed', is_mended=True)
