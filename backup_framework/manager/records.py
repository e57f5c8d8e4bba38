"""Records in and out: export, import, and the catalog made again from a store."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import datetime
import json
from typing import Any

from backup_framework import exceptions, model, store
from backup_framework.driver import metadata
from backup_framework.driver.chunked import ChunkedBackupDriver
from backup_framework.formats import base, export_record
from backup_framework.manager import drivers, matching
from backup_framework.manager.context import Context
from backup_framework.model import Backup, Status, Volume

_USERS = ('display_name', 'display_description', 'metadata')
"""Fields that users set."""

UNKNOWN_OWNER = 'Cinder'
"""What is said of a manifest that names no installation of ours."""


@dataclasses.dataclass
class Rebuilt:
    """What a rebuild found in a backend.

    :param healed: ids of failed backups whose manifest shows that they are complete.
    :param notes: what may be as it should, and may not: sentences.
    """

    added: list[Backup] = dataclasses.field(default_factory=list)
    known: int = 0
    healed: list[str] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)


def export(context: Context, backup: Backup) -> dict[str, str]:
    """A record as Cinder imports it; see Manager.export."""
    if backup.status not in (Status.AVAILABLE, Status.RESTORING):
        raise exceptions.InvalidBackup(f'backup {backup.id} is {backup.status}, not available')
    driver = context.drivers.get(str(backup.backend))
    service = getattr(driver, 'CINDER_CLASS', None) or str(backup.service)
    children = len(context.catalog.dependents(backup.id))
    return export_record.encode(backup, service, driver.export_record(backup), children)


def import_(context: Context, record: object, backend: str | None, adopt: bool) -> Backup:
    """Take a record in after reading the backup's manifest; see Manager.import_."""
    failed = _failed_before(context, decode(record).id)
    backup = look_up(context, record, backend, adopt)
    if failed is None:
        return context.catalog.add_backup(backup)
    _keep(failed, backup)
    for why in context.catalog.add_backups([backup], [failed.id]).values():
        raise exceptions.InvalidBackup(why)
    return backup


def decode(record: object) -> Backup:
    """What a record says, checked in itself; no store is asked.

    :raises InvalidInput: it is none.
    """
    return export_record.decode(record)[1]


def look_up(context: Context, record: object, backend: str | None, adopt: bool = False) -> Backup:
    """What a record says and the backup's manifest confirms; see Manager.import_ for errors."""
    service, backup, driver_info = export_record.decode(record)
    backend = backend or matching.backend_of(context, service, backup)
    driver = context.drivers.chunked(backend, 'import records')
    try:
        header, found = driver.describe(str(backup.container), str(backup.service_metadata))
    except exceptions.MissingObject as error:
        raise exceptions.InvalidInput(
            f'the record cannot be imported from backend {backend}: {error}') from None
    if header.backup_id not in (None, backup.id):
        raise exceptions.InvalidInput(
            f'the record is of backup {backup.id}, but the manifest it points to is of '
            f'{header.backup_id}')
    if header.parent_id != backup.parent_id:
        raise exceptions.InvalidInput(
            f'the record says that the parent is {backup.parent_id}, the manifest says '
            f'{header.parent_id}')
    if header.volume_id not in (None, backup.volume_id):
        raise exceptions.InvalidInput(
            f'the record is of volume {backup.volume_id}, but the manifest it points to is of '
            f'{header.volume_id}')
    driver.import_record(backup, driver_info)
    backup.service = drivers.service(driver)
    _take_in(context, backup, backend, header, found, adopt)
    if backup.needs_parent and not context.catalog.has_backup(str(backup.parent_id)):
        context.warn(f'the parent {backup.parent_id} of backup {backup.id} is not known here: '
                     'import it as well before you restore')
    return backup


