"""Records that pass between Cinder and us, and backups that one writes and the other deletes."""

import installation
from installation import CHUNK, SHELF, decoded, files_below, forged, noise, text
import make_witness
import pytest

from backup_framework import exceptions

STATES = make_witness.volumes_of('siblings')[:2]
OTHER_ID = '0f9c6f0e-5d5a-4b65-8c8e-3f0a1b2c3d4e'


@pytest.fixture
def chain(ours, tmp_path):
    """A full backup of ours and an incremental."""
    return installation.our_chain(ours, STATES, tmp_path / 'volume', description='größer',
                                  properties={'tier': 'gold'})


@pytest.fixture
def cinders(cinder, tmp_path):
    """A full backup of Cinder's and two incrementals on it."""
    return installation.cinders_chain(cinder, 'siblings', tmp_path)


# From us to Cinder

def test_cinder_imports_every_field(cinder, ours, chain):
    known = {name for name in decoded(cinder.export({})) if name != 'driver_info'}
    for number, made in enumerate(chain):
        export = ours.manager.export(made.id)
        record = cinder.import_(export)
        backup = ours.catalog.get_backup(made.id)
        for name in ('id', 'volume_id', 'display_name', 'display_description', 'container',
                     'service_metadata', 'parent_id', 'size', 'object_count', 'snapshot_id',
                     'metadata', 'service', 'encryption_key_id'):
            assert record[name] == backup[name], name
        for name in ('created_at', 'data_timestamp'):
            assert record[name] == f'{backup[name]:%Y-%m-%dT%H:%M:%SZ}', name
        assert (record['status'], record['num_dependent_backups']) == ('available', 1 - number)
        assert known <= set(decoded(export))


def test_exported_document_is_imported_and_restored(cinder, ours, store, chain, tmp_path):
    """What `backup export -f json` prints is what Cinder's API takes."""
    exports = [ours.run('backup', 'export', made.id) for made in chain]
    assert [set(export) for export in exports] == [{'backup_service', 'backup_url'}] * 2
    cinder.restore(store, exports, tmp_path / 'target', target_size=len(STATES[-1]))
    assert (tmp_path / 'target').read_bytes() == STATES[-1]


def test_cinder_refuses_our_record_for_another_driver(cinder, chain):
    export = dict(chain[0].exports[0], backup_service='cinder.backup.drivers.nfs.NFSBackupDriver')
    with pytest.raises(cinder.Error, match='^ServiceNotFound'):
        cinder.import_(export)


def test_record_of_a_driver_with_fields_of_its_own(cinder, ours, chain):
    """Cinder hands them to its driver and does not take them for fields of the record."""
    driver = ours.manager.drivers.get(SHELF)
    driver.export_record = lambda backup: {'zone': 'z1'}
    export = ours.manager.export(chain[0].id)
    assert decoded(export)['driver_info'] == {'zone': 'z1'}
    assert cinder.import_(export)['id'] == chain[0].id


def test_our_nfs_records_name_cinders_nfs_driver():
    from backup_framework.drivers import local, nfs
    assert nfs.NFSBackupDriver.CINDER_CLASS == 'cinder.backup.drivers.nfs.NFSBackupDriver'
    assert local.LocalBackupDriver.CINDER_CLASS == 'cinder.backup.drivers.posix.PosixBackupDriver'


# From Cinder to us

def test_we_import_every_field(cinder, ours, store, tmp_path):
    volume = tmp_path / 'volume'
    volume.write_bytes(text(CHUNK))
    made = cinder.backup(store, volume, {
        'display_name': 'Größe', 'display_description': 'a\nb', 'metadata': {'clé': 'valeur'},
        'snapshot_id': OTHER_ID, 'created_at': '2026-10-01T03:04:05'})
    backup = ours.catalog.get_backup(ours.manager.import_(made['export']).id)
    record = made['record']
    for name in ('id', 'volume_id', 'display_name', 'display_description', 'container',
                 'service_metadata', 'parent_id', 'size', 'object_count', 'snapshot_id',
                 'metadata', 'service', 'status'):
        assert backup[name] == record[name], name
    for name in ('created_at', 'data_timestamp'):
        assert f'{backup[name]:%Y-%m-%dT%H:%M:%SZ}' == record[name], name
    assert (backup.owner, backup.size_bytes, backup.project_id) == ('Cinder', CHUNK, None)


def test_parents_may_be_imported_later(ours, cinders, tmp_path):
    last = cinders[-1]
    ours.manager.import_(last.exports[-1])
    assert f'parent {last.parent_id}' in ours.told[-1]
    with pytest.raises(exceptions.BackupFrameworkError, match=last.parent_id):
        ours.restored(last.id, tmp_path / 'target')
    ours.manager.import_(last.exports[0])
    assert ours.restored(last.id, tmp_path / 'target') == last.data


def test_record_in_the_wrapping_of_the_api(ours, cinders):
    """As the answer of Cinder's REST call has it."""
    assert ours.manager.import_({'backup-record': cinders[0].exports[0]}).id == cinders[0].id


def test_known_backup_is_refused(ours, cinders):
    ours.manager.import_(cinders[0].exports[0])
    with pytest.raises(exceptions.Refused, match='already'):
        ours.manager.import_(cinders[0].exports[0])


