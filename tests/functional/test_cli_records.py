"""Records: export and import, set and unset, volumes, the catalog made again from a store."""

from __future__ import annotations

import base64
import json
import os
import shutil

import pytest

from backup_framework.catalog import Catalog
from tests.functional.conftest import CINDERS, change

VOLATILE = {'has_dependent_backups', 'warnings', 'volume'}


def stable(record: dict) -> dict:
    return {key: value for key, value in record.items() if key not in VOLATILE}


def lose_catalog(cli) -> None:
    for file in cli.state.glob('catalog.sqlite*'):
        file.unlink()


def projects(cli) -> dict[str, str | None]:
    """Of each backup; the command line does not show it."""
    catalog = Catalog(f'sqlite:///{cli.state}/catalog.sqlite', str(cli.state))
    try:
        return {backup.id: backup.project_id for backup in catalog.backups()}
    finally:
        catalog.close()


def test_export_and_import_through_a_file(cli, volume, version):
    made = cli.create(volume, '--name', 'N', '--description', 'D', '--property', 'a=b')
    record = cli.json('backup', 'export', 'N')
    assert record.keys() == {'backup_service', 'backup_url'}
    assert record['backup_service'] == 'cinder.backup.drivers.posix.PosixBackupDriver'
    file = cli.directory / 'record.json'
    file.write_text(json.dumps(record))
    assert made['id'] in cli.refused(4, 'backup', 'import', file)
    cli.good('backup', 'forget', 'N')
    assert stable(cli.json('backup', 'import', file)) == stable(made)
    cli.good('backup', 'restore', 'N', 'target')
    assert (cli.directory / 'target').read_bytes() == volume.read_bytes()


def test_import_from_stdin_elsewhere(cli, volume, tmp_path, version):
    """Another installation that sees the same store: the backup is read-only there."""
    full = cli.create(volume)
    change(volume)
    child = cli.create(volume, '--incremental')
    records = [json.dumps(cli.json('backup', 'export', each['id'])) for each in (full, child)]
    cli.state = tmp_path / 'elsewhere'
    cli.configure()
    done = cli.good('backup', 'import', '-', '-f', 'json', stdin=records[1])
    if version == CINDERS:
        assert full['id'] in done.err and 'import it as well' in done.err
        assert full['id'] in cli.refused(4, 'backup', 'restore', child['id'], 'target')
    else:
        assert not done.err
        cli.good('backup', 'restore', child['id'], 'alone')
    taken = cli.json('backup', 'import', '-', stdin=records[0])
    assert taken['owner']
    cli.good('backup', 'restore', child['id'], 'target')
    assert (cli.directory / 'target').read_bytes() == volume.read_bytes()
    before = cli.objects()
    assert '--adopt' in cli.refused(4, 'backup', 'delete', child['id'])
    assert cli.objects() == before
    cli.good('backup', 'set', child['id'], '--adopt')
    cli.good('backup', 'delete', child['id'], '--adopt')
    cli.good('backup', 'delete', full['id'], '--adopt')
    assert cli.objects() == []


def test_the_command_line_says_how(cli, volume):
    """What the manager cannot know of stands in the sentence."""
    made = cli.create(volume)
    record = cli.json('backup', 'export', made['id'])
    cli.good('backup', 'forget', made['id'])
    strange = json.dumps(record | {'backup_service': 'tape'})
    assert cli.refused(2, 'backup', 'import', '-', stdin=strange) == (
        'Error: no enabled backend is of the kind tape; --backend says which one to use')
    assert cli.refused(4, 'backup', 'prune', '--keep-last', '0') == (
        'Error: nothing says what to keep, so nothing is pruned: give --keep-last or another rule, '
        'or write keep_last or another rule into the configuration')


def test_a_record_without_its_backup(cli, volume, version):
    made = cli.create(volume)
    record = json.dumps(cli.json('backup', 'export', made['id']))
    cli.good('backup', 'delete', made['id'])
    assert 'manifest' in cli.refused(2, 'backup', 'import', '-', stdin=record)
    assert cli.json('backup', 'list') == []


def test_which_backend_a_record_is_of(cli, volume, tmp_path):
    made = cli.create(volume)
    record = json.dumps(cli.json('backup', 'export', made['id']))
    cli.good('backup', 'forget', made['id'])
    shutil.copytree(cli.store, tmp_path / 'copy')
    cli.configure(f'[copy]\ndriver = local\npath = {tmp_path}/copy\n'
                  f'[empty]\ndriver = local\npath = {tmp_path}/empty\n',
                  default='enabled_backends = local, copy, empty')
    message = cli.refused(2, 'backup', 'import', '-', stdin=record)
    assert 'local, copy all have' in message and '--backend' in message
    assert cli.refused(2, 'backup', 'import', '-', '--backend', 'empty', stdin=record)
    taken = cli.json('backup', 'import', '-', '--backend', 'copy', stdin=record)
    assert taken['backend'] == 'copy'
    shutil.rmtree(cli.store)
    cli.good('backup', 'verify', made['id'])