def rebuild(context: Context, backend: str, container: str | None, adopt: bool,
            project_id: str | None) -> Rebuilt:
    """Find every backup of a backend from its manifests alone; see Manager.rebuild."""
    driver = context.drivers.chunked(backend, 'be searched for backups')
    driver.before_operation('verify')
    rebuilt = Rebuilt()
    # Before the store is looked at: what is deleted meanwhile must not come back as a record.
    known = context.catalog.backup_ids()
    empty = {backup.id: backup for backup in context.catalog.backups(status=Status.ERROR)
             if is_failed_import(backup)}
    described = []
    for name in [container] if container else _containers(driver, backend, rebuilt):
        for prefix in driver.prefixes(name):
            try:
                described.append(_described(driver, name, prefix))
            except exceptions.StoreUnavailable:
                raise
            except (exceptions.FormatError, exceptions.InvalidName,
                    exceptions.StoreError) as error:
                rebuilt.problems.append(str(error))
    seen = {str(header.backup_id) for header, _ in described}
    described = list(_told_apart(described, known - empty.keys(), rebuilt))
    new, met = [], []
    # The newest first, because the first one says what is known of its volume.
    for header, found in sorted(described, key=_taken_at, reverse=True):
        backup_id = str(header.backup_id)
        if backup_id not in empty and (
                backup_id in known or context.catalog.has_backup(backup_id)):
            met.append((header, found))
            continue
        try:
            new.append(_recorded(context, driver, backend, header, found, adopt, project_id))
        except exceptions.InvalidInput as error:
            rebuilt.problems.append(_refused(found, error))
    taken_in = _add(context, _still_there(context, driver, new), empty, rebuilt)
    # Not before: what is available, and has no children that are known, may be deleted.
    for header, found in met:
        _meet_known(context, backend, header, found, rebuilt)
    missing = {str(backup.parent_id) for backup in taken_in
               if backup.needs_parent and not context.catalog.has_backup(str(backup.parent_id))}
    for parent in sorted(missing):
        why = 'was not taken in' if parent in seen else 'was not found in the store'
        rebuilt.problems.append(f'backup {parent} is the parent of others but {why}')
    rebuilt.notes += [*_gaps(context, taken_in), *_left_out(taken_in, rebuilt.problems)]
    return rebuilt


_Described = tuple[base.Header, dict[str, Any]]


def _told_apart(described: Sequence[_Described], known: Collection[str], rebuilt: Rebuilt
                ) -> Iterator[_Described]:
    """All but unknown backups that are there twice: anybody who can write there can make a copy."""
    places: dict[str, list[str]] = {}
    for header, found in described:
        places.setdefault(str(header.backup_id), []).append(_place(found))
    for backup_id, told in places.items():
        if len(told) > 1 and backup_id not in known:
            rebuilt.problems.append(
                f'backup {backup_id} is there {len(told)} times, so none was added: '
                f'{"; ".join(sorted(told))}. "catalog rebuild --container" takes the one of that '
                'container')
    for header, found in described:
        backup_id = str(header.backup_id)
        if len(places[backup_id]) == 1 or backup_id in known:
            yield header, found


def _place(found: dict[str, Any]) -> str:
    return f'container {found["container"]} with prefix {found["service_metadata"]}'


def _gaps(context: Context, added: Sequence[Backup]) -> Iterator[str]:
    """Backups that restore by themselves, but were built on some that are not there."""
    known = {backup.id for backup in context.catalog.backups()}
    gaps = [backup for backup in added
            if backup.parent_id and not backup.needs_parent and backup.parent_id not in known]
    if gaps:
        yield (f'{len(gaps)} backups were built on others that are not in the store, such as '
               f'{gaps[0].id} on {gaps[0].parent_id}: these were deleted, or the store has lost '
               'them, which nobody can tell now. Backups that were made later than all that are '
               'there would leave no trace.')


def _left_out(added: Sequence[Backup], problems: Sequence[str]) -> Iterator[str]:
    """Nobody knows what it needs, so nothing keeps a delete from that."""
    chains = {backup.format for backup in added if Backup(
        parent_id=backup.id, format=backup.format).needs_parent}
    if chains and problems:
        yield (f'In format {" and ".join(sorted(map(str, chains)))} a backup needs those before '
               'it, and one that was left out may need some of these: delete nothing, and let no '
               'prune run, before that is settled.')


def _containers(driver: ChunkedBackupDriver, backend: str, rebuilt: Rebuilt) -> list[str]:
    """Those that the store lists; what is no name becomes a problem."""
    try:
        calls = store.Calls(driver, retry_deadline=driver.settings.retry_deadline)
        listed = calls.retry(lambda: sorted(driver.list_containers()))
    except exceptions.NotSupported:
        raise exceptions.InvalidInput(
            f'backend {backend} cannot list its containers; name one with --container') from None
    names = []
    for name in listed:
        try:
            names.append(store.check_name(name))
        except exceptions.InvalidName as error:
            rebuilt.problems.append(f'backend {backend} lists a container of no use: {error}')
    return names


