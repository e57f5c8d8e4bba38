"""The commands that make, list, restore and delete backups."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from typing import Any

from backup_framework import exceptions, model
from backup_framework.cmd import base, exit_codes


class Create(base.ShowOne):
    """Back a volume up."""

    observed = remote = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('volume', metavar='VOLUME',
                            help='path of a file or block device, or id or name of a known '
                                 'volume; - is stdin')
        parser.add_argument('--backend', metavar='B', help='where to; else the default backend')
        parser.add_argument('--container', metavar='C', help='container in the store')
        base.add_format(parser, self._formatter_plugins.names())
        parser.add_argument('--name', metavar='N', help='name of the backup')
        parser.add_argument('--description', metavar='D', help='text to keep with it')
        kind = parser.add_mutually_exclusive_group()
        kind.add_argument('--incremental', action='store_true', default=None,
                          help='store what changed since the newest backup; full if there is none')
        kind.add_argument('--no-incremental', action='store_false', dest='incremental',
                          help='make a full backup whatever the configuration says')
        kind.add_argument('--parent', metavar='ID',
                          help='store what changed since this backup, or fail if it does not fit')
        parser.add_argument('--volume', metavar='NAME|ID', dest='state_of',
                            help='the volume that VOLUME is a state of, such as its snapshot')
        changes = parser.add_mutually_exclusive_group()
        changes.add_argument('--changed-extents', metavar='FILE',
                             help='JSON of what changed since the parent: the rest is not read')
        changes.add_argument('--snapshot-of-parent', metavar='FILE', dest='parent_snapshot',
                             help='the volume as it was at --parent: what it shares with that, on '
                                  'XFS or btrfs, is not read')
        parser.add_argument('--property', metavar='K=V', action='append', default=[],
                            type=base.key_value, help='keep a pair with it; repeatable')
        parser.add_argument('--force', action='store_true',
                            help='the volume is in use, and that is known: do not warn of it')
        base.add_resume(parser)
        base.add_adopt(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        with self.manager() as manager:
            from backup_framework.cmd import columns
            started = model.utcnow()
            backup = manager.create(self._request(parsed_args))
            if parsed_args.resume and (backup.created_at or started) >= started:
                self.warn('nothing was gone on with: this is a new backup')
            return columns.BACKUP, columns.Rows(manager.catalog).backup(backup)

    def _request(self, parsed_args: argparse.Namespace) -> Any:
        from backup_framework.manager import creating
        given = vars(parsed_args)
        request = creating.Request(
            **{name: given[name] for name in (
                'volume', 'state_of', 'backend', 'container', 'version', 'name', 'description',
                'incremental', 'parent', 'parent_snapshot', 'force', 'resume', 'adopt')},
            properties=dict(parsed_args.property))
        if parsed_args.changed_extents:
            from backup_framework.engine import hints
            request.changed_since, request.changed = hints.load(parsed_args.changed_extents)
        if parsed_args.volume == '-':
            request.stream = base.binary_stdin()
        return request


class Run(base.Lister):
    """Back up every volume that has a [volume:NAME] section: the line for cron."""

    observed = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('volumes', metavar='VOLUME', nargs='*',
                            help='only these sections; else all of them')
        base.add_resume(parser)
        base.add_adopt(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from backup_framework import conf
        from backup_framework.cmd import columns
        rows: list[tuple[str | None, ...]] = []
        codes: list[int] = []
        with self.manager() as manager:
            if not manager.configuration.volumes():
                self.warn('there is no [volume:NAME] section, so there is nothing to do')
            for name, result in manager.run(parsed_args.volumes, adopt=parsed_args.adopt,
                                            resume=parsed_args.resume):
                if isinstance(result, Exception):
                    base.report(result, self.options.debug)
                    codes.append(exit_codes.of(result))
                    rows.append((name, None, 'error', conf.mask(base.sentence_of(result))))
                else:
                    rows.append((name, result.id, str(result.status), None))
        self.code = exit_codes.worst(codes)
        return ('volume', 'backup', 'status', 'error'), [
            tuple(map(columns.Text, row)) for row in rows]


class List(base.Lister):
    """List backups, newest first."""

    remote = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('--volume', metavar='V', help='only of this volume: id, name or path')
        parser.add_argument('--backend', metavar='B', help='only on this backend')
        parser.add_argument('--status', metavar='S', choices=list(map(str, model.Status)),
                            help='only in this state')
        parser.add_argument('--limit', metavar='N', type=base.count, help='at most so many')
        parser.add_argument('--marker', metavar='ID', help='those behind this one')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from backup_framework.cmd import columns
        with self.manager() as manager:
            volume_id = None
            if parsed_args.volume:
                volume_id = manager.find_volume(parsed_args.volume).id
            marker = parsed_args.marker and manager.catalog.get_backup(parsed_args.marker).id
            found = manager.catalog.backups(
                volume_id=volume_id, backend=parsed_args.backend, status=parsed_args.status,
                limit=parsed_args.limit, marker=marker)
            if not found and parsed_args.backend:
                manager.configuration.backend(parsed_args.backend)
            return columns.Rows(manager.catalog).listing(found, parsed_args)


class Show(base.ShowOne):
    """Show one backup."""

    remote = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        base.add_backup(parser)
        parser.add_argument('--recipients', action='store_true',
                            help='ask the store which keys it is sealed for')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from backup_framework.cmd import columns
        with self.manager() as manager:
            backup = manager.catalog.get_backup(parsed_args.backup)
            row = columns.Rows(manager.catalog).backup(backup)
            if not parsed_args.recipients:
                return columns.BACKUP, row
            recipients = columns.Names(manager.recipients(backup.id))
            return (*columns.BACKUP, 'recipients'), (*row, recipients)


class Restore(base.ShowOne):
    """Write a backup to a new file, or to an existing file or block device."""

    observed = remote = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('backup', metavar='ID',
                            help='id or name of a backup; with --latest, of a volume')
        parser.add_argument('target', metavar='TARGET',
                            help='file or block device to write; - is stdout')
        parser.add_argument('--latest', action='store_true',
                            help='restore the newest backup of the volume ID')
        parser.add_argument('--force', action='store_true',
                            help='overwrite TARGET if it exists; needed for every device')
        parser.add_argument('--truncate', action='store_true',
                            help='give an existing file the exact length of the backup')
        parser.add_argument('--range', metavar='OFFSET:LENGTH', type=base.extent, dest='wanted',
                            help='only these bytes: to where they were in an existing TARGET, '
                                 'alone to a new one; sizes such as 4KiB are understood')
        parser.add_argument('--delta', action='store_true',
                            help='read TARGET first and write only what differs')
        parser.add_argument('--resume', action='store_true',
                            help='take up what an interrupted restore of the same to a new TARGET '
                                 'left, and leave it if this one is interrupted; on one that '
                                 'exists, as --delta')
        parser.add_argument('--partial', action='store_true',
                            help='restore all that is right, leave alone what is damaged, say '
                                 'where that is, and exit with 6')
        parser.add_argument('--bad-map', metavar='FILE',
                            help='with --partial, write as JSON which bytes were left alone')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from backup_framework.cmd import bad_map, columns
        started = time.monotonic()
        if parsed_args.bad_map is not None and not parsed_args.partial:
            raise exceptions.InvalidInput(
                '--bad-map is for --partial: nothing else leaves bytes out')
        with self.manager() as manager, contextlib.ExitStack() as stack:
            left_out = None
            if parsed_args.bad_map is not None:
                left_out = stack.enter_context(
                    bad_map.BadMap(parsed_args.bad_map, parsed_args.target))
            ref = parsed_args.backup
            if parsed_args.latest:
                ref = manager.latest(ref).id
            done = manager.restore(ref, self._request(parsed_args))
            self._tell_lost(done)
            if left_out is not None:
                left_out.write(done.lost)
        if done.tail:
            self.warn(f'{done.target} is longer than the backup: its last {done.tail} bytes were '
                      'left as they were; --truncate cuts them off')
        return (('backup_id', 'target', 'size_bytes', 'seconds'),
                (done.backup.id, columns.Text(done.target), columns.Size(done.size_bytes),
                 round(time.monotonic() - started, 2)))

    def _tell_lost(self, done: Any) -> None:
        for lost in done.lost:
            base.error_line(f'bytes {lost.extent.offset} to {lost.extent.end} of the volume were '
                            f'not restored: {lost.reason}')
        if done.lost:
            self.warn(f'{done.target} has only a part of the backup: the bytes above are what they '
                      'were before, zeros in a new file')
            self.code = exit_codes.CORRUPT

    def _request(self, parsed_args: argparse.Namespace) -> Any:
        from backup_framework.manager import restoring
        given = vars(parsed_args)
        request = restoring.Request(
            **{name: given[name] for name in (
                'target', 'force', 'truncate', 'wanted', 'delta', 'partial', 'resume')})
        if parsed_args.target == '-':
            request.stream = base.binary_stdout()
            # What the command has to say must not be in the middle of the volume.
            self.app.stdout = self.app.stderr
        return request


class Copy(base.Lister):
    """Copy a backup to another backend or into another format; every byte is verified."""

    observed = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        base.add_backup(parser)
        parser.add_argument('--to-backend', metavar='B', required=True, help='where to')
        base.add_format(parser, self._formatter_plugins.names())
        parser.add_argument('--container', metavar='C', help='container of the copy')
        parser.add_argument('--chain', action='store_true',
                            help='also copy the backups that it was built on, as a chain')
        base.add_adopt(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from backup_framework.cmd import columns
        from backup_framework.manager import copying
        given = vars(parsed_args)
        request = copying.Request(**{
            name: given[name] for name in (
                'to_backend', 'version', 'container', 'chain', 'adopt')})
        with self.manager() as manager:
            rows = [(copied.id, copied.metadata[copying.COPIED_FROM],
                     columns.Text(copied.display_name), copied.backend, copied.format,
                     columns.Size(copied.size_bytes), columns.Size(copied.stored_bytes))
                    for copied in manager.copy(parsed_args.backup, request)]
        return ('id', 'copied_from', 'name', 'backend', 'format', 'size_bytes',
                'stored_bytes'), rows


class Delete(base.Lister):
    """Delete backups: their objects and their records."""

    observed = remote = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('backups', metavar='ID', nargs='+',
                            help='ids, names, or beginnings of ids of 8 characters and more')
        parser.add_argument('--dry-run', action='store_true', help='only say what would go')
        parser.add_argument('--with-dependents', action='store_true',
                            help='delete what builds on them as well, first')
        parser.add_argument('--adopt', action='store_true',
                            help='also backups that another installation wrote')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        from backup_framework.cmd import columns
        with self.manager() as manager:
            planned = manager.plan_delete(
                parsed_args.backups, with_dependents=parsed_args.with_dependents,
                adopt=parsed_args.adopt)
            rows = []
            for backup in planned:
                if parsed_args.dry_run:
                    outcome = 'would be deleted'
                else:
                    done = manager.delete(backup, adopt=parsed_args.adopt)
                    outcome = 'deleted' if done else 'waits'
                rows.append((backup.id, columns.Text(backup.display_name), outcome))
        return ('id', 'name', 'outcome'), rows


class Forget(base.Base):
    """Drop the record of a backup and leave its objects in the store."""

    observed = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        base.add_backup(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        with self.manager() as manager:
            backup = manager.forget(parsed_args.backup)
        print(f'Forgot backup {backup.id}. Its objects are still in container {backup.container} '
              f'of backend {backup.backend}; "catalog rebuild" finds them again.', file=sys.stderr)
        if backup.needs_parent:
            self.warn(f'it needs backup {backup.parent_id}, which may be deleted from now on')
