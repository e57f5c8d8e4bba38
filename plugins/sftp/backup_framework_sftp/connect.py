"""A stream to the server's SFTP service, by what suits: the system's ssh, or paramiko."""

from __future__ import annotations

import dataclasses
import functools
import logging
from typing import TYPE_CHECKING

from backup_framework import exceptions, model
from backup_framework_sftp import openssh, options, private_keys

if TYPE_CHECKING:
    from backup_framework_sftp.protocol import Stream

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Choice:
    """What speaks SSH, 'openssh' or 'paramiko', and a sentence that says why."""

    transport: str
    reason: str


def connect(settings: model.Settings) -> Stream:
    """A stream on which SFTP may begin. Ours to close.

    From here to the first byte that arrives no more than `timeout` seconds pass, and failures are
    StoreErrors, which may also come from the stream; see `openssh.Stream`.

    :raises StoreError: the server cannot be reached or known, or does not let us in.
    """
    choice = choose(settings)
    _say(f'SFTP to {options.where(settings)}: {choice.reason}')
    if choice.transport == 'openssh':
        return openssh.connect(settings)
    from backup_framework_sftp import portable
    return portable.connect(settings)


def choose(settings: model.Settings) -> Choice:
    """Decide what speaks SSH; connects to nothing.

    :raises StoreError: ssh is asked for and cannot do what is needed, or the key that is named
        cannot be used.
    """
    if settings.transport == 'paramiko':
        return Choice('paramiko', 'the transport is paramiko, as the option says')
    hindrance = _hindrance(settings)
    if not hindrance:
        return Choice('openssh', f'the transport is {openssh.program()}')
    if settings.transport == 'openssh':
        raise exceptions.StoreError(
            f'cannot connect to {options.where(settings)}: the option transport asks for openssh, '
            f'but {hindrance}; choose auto or paramiko')
    return Choice('paramiko', f'the transport is paramiko, which is slower than openssh: '
                              f'{hindrance}')


def _hindrance(settings: model.Settings) -> str:
    """Why ssh cannot be used, or ''."""
    if openssh.program() is None:
        return "this system has no ssh of OpenSSH's"
    if settings.password:
        return 'ssh cannot be given a password'
    keys = private_keys.find(settings)
    if settings.private_key_passphrase and any(key.encrypted for key in keys):
        return 'ssh cannot be given the passphrase of a key'
    for path in (options.local_path(settings.known_hosts), *(key.path for key in keys)):
        if not openssh.can_be_told(path):
            return f'ssh cannot be given the path {path!r}'
    return ''


@functools.lru_cache(maxsize=256)
def _say(sentence: str) -> None:
    """Log it once in this process."""
    LOG.info(sentence)