FORGERIES = {
    'manifest elsewhere': {'service_metadata': 'volume_x_backup_y'},
    'container elsewhere': {'container': 'ab/cd/elsewhere'},
    'above the store': {'container': '../../etc'},
    'another id': {'id': OTHER_ID},
    'another parent': {'parent_id': OTHER_ID},
    'no parent': {'parent_id': None},
}


@pytest.mark.parametrize('backend', [None, SHELF])
@pytest.mark.parametrize('fields', FORGERIES.values(), ids=FORGERIES)
def test_forged_records_are_refused(ours, cinders, fields, backend):
    record = forged(cinders[1].exports[-1], **fields)
    with pytest.raises((exceptions.InvalidInput, exceptions.FormatError)):
        ours.manager.import_(record, backend=backend)
    assert ours.catalog.backups() == []


def test_sibling_as_parent_is_refused(ours, cinders):
    """Cinder takes such a record, and restores another volume from it without a word."""
    _, first, second = cinders
    with pytest.raises(exceptions.InvalidInput, match='parent'):
        ours.manager.import_(forged(second.exports[-1], parent_id=first.id))


def test_record_whose_objects_are_gone_is_refused(ours, store, cinders):
    manifest, = store.rglob(f'*_backup_{cinders[0].id}_metadata')
    manifest.unlink()
    for backend in (None, SHELF):
        with pytest.raises(exceptions.BackupFrameworkError, match='manifest'):
            ours.manager.import_(cinders[0].exports[0], backend=backend)


# Deleting

@pytest.mark.parametrize('case', ['codec-zlib', 'prefix-slash', 'prefix-constant',
                                  'shared-container', 'zero-bytes'])
def test_we_delete_what_cinder_wrote(cinder, ours, store, tmp_path, case):
    """Nothing is left, not even a directory."""
    chain = installation.cinders_chain(cinder, case, tmp_path)
    ours.rebuild()
    roots = [made.id for made in chain if made.parent_id is None]
    with pytest.raises(exceptions.Refused, match='adopt'):
        ours.delete(*roots, with_dependents=True)
    ours.delete(*roots, with_dependents=True, adopt=True)
    assert list(store.rglob('*')) == []
    assert ours.catalog.backups() == []


@pytest.mark.parametrize('case', ['siblings', 'shared-container', 'prefix-slash'])
def test_cinder_restores_what_we_left(cinder, ours, store, tmp_path, case):
    """The newest backup is deleted by us; each other one is as it was."""
    chain = installation.cinders_chain(cinder, case, tmp_path)
    ours.rebuild(adopt=True)
    ours.delete(chain[-1].id)
    assert not [name for name in files_below(store) if chain[-1].id in name]
    style = 'slash' if case == 'prefix-slash' else 'posix'
    for made in chain[:-1]:
        target = tmp_path / made.id
        cinder.restore(store, made.exports, target, prefix_style=style,
                       target_size=len(made.data))
        assert target.read_bytes() == made.data


@pytest.mark.parametrize('container', [None, 'plain', 'nightly/2026'])
def test_cinder_deletes_what_we_wrote(cinder, ours, store, tmp_path, container):
    """No file with the backup's name is left, and its neighbours in the container restore."""
    first, second = installation.our_chain(ours, STATES, tmp_path / 'volume', container=container)
    cinder.delete(store, second.exports)
    assert not [name for name in files_below(store) if second.id in name]
    cinder.restore(store, first.exports, tmp_path / 'target', target_size=len(first.data))
    assert (tmp_path / 'target').read_bytes() == first.data
    assert 'there is no manifest' in ours.verify(second.id)[0]
    cinder.delete(store, first.exports)
    assert {name.rpartition('/')[2] for name in files_below(store)} <= {'.container'}


def test_what_cinder_deleted_is_deleted_here_too(cinder, ours, store, chain):
    for made in reversed(chain):
        cinder.delete(store, made.exports)
    ours.delete(chain[0].id, with_dependents=True)
    assert list(store.rglob('*')) == []


class Stop(Exception):
    pass


def test_unfinished_object_is_not_in_cinders_way(cinder, ours, store, chain, tmp_path):
    """Cinder restores beside a temporary file of ours, as a kill leaves one."""
    driver, last = ours.manager.drivers.get(SHELF), chain[-1]
    name = f'{last.record["service_metadata"]}-00077'
    with (pytest.raises(Stop),
          driver.get_object_writer(last.record['container'], name) as writer):
        writer.write(noise(CHUNK))
        assert [path for path in files_below(store) if '.tmp-' in path]
        cinder.restore(store, last.exports, tmp_path / 'target', target_size=len(last.data))
        raise Stop
    assert (tmp_path / 'target').read_bytes() == last.data


def test_failed_backup_leaves_nothing(cinder, ours, store, tmp_path, monkeypatch):
    volume = tmp_path / 'volume'
    first, = installation.our_chain(ours, STATES[:1], volume, container='plain')
    before = files_below(store)
    volume.write_bytes(STATES[1])

    def fail(container):
        assert files_below(store) != before
        raise exceptions.StoreFull('no space left in the store')
    monkeypatch.setattr(ours.manager.drivers.get(SHELF), 'sync', fail)
    with pytest.raises(exceptions.StoreFull):
        ours.create(volume, incremental=True, container='plain')
    assert files_below(store) == before
    cinder.restore(store, first.exports, tmp_path / 'target', target_size=len(first.data))
    assert (tmp_path / 'target').read_bytes() == first.data
