"""Chains of Cinder and of ours, each restored by the other, and continued by the other."""

import filecmp
import json
import shutil

import cinder_client
import installation
from installation import BLOCK, CHUNK, decoded, noise, patched, text
import make_witness
import pytest

from backup_framework import exceptions
from backup_framework.formats.cinder_v1 import writer as cinder_v1

SMALL = {'backup_sha_block_size_bytes': BLOCK, 'backup_file_size': CHUNK}
STATES = make_witness.volumes_of('codec-zlib')
TAIL = b'\x55' * 5000
TARGETS = {'new': None, 'used': b'', 'longer': TAIL}


def prefix_style(case):
    return case.removeprefix('prefix-') if case.startswith('prefix-') else 'posix'


def used(tail, data):
    """What a target holds before the restore of `data`; None is a new one."""
    return None if tail is None else b'\xaa' * len(data) + tail


# Cinder wrote it

@pytest.fixture(scope='module', params=sorted(make_witness.CASES))
def case(request):
    return request.param


@pytest.fixture(scope='module')
def cinders(case, cinder, tmp_path_factory):
    """A chain that Cinder has just written, and the folder with its store."""
    folder = tmp_path_factory.mktemp(case)
    return folder, installation.cinders_chain(cinder, case, folder)


@pytest.fixture(scope='module')
def rebuilt(cinders):
    folder, _ = cinders
    with installation.installed(folder, folder / 'store') as ours:
        added = ours.rebuild()
        yield ours, {backup.id: backup for backup in added}


def test_rebuild_finds_what_cinder_wrote(cinders, rebuilt):
    found = rebuilt[1]
    assert sorted(found) == sorted(made.id for made in cinders[1])
    for made in cinders[1]:
        backup = found[made.id]
        for name in ('container', 'service_metadata', 'volume_id', 'parent_id', 'display_name',
                     'display_description', 'object_count', 'service'):
            assert getattr(backup, name) == made.record[name], name
        assert backup.status == 'available'
        assert backup.owner == 'Cinder'


def test_what_cinder_wrote_verifies(cinders, rebuilt):
    for made in cinders[1]:
        assert rebuilt[0].verify(made.id) == []


@pytest.mark.parametrize('tail', TARGETS.values(), ids=TARGETS)
def test_we_restore_what_cinder_wrote(cinders, rebuilt, tmp_path, tail):
    for made in cinders[1]:
        restored = rebuilt[0].restored(made.id, tmp_path / made.id, used(tail, made.data))
        assert restored == made.data + (tail or b'')


def test_imported_records_restore(cinders, install, tmp_path):
    folder, chain = cinders
    ours = install(folder / 'store')
    for made in chain:
        ours.manager.import_(made.exports[-1])
    for made in chain:
        assert ours.restored(made.id, tmp_path / made.id) == made.data


def test_our_incremental_on_cinders_parent(cinder, case, cinders, install, store, tmp_path):
    """What we add to a chain of Cinder's is restored by both."""
    folder, chain = cinders
    last = chain[-1]
    shutil.copytree(folder / 'store', store)
    ours = install(store)
    ours.rebuild(adopt=True)
    changed = patched(last.data, 1, bytes(BLOCK) + noise(BLOCK))[:len(last.data)]
    volume = tmp_path / 'volume'
    volume.write_bytes(changed)
    backup = ours.create(volume, state_of=last.volume_id, incremental=True)
    if case == 'odd-block-size':
        assert 'full backup, because block_size is 4096 and was 3000' in ours.told[-1]
    else:
        assert (backup.parent_id, ours.told) == (last.id, [])
    assert ours.verify(backup.id) == []
    assert ours.restored(backup.id, tmp_path / 'ours') == changed
    target = tmp_path / 'cinders'
    cinder.restore(store, ours.exports(backup.id), target, target_size=len(changed),
                   prefix_style=prefix_style(case))
    # Cinder never cuts a target that was larger at an earlier backup of the chain.
    assert target.read_bytes()[:len(changed)] == changed


