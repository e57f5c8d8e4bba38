"""Real Cinder against itself: what it restores, what it lets pass, and what it refuses."""

import base64
import hashlib
import json
import os
import pathlib
import shutil

import pytest

WITNESSES = pathlib.Path(__file__).parents[1] / 'formats' / 'data' / 'cinder-29.0.0'
CASES = sorted(path.name for path in WITNESSES.iterdir())
BLOCK = 4096
SIZE = 10 * BLOCK + 777
OPTIONS = {'backup_sha_block_size_bytes': BLOCK, 'backup_file_size': 4 * BLOCK}
ELSE = 65534


def options(codec):
    return dict(OPTIONS, backup_compression_algorithm=codec)


def contents(seed, size=SIZE):
    words = [hashlib.sha256(b'%d %d' % (seed, n // 64)).digest() for n in range(size // 32 + 1)]
    return b''.join(words)[:size]


def changed(data, block, new):
    return data[:block * BLOCK] + new + data[block * BLOCK + len(new):]


@pytest.fixture
def volume(tmp_path):
    path = tmp_path / 'volume'
    path.write_bytes(contents(1))
    return path


@pytest.fixture
def target(tmp_path):
    return tmp_path / 'target'


def child_of(made):
    return {'parent_id': made['record']['id'], 'volume_id': made['record']['volume_id']}


def backup_chain(cinder, store, volume, codec='zlib'):
    """A full backup, an incremental with a change and a new zero block, an unchanged one."""
    full = cinder.backup(store, volume, {}, options(codec))
    data = changed(volume.read_bytes(), 2, bytes(BLOCK))
    volume.write_bytes(changed(data, 9, contents(2, BLOCK + 777)))
    first = cinder.backup(store, volume, child_of(full), options(codec))
    second = cinder.backup(store, volume, child_of(first), options(codec))
    return [full, first, second]


def exports(chain):
    return [made['export'] for made in chain]


def objects_of(store, made):
    container = store / made['record']['container']
    prefix = made['record']['service_metadata']
    return sorted(container.glob(prefix + '-*'))


def test_host_runs_the_named_cinder(cinder):
    assert cinder.version()['cinder'] == '29.0.0'


@pytest.mark.parametrize('codec', ['none', 'zlib', 'bz2', 'zstd'])
def test_chain_comes_back_byte_for_byte(cinder, store, volume, target, codec):
    chain = backup_chain(cinder, store, volume, codec)
    cinder.forget()
    answer = cinder.restore(store, exports(chain), target)
    assert target.read_bytes() == volume.read_bytes()
    assert answer['id'] == chain[-1]['record']['id']


def test_unchanged_volume_gives_no_object(cinder, store, volume):
    last = backup_chain(cinder, store, volume)[-1]
    assert last['record']['object_count'] == 0
    assert objects_of(store, last) == []


def test_restore_onto_a_used_target_writes_zeros_too(cinder, store, volume, target):
    chain = backup_chain(cinder, store, volume)
    target.write_bytes(b'\xff' * (SIZE + 100))
    cinder.restore(store, exports(chain), target, volume_is_new=False)
    assert target.read_bytes() == volume.read_bytes() + b'\xff' * 100


def test_zeros_at_the_end_make_a_new_target_shorter(cinder, store, volume, target):
    volume.write_bytes(contents(1, 4 * BLOCK) + bytes(4 * BLOCK))
    made = cinder.backup(store, volume, {}, options('zlib'))
    cinder.restore(store, [made['export']], target)
    assert target.read_bytes() == contents(1, 4 * BLOCK)
    cinder.restore(store, [made['export']], target, target_size=8 * BLOCK)
    assert target.read_bytes() == volume.read_bytes()


def test_flipped_bit_is_restored_without_a_word(cinder, store, volume, target):
    """Why this project verifies: the manifest has an md5, and Cinder never looks at it."""
    made = cinder.backup(store, volume, {}, options('none'))
    damaged = objects_of(store, made)[1]
    body = bytearray(damaged.read_bytes())
    body[100] ^= 1
    damaged.write_bytes(body)
    cinder.restore(store, [made['export']], target)
    right, wrong = volume.read_bytes(), target.read_bytes()
    assert [n for n in range(SIZE) if right[n] != wrong[n]] == [4 * BLOCK + 100]


def test_truncated_object_is_restored_without_a_word(cinder, store, volume, target):
    made = cinder.backup(store, volume, {}, options('none'))
    damaged = objects_of(store, made)[1]
    damaged.write_bytes(damaged.read_bytes()[:BLOCK])
    cinder.restore(store, [made['export']], target)
    assert target.read_bytes() == changed(volume.read_bytes(), 5, bytes(3 * BLOCK))


def test_stray_object_under_the_prefix_is_refused(cinder, store, volume, target):
    made = cinder.backup(store, volume, {}, options('zlib'))
    first = objects_of(store, made)[0]
    first.with_name(first.name + '.stray').write_bytes(b'')
    with pytest.raises(cinder.Error, match='^InvalidBackup: .*actual object list'):
        cinder.restore(store, [made['export']], target)


def test_missing_object_is_refused(cinder, store, volume, target):
    made = cinder.backup(store, volume, {}, options('zlib'))
    objects_of(store, made)[0].unlink()
    with pytest.raises(cinder.Error, match='^InvalidBackup: .*actual object list'):
        cinder.restore(store, [made['export']], target)


def test_volume_that_grew_within_its_gib_breaks_the_incremental(cinder, store, volume):
    full = cinder.backup(store, volume, {}, options('zlib'))
    volume.write_bytes(contents(1, SIZE + 2 * BLOCK))
    with pytest.raises(cinder.Error, match='^IndexError: '):
        cinder.backup(store, volume, child_of(full), options('zlib'))


def test_volume_that_grew_by_a_gib_is_refused(cinder, store, volume):
    full = cinder.backup(store, volume, {}, options('zlib'))
    with pytest.raises(cinder.Error, match='^InvalidBackup: .*Do a full backup'):
        cinder.backup(store, volume, {'size': 2, **child_of(full)}, options('zlib'))


def test_another_block_size_is_refused(cinder, store, volume):
    full = cinder.backup(store, volume, {}, options('zlib'))
    other = dict(OPTIONS, backup_sha_block_size_bytes=2048)
    with pytest.raises(cinder.Error, match='^InvalidBackup: .*block size'):
        cinder.backup(store, volume, child_of(full), other)


def test_status_other_than_restoring_cancels(cinder, store, volume, target):
    made = cinder.backup(store, volume, {}, options('zlib'))
    with pytest.raises(cinder.Error, match='^BackupRestoreCancel: '):
        cinder.restore(store, [made['export']], target, status='available')


@pytest.mark.parametrize('field', ['display_name', 'container', 'service_metadata', 'id', 'size'])
def test_import_wants_every_field(cinder, store, volume, field):
    made = cinder.backup(store, volume, {}, options('zlib'))
    assert cinder.import_(made['export'])['container'] == made['record']['container']
    record = {name: value for name, value in made['record'].items() if name != field}
    with pytest.raises(cinder.Error, match='^Invalid(Input|Backup): .*missing'):
        cinder.import_(dict(made['export'], backup_url=encode(record)))


def encode(record):
    return base64.b64encode(json.dumps(record).encode()).decode()


@pytest.mark.parametrize('url', ['', '!', 'bm90IGpzb24=', 'eyJpZCI6'])
def test_import_of_rubbish_is_an_error(cinder, url):
    with pytest.raises(cinder.Error):
        cinder.import_(url)


def test_export_of_given_fields(cinder):
    record = {'id': '0f9c6f0e-5d5a-4b65-8c8e-3f0a1b2c3d4e', 'display_name': 'ours',
              'container': 'a/b', 'service_metadata': 'volume_x', 'object_count': 3}
    imported = cinder.import_(cinder.export(record))
    assert {name: imported[name] for name in record} == record


def test_delete_takes_every_object(cinder, store, volume):
    chain = backup_chain(cinder, store, volume)
    cinder.delete(store, exports(chain))
    assert not list((store / chain[-1]['record']['container']).iterdir())
    assert objects_of(store, chain[0])


def test_volume_metadata_comes_back(cinder, store, volume, target):
    metadata = {'volume': {'display_name': 'mail'}, 'metadata': {'tier': 'gold'},
                'glance': {'os_type': 'linux'}}
    made = cinder.backup(store, volume, {}, options('zlib'), metadata)
    answer = cinder.restore(store, [made['export']], target)
    assert (answer['metadata'], answer['glance']) == ({'tier': 'gold'}, {'os_type': 'linux'})
    assert (answer['volume']['display_name'], answer['volume']['bootable']) == ('mail', True)


def test_volume_metadata_leaves_a_named_target_its_name(cinder, store, volume, target):
    made = cinder.backup(store, volume, {}, options('zlib'), {'volume': {'display_name': 'mail'}})
    mine = {'volume': {'display_name': 'mine'}}
    answer = cinder.restore(store, [made['export']], target, metadata=mine)
    assert answer['volume']['display_name'] == 'mine'


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can become another user')
def test_another_user_needs_the_group(cinder, volume, open_folder):
    store, target = open_folder / 'store', open_folder / 'targets' / 'target'
    made = cinder.backup(store, volume, {}, options('zstd'))
    with pytest.raises(cinder.Error, match='^PermissionError: '):
        cinder.restore(store, [made['export']], target, uid=ELSE, gid=ELSE)
    group = (store / made['record']['container']).stat().st_gid
    cinder.restore(store, [made['export']], target, uid=ELSE, gid=ELSE, groups=[group])
    assert target.read_bytes() == volume.read_bytes()
    assert target.stat().st_uid == ELSE


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can become another user')
def test_store_of_another_user(cinder, volume, open_folder):
    """The database of the process also knows what a child with other ids backed up."""
    os.chmod(volume, 0o644)
    source = shutil.copy(volume, open_folder / 'volume')
    store, target = open_folder / 'targets' / 'store', open_folder / 'target'
    made = cinder.backup(store, source, {}, options('bz2'), uid=ELSE, gid=ELSE)
    assert objects_of(store, made)[0].stat().st_uid == ELSE
    again = cinder.backup(store, source, child_of(made), options('bz2'), uid=ELSE, gid=ELSE)
    cinder.restore(store, exports([made, again]), target)
    assert target.read_bytes() == volume.read_bytes()


@pytest.mark.parametrize('case', CASES)
def test_witness_is_what_cinder_restores(cinder, tmp_path, case):
    cinder.forget()
    records = read(case, 'records.json')
    for record, expected in zip(records, read(case, 'expected.json'), strict=True):
        target = tmp_path / record['id']
        cinder.restore(WITNESSES / case / 'store', chain_to(record, records), target,
                       prefix_style=record['prefix_style'], target_size=expected['size'])
        restored = target.read_bytes()[:expected['size']]
        assert hashlib.sha256(restored).hexdigest() == expected['sha256']


def read(case, name):
    return json.loads((WITNESSES / case / name).read_text())


def chain_to(record, records):
    by_id = {each['id']: each for each in records}
    chain = [record]
    while chain[0]['parent_id']:
        chain.insert(0, by_id[chain[0]['parent_id']])
    return [{'backup_service': each['backup_service'], 'backup_url': each['backup_url']}
            for each in chain]
