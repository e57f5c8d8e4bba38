"""The commands on backends."""

from __future__ import annotations

import argparse
import contextlib
import datetime
from typing import TYPE_CHECKING, Any

from backup_framework.cmd import base, exit_codes

if TYPE_CHECKING:
    from backup_framework.manager.checking import Proof


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
        return tuple(shown), tuple(map(_known, shown.values()))


def _known(value: Any) -> Any:
    from backup_framework.cmd import columns
    from backup_framework.manager import backends
    return columns.Unknown(None) if value is backends.Unknown.UNKNOWN else value


class Check(base.Lister):
    """Prove what a backend can and cannot promise.

    Each verb is tried, and a few seconds' worth of data is written and read to measure the speed.
    All of it is removed again.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('backend', metavar='BACKEND', nargs='?',
                            help='name of an enabled backend; else the default one')
        parser.add_argument('--no-speed', action='store_true',
                            help='do not measure how fast the store is')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from backup_framework.cmd import columns
        with self.manager() as manager:
            name = parsed_args.backend or manager.configuration.default_backend
            proofs = manager.check_backend(name, measure=not parsed_args.no_speed)
        if any(proof.level == 'error' for proof in proofs):
            self.code = exit_codes.STORE
        return ('verb', 'result', 'value', 'detail'), [
            (proof.verb, proof.level, _value(proof), columns.Text(proof.detail))
            for proof in proofs]


def _value(proof: Proof) -> Any:
    from backup_framework.cmd import columns
    if proof.value is None:
        return columns.Text(None)
    match proof.verb:
        case 'free_space':
            return columns.Size(int(proof.value))
        case 'clock':
            return columns.Ahead(proof.value)
        case 'write_speed' | 'read_speed':
            return columns.Rate(proof.value)
    return proof.value


class Clean(base.ShowOne):
    """Remove the temporary objects that killed backups left in a store."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('backend', metavar='BACKEND', nargs='?',
                            help='name of an enabled backend; else the default one')
        parser.add_argument('--older-than', metavar='TIME', type=_time,
                            default=datetime.timedelta(hours=1),
                            help='only what nobody has written to for so long, like 90m or 30d; a '
                                 'bare number is one of hours; else 1h; what backups of this '
                                 'catalog write now is kept always, so 0 is for a store that no '
                                 'other installation or Cinder writes to')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        with self.manager() as manager:
            name = parsed_args.backend or manager.configuration.default_backend
            removed = manager.clean(name, parsed_args.older_than.total_seconds())
        return ('backend', 'removed'), (name, removed)


def _time(text: str) -> datetime.timedelta:
    with contextlib.suppress(ValueError, OverflowError):
        hours = float(text)
        if 0 <= hours < 1e6:
            return datetime.timedelta(hours=hours)
    return base.duration(text)