def test_chain_by_command_line(cinder, install, store, tmp_path):
    """Cinder's chain by rebuild, by import, and continued, as an operator types it."""
    chain = installation.cinders_chain(cinder, 'siblings', tmp_path)
    last = chain[-1]
    ours, other = install(store), install(store)
    assert len(ours.run('catalog', 'rebuild', 'shelf', '--adopt')) == len(chain)
    volume, target = tmp_path / 'volume', tmp_path / 'target'
    volume.write_bytes(last.data[::-1])
    made = ours.run('backup', 'create', volume, '--volume', last.volume_id, '--incremental')
    assert made['parent_id'] == last.id
    record = tmp_path / 'record.json'
    for export in [*last.exports, ours.run('backup', 'export', made['id'])]:
        record.write_text(json.dumps(export))
        other.run('backup', 'import', record)
    assert other.run('backup', 'verify', made['id'])[0]['result'] == 'good'
    other.run('backup', 'restore', made['id'], target)
    assert target.read_bytes() == volume.read_bytes()


# We wrote it

COMPRESSIONS = ['none', 'zlib', 'bz2', 'zstd']
LAYOUTS = {
    **{name: {'compression': name} for name in COMPRESSIONS},
    **{f'{name}-workers': {'compression': name, 'workers': 4} for name in ('none', 'zstd')},
    'block-512': {'block_size': 512, 'chunk_size': 4096},
    'block-1536': {'block_size': 1536, 'chunk_size': 4608, 'compression': 'zlib'},
    'block-1MiB': {'block_size': 1 << 20, 'chunk_size': 1 << 20},
    'one-block-chunks': {'chunk_size': BLOCK, 'compression': 'bz2', 'workers': 2},
    'named-container': {'container': 'nightly/2026'},
}
HOLES = bytes(100 * BLOCK) + text(BLOCK) + bytes(60 * BLOCK) + noise(100) + bytes(7)
SHAPES = {
    'empty': [b'', b''],
    'one-byte': [b'x', b'\0', b'y'],
    'block-less-one': [noise(BLOCK - 1), bytes(BLOCK - 1)],
    'chunk-and-one': [noise(CHUNK + 1), noise(CHUNK) + b'\0', noise(CHUNK + 1)],
    'whole-chunks': [text(3 * CHUNK), bytes(CHUNK) + noise(CHUNK) + bytes(CHUNK)],
    'zeros': [bytes(5 * CHUNK + 13), patched(bytes(5 * CHUNK + 13), 7, text(BLOCK)),
              bytes(5 * CHUNK + 13)],
    'holes': [HOLES, patched(HOLES, 100, bytes(BLOCK)), patched(HOLES, 9, noise(2 * BLOCK))],
    'gone': [noise(4 * CHUNK), bytes(4 * CHUNK), noise(4 * CHUNK, 'again')],
    'apart': [noise(40 * BLOCK), patched(patched(noise(40 * BLOCK), 2, text(BLOCK)), 30,
                                         bytes(BLOCK))],
}
WRITTEN = ({name: (options, STATES, True) for name, options in LAYOUTS.items()}
           | {name: ({}, states, True) for name, states in SHAPES.items()}
           | {f'{name}-dense': ({'compression': 'zlib', 'workers': 3}, SHAPES[name], False)
              for name in ('zeros', 'holes', 'gone')})


@pytest.fixture(scope='module', params=WRITTEN)
def written(request, tmp_path_factory):
    """A chain of ours in each layout and of each shape, and the folder with its store."""
    options, states, sparse = WRITTEN[request.param]
    folder = tmp_path_factory.mktemp('written')
    with installation.installed(folder, folder / 'store', **options) as ours:
        yield folder, installation.our_chain(ours, states, folder / 'volume', sparse)


def test_cinder_restores_ours_to_new_targets(cinder, written, tmp_path):
    folder, chain = written
    for made in chain:
        target = tmp_path / made.id
        cinder.restore(folder / 'store', made.exports, target, target_size=len(made.data))
        assert target.read_bytes() == made.data


def test_cinder_restores_ours_to_used_targets(cinder, written, tmp_path):
    folder, chain = written
    for made in chain:
        target = tmp_path / made.id
        target.write_bytes(used(TAIL, made.data))
        cinder.restore(folder / 'store', made.exports, target, volume_is_new=False)
        assert target.read_bytes() == made.data + TAIL


