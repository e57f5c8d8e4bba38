"""Where this installation keeps its state when no file says so."""

from __future__ import annotations

import os

from backup_framework.conf.core import STATE_SAMPLE
from backup_framework.exceptions import ConfigurationError


def default_state_path() -> str:
    """/var/lib/backup_framework for root, else a directory of the user's.

    :raises ConfigurationError: the user has no home directory.
    """
    if os.geteuid() == 0:
        return STATE_SAMPLE
    base = os.environ.get('XDG_STATE_HOME', '')
    # The XDG specification wants a relative path to be ignored.
    if not os.path.isabs(base):
        base = os.path.expanduser('~/.local/state')
    if not os.path.isabs(base):
        raise ConfigurationError('this user has no home directory; set state_path in a '
                                 'configuration file, or XDG_STATE_HOME')
    return os.path.join(base, 'backup_framework')


def check_state_path(path: str) -> str:
    """The path, tidied; ConfigurationError where it cannot be used."""
    # A question mark would end the path in the catalog's URL.
    if not os.path.isabs(path) or '?' in path:
        raise ConfigurationError(f'state_path must be an absolute path without "?", not {path!r}')
    return os.path.normpath(path)
