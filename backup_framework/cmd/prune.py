"""The command that deletes what no rule keeps."""

from __future__ import annotations

import argparse
from typing import Any

from backup_framework.cmd import base, exit_codes

_COUNTS = {'last': 'backups', 'hourly': 'hours', 'daily': 'days', 'weekly': 'weeks',
           'monthly': 'months', 'yearly': 'years'}


class Prune(base.Lister):
    """Delete the backups that no rule keeps.

    Rules come from the options here or, where there are none, from the sections [volume:NAME] and
    [retention] of the configuration; what these protect stays in any case. What is not available,
    is damaged, or was written by another installation does not count, and stays.
    """

    observed = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('volumes', metavar='VOLUME', nargs='*',
                            help='ids, names or paths; without any, all volumes')
        parser.add_argument('--backend', metavar='B', help='only backups on this backend')
        parser.add_argument('--dry-run', action='store_true',
                            help='only say what would go, and why the others stay')
        for name, unit in _COUNTS.items():
            parser.add_argument(f'--keep-{name}', dest=name, metavar='N', type=_count, help=(
                f'the newest N {unit}' if name == 'last' else
                f'the newest backup of each of the newest N {unit} with backups'))
        parser.add_argument('--within', metavar='TIME', type=base.duration, help=(
            'all that are at most so much older than the newest one, like 12h or 14d'))
        parser.add_argument('--protect', metavar='KEY[=VALUE]', action='append',
                            help='all with this property; may be repeated')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from backup_framework.manager import pruning
        rules = {name: getattr(parsed_args, name) for name in (*_COUNTS, 'within', 'protect')
                 if getattr(parsed_args, name) is not None}
        with self.manager() as manager:
            request = pruning.Request(
                [manager.find_volume(each) for each in parsed_args.volumes], parsed_args.backend,
                rules, all_projects=True)
            verdicts = manager.plan_prune(request)
            outcomes = {verdict.backup.id: 'stays' if verdict.stays else 'would be deleted'
                        for verdict in verdicts}
            if not parsed_args.dry_run:
                outcomes |= self._apply(manager, verdicts)
            return _rows(manager, verdicts, outcomes)

    def _apply(self, manager: Any, verdicts: Any) -> dict[str, str]:
        outcomes, codes = {}, []
        for backup, done in manager.prune(verdicts):
            if isinstance(done, Exception):
                base.report(done, self.options.debug)
                codes.append(exit_codes.of(done))
                outcomes[backup.id] = 'failed'
            else:
                outcomes[backup.id] = 'deleted' if done else 'waits'
        self.code = exit_codes.worst(codes)
        return outcomes


def _rows(manager: Any, verdicts: Any, outcomes: dict[str, str]) -> Any:
    from backup_framework.cmd import columns
    names = ('id', 'name', 'volume', 'backend', 'data_timestamp')
    rows = columns.Rows(manager.catalog)
    return (*names, 'outcome', 'reasons'), [
        (*rows.backup(verdict.backup, names), outcomes[verdict.backup.id],
         columns.Sentences(list(verdict.reasons))) for verdict in verdicts]


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f'{text!r} is not a number of backups or periods')
    return int(text)
