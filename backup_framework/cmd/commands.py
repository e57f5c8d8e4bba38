"""The commands of all distributions, and what stands for one that cannot be imported."""

from __future__ import annotations

import argparse
from importlib import metadata
import itertools
from typing import cast

from cliff import command, commandmanager

from backup_framework import exceptions, loader
from backup_framework.cmd import base


class Commands(commandmanager.CommandManager):
    """The commands of all distributions, each imported when it is used.

    cliff's own imports them all at the start, and forgets those that fail.
    """

    def load_commands(self, namespace: str) -> None:
        # A plugin cannot take the place of a command of ours.
        for entry in sorted(loader.entry_points(namespace), key=_is_foreign):
            self.commands.setdefault(_name(entry), Command(entry))

    def find_command(self, argv: list[str]) -> tuple[type[command.Command], str, list[str]]:
        """cliff's own takes the beginnings of words too: a slip would make or delete backups."""
        words = list(itertools.takewhile(lambda word: not word.startswith('-'), argv))
        for count in range(len(words), 0, -1):
            name = ' '.join(words[:count])
            if name in self.commands:
                return self.commands[name].load(), name, argv[count:]
        raise ValueError(f'there is no command {" ".join(words)}')


class Command(commandmanager.EntryPointWrapper):
    """One command; where it cannot be imported, another stands for it that says why."""

    def __init__(self, entry: metadata.EntryPoint) -> None:
        self.name = _name(entry)
        self._entry = entry

    @property
    def value(self) -> str:
        return self._entry.value

    def load(self) -> type[command.Command]:
        try:
            return cast(type[command.Command], self._entry.load())
        except (Exception, SystemExit) as error:
            dist = self._entry.dist
            source = f'{dist.name} {dist.version}' if dist else self.value
            return type('Broken', (Broken,), {
                '_description': f'Cannot be used: {source} is broken',
                'reason': f'the command {self.name} of {source} cannot be imported: '
                          f'{type(error).__name__}: {error}'})


class Broken(base.Base):
    """Stands for a command that cannot be imported."""

    reason = ''

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        raise exceptions.DriverLoadError(self.reason)


def _name(entry: metadata.EntryPoint) -> str:
    return entry.name.replace('_', ' ')


def _is_foreign(entry: metadata.EntryPoint) -> bool:
    return not entry.value.startswith('backup_framework.')
