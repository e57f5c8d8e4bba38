"""The commands on keys of sealed backups."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from backup_framework.cmd import base, exit_codes

if TYPE_CHECKING:
    from backup_framework.manager.keys import Rewrapped


class List(base.Lister):
    """List the keys that have sections, who uses them, and whether they are at hand."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from backup_framework.cmd import columns
        with self.manager() as manager:
            found = manager.list_keys()
        return ('name', 'type', 'backends', 'at_hand', 'problem'), [
            (key.name, columns.Text(key.type), columns.Names(key.backends), not key.problem,
             columns.Text(key.problem)) for key in found]


class Generate(base.Base):
    """Make a file with a new key, which only its owner can read; never overwrites one."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('file', metavar='FILE', help='file to make')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        from backup_framework.key_managers import file
        file.generate(parsed_args.file)
        base.say(f'{parsed_args.file} holds a new key. Keep a copy where the backups are not: '
                 'what is sealed for this key alone is lost with it.')


class Rewrap(base.ShowOne):
    """What the commands share that wrap keys anew."""

    observed = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('--backend', metavar='B', required=True,
                            help='name of an enabled backend')
        return parser

    def shown(self, done: Rewrapped) -> Any:
        for called, error in done.failures:
            base.error_line(f'{called}: {base.sentence_of(error)}')
        self.code = exit_codes.worst(exit_codes.of(error) for _, error in done.failures)
        return (('backend', 'sealed', 'changed', 'failed'),
                (done.backend, done.sealed, done.changed, len(done.failures)))


class Add(Rewrap):
    """Let one more key open all sealed backups of a backend; no data is read or written."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        return _with_name(super().get_parser(prog_name))

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        with self.manager() as manager:
            return self.shown(manager.add_key(parsed_args.name, parsed_args.backend))


class Remove(Rewrap):
    """Let a key open the sealed backups of a backend no more; no data is read or written."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        return _with_name(super().get_parser(prog_name))

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        with self.manager() as manager:
            return self.shown(manager.remove_key(parsed_args.name, parsed_args.backend))


class Rotate(Rewrap):
    """Seal all sealed backups of a backend for exactly the keys that its section names now."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        with self.manager() as manager:
            return self.shown(manager.rotate_keys(parsed_args.backend))


def _with_name(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument('name', metavar='NAME', help='of a section [key:NAME]')
    return parser
