"""What a server's refusal means: StoreErrors with sentences for the operator."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from backup_framework import exceptions
from backup_framework_sftp.layout import MISSING, Layout
from backup_framework_sftp.packets import Code, Space
from backup_framework_sftp.protocol import (
    STATVFS,
    ConnectionLost,
    ProtocolError,
    Session,
    SFTPError,
    StatusError,
)

FULL = {Code.NO_SPACE_ON_FILESYSTEM: 'no space is left there',
        Code.QUOTA_EXCEEDED: 'the quota of the account is used up'}
DENIED = {Code.PERMISSION_DENIED, Code.WRITE_PROTECT}
UNAVAILABLE = {Code.NO_CONNECTION, Code.CONNECTION_LOST}
LITTLE = 4 << 20
"""With less room than this, a plain failure to write means that the file system is full."""

Kind = type[exceptions.StoreError]


@dataclass(frozen=True)
class Deed:
    """What was being done when an error came.

    :param size: bytes that are being stored; None where nothing is.
    """

    doing: str
    container: str | None = None
    name: str | None = None
    size: int | None = None

    def __str__(self) -> str:
        if self.container is None:
            return self.doing
        if self.name is None:
            return f'{self.doing} {self.container}'
        return f'{self.doing} {self.name} of container {self.container}'


def store_error(error: SFTPError, deed: Deed, layout: Layout, session: Session | None
                ) -> exceptions.StoreError:
    """:param session: on which a full file system is asked after."""
    kind, advice = _judge(error, deed, layout, session)
    return kind(f'cannot {deed} in {layout.spell()}: {error}{advice}',
                container=deed.container, name=deed.name)


def _judge(error: SFTPError, deed: Deed, layout: Layout, session: Session | None
           ) -> tuple[Kind, str]:
    """The StoreError, and what its message says beside the server's reason."""
    if isinstance(error, ProtocolError):
        return exceptions.StoreError, ''
    if isinstance(error, ConnectionLost) or not isinstance(error, StatusError):
        return exceptions.StoreUnavailable, ''
    if error.code in MISSING and deed.container is not None:
        missing_container = deed.name is None
        return (exceptions.ContainerNotFound if missing_container
                else exceptions.ObjectNotFound), ''
    if error.code in DENIED:
        return exceptions.PermissionDenied, (
            '; the account on the server needs to read and write there')
    if error.code in FULL:
        return exceptions.StoreFull, (
            f'; {FULL[Code(error.code)]}: make room or delete old backups')
    if error.code == Code.OP_UNSUPPORTED:
        return exceptions.NotSupported, '; this server cannot do that'
    if error.code in UNAVAILABLE:
        return exceptions.StoreUnavailable, ''
    if deed.size is not None and error.code == Code.FAILURE:
        return _judge_failure(_space(layout, session), deed.size)
    return exceptions.StoreError, ''


def _judge_failure(space: Space | None, size: int) -> tuple[Kind, str]:
    """A server has one code for most of what can go wrong when something is stored."""
    if space is None:
        return exceptions.StoreError, (
            '; the server does not say why. No space or inodes may be left, a quota used up, or '
            "the file system read-only or damaged: look there, and into the server's log")
    if space.read_only:
        return exceptions.PermissionDenied, '; the file system there is read-only'
    if space.free < max(LITTLE, size):
        return exceptions.StoreFull, (
            f'; no space: {space.free} bytes are free. Make room or delete old backups')
    if space.files and not space.free_files:
        return exceptions.StoreFull, (
            '; no inodes are left there: remove files or delete old backups')
    return exceptions.StoreError, (
        f'; the server does not say why. {space.free} bytes are free there. A quota may be used '
        "up, or the disk damaged: look into the server's log")


def _space(layout: Layout, session: Session | None) -> Space | None:
    if session is None or not session.offers(STATVFS):
        return None
    with contextlib.suppress(SFTPError):
        return layout.space(session)
    return None
