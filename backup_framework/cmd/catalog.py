"""The commands on the catalog."""

from __future__ import annotations

import argparse
import re
from typing import Any

from backup_framework.cmd import base, exit_codes


def _project(text: str) -> str:
    from backup_framework.conf.api import PROJECT
    if not re.fullmatch(PROJECT, text):
        raise argparse.ArgumentTypeError(f'{text!r} cannot be the id of a project')
    return text


class Check(base.Lister):
    """Find what is wrong in the catalog, and between it and the stores."""

    observed = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('--repair', action='store_true',
                            help='remove leftovers, and nothing else, from the stores; mark '
                                 'backups whose manifest is gone as failed')
        parser.add_argument('--dry-run', action='store_true',
                            help='only say what --repair would do')
        parser.add_argument('--older-than', metavar='TIME', type=base.duration,
                            help='remove objects of which the catalog knows nothing only if their '
                                 'backup began so long ago, like 12h; else a day')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from backup_framework import conf
        from backup_framework.cmd import columns
        choices: dict[str, Any] = {'repair': parsed_args.repair, 'dry_run': parsed_args.dry_run}
        if parsed_args.older_than is not None:
            choices['older_than'] = parsed_args.older_than.total_seconds()
        with self.manager() as manager:
            found = manager.check_catalog(**choices)
        if not all(finding.is_mended for finding in found):
            self.code = exit_codes.CORRUPT
        return ('kind', 'finding', 'backend', 'container', 'backup', 'repair'), [
            (finding.kind, columns.Text(conf.mask(finding.sentence)), finding.backend,
             columns.Text(finding.container), finding.backup and finding.backup.id or None,
             columns.Text(conf.mask(finding.outcome or '') or None)) for finding in found]


class Rebuild(base.Lister):
    """Add to the catalog every backup that a backend's manifests tell of."""

    observed = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('backend', metavar='BACKEND', help='name of an enabled backend')
        parser.add_argument('--container', metavar='C', help='search only this container')
        parser.add_argument('--adopt', action='store_true',
                            help='make backups of another installation ours')
        parser.add_argument('--project', metavar='ID', type=_project,
                            help='the project that what is added belongs to; backups that stay '
                                 "another installation's get none")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from backup_framework.cmd import columns
        with self.manager() as manager:
            rebuilt = manager.rebuild(parsed_args.backend, container=parsed_args.container,
                                      adopt=parsed_args.adopt,
                                      project_id=parsed_args.project)
            base.say(f'{len(rebuilt.added)} backups added, {rebuilt.known} were known.')
            for healed in rebuilt.healed:
                base.say(f'Backup {healed} is complete and available now.')
            for problem in rebuilt.problems:
                base.error_line(problem)
            for note in rebuilt.notes:
                self.warn(note)
            if rebuilt.problems:
                self.code = exit_codes.CORRUPT
            return columns.Rows(manager.catalog).listing(rebuilt.added, parsed_args)
