"""The commands on containers."""

from __future__ import annotations

import argparse
from typing import Any

from backup_framework.cmd import base, exit_codes

_SIZES = ('logical_bytes', 'stored_bytes', 'unused_bytes', 'dead_bytes', 'reclaimable_bytes')
_LISTED = ('backend', 'container', 'backups', 'objects', 'logical_bytes', 'stored_bytes',
           'reclaimable_bytes')
_SHOWN = ('backend', 'container', 'backups', 'objects', 'logical_bytes', 'stored_bytes',
          'unused_objects', 'unused_bytes', 'dead_bytes', 'reclaimable_bytes', 'notes')


class List(base.Lister):
    """List containers, with what is stored in each and what of it could be freed."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('--backend', metavar='B', help='only those of this backend')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from backup_framework import exceptions
        rows, codes = [], []
        with self.manager() as manager:
            chosen = parsed_args.backend
            for backend in [chosen] if chosen else manager.configuration.enabled_backends:
                try:
                    for usage in manager.containers(backend):
                        codes += [exit_codes.CORRUPT] if usage.notes else []
                        for note in usage.notes:
                            self.warn(f'container {usage.container}: {note}')
                        rows.append(_row(usage, _LISTED))
                except exceptions.OperationCancelled:
                    raise
                except exceptions.BackupFrameworkError as error:
                    base.report(error, self.options.debug)
                    codes.append(exit_codes.of(error))
        self.code = exit_codes.worst(codes)
        return _LISTED, rows


class Show(base.ShowOne):
    """Show what is stored in a container, and what of it could be freed.

    Unused is what no backup needs; "catalog check --repair" removes it. Dead is the least that is
    no longer needed in objects that are needed for the rest: it goes when later backups have
    stored that rest anew, and earlier ones are deleted.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('container', metavar='CONTAINER', help='its name')
        parser.add_argument('--backend', metavar='B', help='where it is; else default_backend')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        with self.manager() as manager:
            usage = manager.container(parsed_args.container, parsed_args.backend)
        if usage.notes:
            self.code = exit_codes.CORRUPT
        return _SHOWN, _row(usage, _SHOWN)


def _row(usage: Any, names: tuple[str, ...]) -> tuple[Any, ...]:
    from backup_framework.cmd import columns
    return tuple(_cell(columns, usage, name) for name in names)


def _cell(columns: Any, usage: Any, name: str) -> Any:
    value = getattr(usage, name)
    if value is None:
        return columns.Unknown(None)
    if name in _SIZES:
        return columns.Size(value)
    if name == 'notes':
        return columns.Sentences(value)
    return columns.Text(value) if name == 'container' else value
