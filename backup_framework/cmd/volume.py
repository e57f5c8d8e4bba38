"""The commands on volumes' records."""

from __future__ import annotations

import argparse
from typing import Any

from backup_framework.cmd import base


class List(base.Lister):
    """List the volumes that are known from their backups."""

    remote = True

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from backup_framework.cmd import columns
        with self.manager() as manager:
            return columns.VOLUME, [columns.volume(each) for each in manager.catalog.volumes()]


class Show(base.ShowOne):
    """Show one volume."""

    remote = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('volume', metavar='VOLUME', help='id, name or path')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from backup_framework.cmd import columns
        with self.manager() as manager:
            found = manager.find_volume(parsed_args.volume)
            count = len(manager.catalog.backups(volume_id=found.id))
            return (*columns.VOLUME, 'backups'), (*columns.volume(found), count)


class Set(base.ShowOne):
    """Change a volume's record."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('volume', metavar='VOLUME', help='id, name or path')
        parser.add_argument('--name', metavar='N', help='new name')
        parser.add_argument('--path', metavar='PATH', help='where the volume is now')
        parser.add_argument('--property', metavar='K=V', action='append', default=[],
                            type=base.key_value, help='set a pair; kept in backups; repeatable')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from backup_framework.cmd import columns
        from backup_framework.engine import source
        with self.manager() as manager:
            found = manager.find_volume(parsed_args.volume)
            changes: dict[str, Any] = {}
            if parsed_args.name is not None:
                changes['name'] = parsed_args.name
            if parsed_args.path is not None:
                changes['path'] = source.absolute(parsed_args.path)
            if parsed_args.property:
                changes['metadata'] = found.metadata | dict(parsed_args.property)
            if changes:
                manager.catalog.update_volume(found.id, **changes)
            return columns.VOLUME, columns.volume(manager.catalog.get_volume(found.id))
