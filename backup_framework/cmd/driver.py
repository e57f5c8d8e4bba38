"""The commands on installed drivers."""

from __future__ import annotations

import argparse
from typing import Any

from backup_framework.cmd import base, exit_codes


class List(base.Lister):
    """List the installed drivers; none of them is loaded."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from backup_framework import loader
        return ('name', 'distribution', 'version', 'class', 'conflict'), [
            (info.name, info.distribution, info.version, info.target, ', '.join(info.rivals))
            for info in loader.drivers().values()]


class Show(base.Lister):
    """Show the options of a driver."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_driver(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from backup_framework import conf, loader
        options = conf.options_of(loader.load(parsed_args.driver)).values()
        return ('option', 'type', 'default', 'required', 'help'), [
            (option.name, option.type.value, conf.spelled(option, option.default),
             option.required, option.help) for option in options]


class Check(base.Lister):
    """Compare a driver's methods and signatures with the interface."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_driver(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from backup_framework import loader
        findings = loader.check(parsed_args.driver)
        if any(finding.level == 'error' for finding in findings):
            self.code = exit_codes.REFUSED
        if not findings:
            base.say(f'Driver {parsed_args.driver} has all that the interface asks for.')
        return ('level', 'finding'), [(finding.level, finding.text) for finding in findings]


def _add_driver(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('driver', metavar='NAME', help='name of a driver, or module:Class')
