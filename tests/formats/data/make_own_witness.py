"""Makes the witness stores of this release: small stores in both formats, kept as test data.

A case that exists is left alone, and a release adds a folder of its own. `volumes_of(case)` makes
the contents of the volumes again, from fixed seeds.

    python tests/formats/data/make_own_witness.py [DIRECTORY]
"""

import datetime
import hashlib
import io
import pathlib
import sys

from backup_framework import __version__, model
from backup_framework.drivers import local

HERE = pathlib.Path(__file__).resolve().parent
STORES = HERE / f'backup_framework-{__version__}'
sys.path.insert(0, str(HERE))
import make_witness as cinders  # noqa: E402

SIZES = {'block_size': 4096, 'chunk_size': 16384}
WIDE = [cinders.WIDE_FULL, cinders.WIDE_CHANGED, [], cinders.WIDE_AGAIN]
SMALL = [cinders.SMALL_FULL, cinders.SMALL_CHANGED, cinders.SMALL_AGAIN]


def chain(states, **options):
    """A full backup and incrementals, each on the one before."""
    return [cinders.step(edits, number - 1 if number else None, options)
            for number, edits in enumerate(states)]


def shared(**options):
    """The chains of two volumes in one container; the second one finds what the first one has."""
    options = options | {'container': 'nightly/2026'}
    return [cinders.step(cinders.WIDE_FULL, None, options),
            cinders.step([('size', 16 * 4096), *cinders.WIDE_FULL[1:4]], None, options, volume=1),
            cinders.step(cinders.WIDE_CHANGED, 0, options),
            cinders.step(cinders.WIDE_CHANGED, 1, options, volume=1)]


CASES = {
    **{f'v2-codec-{name}': chain(WIDE, compression=name)
       for name in ('none', 'zlib', 'bz2', 'zstd')},
    'v2-sha256': chain(WIDE, digest='sha256'),
    'v2-shared': shared(duplicates='container'),
    'v2-no-duplicates': chain(WIDE, duplicates='none'),
    'v2-deleted': chain([*WIDE, cinders.WIDE_CHANGED]),
    'v2-zero-bytes': chain([[], []]),
    'v2-all-zero': chain([[('size', 4 * 4096)], [('text', 1, 1)], [('zero', 1, 1)]]),
    'v2-small-blocks': chain(SMALL, block_size=512, chunk_size=1024),
    'v2-one-block': chain(SMALL, block_size=65536, chunk_size=65536),
    **{f'v1-codec-{name}': chain(WIDE, format='1.0.0', compression=name)
       for name in ('none', 'zlib', 'bz2', 'zstd')},
    'v1-all-zero': chain([[('size', 4 * 4096)], [('text', 1, 1)], [('zero', 1, 1)]],
                         format='1.0.0'),
}
DELETED = {'v2-deleted': (0, 2)}
"""Backups that are deleted when all are made: what others use of them stays."""


class Driver(local.LocalBackupDriver):
    """Names that do not depend on when the store is made."""

    def object_prefix(self, backup):
        return f'volume_{backup.volume_id}_20261122010203_backup_{backup.id}'


def volumes_of(case):
    """The volume's bytes at each backup of a case that is kept, in the order of records.json."""
    cinders.CASES[case] = CASES[case]
    return [data for number, data in enumerate(cinders.volumes_of(case))
            if number not in DELETED.get(case, ())]


def make_case(case, folder):
    (folder / 'store').mkdir(parents=True)
    cinders.CASES[case] = CASES[case]
    backups = []
    for number, data in enumerate(cinders.volumes_of(case)):
        backups.append(make_backup(case, number, data, folder / 'store', backups))
    for number in DELETED.get(case, ()):
        driver_for(case, number, folder / 'store').delete(backups[number])
    kept = [(number, backup, data) for number, (backup, data) in enumerate(
        zip(backups, cinders.volumes_of(case))) if number not in DELETED.get(case, ())]
    keys = ('id', 'parent_id', 'volume_id', 'container', 'service_metadata', 'object_count',
            'size', 'size_bytes', 'format')
    cinders.write_json(folder / 'records.json', [
        {key: getattr(backup, key) for key in keys} | {'options': options_of(case, number)}
        for number, backup, _ in kept])
    cinders.write_json(folder / 'expected.json', [
        {'id': backup.id, 'size': len(data), 'sha256': hashlib.sha256(data).hexdigest()}
        for _, backup, data in kept])


def make_backup(case, number, data, store, earlier):
    item = CASES[case][number]
    parent = None if item['parent'] is None else earlier[item['parent']]
    backup = model.Backup(
        id=cinders.fixed_id(case, 'backup', number),
        volume_id=cinders.fixed_id(case, 'volume', item['volume']),
        display_name=f'{case} {number}', parent=parent, parent_id=parent and parent.id,
        created_at=datetime.datetime(2026, 11, number + 1, 1, 2, 3, tzinfo=datetime.UTC))
    updates = driver_for(case, number, store).backup(backup, io.BytesIO(data))
    for name, value in updates.items():
        setattr(backup, name, value)
    return backup


def driver_for(case, number, store):
    return Driver.make(path=str(store), workers=0, **options_of(case, number))


def options_of(case, number):
    return {'format': '2.0.0', **SIZES, **CASES[case][number]['options']}


def main(arguments):
    stores = pathlib.Path(arguments[0]) if arguments else STORES
    for case in CASES:
        if not (stores / case).exists():
            make_case(case, stores / case)


if __name__ == '__main__':
    main(sys.argv[1:])
