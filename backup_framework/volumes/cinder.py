"""Volumes of Cinder: openstacksdk asks for them, os-brick attaches them to this host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import datetime
import functools
import importlib
import re
from typing import Any, BinaryIO

from backup_framework import exceptions, model
from backup_framework.engine import source
from backup_framework.interface.volume_source import Capabilities, Reading, VolumeSource
from backup_framework.model import GIB, Option, OptionType, Snapshot, Volume

_UUID = re.compile('[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}')
_MADE_BY_US = 'backup_framework'
"""Metadata key of the snapshots and volumes that we make for a while."""
_MADE_FOR = 'backup_framework_key'
"""Metadata key of what must be found again, by the key that it was made for."""
_MOUNTPOINT = 'backup_framework:{key}:{host}'
"""Of an attachment: all that Cinder tells later of who made it, once it is complete."""


class CinderVolumes(VolumeSource):
    """The volumes that a user of the cloud sees."""

    OPTIONS = (
        Option('cloud', required=True, sample='mycloud', help=(
            'The cloud in clouds.yaml, which says where Keystone is and who we are.')),
        Option('all_projects', OptionType.BOOLEAN, default=False, help=(
            'Offer the volumes of all projects; the user must be an administrator.')),
        Option('volume_type', help='The type of volumes that are made for restores.'),
        Option('my_ip', default='127.0.0.1', help=(
            'The address of this host in the network of the storage.')),
        Option('multipath', OptionType.BOOLEAN, default=False, help=(
            'Attach over several paths, where the storage has them.')),
        Option('root_helper', default='sudo', help=(
            'The command with which os-brick becomes root.')),
        Option('timeout', OptionType.INTEGER, default=600, minimum=1, help=(
            'Seconds within which Cinder must have made a volume or a snapshot.')),
    )

    def __init__(self, settings: model.Settings, context: object = None) -> None:
        self._settings = settings
        self._context = context
        self._snapshots: dict[str, list[Any]] = {}

    def capabilities(self) -> Capabilities:
        return Capabilities(creates=True, snapshots=True, repeats=True)

    @functools.cached_property
    def _cinder(self) -> Any:
        openstack = _imported('openstack')
        with self._told('connect'):
            return openstack.connect(cloud=self._settings.cloud).block_storage

    # Listing.

    def volumes(self) -> Iterator[Volume]:
        everybody = {'all_projects': True} if self._settings.all_projects else {}
        with self._told('list the volumes'):
            found = list(self._cinder.volumes(details=True, **everybody))
            snapshots: dict[str, list[Any]] = {}
            for each in self._cinder.snapshots(details=True, **everybody):
                snapshots.setdefault(each.volume_id, []).append(each)
        # One question for all volumes, in the place of one for each.
        self._snapshots = snapshots
        return (_volume(each) for each in found if _MADE_BY_US not in (each.metadata or {}))

    def snapshots(self, volume: Volume) -> Iterator[Snapshot]:
        for each in self._snapshots.get(str(volume.source_id), ()):
            if _MADE_BY_US not in (each.metadata or {}):
                yield _snapshot(volume, each)

    # Reading and writing.

    @contextlib.contextmanager
    def open(self, volume: Volume, snapshot: Snapshot | None = None, *,
             since: str | None = None, key: str | None = None) -> Iterator[Reading]:
        with self._to_attach(volume, snapshot, key) as found, \
                self._attached(found, 'ro', key) as path:
            if not isinstance(path, str):
                yield Reading(path, found.size * GIB)
                return
            with source.open_volume(path) as file:
                yield Reading(file, source.size_of(file))

    @contextlib.contextmanager
    def _to_attach(self, volume: Volume, snapshot: Snapshot | None, key: str | None
                   ) -> Iterator[Any]:
        """The volume itself, or one that is made of its snapshot for a while."""
        known = self._get('volume', volume.source_id)
        if snapshot is None:
            yield known
            return
        state = self._get('snapshot', snapshot.source_id)
        if state.volume_id != known.id:
            raise exceptions.VolumeNotFound(
                f'snapshot {state.id} is none of volume {known.id}')
        name = f'backup of {known.id}'
        with self._told(f'make a volume of snapshot {state.id}'):
            left = [each for each in self._made_for(key, self._cinder.volumes, name=name)
                    if each.status in ('creating', 'available', 'in-use')]
            made = left[0] if left else self._cinder.create_volume(
                size=state.size, snapshot_id=state.id, name=name,
                metadata={_MADE_BY_US: 'temporary'} | _marked(key))
        try:
            if made.status != 'in-use':
                self._wait(made)
            yield made
        finally:
            with self._told(f'delete the temporary volume {made.id}'):
                self._cinder.delete_volume(made.id, ignore_missing=True)

    @contextlib.contextmanager
    def open_target(self, volume: Volume, *, key: str | None = None
                    ) -> Iterator[str | BinaryIO]:
        known = self._get('volume', volume.source_id)
        left = _left(known, key)
        if known.status != 'available' and not (left and len(left) == len(known.attachments)):
            raise exceptions.InvalidTarget(f'volume {known.id} is {known.status}, not available')
        with self._attached(known, 'rw', key) as path:
            yield path

    @contextlib.contextmanager
    def _attached(self, volume: Any, mode: str, key: str | None) -> Iterator[Any]:
        """The device here that is the volume, or the object with which os-brick reads it."""
        brick = self._brick()
        properties = brick.get_connector_properties(
            self._settings.root_helper, self._settings.my_ip, self._settings.multipath, False)
        with self._told(f'attach volume {volume.id}'):
            attachment = self._attachment(volume, properties | {'mode': mode}, key)
        try:
            with self._told(f'attach volume {volume.id}'):
                # Only now it is known whose it is.
                self._cinder.complete_attachment(attachment.id)
            info = attachment.connection_info
            connector = brick.InitiatorConnector.factory(
                info['driver_volume_type'], self._settings.root_helper,
                use_multipath=self._settings.multipath)
            with _connected(connector, info.get('data') or info, volume.id) as path:
                yield path
        finally:
            with self._told(f'detach volume {volume.id}'):
                self._cinder.delete_attachment(attachment.id, ignore_missing=True)

    def _attachment(self, volume: Any, connector: dict[str, Any], key: str | None) -> Any:
        """A new one, or the one with which a process was killed on this host: the device is there.

        On another host that one goes. Cinder attaches no volume twice.
        """
        if key is not None:
            connector['mountpoint'] = _MOUNTPOINT.format(key=key, host=connector.get('host'))
        for each in _left(volume, key):
            if each['device'] == connector['mountpoint']:
                return self._cinder.get_attachment(each['attachment_id'])
            self._cinder.delete_attachment(each['attachment_id'], ignore_missing=True)
        return self._cinder.create_attachment(volume.id, connector=connector)

    def _brick(self) -> Any:
        os_brick = _imported('os_brick')
        configuration = getattr(self._context, 'configuration', None)
        if configuration is not None:
            os_brick.setup(configuration.oslo)
        return _imported('os_brick.initiator.connector')

    # Making.

    def create(self, name: str, size_bytes: int, project_id: str | None = None, *,
               key: str | None = None) -> Volume:
        with self._told('make a volume'):
            own = self._cinder.get_project_id()
            if project_id not in (None, own):
                raise exceptions.Refused(
                    f'in the cloud {self._settings.cloud} volumes are made only for project {own}, '
                    f'not for {project_id}: restore to a volume that exists')
            made = self._made_for(key, self._cinder.volumes, name=name)
            found = made[0] if made else self._cinder.create_volume(
                size=model.size_gib(size_bytes), name=name,
                volume_type=self._settings.volume_type, metadata=_marked(key))
        self._require('volume', found)
        return _volume(self._get('volume', found.id))

    def make_snapshot(self, volume: Volume, *, key: str | None = None) -> Snapshot:
        known = self._get('volume', volume.source_id)
        with self._told(f'make a snapshot of volume {known.id}'):
            made = self._made_for(key, self._cinder.snapshots, volume_id=known.id)
            found = made[0] if made else self._cinder.create_snapshot(
                volume_id=known.id, force=True, name=f'backup of {known.id}',
                metadata={_MADE_BY_US: 'temporary'} | _marked(key))
        self._require('snapshot', found)
        return _snapshot(volume, found)

    def _made_for(self, key: str | None, listed: Callable[..., Any], **like: str) -> list[Any]:
        """What was made for this key, which Cinder alone knows if the process was killed then."""
        if key is None:
            return []
        return [each for each in listed(details=True, **like)
                if (each.metadata or {}).get(_MADE_FOR) == key and each.status != 'deleting']

    def drop_snapshot(self, volume: Volume, key: str) -> None:
        with self._told(f'look for snapshots of volume {volume.source_id}'):
            made = self._made_for(key, self._cinder.snapshots, volume_id=str(volume.source_id))
        for each in made:
            with contextlib.suppress(exceptions.VolumeError):
                # Cinder deletes none that it still makes.
                self._wait(each)
            self._delete('snapshot', each.id)

    def delete_snapshot(self, volume: Volume, snapshot: Snapshot) -> None:
        try:
            found = self._get('snapshot', snapshot.source_id)
        except exceptions.VolumeNotFound:
            return
        if _MADE_BY_US not in (found.metadata or {}):
            raise exceptions.Refused(f'snapshot {found.id} was not made for a backup')
        self._remove_copies(found)
        self._delete('snapshot', found.id)

    def _remove_copies(self, snapshot: Any) -> None:
        """Volumes of a snapshot of ours, with which a process was killed."""
        with self._told(f'remove the volumes that were made of snapshot {snapshot.id}'):
            for each in self._cinder.volumes(details=True, name=f'backup of {snapshot.volume_id}'):
                if (each.snapshot_id == snapshot.id and _MADE_BY_US in (each.metadata or {})
                        and each.status != 'deleting'):
                    for attachment in self._cinder.attachments(volume_id=each.id):
                        self._cinder.delete_attachment(attachment.id)
                    self._cinder.delete_volume(each.id)

    def _delete(self, kind: str, identifier: str) -> None:
        with self._told(f'delete {kind} {identifier}'):
            getattr(self._cinder, f'delete_{kind}')(identifier, ignore_missing=True)

    def _require(self, kind: str, made: Any) -> None:
        """Wait until it is available; what goes wrong while it is made does not stay."""
        try:
            self._wait(made)
        except exceptions.VolumeError as error:
            try:
                self._delete(kind, made.id)
            except exceptions.VolumeError as problem:
                raise exceptions.VolumeError(f'{error}; it is left behind: {problem}') from error
            raise

    def _wait(self, made: Any) -> None:
        with self._told(f'wait for {made.id}'):
            self._cinder.wait_for_status(made, 'available', ['error'], interval=1,
                                         wait=self._settings.timeout)

    def _get(self, kind: str, identifier: str | None) -> Any:
        """:raises VolumeNotFound: there is none."""
        if not _UUID.fullmatch(identifier or ''):  # it becomes a part of an address
            raise exceptions.VolumeNotFound(f'{identifier!r} is no id of a {kind}')
        ask: Callable[[str | None], Any] = getattr(self._cinder, f'get_{kind}')
        with self._told(f'look up {kind} {identifier}'):
            return ask(identifier)

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        errors, others = _imported('openstack.exceptions'), _imported('keystoneauth1.exceptions')
        try:
            yield
        except errors.NotFoundException as error:
            raise exceptions.VolumeNotFound(f'cannot {what}: {error}') from error
        except (errors.SDKException, others.ClientException) as error:
            raise exceptions.VolumeError(
                f'cannot {what} in the cloud {self._settings.cloud}: {error}') from error

    def check(self) -> None:
        self.volumes()

    def close(self) -> None:
        made = vars(self).pop('_cinder', None)
        if made is not None:
            made.session.session.close()


def _imported(name: str) -> Any:
    """:raises ConfigurationError: it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise exceptions.ConfigurationError(
            f'volumes of Cinder need {name.partition(".")[0]} ({error}): pip install '
            '"backup-framework[cinder]"') from None