def encoded(fields: object, service: str = 'cinder.backup.drivers.posix.PosixBackupDriver') -> str:
    url = base64.b64encode(json.dumps(fields).encode()).decode()
    return json.dumps({'backup_service': service, 'backup_url': url})


HOSTILE = {
    'not JSON': lambda fields: '{',
    'deep': lambda fields: '[' * 100_000,
    'a list': lambda fields: '[1]',
    'nothing in it': lambda fields: '{}',
    'not base64': lambda fields: json.dumps({'backup_service': 'x', 'backup_url': 'ä#'}),
    'not an object': lambda fields: encoded([]),
    'deep inside': lambda fields: json.dumps({'backup_service': 'x', 'backup_url': base64.b64encode(
        b'[' * 100_000).decode()}),
    'huge': lambda fields: encoded(fields | {'display_name': 'x' * 3_000_000}),
    'climbing container': lambda fields: encoded(fields | {'container': '../../etc'}),
    'absolute container': lambda fields: encoded(fields | {'container': '/etc'}),
    'climbing prefix': lambda fields: encoded(fields | {'service_metadata': '../x'}),
    'no container': lambda fields: encoded(fields | {'container': None}),
    'bad id': lambda fields: encoded(fields | {'id': '../../x'}),
    'absurd size': lambda fields: encoded(fields | {'size': 1 << 70}),
    'negative size': lambda fields: encoded(fields | {'size': -1}),
    'bad time': lambda fields: encoded(fields | {'created_at': 'yesterday'}),
    'bad metadata': lambda fields: encoded(fields | {'metadata': {'a': []}}),
    'another parent': lambda fields: encoded(fields | {'parent_id': fields['id']}),
    'another driver': lambda fields: encoded(fields, 'os.system'),
}


@pytest.mark.parametrize('spoil', HOSTILE.values(), ids=list(HOSTILE))
def test_hostile_records(cli, volume, spoil):
    made = cli.create(volume)
    record = cli.json('backup', 'export', made['id'])
    cli.good('backup', 'forget', made['id'])
    fields = json.loads(base64.b64decode(record['backup_url']))
    cli.refused(2, 'backup', 'import', '-', stdin=spoil(fields))
    assert cli.json('backup', 'list') == []


def test_a_record_cannot_claim_a_state_or_a_host(cli, volume):
    made = cli.create(volume)
    record = cli.json('backup', 'export', made['id'])
    cli.good('backup', 'forget', made['id'])
    fields = json.loads(base64.b64decode(record['backup_url']))
    lies = {'status': 'deleting', 'project_id': 'x', 'size': 77, 'object_count': 9}
    taken = cli.json('backup', 'import', '-', stdin=encoded(fields | lies))
    assert stable(taken) == stable(made)


def test_import_reads_a_file_that_is_not_there(cli):
    assert 'cannot read nowhere' in cli.refused(2, 'backup', 'import', 'nowhere')
    assert 'cannot read' in cli.refused(2, 'backup', 'import', cli.directory)
    (cli.directory / 'bytes').write_bytes(os.urandom(1000))
    assert 'is not JSON' in cli.refused(2, 'backup', 'import', 'bytes')


def test_set_and_unset(cli, volume):
    made = cli.create(volume, '--property', 'a=1', '--property', 'b=2')
    changed = cli.json('backup', 'set', made['id'], '--name', 'n', '--description', 'd',
                       '--property', 'b=3', '--property', 'c=4')
    assert changed == made | {'name': 'n', 'description': 'd',
                              'metadata': {'a': '1', 'b': '3', 'c': '4'}}
    changed = cli.json('backup', 'unset', 'n', '--property', 'a', '--property', 'nothing',
                       '--description')
    assert changed['metadata'] == {'b': '3', 'c': '4'} and changed['description'] is None
    assert cli.json('backup', 'unset', 'n', '--name')['name'] is None
    cli.good('backup', 'set', made['id'], '--state', 'error')
    assert 'is error' in cli.refused(4, 'backup', 'restore', made['id'], 'target')
    assert cli.json('backup', 'set', made['id'], '--state', 'available')['status'] == 'available'
    assert cli.json('backup', 'set', made['id']) == cli.json('backup', 'show', made['id'])


def test_volumes(cli, volume, make_volume):
    made = cli.create(volume)
    other = cli.create(make_volume('other', seed=2), '--volume', 'second')
    listed = cli.json('volume', 'list')
    assert [each['id'] for each in listed] == [made['volume_id'], other['volume_id']]
    assert [each['name'] for each in listed] == [None, 'second']
    shown = cli.json('volume', 'set', 'disk', '--name', 'first', '--property', 'k=v')
    assert shown == listed[0] | {'name': 'first', 'metadata': {'k': 'v'}}
    assert cli.json('volume', 'show', 'first') == shown | {'backups': 1}
    assert 'second' in cli.refused(2, 'volume', 'set', 'first', '--name', 'second')
    moved = volume.rename(cli.directory / 'moved')
    assert cli.json('volume', 'set', 'first', '--path', 'moved')['path'] == str(moved)
    assert cli.create(moved, '--incremental')['parent_id'] == made['id']
    assert cli.create('first', '--incremental')['is_incremental']


