"""The numbered sentences of the interface, and which case of the kit stands for which."""

from __future__ import annotations

from collections.abc import Callable
import functools
import inspect
import re
from typing import Any, ParamSpec, TypeVar

from backup_framework.interface import backup_driver, chunked_driver

P = ParamSpec('P')
R = TypeVar('R')

_INTERFACES = (chunked_driver.BackupChunkedDriver, backup_driver.BackupDriver)
_SENTENCE = re.compile(r'^([A-Z]\d+)\. (.+(?:\n +.+)*)', re.MULTILINE)


@functools.cache
def sentences(*interfaces: type) -> dict[str, str]:
    """Each id of the contract with its sentence, as the docstrings of the interfaces have them:
    the drivers', where none is named.
    """
    found: dict[str, str] = {}
    for interface in interfaces or _INTERFACES:
        for documented in (interface, *vars(interface).values()):
            text = inspect.cleandoc(getattr(documented, '__doc__', None) or '')
            for identifier, words in _SENTENCE.findall(text):
                found[identifier] = ' '.join(words.split())
    return found


def sentence(identifier: str, *, interfaces: tuple[type, ...] = ()
             ) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a case of the kit: it proves this sentence, and a failure quotes it."""
    def mark(case: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(case)
        def quoting(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return case(*args, **kwargs)
            except Exception as error:
                said = sentences(*interfaces)[identifier]
                error.add_note(f'The contract says, {identifier}: {said}')
                raise
        quoting.sentence = identifier  # type: ignore[attr-defined]
        return quoting
    return mark


def cases_of(kit: type[Any]) -> dict[str, list[str]]:
    """Each id that `kit` has cases for, with the names of these cases."""
    found: dict[str, list[str]] = {}
    for name in sorted(dir(kit)):
        identifier = getattr(getattr(kit, name), 'sentence', None)
        if name.startswith('test_') and identifier is not None:
            found.setdefault(identifier, []).append(name)
    return found
