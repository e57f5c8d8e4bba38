"""What a known_hosts file says of a server, and the fingerprints of keys.

Format: sshd(8), SSH_KNOWN_HOSTS FILE FORMAT.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
import dataclasses
import enum
import fnmatch
import hashlib
import hmac
import re
import struct

from backup_framework import exceptions
from backup_framework_sftp import files

REVOKED, AUTHORITY = '@revoked', '@cert-authority'


@dataclasses.dataclass(frozen=True)
class HostKey:
    """A public key.

    :param blob: as it travels; the type stands in it too.
    """

    type: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """As ssh prints it."""
        return 'SHA256:' + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip('=')

    def line(self, host: str, port: int) -> str:
        """What known_hosts has to hold so that this key is known."""
        return f'{spelled(host, port)} {self.type} {base64.b64encode(self.blob).decode()}'


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of the file that is about the server asked for. `number` counts from 1."""

    number: int
    marker: str
    key: HostKey


class Verdict(enum.StrEnum):
    """What the file says of a key that a server showed."""

    KNOWN = 'known'
    UNKNOWN = 'unknown'
    CHANGED = 'changed'
    REVOKED = 'revoked'


class KnownHosts:
    """A known_hosts file.

    :ivar path: where it was read.
    """

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self._lines = list(_lines(text))

    def about(self, host: str, port: int) -> list[Line]:
        """The lines that are about a server, the file's first one first.

        As for ssh, a line that names the host without a port is about all of its ports.
        """
        names = {spelled(host, port), spelled(host, 22)}
        return [line for patterns, line in self._lines
                if any(_is_about(patterns, name) for name in names)]

    def types(self, host: str, port: int) -> list[str]:
        """The types of the keys that are known for a server."""
        return list(dict.fromkeys(line.key.type for line in self.about(host, port)
                                  if not line.marker))

    def judge(self, host: str, port: int, key: HostKey) -> tuple[Verdict, Line | None]:
        """What the file says of this key, and the line that says so.

        As for ssh, a server of which keys of other types are known has changed: it is asked for
        one of those first. The line is one of the same type where there is one.
        """
        lines = self.about(host, port)
        same = [line for line in lines if line.key == key]
        plain = [line for line in lines if not line.marker]
        for line in same:
            if line.marker == REVOKED:
                return Verdict.REVOKED, line
        for line in same:
            if not line.marker:
                return Verdict.KNOWN, line
        other = min(plain, key=lambda line: line.key.type != key.type, default=None)
        return (Verdict.CHANGED if other else Verdict.UNKNOWN), other

    def has_authority(self, host: str, port: int) -> bool:
        """Whether certificates are trusted for this server."""
        return any(line.marker == AUTHORITY for line in self.about(host, port))


def read(path: str) -> KnownHosts:
    """:raises PermissionDenied: it is missing or cannot be read; a server cannot be known then."""
    try:
        with files.open_regular(path) as file:
            return KnownHosts(path, file.read().decode(errors='surrogateescape'))
    except OSError as error:
        raise exceptions.PermissionDenied(
            f'cannot read the known_hosts file {path}: {error.strerror}. No server is trusted '
            'without it; "backup-framework sftp host-key BACKEND" shows what it has to hold'
        ) from None


def spelled(host: str, port: int) -> str:
    """How known_hosts names a server."""
    return host.lower() if port == 22 else f'[{host.lower()}]:{port}'


def from_blob(blob: bytes) -> HostKey:
    """:raises ValueError: it does not begin with its type."""
    try:
        length, = struct.unpack('>I', blob[:4])
        return HostKey(blob[4:4 + length].decode('ascii'), blob)
    except (struct.error, UnicodeDecodeError):
        raise ValueError('not a public key') from None


def _lines(text: str) -> Iterator[tuple[str, Line]]:
    """Each line with the hosts it is about; what ssh would skip is skipped."""
    for number, raw in enumerate(text.splitlines(), 1):
        fields = raw.split()
        marker = fields.pop(0) if fields and fields[0].startswith('@') else ''
        if len(fields) < 3 or fields[0].startswith('#') or marker not in ('', REVOKED, AUTHORITY):
            continue
        try:
            key = from_blob(base64.b64decode(fields[2], validate=True))
        except (binascii.Error, ValueError):
            continue
        if key.type == fields[1]:
            yield fields[0], Line(number, marker, key)


def _is_about(patterns: str, name: str) -> bool:
    if patterns.startswith('|'):
        return _hashed(patterns, name)
    found = False
    for pattern in patterns.lower().split(','):
        if _matches(pattern.removeprefix('!'), name):
            if pattern.startswith('!'):
                return False
            found = True
    return found


def _matches(pattern: str, name: str) -> bool:
    """`*` and `?` are wildcards; brackets are not, unlike for fnmatch."""
    return fnmatch.fnmatchcase(name, re.sub(r'\[', '[[]', pattern))


def _hashed(pattern: str, name: str) -> bool:
    try:
        _, kind, salt, digest = pattern.split('|')
        wanted = base64.b64decode(digest, validate=True)
        made = hmac.digest(base64.b64decode(salt, validate=True), name.encode(), 'sha1')
    except ValueError:
        return False
    return kind == '1' and hmac.compare_digest(made, wanted)