def _described(driver: ChunkedBackupDriver, container: str, prefix: str
               ) -> _Described:
    header, found = driver.describe(container, prefix)
    for what, value in (('backup', header.backup_id), ('volume', header.volume_id),
                        ('parent', header.parent_id)):
        if not export_record.is_uuid(value) and (value is not None or what == 'backup'):
            raise exceptions.CorruptManifest(
                f'the manifest of {prefix} in container {container} has no UUID for its {what}, '
                f'but {value!r:.60}')
    return header, found


def _taken_at(described: _Described) -> datetime.datetime:
    header = described[0]
    return header.data_timestamp or header.created_at or datetime.datetime.min.replace(
        tzinfo=datetime.UTC)


def _meet_known(context: Context, backend: str, header: base.Header, found: dict[str, Any],
                rebuilt: Rebuilt) -> None:
    backup_id = str(header.backup_id)
    rebuilt.known += 1
    # Another command may be deleting it.
    with contextlib.suppress(exceptions.BackupNotFound, exceptions.InvalidBackup):
        record = context.catalog.backup_of(backup_id, None)
        if (record.container, record.service_metadata) != (
                found['container'], found['service_metadata']):
            rebuilt.problems.append(
                f'{_place(found)} has a backup that says it is {backup_id}, whose record is of '
                f'container {record.container} with prefix {record.service_metadata}: it was '
                'left alone')
        elif _is_to_be_healed(record, backend, found):
            heal(context, record, found)
            rebuilt.healed.append(backup_id)


def _recorded(context: Context, driver: ChunkedBackupDriver, backend: str, header: base.Header,
              found: dict[str, Any], adopt: bool, project_id: str | None) -> Backup:
    backup = Backup(
        id=str(header.backup_id), volume_id=header.volume_id or '', display_name=header.name,
        display_description=header.description, snapshot_id=header.snapshot_id,
        created_at=header.created_at, data_timestamp=header.data_timestamp or header.created_at,
        metadata=dict(header.properties), service=drivers.service(driver))
    _take_in(context, backup, backend, header, found, adopt)
    if backup.owner is None:
        backup.project_id = project_id
    return backup


def _still_there(context: Context, driver: ChunkedBackupDriver, new: Sequence[Backup]
                 ) -> list[Backup]:
    """Who made and deleted one while the store was looked at had a record of it then, and has none
    now."""
    if new:
        calls = store.Calls(driver, retry_deadline=driver.settings.retry_deadline)
        context.monitor.sleep(calls.retry(driver.capabilities).listing_delay)
    there = {(container, prefix) for container in {str(backup.container) for backup in new}
             for prefix in driver.prefixes(container)}
    return [backup for backup in new if (backup.container, backup.service_metadata) in there
            or not _is_gone(driver, backup)]


def _is_gone(driver: ChunkedBackupDriver, backup: Backup) -> bool:
    """A listing may lack what is there: only who looks for it knows."""
    try:
        driver.describe(str(backup.container), str(backup.service_metadata))
    except (exceptions.MissingObject, exceptions.ContainerNotFound):
        return True
    except (exceptions.FormatError, exceptions.StoreError):
        # It was read well before: who leaves it out may delete what it needs.
        return False
    return False


def _add(context: Context, new: Sequence[Backup], empty: Mapping[str, Backup], rebuilt: Rebuilt
         ) -> list[Backup]:
    """All at once: a backup without the one that it needs could not be restored, and one whose
    children are not known could be deleted under them. Gives those that were taken in."""
    for backup in new:
        if backup.id in empty:
            _keep(empty[backup.id], backup)
    refused = context.catalog.add_backups(new, empty)
    for backup in new:
        if backup.id not in refused and backup.id in empty:
            rebuilt.known += 1
            rebuilt.healed.append(backup.id)
        elif backup.id not in refused:
            rebuilt.added.append(backup)
        elif backup.id in empty:
            rebuilt.problems.append(_refused(vars(backup), refused[backup.id]))
        elif context.catalog.has_backup(backup.id):
            # Another command has just added it.
            rebuilt.known += 1
        else:
            rebuilt.problems.append(_refused(vars(backup), refused[backup.id]))
    return [backup for backup in new if backup.id not in refused]