@pytest.mark.parametrize('compression', COMPRESSIONS)
def test_zero_chunks_share_one_body(install, store, tmp_path, compression):
    ours = install(store, compression=compression)
    made, = installation.our_chain(ours, [bytes(6 * CHUNK)], tmp_path / 'volume', sparse=False)
    bodies = [path.read_bytes() for path in installation.objects_of(store, made)]
    assert (len(bodies), len(set(bodies))) == (6, 1)
    assert len(bodies[0]) < 100


def test_cinder_restores_holes_of_any_length(cinder, install, store, tmp_path):
    """Longer than what we store as one object."""
    volume, target = tmp_path / 'volume', tmp_path / 'target'
    ours = install(store, block_size=1 << 20, chunk_size=1 << 20)
    with open(volume, 'wb') as file:
        file.write(b'begin')
        file.truncate(cinder_v1.LARGEST_HOLE + (3 << 20))
        file.seek(-3, 2)
        file.write(b'end')
    backup = ours.create(volume)
    assert backup.object_count == 4
    cinder.restore(store, ours.exports(backup.id), target)
    assert target.stat().st_blocks * 512 < 4 << 20
    assert filecmp.cmp(volume, target, shallow=False)


def test_extents_are_joined_over_small_gaps(cinder, install, store, tmp_path):
    ours = install(store, chunk_size=64 * BLOCK)
    before = noise(64 * BLOCK)
    after = before
    for block in range(0, 24, 4):
        after = patched(after, block, text(BLOCK, block))
    made = installation.our_chain(ours, [before, after], tmp_path / 'volume')[-1]
    assert len(installation.objects_of(store, made)) < 6
    cinder.restore(store, made.exports, tmp_path / 'target')
    assert (tmp_path / 'target').read_bytes() == after


# Cinder goes on with ours

@pytest.mark.parametrize('layout, compression', [
    ('block-512', 'none'), ('block-1536', 'zlib'), ('named-container', 'bz2'),
    ('zstd-workers', 'zstd')])
def test_cinders_incremental_on_our_parent(cinder, install, store, tmp_path, layout, compression):
    """Cinder reads our hash list; what it adds is restored by both."""
    ours = install(store, **LAYOUTS[layout])
    volume = tmp_path / 'volume'
    last = installation.our_chain(ours, STATES[:2], volume)[-1]
    for export in last.exports:
        cinder.import_(export)
    block = int(LAYOUTS[layout].get('block_size', BLOCK))
    options = {'backup_sha_block_size_bytes': block, 'backup_file_size': 5 * block,
               'backup_compression_algorithm': compression}
    changed = patched(last.data, 3, noise(BLOCK) + bytes(BLOCK))
    volume.write_bytes(changed)
    made = cinder.backup(store, volume, {'parent_id': last.id, 'volume_id': last.volume_id},
                         options)
    stored = made['record']['object_count']
    assert 0 < stored < len(changed) // block, 'it should store what changed, and no more'
    backup = ours.manager.import_(made['export'])
    assert ours.verify(backup.id) == []
    assert ours.restored(backup.id, tmp_path / 'ours', b'\xaa' * len(changed)) == changed
    cinder.restore(store, [*last.exports, made['export']], tmp_path / 'cinders')
    assert (tmp_path / 'cinders').read_bytes() == changed


def test_cinder_finds_nothing_new_in_an_unchanged_volume(cinder, ours, store, tmp_path):
    volume = tmp_path / 'volume'
    last = installation.our_chain(ours, [HOLES], volume)[-1]
    cinder.import_(last.exports[-1])
    made = cinder.backup(store, volume, {'parent_id': last.id, 'volume_id': last.volume_id}, SMALL)
    assert made['record']['object_count'] == 0


# Volume metadata

VOLUME = {'name': 'Post-Größe 東京',
          'base': {'display_description': 'der "Spool"\n',
                   'encryption_key_id': '4f0c2b0e-7c0b-4a57-9f0c-0d8f3b6f2a10',
                   'volume_type_id': 'b8a7c3b2-6d0a-4b0e-8f1a-2f6c5d4e3b2a'},
          'metadata': {'tier': 'gold', 'größe': 'groß'},
          'image_metadata': {'image_name': 'debian-12', 'min_ram': '512'}}


