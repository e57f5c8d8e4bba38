"""Whose a container is: the mark of the one installation that makes and deletes backups there.

A delete waits for the backups that are running, and it knows of those in its own catalog alone. So
two installations must not share a container. A mark is never rewritten: who takes a container over
writes one with a higher number, and the highest counts. Marks go with the last backup. Should that
happen while another one begins, its mark is written again before its manifest.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
import datetime
import json
import re
import socket
import uuid

from backup_framework import exceptions, model, store
from backup_framework.formats import base, document
from backup_framework.formats.v2 import manifest, names

PREFIX = f'{names.CONTAINER}owner-'
LARGEST = 4096
"""Bytes of a mark."""

_VERSION = 1
_NAME = re.compile(re.escape(PREFIX) + r'([1-9][0-9]{0,8})\Z')
_LOOKS = 3


@dataclasses.dataclass(frozen=True)
class Mark:
    """:param host: where it was written; a hint for people."""

    installation: str
    marked_at: datetime.datetime
    host: str


def check(container: store.Container, installation: str | None) -> bool:
    """See `formats.base.Ownership`."""
    if installation is None:
        return False
    mark = find(container)
    if mark is None:
        _check_backups(container, installation)
    elif mark.installation != installation:
        raise _foreign(container, f'{mark.installation}, which marked it at '
                       f'{mark.marked_at:%Y-%m-%d %H:%M} UTC on host {mark.host}', installation)
    return mark is not None


def claim(container: store.Container, installation: str | None, *, adopt: bool = False) -> None:
    """See `formats.base.Ownership`.

    Of two that claim at once the store lets one write. Where it cannot refuse the second, its mark
    replaces the first one, whose writer sees that now, or before its manifest.
    """
    if installation is None:
        return
    try:
        if check(container, installation):
            return
    except exceptions.ForeignContainer:
        if not adopt:
            raise
    numbers = _numbers(container)
    data = _dump(installation)
    with contextlib.suppress(exceptions.ObjectExists):
        container.put(f'{PREFIX}{max(numbers, default=0) + 1}', lambda: [data])
        container.sync()
    check(container, installation)


def release(container: store.Container, installation: str | None) -> None:
    """See `formats.base.Ownership`."""
    there = container.names('')
    if installation is None or any(not name.startswith(names.CONTAINER) for name in there):
        return
    with contextlib.suppress(exceptions.ForeignContainer):
        if check(container, installation):
            for name in filter(_NAME.match, there):
                container.delete(name)


def find(container: store.Container) -> Mark | None:
    """The mark that counts.

    :raises ForeignContainer: it cannot be read.
    """
    for _ in range(_LOOKS):
        numbers = _numbers(container)
        if not numbers:
            break
        name = f'{PREFIX}{max(numbers)}'
        # One that was listed and is gone went with the last backup: look again.
        with contextlib.suppress(exceptions.ObjectNotFound, exceptions.ContainerNotFound):
            try:
                return _read(container.get(name, LARGEST))
            except exceptions.FormatError as error:
                raise exceptions.ForeignContainer(
                    f'object {name}, which says whose container {container.name} is, cannot be '
                    f'read: {error}').advised('. If it is yours, --adopt writes a new one'
                                              ) from error
    return None


def _numbers(container: store.Container) -> list[int]:
    return [int(found[1]) for found in map(_NAME.match, container.names(PREFIX)) if found]


def _dump(installation: str) -> bytes:
    members = {'version': _VERSION, 'installation': installation,
               'marked_at': model.utcnow().isoformat(), 'host': socket.gethostname()[:255]}
    return json.dumps(members, indent=2).encode()


def _read(data: bytes) -> Mark:
    members = document.parse(data)
    if members.get('version') != _VERSION:
        raise exceptions.UnsupportedVersion(
            f'it has version {str(members.get("version"))[:40]!r}, which this release does not '
            'know')
    host = members.get('host')
    try:
        installation = str(uuid.UUID(members.get('installation')))
        marked_at = datetime.datetime.fromisoformat(members['marked_at']).astimezone(datetime.UTC)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        raise exceptions.CorruptObject('it does not say which installation wrote it when') from None
    if not isinstance(host, str) or len(host) > 255 or not host.isprintable():
        raise exceptions.CorruptObject('what it says of a host is impossible')
    return Mark(installation, marked_at, host)


def _check_backups(container: store.Container, installation: str) -> None:
    """Without a mark, as earlier releases left it, a container is theirs who have backups in it."""
    others = None
    for owner in _owners(container):
        if owner in (None, installation):
            return
        others = owner
    if others is not None:
        raise _foreign(container, f'{others[:80]!r}, which wrote its backups', installation)


def _owners(container: store.Container) -> Iterator[str | None]:
    """Who wrote the backups of this format; None stands for nobody in particular."""
    for name in container.names('', base.MANIFEST):
        try:
            members = document.parse(container.get(name, base.LARGEST_MANIFEST))
        except (exceptions.FormatError, exceptions.ObjectNotFound, exceptions.ContainerNotFound):
            continue
        if members.get('version') == manifest.VERSION:
            owner = members.get('owner')
            yield owner if isinstance(owner, str) else None


def _foreign(container: store.Container, other: str, installation: str
             ) -> exceptions.ForeignContainer:
    return exceptions.ForeignContainer(
        f'container {container.name} belongs to installation {other}. Two installations that make '
        'and delete backups in one container would delete what the other needs. Choose another '
        f'container; or, if that one has stopped using this one, take it over (this is '
        f'installation {installation})').advised(' with --adopt')
