"""What the command line's exit codes mean. They are documented in doc/source/operating.rst."""

from __future__ import annotations

from collections.abc import Iterable
import signal

from backup_framework import exceptions

DONE = 0
INTERNAL = 1
USAGE = 2
NOT_FOUND = 3
REFUSED = 4
STORE = 5
CORRUPT = 6
NO_SPACE = 7
BROKEN_PIPE = 128 + signal.SIGPIPE

_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (exceptions.StoreFull, NO_SPACE),
    (exceptions.NoSpace, NO_SPACE),
    (exceptions.DriverBug, INTERNAL),
    (exceptions.NotSupported, REFUSED),
    (exceptions.BackupDriverException, STORE),
    (exceptions.UnsupportedVersion, REFUSED),
    (exceptions.KeyUnavailable, REFUSED),
    (exceptions.FormatError, CORRUPT),
    (exceptions.CatalogCorrupt, CORRUPT),
    (exceptions.CatalogError, STORE),
    (exceptions.VolumeError, STORE),
    (exceptions.NotFound, NOT_FOUND),
    (exceptions.Refused, REFUSED),
    (exceptions.ConfigurationError, USAGE),
    (exceptions.InvalidInput, USAGE),
)


def of(error: BaseException) -> int:
    """The exit code for an error: the first row that fits."""
    if isinstance(error, exceptions.OperationCancelled):
        return 128 + (error.signal or signal.SIGINT)
    if isinstance(error, exceptions.VolumeError) and isinstance(error.__cause__, BrokenPipeError):
        return BROKEN_PIPE
    if isinstance(error, exceptions.InvalidTarget) and isinstance(
            error.__cause__, FileNotFoundError | NotADirectoryError):
        # It does not exist; perhaps its disk is not mounted.
        return STORE
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    return next((code for kind, code in _CODES if isinstance(error, kind)), INTERNAL)


def worst(codes: Iterable[int]) -> int:
    """One code for several operations: interruption, then corruption, then the largest."""
    found = set(codes)
    if any(code > 128 for code in found):
        return max(found)
    return CORRUPT if CORRUPT in found else max(found, default=DONE)