def _keep(failed: Backup, backup: Backup) -> None:
    """Of a failed import: whose it is, and what users gave it."""
    backup.user_id, backup.project_id = failed.user_id, failed.project_id
    backup.availability_zone = failed.availability_zone
    for name in _USERS:
        setattr(backup, name, getattr(failed, name) or getattr(backup, name))


def _refused(found: Mapping[str, Any], why: object) -> str:
    return (f'the backup with prefix {found["service_metadata"]} in container '
            f'{found["container"]}: {why}')


def _is_to_be_healed(known: Backup, backend: str, found: dict[str, Any]) -> bool:
    """A backup whose end could not be recorded is complete all the same: its manifest is there."""
    same = (known.backend, known.container, known.service_metadata) == (
        backend, found['container'], found['service_metadata'])
    return known.status == Status.ERROR and same and known.owner is None


def is_failed_import(known: Backup) -> bool:
    """Whether it is a failed import of ours."""
    return known.is_empty and known.status == Status.ERROR and known.owner is None


def heal(context: Context, backup: Backup, found: dict[str, Any]) -> None:
    """Record a failed backup as complete.

    :param found: what its manifest says, as `ChunkedBackupDriver.describe` gives it.
    :raises InvalidBackup: another command has changed its state.
    """
    fields = {name: value for name, value in found.items()
              if value is not None or name == 'parent_id'}
    context.catalog.transition(backup.id, [Status.ERROR], Status.AVAILABLE, fail_reason=None,
                               **fields)


def _take_in(context: Context, backup: Backup, backend: str, header: base.Header,
             found: dict[str, Any], adopt: bool) -> None:
    """Put into the record what the store itself says of the backup; keep what is new of its volume.
    """
    for name, value in found.items():
        if value is not None or name == 'parent_id':
            setattr(backup, name, value)
    ours = header.owner == context.catalog.owner
    backup.owner = None if ours or adopt else (header.owner or UNKNOWN_OWNER)
    backup.backend, backup.status, backup.fail_reason = backend, Status.AVAILABLE, None
    backup.user_id = backup.project_id = backup.host = None
    # Records tell times to the second, manifests exactly.
    backup.created_at = header.created_at or backup.created_at
    backup.data_timestamp = (header.data_timestamp or backup.data_timestamp
                             or backup.created_at or model.utcnow())
    _know_volume(context, backup.volume_id, header)


def _know_volume(context: Context, volume_id: str, header: base.Header) -> None:
    if not volume_id:
        return
    try:
        context.catalog.get_volume(volume_id)
        return
    except exceptions.VolumeNotFound:
        volume = Volume(id=volume_id, size_bytes=header.size)
    try:
        changes = metadata.apply(header.volume_meta, volume) if header.volume_meta else {}
    except exceptions.InvalidBackup as error:
        context.warn(f'volume {volume_id}: {error}')
        changes = {}
    path = _path(header.volume_meta) if header.owner else None
    if path and any(known.path == path for known in context.catalog.volumes()):
        context.warn(f'another volume is known at {path}, so volume {volume_id} is kept without '
                     'its path')
        path = None
    for name, value in (changes | {'path': path}).items():
        setattr(volume, name, value)
    try:
        context.catalog.add_volume(volume)
    except exceptions.InvalidInput:
        if any(known.id == volume_id for known in context.catalog.volumes([volume_id])):
            # Another command has just added it.
            return
        # Another volume has the name by now; the id is what backups go by.
        volume.name = None
        context.catalog.add_volume(volume)


def _path(volume_meta: str | None) -> str | None:
    """Where an installation of ours had the volume."""
    try:
        path = json.loads(volume_meta or '{}')[metadata.BASE].get('path')
    except (ValueError, KeyError, AttributeError, TypeError):
        return None
    return path if isinstance(path, str) and path.startswith('/') else None


def _failed_before(context: Context, backup_id: str) -> Backup | None:
    """:raises Refused: the backup is known, and not only by an import that failed."""
    try:
        known = context.catalog.backup_of(backup_id, None)
    except exceptions.BackupNotFound:
        return None
    if not is_failed_import(known):
        raise exceptions.Refused(f'backup {backup_id} is in the catalog already')
    return known