@contextlib.contextmanager
def _connected(connector: Any, properties: Any, volume_id: str) -> Iterator[Any]:
    """What os-brick makes of an attachment. Whatever it raises is an error of the volume."""
    try:
        device = connector.connect_volume(properties)
    except Exception as error:
        raise exceptions.VolumeError(
            f'volume {volume_id} cannot be connected: {type(error).__name__}: {error}') from error
    try:
        yield device['path']
    finally:
        try:
            connector.disconnect_volume(properties, device)
        except Exception as error:
            raise exceptions.VolumeError(
                f'volume {volume_id} cannot be disconnected: {type(error).__name__}: {error}'
            ) from error


def _marked(key: str | None) -> dict[str, str]:
    return {} if key is None else {_MADE_FOR: key}


def _left(volume: Any, key: str | None) -> list[dict[str, Any]]:
    """The attachments of a volume with which a process of this key was killed."""
    before = None if key is None else _MOUNTPOINT.format(key=key, host='')
    return [each for each in volume.attachments or ()
            if before is not None and str(each['device']).startswith(before)]


def _volume(found: Any) -> Volume:
    return Volume(id=found.id, source_id=found.id, name=found.name or None,
                  size_bytes=found.size * GIB, status=found.status,
                  description=found.description, availability_zone=found.availability_zone,
                  bootable=bool(found.is_bootable), project_id=found.project_id,
                  metadata=dict(found.metadata or {}))


def _snapshot(volume: Volume, found: Any) -> Snapshot:
    made = found.created_at and datetime.datetime.fromisoformat(found.created_at)
    return Snapshot(id=found.id, volume_id=volume.id, source_id=found.id, name=found.name or None,
                    description=found.description, status=found.status,
                    size_bytes=found.size * GIB, metadata=dict(found.metadata or {}),
                    created_at=made and made.replace(tzinfo=made.tzinfo or datetime.UTC))
