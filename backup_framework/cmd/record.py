"""The commands that take records out and in, and change them."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from backup_framework.cmd import base


class Export(base.ShowOne):
    """Show a backup's record as Cinder imports it; -f json makes a file for import."""

    remote = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        base.add_backup(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        with self.manager() as manager:
            record = manager.export(parsed_args.backup)
        return tuple(record), tuple(record.values())


class Import(base.ShowOne):
    """Take in a record that export gave, here or in Cinder."""

    observed = remote = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('file', metavar='FILE', help='JSON of the record; - is stdin')
        parser.add_argument('--backend', metavar='B', help='where its objects are')
        parser.add_argument('--adopt', action='store_true',
                            help='make it ours: it may be deleted here and built on')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from backup_framework.cmd import columns
        record = _read(parsed_args.file)
        with self.manager() as manager:
            backup = manager.import_(record, backend=parsed_args.backend, adopt=parsed_args.adopt)
            return columns.BACKUP, columns.Rows(manager.catalog).backup(backup)


class Set(base.ShowOne):
    """Change a backup's record."""

    observed = remote = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        base.add_backup(parser)
        parser.add_argument('--name', metavar='N', help='new name')
        parser.add_argument('--description', metavar='D', help='new description')
        parser.add_argument('--property', metavar='K=V', action='append', default=[],
                            type=base.key_value, help='set a pair; repeatable')
        parser.add_argument('--state', metavar='S', choices=('available', 'error'),
                            help='available or error; the data are not looked at')
        parser.add_argument('--adopt', action='store_true',
                            help='make a backup of another installation ours')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from backup_framework.cmd import columns
        texts = {'display_name': parsed_args.name, 'display_description': parsed_args.description}
        with self.manager() as manager:
            backup = manager.set(
                parsed_args.backup, state=parsed_args.state, adopt=parsed_args.adopt,
                properties=dict(parsed_args.property),
                **{name: text for name, text in texts.items() if text is not None})
            return columns.BACKUP, columns.Rows(manager.catalog).backup(backup)


class Unset(base.ShowOne):
    """Take something out of a backup's record."""

    remote = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        base.add_backup(parser)
        parser.add_argument('--name', action='store_true', help='have no name')
        parser.add_argument('--description', action='store_true', help='have no description')
        parser.add_argument('--property', metavar='K', action='append', default=[],
                            help='take a pair away; repeatable')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from backup_framework.cmd import columns
        fields: dict[str, Any] = {f'display_{name}': None for name in ('name', 'description')
                  if getattr(parsed_args, name)}
        with self.manager() as manager:
            backup = manager.set(parsed_args.backup, unset=parsed_args.property, **fields)
            return columns.BACKUP, columns.Rows(manager.catalog).backup(backup)


def _read(file: str) -> object:
    from backup_framework import exceptions
    from backup_framework.formats import export_record
    limit = 2 * export_record.LONGEST_RECORD
    try:
        if file == '-':
            text = sys.stdin.read(limit)
        else:
            with open(file, encoding='utf-8') as stream:
                text = stream.read(limit)
        return json.loads(text)
    except OSError as error:
        raise exceptions.InvalidInput(f'cannot read {file}: {error.strerror}') from None
    except (ValueError, RecursionError) as error:
        raise exceptions.InvalidInput(f'{file} is not JSON: {error}') from None
