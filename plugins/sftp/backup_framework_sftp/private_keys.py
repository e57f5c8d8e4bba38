"""The files of private keys: which are tried, and what can be told of them without opening them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
import dataclasses
import os
import stat
import struct

from backup_framework import exceptions, model
from backup_framework_sftp import files, options

DEFAULTS = ('~/.ssh/id_ed25519', '~/.ssh/id_ecdsa', '~/.ssh/id_rsa')
_LIMIT = 64 << 10
_PUBLIC = (b'ssh-', b'ecdsa-', b'sk-', b'---- BEGIN SSH2 PUBLIC KEY')
_OPENSSH = b'openssh-key-v1\0'


@dataclasses.dataclass(frozen=True)
class KeyFile:
    """A private key's file.

    :param encrypted: it needs a passphrase.
    :param public: the key's public half as it travels, where that can be told.
    """

    path: str
    encrypted: bool
    public: bytes | None


def find(settings: model.Settings) -> list[KeyFile]:
    """The keys that are tried: the one that is named, else those in their usual places.

    :raises PermissionDenied: the one that is named cannot be used.
    """
    if settings.private_key:
        return [_look(options.local_path(settings.private_key))]
    found = []
    for path in map(os.path.expanduser, DEFAULTS):
        try:
            found.append(_look(path))
        except exceptions.PermissionDenied:
            continue
    return found


def described(settings: model.Settings, keys: Sequence[KeyFile]) -> list[str]:
    """What logging in with keys means, for messages."""
    words = [f'the key {key.path}' for key in keys if not key.encrypted]
    if settings.use_agent and os.environ.get('SSH_AUTH_SOCK'):
        words.append('the agent' if settings.private_key else 'the keys of the agent')
    return words


def closed(settings: model.Settings, keys: Sequence[KeyFile]) -> str:
    """A phrase about keys that could not be opened, or ''."""
    paths = [key.path for key in keys if key.encrypted]
    if not paths or settings.private_key_passphrase:
        return ''
    return f'{" and ".join(paths)} needs private_key_passphrase, or an agent that holds the key'


def _look(path: str) -> KeyFile:
    try:
        with files.open_regular(path) as file:
            status = os.fstat(file.fileno())
            data = file.read(_LIMIT)
    except OSError as error:
        raise exceptions.PermissionDenied(
            f'cannot read the private key {path}: {error.strerror}') from None
    if data.startswith(_PUBLIC):
        raise exceptions.PermissionDenied(
            f'{path} is a public key; private_key is the file beside it, without .pub')
    # What ssh asks for as well.
    if status.st_uid == os.getuid() and stat.S_IMODE(status.st_mode) & 0o077:
        raise exceptions.PermissionDenied(
            f'the private key {path} is not used: other users can read it; chmod 600 it')
    if b'PRIVATE KEY-----' not in data:
        raise exceptions.PermissionDenied(f'{path} holds no private key in a form of OpenSSH')
    encrypted, public = _inside(data)
    return KeyFile(path, encrypted, public or _beside(path))


def _inside(data: bytes) -> tuple[bool, bytes | None]:
    """Whether a key is encrypted, and its public half if it lies open."""
    lines = data.strip().splitlines()
    if not lines[0].startswith(b'-----BEGIN OPENSSH'):
        return b'ENCRYPTED' in data, None
    try:
        rest = base64.b64decode(b''.join(lines[1:-1])).removeprefix(_OPENSSH)
        cipher, rest = _string(rest)
        for _ in ('kdf', 'its options'):
            _, rest = _string(rest)
        public, _ = _string(rest[4:])
    except (binascii.Error, struct.error):
        return False, None
    return cipher != b'none', public


def _string(data: bytes) -> tuple[bytes, bytes]:
    length, = struct.unpack('>I', data[:4])
    return data[4:4 + length], data[4 + length:]


def _beside(path: str) -> bytes | None:
    """What `FILE.pub` holds."""
    try:
        with files.open_regular(f'{path}.pub') as file:
            return base64.b64decode(file.read(_LIMIT).split()[1], validate=True)
    except (OSError, IndexError, binascii.Error):
        return None
