"""Backups of volumes that sources have, made by a command in the place of a job."""

from __future__ import annotations

import dataclasses
import os

from backup_framework import exceptions
from backup_framework.catalog.jobs import RESTORE_FAILED
from backup_framework.interface.volume_source import Reading
from backup_framework.manager import creating
from backup_framework.manager.context import Context
from backup_framework.manager.creating import Request
from backup_framework.manager.making import LEFT_BY_FAILURE
from backup_framework.manager.sources import IN_USE, Sources
from backup_framework.model import Backup, Volume


def create(context: Context, sources: Sources, request: Request) -> Backup:
    """Back a volume up, one of a source through that; see Manager.create."""
    volume = _volume(context, sources, request)
    if volume is None:
        return creating.create(context, request)
    snapshot = sources.snapshot(volume)
    try:
        if volume.status == IN_USE and snapshot is None and not request.force:
            context.warn(f'volume {volume.name or volume.id} is in use: what is written to it '
                         'while it is read may be in the backup in part')
        if volume.status == RESTORE_FAILED:
            context.warn(f'volume {volume.name or volume.id}: {LEFT_BY_FAILURE}')
        with sources.read(volume, snapshot, since=_parent(context, request, volume)) as reading:
            backup = creating.create(context, _of(request, volume, reading))
            sources.keep(volume, reading.taken, backup.id)
    finally:
        if snapshot is not None:
            sources.delete_snapshot(volume, snapshot)
    return backup


def _volume(context: Context, sources: Sources, request: Request) -> Volume | None:
    """The record of a volume that a source has now; None where the request is of another one."""
    ref, configuration = request.volume, context.configuration
    if (request.stream is not None or request.state_of is not None or os.sep in ref
            or os.path.lexists(ref) or configuration.volume(ref) is not None
            or not configuration.sources()):
        return None
    try:
        known = context.catalog.get_volume(ref)
        if known.source is None:
            return None
    except exceptions.VolumeNotFound:
        known = None
    for offer in sources.offers() if known is None else sources.offers(str(known.source)):
        if offer.error is not None:
            context.warn(f'source {offer.source} cannot be asked: {offer.error}')
        else:
            context.catalog.offer_volumes(offer.source, offer.volumes, offer.snapshots)
    try:
        return context.catalog.get_volume(ref)
    except exceptions.VolumeNotFound:
        return None


def _parent(context: Context, request: Request, volume: Volume) -> str | None:
    """The id of the backup that is built on, if the request leads to one."""
    if request.parent is not None:
        return context.catalog.get_backup(request.parent).id
    backend = request.backend or context.configuration.default_backend
    wanted = request.incremental
    if wanted is None:
        wanted = bool(getattr(context.drivers.settings(backend), 'incremental', False))
    parent = context.catalog.newest_usable(volume.id, backend, own=True) if wanted else None
    return None if parent is None else parent.id


def _of(request: Request, volume: Volume, reading: Reading) -> Request:
    given = dataclasses.replace(request, stream=reading.file, state_of=volume.id)
    if reading.changed is None or request.changed is not None:
        return given
    return dataclasses.replace(given, changed=reading.changed, changed_since=reading.changed_since)
