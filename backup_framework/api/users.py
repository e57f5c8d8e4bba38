"""The users of `http_basic`: an htpasswd file, and a file with their projects and roles."""

from __future__ import annotations

import configparser
import hashlib
import hmac
import logging
import os
import re
import secrets
import stat

import bcrypt

from backup_framework.api.watching import Watched
from backup_framework.conf.api import PROJECT
from backup_framework.exceptions import ConfigurationError

LOG = logging.getLogger(__name__)

REMEMBERED = 1024
"""Passwords that are known to be right, at most."""

_LONGEST = 72  # bytes of a password that bcrypt looks at
_ID = re.compile(PROJECT, re.ASCII)
# Cost, salt and hash; 128 bits of salt leave four of the last character unused.
_BCRYPT = re.compile(rb'\$2[aby]\$(0[4-9]|[12]\d|3[01])\$'
                     rb'[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}')

Projects = dict[str, list[str]]
"""Roles by project; the first project is the one that counts when a request names none."""


class Users:
    """Who may ask; files that change are read again.

    :param passwords: an htpasswd file, bcrypt alone.
    :param projects: an INI file, a section for each user, a line `PROJECT = ROLE, …` for each
        project; without it, and for users that it does not name, the user is member of a project
        of the same name.
    :raises ConfigurationError: one of them cannot be read or makes no sense.
    """

    def __init__(self, passwords: str | None, projects: str | None) -> None:
        if not passwords:
            raise ConfigurationError('auth_strategy = http_basic needs http_basic_auth_user_file, '
                                     'a file that "htpasswd -B" wrote')
        self._passwords = Watched(lambda: [passwords], lambda: read_passwords(passwords))
        self._projects = Watched(lambda: [projects] if projects else [],
                                 lambda: read_projects(projects) if projects else {})
        self._secret = secrets.token_bytes(32)
        self._right: dict[bytes, None] = {}

    def projects(self, name: str, password: bytes) -> Projects | None:
        """The projects of a user with this password; None for anybody else."""
        known = self._passwords.get()
        # A name that nobody has takes as long as one that somebody has.
        stored = known.get(name) or next(iter(known.values()), b'')
        if not self._is_right(name, password, stored) or name not in known:
            return None
        return self._projects.get().get(name, {name: ['member']})

    def _is_right(self, name: str, password: bytes, stored: bytes) -> bool:
        """bcrypt is slow on purpose, so what was right is remembered, as a digest."""
        said = b'\0'.join((name.encode(), stored, password))
        digest = hmac.digest(self._secret, said, hashlib.sha256)
        if digest in self._right:
            return True
        if not stored or not bcrypt.checkpw(password[:_LONGEST], stored):
            return False
        if len(self._right) >= REMEMBERED:
            self._right.clear()
        self._right[digest] = None
        return True


def read_passwords(path: str) -> dict[str, bytes]:
    """The hash of each user's password.

    :raises ConfigurationError: the file cannot be read, or has lines that are not bcrypt's.
    """
    found: dict[str, bytes] = {}
    for number, line in enumerate(_text(path, secret=True).splitlines(), 1):
        name, _, stored = line.strip().partition(':')
        if not name or name.startswith('#'):
            continue
        if not _BCRYPT.fullmatch(stored.encode()):
            raise ConfigurationError(f'{path}, line {number}: the password of {name} is not stored '
                                     f'by bcrypt; make it with "htpasswd -B {path} {name}"')
        if len(name.encode()) > 255 or name in found:
            raise ConfigurationError(f'{path}, line {number}: {name[:40]} is there twice, or has '
                                     f'more than 255 bytes')
        found[name] = stored.encode()
    return found


def read_projects(path: str) -> dict[str, Projects]:
    """The projects of each user.

    :raises ConfigurationError: the file cannot be read or makes no sense.
    """
    parser = configparser.ConfigParser(
        delimiters=('=',), comment_prefixes=('#',), interpolation=None, default_section='')
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(_text(path), path)
    except configparser.Error as error:
        raise ConfigurationError(f'{path} makes no sense: {error}') from None
    found: dict[str, Projects] = {}
    for user in parser.sections():
        found[user] = {project: [role.strip().lower() for role in roles.split(',') if role.strip()]
                       for project, roles in parser.items(user)}
        wrong = [project for project in found[user] if not _ID.fullmatch(project)]
        if wrong or not found[user]:
            raise ConfigurationError(
                f'{path}: [{user}] names {wrong[0] if wrong else "no project"}; a project has '
                f'letters, digits, "_", "-" and ".", and a line PROJECT = ROLE, …')
    return found


def _text(path: str, *, secret: bool = False) -> str:
    try:
        with open(path, encoding='utf-8-sig') as stream:
            if secret and stat.S_IMODE(os.fstat(stream.fileno()).st_mode) & stat.S_IROTH:
                LOG.warning('%s holds passwords and can be read by every user of this machine; '
                            'chmod 640 it', path)
            return stream.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f'cannot read {path}: {error}') from None