def test_the_catalog_from_the_store_alone(cli, make_volume, version):
    one, two = make_volume('one'), make_volume('two', seed=2)
    cli.create(one, '--name', 'a', '--description', 'D', '--property', 'k=v')
    cli.good('volume', 'set', one, '--name', 'first')
    change(one)
    cli.create(one, '--incremental', '--name', 'b')
    cli.create(two, '--container', 'shelf', '--volume', 'second')
    before = {each['id']: each for each in cli.json('backup', 'list')}
    volumes = {each['id']: each for each in cli.json('volume', 'list')}
    lose_catalog(cli)
    done = cli.good('catalog', 'rebuild', 'local', '-f', 'json')
    assert '3 backups added, 0 were known' in done.err
    after = {each['id']: each for each in cli.json('backup', 'list')}
    assert {key: stable(value) for key, value in after.items()} == {
        key: stable(value) for key, value in before.items()}
    again = {each['id']: each for each in cli.json('volume', 'list')}
    for key in 'id', 'name', 'path', 'size_bytes':
        assert {each[key] for each in again.values()} == {each[key] for each in volumes.values()}
    done = cli.good('catalog', 'rebuild', 'local', '-f', 'json')
    assert '0 backups added, 3 were known' in done.err and done.json == []
    assert cli.json('catalog', 'check') == []
    cli.good('backup', 'verify', '--all')
    assert cli.create(one, '--incremental')['is_incremental']


def test_rebuild_of_one_container(cli, make_volume):
    wanted = cli.create(make_volume('one'), '--container', 'shelf')
    cli.create(make_volume('two', seed=2))
    lose_catalog(cli)
    row, = cli.json('catalog', 'rebuild', 'local', '--container', 'shelf')
    assert row['id'] == wanted['id']
    assert cli.json('catalog', 'rebuild', 'local', '--container', 'nothing') == []


def test_rebuild_gives_a_project_to_what_is_ours(cli, make_volume):
    wanted = cli.create(make_volume('one'), '--container', 'shelf')
    other = cli.create(make_volume('two', seed=2))
    lose_catalog(cli)
    cli.good('catalog', 'rebuild', 'local', '--container', 'shelf', '--project', 'web')
    cli.good('catalog', 'rebuild', 'local', '--project', 'db')
    assert projects(cli) == {wanted['id']: 'web', other['id']: 'db'}
    lose_catalog(cli)
    (cli.state / 'installation').unlink()
    cli.good('catalog', 'rebuild', 'local', '--container', 'shelf', '--project', 'web', '--adopt')
    cli.good('catalog', 'rebuild', 'local', '--project', 'db')
    assert projects(cli) == {wanted['id']: 'web', other['id']: None}
    done = cli.run('catalog', 'rebuild', 'local', '--project', '../x')
    assert done.code == 2 and "'../x' cannot be the id of a project" in done.err


def test_rebuild_goes_on_beside_damage(cli, make_volume):
    good = cli.create(make_volume('one'))
    bad = cli.create(make_volume('two', seed=2))
    file, = (cli.store / bad['container']).glob('*_metadata')
    file.write_bytes(b'{')
    lose_catalog(cli)
    done = cli.run('catalog', 'rebuild', 'local', '-f', 'json')
    assert done.code == 6 and bad['id'] in done.err
    assert [row['id'] for row in done.json] == [good['id']]


def test_check_finds_what_the_store_lost(cli, volume):
    cli.create(volume)
    assert cli.json('catalog', 'check') == []
    for name in cli.objects():
        (cli.store / name).unlink()
    done = cli.run('catalog', 'check', '-f', 'json')
    assert done.code == 6 and 'manifest' in done.json[0]['finding']
    # Where all of it is gone, it is rather a disk that is not mounted.
    shutil.rmtree(cli.store)
    done = cli.run('catalog', 'check', '-f', 'json')
    assert done.code == 6 and 'is a disk not mounted' in done.json[0]['finding']


@pytest.mark.parametrize('command', [
    ('backup', 'delete'), ('backup', 'verify'), ('backup', 'restore'), ('catalog', 'rebuild')],
    ids=' '.join)
def test_a_store_that_is_not_there_is_not_an_empty_one(cli, volume, tmp_path, command):
    backup = cli.create(volume)
    arguments = {'restore': [backup['id'], tmp_path / 'target'], 'rebuild': ['local']}
    aside = cli.store.rename(tmp_path / 'not mounted')
    said = cli.refused(5, *command, *arguments.get(command[1], [backup['id']]))
    assert f'there is no directory {cli.store}' in said
    aside.rename(cli.store)
    cli.good(*command, *arguments.get(command[1], [backup['id']]))
