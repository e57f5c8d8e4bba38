"""An installation of ours on one store, and chains of backups that either side wrote."""

import base64
import contextlib
import dataclasses
import io
import json
import os
import pathlib
import sys
import uuid

from oslo_config import cfg

from backup_framework import conf
from backup_framework.cmd.main import main
from backup_framework.manager import Manager, creating, restoring

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / 'formats' / 'data'))

import make_witness

BLOCK = 4096
CHUNK = 4 * BLOCK
SHELF = 'shelf'
OPTIONS = {'format': '1.0.0', 'block_size': BLOCK, 'chunk_size': CHUNK, 'workers': 0,
           'durability': 'none'}


class Installation:
    """One backend, `shelf`, whose store is a directory, and a catalog of its own.

    :param options: of the backend's section; see OPTIONS for those that are small for tests.
    """

    def __init__(self, folder, store, driver='local', **options):
        folder.mkdir(parents=True, exist_ok=True)
        self.store = store
        self.file = folder / 'backup_framework.conf'
        lines = {'driver': driver, 'path': store, **OPTIONS, **options}
        self.file.write_text(
            f'[DEFAULT]\nenabled_backends = {SHELF}\nstate_path = {folder / "state"}\n[{SHELF}]\n'
            + ''.join(f'{name} = {value}\n' for name, value in lines.items()))
        self.told = []
        configuration = conf.load([str(self.file)], oslo=cfg.ConfigOpts())
        self.manager = Manager(configuration, warn=self.told.append)

    @property
    def catalog(self):
        return self.manager.catalog

    def create(self, volume, **request):
        return self.manager.create(creating.Request(str(volume), **request))

    def rebuild(self, **choices):
        """The backups that a rebuild adds; it must find nothing wrong."""
        rebuilt = self.manager.rebuild(SHELF, **choices)
        assert not rebuilt.problems
        return rebuilt.added

    def restored(self, backup_id, target, was=None):
        """The bytes of a target after a restore.

        :param was: what the target holds before; None restores to a new file.
        """
        if was is not None:
            target.write_bytes(was)
        self.manager.restore(backup_id, restoring.Request(str(target), force=was is not None))
        return target.read_bytes()

    def verify(self, backup_id):
        """What a full verification finds wrong."""
        return self.manager.verify(backup_id).problems

    def exports(self, backup_id):
        """The export records of a backup's chain, root first."""
        chain = self.catalog.chain(self.catalog.get_backup(backup_id))
        return [self.manager.export(member.id) for member in chain]

    def delete(self, *backup_ids, **choices):
        for backup in self.manager.plan_delete(backup_ids, **choices):
            self.manager.delete(backup)

    def run(self, *arguments):
        """What a command prints as JSON; it must succeed."""
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            code = main(['--config-file', str(self.file), *map(str, arguments), '-f', 'json'])
        assert code == 0, errors.getvalue()
        return json.loads(output.getvalue())


@contextlib.contextmanager
def installed(folder, store, **options):
    """An installation that is closed at the end; a directory of its own below `folder`."""
    installation = Installation(folder / f'ours-{uuid.uuid4()}', store, **options)
    with installation.manager:
        yield installation


@dataclasses.dataclass
class Made:
    """A backup, whoever wrote it, and what the volume held then."""

    id: str
    data: bytes
    exports: list
    volume_id: str
    record: dict

    @property
    def parent_id(self):
        return self.record['parent_id']


def cinders_chain(cinder, case, folder):
    """The backups of a case of make_witness, written by Cinder below folder/store just now."""
    make_witness.make_case(cinder, case, folder)
    records = json.loads((folder / 'records.json').read_text())
    chains, made = {None: []}, []
    for record, data in zip(records, make_witness.volumes_of(case), strict=True):
        export = {name: record[name] for name in ('backup_service', 'backup_url')}
        chains[record['id']] = [*chains[record['parent_id']], export]
        made.append(Made(record['id'], data, chains[record['id']], record['volume_id'],
                         decoded(export)))
    return made


def our_chain(ours, states, volume, sparse=True, **request):
    """A full backup of the first state and an incremental of each other, written by us."""
    made = []
    for number, data in enumerate(states):
        write_volume(volume, data, sparse)
        backup = ours.create(volume, name=f'state {number}', incremental=number > 0, **request)
        exports = ours.exports(backup.id)
        made.append(Made(backup.id, data, exports, backup.volume_id, decoded(exports[-1])))
        assert made[-1].parent_id == (made[-2].id if number else None)
    return made


def write_volume(path, data, sparse):
    """A file in which every block of zeros is a hole, or none is."""
    with open(path, 'wb') as file:
        for at in range(0, len(data), BLOCK):
            if not sparse or any(data[at:at + BLOCK]):
                file.seek(at)
                file.write(data[at:at + BLOCK])
        file.truncate(len(data))


def noise(size, seed='noise'):
    return make_witness.noise(seed, size)


def text(size, seed='text'):
    return make_witness.text(seed, size)


def patched(data, block, new):
    """The data with other bytes from a block on."""
    return data[:block * BLOCK] + new + data[block * BLOCK + len(new):]


def decoded(export):
    """The fields of an export record."""
    return json.loads(base64.b64decode(export['backup_url']))


def forged(export, **fields):
    """An export record that says something else."""
    url = base64.b64encode(json.dumps(decoded(export) | fields).encode()).decode()
    return dict(export, backup_url=url)


def files_below(store):
    """Every file of a store, hidden ones too, relative to it."""
    return sorted(os.path.relpath(os.path.join(folder, name), store)
                  for folder, _, names in os.walk(store) for name in names)


def objects_of(store, made):
    """The data objects of a backup."""
    container = store / made.record['container']
    return sorted(container.glob(made.record['service_metadata'] + '-*'))
