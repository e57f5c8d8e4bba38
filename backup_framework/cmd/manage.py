"""backup-framework-manage: the database of the service, for those who operate it."""

from __future__ import annotations

import argparse
import datetime
import sys
from typing import TYPE_CHECKING

from backup_framework import conf, exceptions
from backup_framework.cmd import programs
from backup_framework.conf import masking

if TYPE_CHECKING:
    from backup_framework.catalog import Catalog
    from backup_framework.service import flows


def main() -> int:
    options = _parser().parse_args()

    def work() -> None:
        configuration = conf.load(options.config_file or None)
        conf.setup_logging(configuration)
        options.configuration = configuration
        from backup_framework.catalog import Catalog
        catalog = Catalog(configuration.connection, configuration.state_path)
        try:
            options.command(catalog, options)
        finally:
            catalog.close()
    return programs.run(work)


def _parser() -> argparse.ArgumentParser:
    parser = programs.parser('backup-framework-manage', 'Manages the database of the service.')
    nouns = parser.add_subparsers(metavar='db', required=True)
    verbs = nouns.add_parser('db', help='the database').add_subparsers(
        metavar='sync|version|copy|purge', required=True)
    sync = verbs.add_parser('sync', help='make or migrate the tables')
    sync.set_defaults(command=_sync)
    version = verbs.add_parser('version', help='show the version of the tables; change nothing')
    version.set_defaults(command=_version)
    copying = ('copy all records of another database into this one, which is empty; all workers '
               'and API hosts must be stopped')
    copy = verbs.add_parser('copy', help=copying, description=copying)
    other = copy.add_mutually_exclusive_group(required=True)
    other.add_argument('--from', dest='source', metavar='URL', help=(
        'the other one, like sqlite:////var/lib/backup_framework/catalog.sqlite; every user of '
        'this machine can see it, so a URL with a password belongs into a file'))
    other.add_argument('--from-file', dest='source_file', metavar='FILE',
                       help='a file that holds the URL of the other one')
    copy.set_defaults(command=_copy)
    purge = verbs.add_parser('purge', help='forget jobs that have ended, and processes that are '
                                           'gone; backups stay')
    purge.add_argument('--older-than', type=_days, required=True, metavar='DAYS',
                       help='whose end is so long ago')
    purge.set_defaults(command=_purge)
    return parser


def _days(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number of days, like 30')
    return int(text)


def _sync(catalog: Catalog, options: argparse.Namespace) -> None:
    before, wanted = catalog.revisions()
    catalog.services()
    _flows(catalog)
    print(f'{catalog.name}: version {wanted}'
          + ('' if before == wanted else f', made from {before or "nothing"}'))


def _version(catalog: Catalog, options: argparse.Namespace) -> None:
    stored, wanted = catalog.revisions()
    print(stored or 'none')
    if stored != wanted:
        print(f'This release wants {wanted}: "backup-framework-manage db sync"', file=sys.stderr)


def _copy(catalog: Catalog, options: argparse.Namespace) -> None:
    from backup_framework.catalog import Catalog
    url = options.source if options.source is not None else _read_url(options.source_file)
    masking.add_url(url)
    source = Catalog(url, options.configuration.state_path)
    try:
        if source.revisions()[0] is None:
            raise exceptions.InvalidInput(f'there is no catalog in {source.name} to copy')
        for sentence in source.recover():
            print(conf.mask(sentence), file=sys.stderr)
        copied = catalog.copy_from(source, options.configuration.service().down_time)
    finally:
        source.close()
    print(f'{copied["backups"]} backups and {copied["volumes"]} volumes copied from {source.name} '
          f'to {catalog.name}')


def _read_url(file: str) -> str:
    warnings: list[str] = []
    url = conf.read_secret(file, '--from-file', warnings)
    for sentence in warnings:
        print(sentence, file=sys.stderr)
    return url


def _purge(catalog: Catalog, options: argparse.Namespace) -> None:
    from backup_framework.model import utcnow
    before = utcnow() - datetime.timedelta(days=options.older_than)
    store = _flows(catalog)
    from backup_framework.service import tidying
    print(f'{tidying.purge(catalog, store, before)} jobs forgotten')


def _flows(catalog: Catalog) -> flows.Store:
    """The tables of TaskFlow, made where they are missing."""
    with programs.needing_the_extra():
        from backup_framework.service import flows
    return flows.Store(catalog)
