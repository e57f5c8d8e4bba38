"""The commands on backends."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from backup_framework.cmd import base, exit_codes


class List(base.Lister):
    """List the enabled backends."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        configuration = self.configuration()
        base.say(configuration.describe_source())
        return ('name', 'driver', 'default'), [
            (name, configuration.backend(name).driver, name == configuration.default_backend)
            for name in configuration.enabled_backends]


class Show(base.ShowOne):
    """Show a backend's options and what its store can do."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('backend', metavar='BACKEND', help='name of an enabled backend')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        with self.manager() as manager:
            shown = manager.describe_backend(parsed_args.backend)
            return tuple(shown), tuple(shown.values())


class Check(base.Lister):
    """Prove that a backend works, verb by verb, in a container of its own."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('backend', metavar='BACKEND', nargs='?',
                            help='name of an enabled backend; else the default one')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        with self.manager() as manager:
            name = parsed_args.backend or manager.configuration.default_backend
            proofs = manager.check_backend(name)
        if any(proof.level == 'error' for proof in proofs):
            self.code = exit_codes.STORE
        return ('verb', 'result', 'detail'), [dataclasses.astuple(proof) for proof in proofs]


class Clean(base.ShowOne):
    """Remove the temporary objects that killed backups left in a store."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('backend', metavar='BACKEND', nargs='?',
                            help='name of an enabled backend; else the default one')
        parser.add_argument('--older-than', metavar='HOURS', type=_hours, default=1.0,
                            help='only what nobody has written to for so long, by default 1; '
                                 'what backups of this catalog write now is kept always, so 0 is '
                                 'for a store that no other installation or Cinder writes to')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        with self.manager() as manager:
            name = parsed_args.backend or manager.configuration.default_backend
            removed = manager.clean(name, parsed_args.older_than * 3600)
        return ('backend', 'removed'), (name, removed)


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = -1.0
    if not 0 <= hours < 1e6:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number of hours')
    return hours
