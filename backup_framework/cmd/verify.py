"""The command that verifies backups."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from cliff import columns as formatting

from backup_framework import exceptions
from backup_framework.cmd import base, exit_codes

if TYPE_CHECKING:
    from backup_framework.manager.verifying import Hurt, Verified
    from backup_framework.model import Backup

_COLUMNS = ('id', 'name', 'result', 'how', 'verified_at', 'objects', 'checked_bytes', 'problems',
            'also_hurt', 'notes')


class Verify(base.Lister):
    """Read and check every byte of backups, or a part of them."""

    observed = remote = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('backups', metavar='ID', nargs='*', help='ids or names of backups')
        which = parser.add_argument_group('which backups, if none is named')
        which.add_argument('--all', action='store_true', help='every available backup')
        which.add_argument('--backend', metavar='B', help='those on this backend')
        which.add_argument('--container', metavar='C', help='those in this container')
        which.add_argument('--volume', metavar='V', help='those of this volume: id, name or path')
        which.add_argument('--older-than', metavar='TIME', type=base.duration,
                           help='of these, those without a full verification within TIME, as 30d')
        which.add_argument('--limit', metavar='N', type=base.count,
                           help='of these at most so many, whose last full verification is oldest')
        kind = parser.add_mutually_exclusive_group()
        kind.add_argument('--quick', action='store_true',
                          help='check manifests, and that each object is there')
        kind.add_argument('--percent', metavar='N', type=_percent,
                          help='check a random sample of the chunks, another one each time')
        parser.add_argument('--seed', metavar='N', type=int,
                            help='with --percent, the same number takes the same sample')
        parser.add_argument('--mark-bad', action='store_true',
                            help='let no later backup use the objects that are found damaged: it '
                                 'stores anew what is in them')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        self.codes: list[int] = []
        self._told: set[tuple[str, str, str]] = set()
        self._unmarked = False
        with self.manager() as manager:
            selection, how = _selection(manager, parsed_args), _how(parsed_args)
            rows = [self._row(backup, found)
                    for backup, found in manager.verify_all(selection, how)]
        if self._unmarked:
            self.warn('later backups go on using objects that are damaged; --mark-bad makes them '
                      'store anew what is in these')
        self.code = exit_codes.worst(self.codes)
        return _COLUMNS, rows

    def _row(self, backup: Backup, found: Verified | Exception) -> tuple[Any, ...]:
        from backup_framework.cmd import columns
        name = columns.Text(backup.display_name)
        if isinstance(found, Exception):
            base.report(found, self.options.debug)
            self.codes.append(exit_codes.of(found))
            return (backup.id, name, 'error', None, None, None, columns.Size(None),
                    Problems([{'container': None, 'object': None, 'extents': [],
                               'problem': str(found)}]), AlsoHurt([]), columns.Sentences([]))
        report = found.report
        self._tell(backup, found)
        return (backup.id, name, 'good' if report.ok else 'bad', found.how,
                columns.time(found.at), report.objects, columns.Size(report.checked_bytes),
                Problems([{'container': problem.container, 'object': problem.object,
                           'extents': _pairs(problem.extents), 'problem': problem.sentence}
                          for problem in report.found]),
                AlsoHurt(list(map(_hurt, found.hurt))), columns.Sentences(report.notes))

    def _tell(self, backup: Backup, verified: Verified) -> None:
        from backup_framework.manager import verifying
        report = verified.report
        self.codes += [] if report.ok else [exit_codes.CORRUPT]
        for problem in report.problems:
            base.error_line(f'backup {backup.id}: {problem}')
        for note in report.notes:
            self.warn(f'backup {backup.id}: {note}')
        self._unmarked |= verified.unmarked
        self._told |= {(backup.id, *each) for each in report.bad}
        for hurt in verified.hurt:
            told = hurt.backup_id, hurt.container, hurt.object
            if told not in self._told:
                self._told.add(told)
                self.warn(f'backup {hurt.backup_id}: {verifying.spelled(hurt)}')


def _selection(manager: Any, parsed_args: argparse.Namespace) -> Any:
    """:raises InvalidInput: it is not said which backups, or said twice."""
    from backup_framework.manager import verifying
    given = vars(parsed_args)
    filters = [given[name] for name in ('backend', 'container', 'volume')]
    chosen = parsed_args.all or any(each is not None for each in filters)
    narrowed = parsed_args.older_than is not None or parsed_args.limit is not None
    if bool(parsed_args.backups) == chosen or (parsed_args.backups and narrowed):
        raise exceptions.InvalidInput(
            'name backups to verify, or choose them with --backend, --container, --volume or --all')
    if parsed_args.seed is not None and parsed_args.percent is None:
        raise exceptions.InvalidInput('--seed is for the sample of --percent')
    volume_id = manager.find_volume(parsed_args.volume).id if parsed_args.volume else None
    age = parsed_args.older_than
    older_than = None if age is None else age.total_seconds()
    return verifying.Selection(
        parsed_args.backups, volume_id, parsed_args.backend, parsed_args.container, older_than,
        parsed_args.limit)


def _how(parsed_args: argparse.Namespace) -> Any:
    from backup_framework.engine.monitor import Sample
    from backup_framework.manager import verifying
    sample = None
    if parsed_args.percent is not None and parsed_args.percent < 100:
        sample = Sample(parsed_args.percent, parsed_args.seed)
    return verifying.How(parsed_args.quick, sample, parsed_args.mark_bad)


def _percent(text: str) -> float:
    try:
        percent = float(text)
    except ValueError:
        percent = 0
    if not 0 < percent <= 100:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number above 0, up to 100')
    return percent


def _pairs(extents: Any) -> list[list[int]]:
    return [[extent.offset, extent.length] for extent in extents]


def _hurt(hurt: Hurt) -> dict[str, Any]:
    return {'backup_id': hurt.backup_id, 'container': hurt.container, 'object': hurt.object,
            'extents': _pairs(hurt.extents)}


class Problems(formatting.FormattableColumn[list[dict[str, Any]]]):
    """For people the sentences alone."""

    def human_readable(self) -> str:
        return '\n'.join(base.printable(problem['problem']) for problem in self._value)


class AlsoHurt(formatting.FormattableColumn[list[dict[str, Any]]]):
    """For people the backups, each once."""

    def human_readable(self) -> str:
        return '\n'.join(dict.fromkeys(hurt['backup_id'] for hurt in self._value))
