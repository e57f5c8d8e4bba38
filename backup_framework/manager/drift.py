"""Where the catalog, the manifests and the objects of a container disagree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
import dataclasses
import enum
from typing import Any

from backup_framework import exceptions, store
from backup_framework.driver.chunked import ChunkedBackupDriver
from backup_framework.driver.inspecting import Inspection
from backup_framework.formats import base, versions
from backup_framework.manager.context import Context
from backup_framework.model import Backup, Status

_USABLE = (Status.AVAILABLE, Status.RESTORING)


class Repair(enum.Enum):
    """What `catalog check --repair` does about a finding."""

    NONE = enum.auto()
    SWEEP = enum.auto()
    """Delete what a backup without a manifest left."""
    DISCARD = enum.auto()
    """Delete objects that no backup needs."""
    MARK = enum.auto()
    """Mark the record as failed."""
    TAKE_UP = enum.auto()
    """Go on with a delete."""
    RELEASE = enum.auto()
    """Take away the mark of an empty container."""


@dataclasses.dataclass
class Finding:
    """A disagreement.

    :param kind: a word for programs.
    :param names: the objects that it is about.
    :param outcome: what became of it, for people; empty without a repair.
    :param is_mended: whether nothing is left to be done.
    """

    kind: str
    sentence: str
    backend: str | None = None
    container: str | None = None
    backup: Backup | None = None
    names: Sequence[str] = ()
    repair: Repair = Repair.NONE
    outcome: str = ''
    is_mended: bool = False


@dataclasses.dataclass
class Box:
    """A container, as it was found.

    :param before: its records before it was listed, by id; `after`, from afterwards.
    :param names: all objects in it.
    :param headers: of the manifests that can be read, by prefix.
    :param uses: the objects that these need, by prefix.
    :param unreadable: what is wrong with the others, by prefix.
    :param is_busy: a backup was being made there.
    """

    backend: str
    name: str
    before: Mapping[str, Backup]
    names: Sequence[str]
    after: Mapping[str, Backup] = dataclasses.field(default_factory=dict)
    headers: dict[str, tuple[base.Header, dict[str, Any]]] = dataclasses.field(
        default_factory=dict)
    uses: dict[str, dict[str, base.Use]] = dataclasses.field(default_factory=dict)
    unreadable: dict[str, str] = dataclasses.field(default_factory=dict)
    is_busy: bool = False

    @property
    def manifests(self) -> set[str]:
        """Their prefixes."""
        return {name.removesuffix(base.MANIFEST) for name in self.names
                if name.endswith(base.MANIFEST) and not name.startswith(base.CONTAINER)}

    def records(self) -> Iterator[Backup]:
        """Those of this backend that were the same all the time."""
        for backup in self.after.values():
            before = self.before.get(backup.id)
            if (before is not None and backup.backend == self.backend and backup.service_metadata
                    and before.status == backup.status):
                yield backup

    def known(self) -> set[str]:
        """The prefixes that records of any backend tell of."""
        return {backup.service_metadata for backup in (*self.before.values(), *self.after.values())
                if backup.service_metadata}

    def finding(self, kind: str, sentence: str, **more: Any) -> Finding:
        return Finding(kind, sentence, self.backend, self.name, **more)


def containers(context: Context, backend: str, calls: store.Calls, driver: ChunkedBackupDriver
               ) -> list[str]:
    """All of the store, and those that records name."""
    found = {backup.container for backup in context.catalog.backups(backend=backend)
             if backup.container and not _never_was(backup)}
    try:
        found.update(calls.retry(lambda: list(driver.list_containers())))
    except exceptions.NotSupported:
        pass
    return sorted(found)


def _never_was(backup: Backup) -> bool:
    """Whether it was refused for the name of its container, which its record has all the same."""
    try:
        store.check_new_name(str(backup.container))
    except exceptions.InvalidName:
        return backup.status == Status.ERROR
    return False


def look(context: Context, driver: ChunkedBackupDriver, inspection: Inspection, backend: str,
         container: str) -> Box:
    """Read what there is to be known of a container.

    Records are read before and after: what changes meanwhile belongs to somebody who is at work.
    """
    box = Box(backend, container, _records(context, container), inspection.names(container))
    for prefix in sorted(box.manifests):
        context.monitor.tick()
        try:
            box.headers[prefix] = driver.describe(container, prefix)
            box.uses[prefix] = inspection.uses(container, prefix)
        except (exceptions.FormatError, exceptions.InvalidBackup, exceptions.InvalidInput,
                exceptions.PermissionDenied) as error:
            box.headers.pop(prefix, None)
            box.unreadable[prefix] = str(error)
    box.is_busy = bool(context.catalog.writers(container))
    box.after = _records(context, container)
    return box


def _records(context: Context, container: str) -> dict[str, Backup]:
    return {backup.id: backup for backup in context.catalog.backups(container=container)}


def compare(box: Box, inspection: Inspection) -> list[Finding]:
    """What is wrong in a container."""
    found = [*_lost(box), *_unknown(box), *_different(box), *_stuck(box), *_missing(box)]
    return [*found, *_leftovers(box, inspection), *_marks(box, inspection)]


def _marks(box: Box, inspection: Inspection) -> Iterator[Finding]:
    if box.is_busy or not any(name.startswith(base.CONTAINER) for name in box.names):
        return
    try:
        is_ours = inspection.is_marked(box.name)
    except exceptions.ForeignContainer as error:
        if any(backup.status in _USABLE and backup.owner is None for backup in box.records()):
            yield box.finding('owner', str(error))
        return
    if is_ours and all(name.startswith(base.CONTAINER) for name in box.names):
        yield box.finding('mark', 'the container is marked as in use, and nothing is in it',
                          names=box.names, repair=Repair.RELEASE)


def _lost(box: Box) -> Iterator[Finding]:
    """Records of backups that are not there, or cannot be read."""
    for backup in box.records():
        prefix = str(backup.service_metadata)
        if backup.status not in _USABLE:
            continue
        if prefix not in box.manifests:
            yield box.finding(
                'record', f'backup {backup.id} is {backup.status}, and there is no manifest '
                f'{versions.manifest_name(prefix)} in the container', backup=backup,
                repair=Repair.MARK)
        elif prefix in box.unreadable:
            yield box.finding('unreadable', f'backup {backup.id}: {box.unreadable[prefix]}',
                              backup=backup)


def _unknown(box: Box) -> Iterator[Finding]:
    """Manifests without a record."""
    for prefix in sorted(box.manifests - box.known()):
        if prefix in box.unreadable:
            yield box.finding('unreadable', box.unreadable[prefix])
        else:
            header, _ = box.headers[prefix]
            yield box.finding(
                'manifest', f'the catalog does not know backup {header.backup_id}, whose manifest '
                f'is {versions.manifest_name(prefix)}; "catalog rebuild {box.backend}" adds it')


def _different(box: Box) -> Iterator[Finding]:
    for backup in box.records():
        described = box.headers.get(str(backup.service_metadata))
        if described is None or backup.status not in _USABLE:
            continue
        header, fields = described
        told = {'id': header.backup_id, 'volume_id': header.volume_id,
                'created_at': header.created_at, 'data_timestamp': header.data_timestamp} | {
            name: fields.get(name) for name in (
                'format', 'size_bytes', 'object_count', 'stored_bytes', 'manifest_digest')}
        told = {name: value for name, value in told.items() if value is not None}
        told['parent_id'] = header.parent_id
        for name, value in told.items():
            recorded = getattr(backup, name)
            if recorded != value and (recorded is not None or name == 'parent_id'):
                yield box.finding('field', f'backup {backup.id} has {name} {recorded} in the '
                                  f'catalog and {value} in its manifest', backup=backup)


def _stuck(box: Box) -> Iterator[Finding]:
    for backup in box.records():
        if backup.service_metadata not in box.manifests:
            continue
        if backup.status == Status.ERROR:
            yield box.finding(
                'status', f'backup {backup.id} is recorded as failed, and its manifest is there; '
                f'"catalog rebuild {box.backend}" makes it available', backup=backup)
        elif backup.status == Status.ERROR_DELETING:
            yield box.finding(
                'status', f'the delete of backup {backup.id} failed before its manifest was gone; '
                f'repeat it with "backup delete {backup.id}"', backup=backup)


def _missing(box: Box) -> Iterator[Finding]:
    there = set(box.names)
    ids = {backup.service_metadata: backup for backup in box.records()
           if backup.status in _USABLE}
    for prefix, uses in box.uses.items():
        for name in sorted(uses.keys() - there) if prefix in ids else ():
            yield box.finding('object', f'backup {ids[prefix].id} needs object {name}, which is '
                              'missing', backup=ids[prefix], names=[name])


def _leftovers(box: Box, inspection: Inspection) -> Iterator[Finding]:
    """Objects that nothing needs, each in one finding."""
    used = set().union(*box.uses.values())
    spare: dict[str, list[str]] = {}
    for name in box.names:
        prefix = versions.stored_by(name)
        if prefix is not None and name not in used and prefix not in box.unreadable:
            spare.setdefault(prefix, []).append(name)
    failed, claimed = _failed(box), set[str]()
    for prefix in sorted(failed.keys() & spare):
        names = _of_failed(failed[prefix], spare[prefix], inspection)
        claimed.update(names)
        yield box.finding(
            'leftovers', f'backup {failed[prefix].id} is {failed[prefix].status}, and '
            f'{_counted(names)} of it are left', backup=failed[prefix], names=names,
            repair=Repair.SWEEP)
    for prefix in _at_work(box) & spare.keys():
        claimed.update(_of_failed(_backup(box, prefix), spare[prefix], inspection))
    for prefix, left in sorted(spare.items()):
        names = [name for name in left if name not in claimed]
        if prefix in box.headers:
            names = [name for name in names if _is_by_map(name, box.headers[prefix][0])]
            if names:
                yield box.finding('unused', f'{_counted(names)} with prefix {prefix} are there '
                                  'that no backup needs', names=names, repair=Repair.DISCARD)
        elif names and prefix not in box.known():
            yield box.finding('unknown', f'{_counted(names)} with prefix {prefix} are there, but '
                              'neither a manifest nor a record', backup=_backup(box, prefix),
                              names=names, repair=Repair.SWEEP)


def _failed(box: Box) -> dict[str, Backup]:
    """Backups that nobody works on, and that have no manifest."""
    return {str(backup.service_metadata): backup for backup in box.records()
            if backup.status in (Status.ERROR, Status.ERROR_DELETING)
            and backup.service_metadata not in box.manifests}


def _at_work(box: Box) -> set[str]:
    """Prefixes of backups that are made or deleted, and what was just now."""
    return box.known() - _failed(box).keys() - box.manifests


def _backup(box: Box, prefix: str) -> Backup:
    for backup in (*box.after.values(), *box.before.values()):
        if backup.service_metadata == prefix:
            return backup
    return Backup(id='', container=box.name, service_metadata=prefix, backend=box.backend)


def _of_failed(backup: Backup, names: Sequence[str], inspection: Inspection) -> list[str]:
    """What goes with such a backup: also objects of earlier ones that only it used."""
    try:
        return sorted({*names, *inspection.leftovers(backup)})
    except (exceptions.FormatError, exceptions.InvalidBackup):
        return sorted(names)


def _is_by_map(name: str, header: base.Header) -> bool:
    """Whether the map of its backup would name it, or it is one: keys are told by neither."""
    return (not versions.FORMATS[header.version].needs_parent
            and not name.rpartition('_')[2].startswith('keys-'))


def _counted(names: Iterable[str]) -> str:
    count = len(list(names))
    return f'{count} object{"s" if count != 1 else ""}'