@pytest.mark.parametrize('version', [1, 2])
def test_cinder_restores_our_volume_metadata(cinder, install, store, tmp_path, version):
    ours = install(store, metadata_version=version)
    volume = tmp_path / 'volume'
    first, = installation.our_chain(ours, [text(CHUNK)], volume)
    ours.catalog.update_volume(first.volume_id, **VOLUME)
    backup = ours.create(volume, incremental=True)
    answer = cinder.restore(store, ours.exports(backup.id), tmp_path / 'target')
    assert answer['metadata'] == VOLUME['metadata']
    assert answer['glance'] == VOLUME['image_metadata']
    row = answer['volume']
    assert (row['display_name'], row['display_description'], row['bootable']) == (
        VOLUME['name'], VOLUME['base']['display_description'], True)
    key, kind = VOLUME['base']['encryption_key_id'], VOLUME['base']['volume_type_id']
    expected = (key, kind) if version == 2 else (None, None)
    assert (row.get('encryption_key_id'), row.get('volume_type_id')) == expected


@pytest.mark.parametrize('case_', ['volume-meta-v1', 'volume-meta-v2'])
def test_volume_metadata_go_round(cinder, install, store, tmp_path, case_):
    """Cinder's, kept by us at a rebuild, into a backup of ours, restored by Cinder."""
    last = installation.cinders_chain(cinder, case_, tmp_path)[-1]
    ours = install(store, metadata_version=int(case_[-1]))
    ours.rebuild(adopt=True)
    volume = tmp_path / 'volume'
    volume.write_bytes(last.data)
    backup = ours.create(volume, state_of=last.volume_id, incremental=True)
    again = cinder.restore(store, ours.exports(backup.id), tmp_path / 'ours')
    once = cinder.restore(store, last.exports, tmp_path / 'cinders')
    for name in ('metadata', 'glance'):
        assert again[name] == once[name], name
    for name in ('display_name', 'display_description', 'encryption_key_id', 'volume_type_id'):
        assert again['volume'].get(name) == once['volume'].get(name), name


# Damage

def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize('damage', [flip_a_bit, cut_short])
@pytest.mark.parametrize('writer', ['cinder', 'ours'])
def test_we_find_damage_that_cinder_restores(cinder, install, store, tmp_path, writer, damage):
    ours = install(store, compression='none')
    if writer == 'cinder':
        made = installation.cinders_chain(cinder, 'codec-none', tmp_path)[0]
        ours.rebuild()
    else:
        made, = installation.our_chain(ours, STATES[:1], tmp_path / 'volume')
    bad = installation.objects_of(store, made)[0]
    damage(bad)
    cinder.restore(store, made.exports, tmp_path / 'cinders', target_size=len(made.data))
    assert (tmp_path / 'cinders').read_bytes() != made.data
    problem, = ours.verify(made.id)
    assert bad.name in problem
    with pytest.raises(exceptions.CorruptObject, match=bad.name):
        ours.restored(made.id, tmp_path / 'target')
    assert not (tmp_path / 'target').exists()


def test_a_missing_object_is_refused_by_both(cinder, ours, store, tmp_path):
    made, = installation.our_chain(ours, STATES[:1], tmp_path / 'volume')
    installation.objects_of(store, made)[0].unlink()
    with pytest.raises(cinder_client.CinderError, match='^InvalidBackup'):
        cinder.restore(store, made.exports, tmp_path / 'cinders')
    with pytest.raises(exceptions.MissingObject):
        ours.restored(made.id, tmp_path / 'target')


def test_names_outside_ascii_reach_cinder(cinder, ours, store, tmp_path):
    volume = tmp_path / 'volume'
    volume.write_bytes(text(CHUNK))
    backup = ours.create(volume, name='Größe "東京" \U0001f5c4', description='a\nb\t\\c é',
                         properties={'clé': 'valeur'})
    record = cinder.import_(ours.exports(backup.id)[0])
    assert (record['display_name'], record['display_description'], record['metadata']) == (
        backup.display_name, backup.display_description, {'clé': 'valeur'})
    manifest = json.loads((store / str(backup.container) / f'{backup.service_metadata}_metadata')
                          .read_text('ascii'))
    assert manifest['backup_name'] == backup.display_name
    cinder.restore(store, ours.exports(backup.id), tmp_path / 'target')
    assert (tmp_path / 'target').read_bytes() == volume.read_bytes()
    assert decoded(ours.exports(backup.id)[0])['size'] == 1
