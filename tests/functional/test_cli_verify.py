"""Verifying: which backups, how much of them, what is reported, and what is kept of it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
import shutil
import sqlite3

import pytest

from tests.functional.conftest import CINDERS, OURS, change
from tests.functional.test_cli_checks import chain, flip, object_of

SIZE = 1_000_001
CHUNK = 64 << 10


def shown(cli, made) -> dict:
    return cli.json('backup', 'show', made['id'])


def verify(cli, *words, code: int = 0) -> list[dict]:
    done = cli.run('backup', 'verify', *words, '-f', 'json')
    assert done.code == code, done.err
    return done.json


def ids(rows: list[dict]) -> list[str]:
    return [row['id'] for row in rows]


def test_results_are_kept_and_shown(cli, volume, version):
    made = cli.create(volume)
    assert shown(cli, made)['verified_at'] is None and shown(cli, made)['damage'] == []
    row, = verify(cli, made['id'], '--quick')
    quick = shown(cli, made)
    assert row['how'] == quick['verified_how'] == 'quick'
    assert quick['fully_verified_at'] is None and quick['verified_at'] >= row['verified_at'][:19]
    row, = verify(cli, made['id'])
    full = shown(cli, made)
    assert row['how'] == full['verified_how'] == 'full' and row['checked_bytes'] == 300_001
    assert full['verified_at'] == full['fully_verified_at'] > quick['verified_at']
    row, = verify(cli, made['id'], '--percent', '50')
    last = shown(cli, made)
    assert row['how'] == last['verified_how'] == 'sampled'
    assert last['fully_verified_at'] == full['fully_verified_at'] < last['verified_at']
    listed, = cli.json('backup', 'list')
    assert {name: listed[name] for name in ('verified_at', 'verified_how', 'damage')} == {
        name: last[name] for name in ('verified_at', 'verified_how', 'damage')}


def test_only_a_full_verification_clears_damage(cli, volume, version):
    made = cli.create(volume)
    file = object_of(cli, made)
    sound = file.read_bytes()
    flip(file)
    row, = verify(cli, made['id'], code=6)
    problem, = row['problems']
    assert problem['container'] == made['container'] and problem['object'] == file.name
    assert problem['extents'] and file.name in problem['problem']
    assert all(0 <= offset < offset + length <= 300_001 for offset, length in problem['extents'])
    assert shown(cli, made)['damage'] == [problem['problem']]
    file.write_bytes(sound)
    for words in (['--quick'], ['--percent', '99.9']):
        assert verify(cli, made['id'], *words)[0]['result'] == 'good'
        assert shown(cli, made)['damage'] == [problem['problem']]
    verify(cli, made['id'])
    assert shown(cli, made)['damage'] == []


def test_what_is_missing_is_told_with_its_extents(cli, volume, version):
    cli.configure(workers=0)  # objects have numbers in the order of the volume
    made = cli.create(volume)
    object_of(cli, made).unlink()
    row, = verify(cli, made['id'], '--quick', code=6)
    problem, = row['problems']
    assert problem['object'].endswith('-00001') and problem['extents'][0][0] == 0
    assert shown(cli, made)['damage'] == [problem['problem']]


def test_which_backups(cli, make_volume, tmp_path):
    cli.configure(f'[second]\ndriver = local\npath = {tmp_path / "there"}\n',
                  'enabled_backends = local, second')
    one, two = make_volume('one'), make_volume('two', seed=2)
    first = cli.create(one, '--container', 'here')
    second = cli.create(one, '--incremental')
    other = cli.create(two, '--container', 'here')
    third = cli.create(two, '--backend', 'second')
    everything = {each['id'] for each in (first, second, other, third)}
    assert set(ids(verify(cli, '--all', '--quick'))) == everything
    for words, wanted in ((['--volume', one], [first, second]), (['--backend', 'second'], [third]),
                          (['--container', 'here'], [first, second, other]),
                          (['--backend', 'second', '--older-than', '0s'], [third]),
                          (['--container', 'here', '--volume', two], [other]),
                          ([first['id'], first['id']], [first])):
        assert set(ids(verify(cli, *words, '--quick'))) == {each['id'] for each in wanted}, words
    for words, code, told in (
            ([], 2, 'or --all'), (['x', '--all'], 2, 'or --all'), (['--limit', '1'], 2, '--all'),
            ([first['id'], '--limit', '1'], 2, 'choose them'),
            (['--backend', 'nosuch'], 3, 'nosuch'), (['--volume', 'nosuch'], 3, 'nosuch'),
            (['--container', 'nosuch'], 3, 'nosuch'),
            (['nosuch'], 3, 'nosuch'), (['--all', '--seed', '1'], 2, '--percent'),
            (['--all', '--percent', '0'], 2, "'0'"), (['--all', '--percent', '101'], 2, '101'),
            (['--all', '--older-than', 'x'], 2, "'x'")):
        done = cli.run('backup', 'verify', *words)
        assert done.code == code and told in done.err, (words, done.err)


def test_those_verified_longest_ago_come_first(cli, volume):
    made = chain(cli, volume, 4)
    newest_first = [each['id'] for each in reversed(made)]
    assert ids(verify(cli, '--all', '--limit', '2')) == newest_first[:2]
    assert ids(verify(cli, '--all', '--limit', '2')) == newest_first[2:]
    assert ids(verify(cli, '--all', '--quick')) == newest_first
    assert ids(verify(cli, '--all', '--limit', '3')) == newest_first[:3]
    assert ids(verify(cli, '--all', '--limit', '0')) == []
    assert ids(verify(cli, '--all', '--older-than', '1d')) == []
    late = cli.create(volume)
    verify(cli, late['id'], '--quick')
    assert ids(verify(cli, '--all', '--older-than', '1d')) == [late['id']]


def test_a_sample_can_be_repeated_and_is_another_one_else(cli, make_volume, version):
    made = cli.create(make_volume(size=SIZE))
    checked = {verify(cli, made['id'], '--percent', '30', '--seed', '7')[0]['checked_bytes']
               for _ in range(3)}
    assert len(checked) == 1 and 0 < checked.pop() < SIZE
    assert verify(cli, made['id'], '--percent', '0.001')[0]['objects'] == 1
    assert verify(cli, made['id'], '--percent', '100')[0]['how'] == 'full'
    for file in cli.store.rglob('*-000*'):
        body = bytearray(file.read_bytes())
        body[::997] = bytes(each ^ 1 for each in body[::997])
        file.write_bytes(body)
    seen = set()
    for seed in range(12):
        row, = verify(cli, made['id'], '--percent', '30', '--seed', seed, code=6)
        seen.add(json.dumps([problem['extents'] for problem in row['problems']]))
    assert len(seen) > 3


def test_one_that_fails_stops_no_other(cli, make_volume):
    bad, gone, good = (cli.create(make_volume(name, seed=seed))
                       for seed, name in enumerate(('bad', 'gone', 'good')))
    flip(object_of(cli, bad))
    shutil.rmtree(cli.store / gone['container'])
    rows = {row['id']: row for row in verify(cli, '--all', code=6)}
    assert {name: rows[each['id']]['result'] for name, each in (
        ('bad', bad), ('gone', gone), ('good', good))} == {
            'bad': 'bad', 'gone': 'bad', 'good': 'good'}
    assert 'there is no manifest' in rows[gone['id']]['problems'][0]['problem']
    assert shown(cli, gone)['damage'] and shown(cli, good)['damage'] == []


def test_results_that_cannot_be_recorded_are_told(cli, volume):
    made = cli.create(volume)
    flip(object_of(cli, made))
    catalog = cli.state / 'catalog.sqlite'
    catalog.chmod(0o400)
    cli.state.chmod(0o500)
    try:
        done = cli.run('backup', 'verify', made['id'], '-f', 'json', unprivileged=True)
        assert done.code == 6 and done.json[0]['result'] == 'bad'
        assert 'this verify is not recorded' in done.err
        done = cli.run('backup', 'verify', made['id'], '--mark-bad', unprivileged=True)
        assert done.code == 5 and 'no object can be marked' in done.err
    finally:
        cli.state.chmod(0o700)
        catalog.chmod(0o600)
    assert shown(cli, made)['damage'] == []


def test_other_backups_that_a_bad_object_hurts_are_named(cli, make_volume, version):
    cli.configure(workers=0)  # objects have numbers in the order of the volume
    volume = make_volume(size=SIZE)
    made = chain(cli, volume, 3)
    alone = cli.create(make_volume('alone', seed=9))
    file = object_of(cli, made[0], '-00004' if version == CINDERS else '-00001')
    flip(file)
    done = cli.run('backup', 'verify', 'link-0', '-f', 'json')
    row, = done.json
    assert {hurt['backup_id'] for hurt in row['also_hurt']} == {made[1]['id'], made[2]['id']}
    for hurt in row['also_hurt']:
        assert (hurt['container'], hurt['object']) == (made[0]['container'], file.name)
        extents = hurt['extents']
        for offset, length in row['problems'][0]['extents']:
            assert any(start <= offset and offset + length <= start + run
                       for start, run in extents) or version == CINDERS
        assert f'backup {hurt["backup_id"]}: object {file.name}' in done.err
    assert '--mark-bad' in done.err and alone['id'] not in done.err
    # Only what was verified is known to be damaged, and nothing is marked.
    assert shown(cli, made[0])['damage'] and shown(cli, made[1])['damage'] == []
    rows = {row['id']: row for row in verify(cli, '--all', code=6)}
    assert rows[made[2]['id']]['result'] == 'bad'
    assert made[0]['id'] in {hurt['backup_id'] for hurt in rows[made[2]['id']]['also_hurt']}


def test_a_backup_that_cannot_be_looked_at_is_suspected(cli, make_volume):
    """While it is there the mark stays."""
    cli.configure(format=OURS)
    volume = make_volume(size=SIZE)
    first = cli.create(volume)
    second = cli.create(volume, '--incremental')
    chunk_map = object_of(cli, second, '_map')
    sound = chunk_map.read_bytes()
    flip(chunk_map)
    flip(object_of(cli, first))
    row, = verify(cli, first['id'], '--mark-bad', code=6)
    assert [(hurt['backup_id'], hurt['extents']) for hurt in row['also_hurt']] == [
        (second['id'], [])]
    assert 'could not be found out' in row['notes'][0]
    assert 'could not be found out' in shown(cli, second)['damage'][0]
    cli.good('backup', 'forget', first['id'])
    chunk_map.write_bytes(sound)
    before = set(cli.objects())
    assert cli.create(volume, '--incremental')['is_incremental']
    assert grown(cli, before) > SIZE // 4


def test_a_backup_of_which_a_parent_is_not_known_is_suspected(cli, make_volume):
    """It may be built on what is bad."""
    cli.configure(format=CINDERS)
    volume = make_volume(size=SIZE)
    first, second, third = (
        cli.create(volume, '--container', 'shelf', *words)
        for words in ([], ['--incremental'], ['--incremental']))
    with contextlib.closing(sqlite3.connect(cli.state / 'catalog.sqlite')) as catalog, catalog:
        catalog.execute('DELETE FROM backups WHERE id = ?', [second['id']])
    flip(object_of(cli, first))
    verify(cli, first['id'], '--mark-bad', code=6)
    assert 'could not be found out' in shown(cli, third)['damage'][0]


# Marks

def grown(cli, before: set[str]) -> int:
    return sum((cli.store / name).stat().st_size for name in set(cli.objects()) - before)


@pytest.mark.parametrize('how', ['read', 'hinted'])
@pytest.mark.parametrize('what', ['frame', 'table', 'gone'])
def test_the_next_backup_stores_anew_what_is_marked(cli, make_volume, tmp_path, how, what):
    """A frame, a block table that most chunks need, or the whole object is damaged."""
    cli.configure(format=OURS, compression='none')
    volume = make_volume(size=SIZE)
    first = cli.create(volume, '--name', 'first')
    changed = change(volume, 500_000)
    second = cli.create(volume, '--incremental', '--name', 'second')
    file = object_of(cli, first)
    body = bytearray(file.read_bytes())
    body[100 if what == 'frame' else -1200] ^= 1
    file.write_bytes(body) if what != 'gone' else file.unlink()
    verify(cli, 'first', '--mark-bad', code=6)
    hurt = shown(cli, second)['damage']
    assert any(file.name in sentence and 'is needed for bytes' in sentence for sentence in hurt)
    before, words = set(cli.objects()), []
    if how == 'hinted':
        hints = tmp_path / 'hints.json'
        hints.write_text(json.dumps({'parent': second['id'], 'extents': []}))
        words = ['--changed-extents', hints]
    third = cli.create(volume, '--incremental', '--name', 'third', *words)
    assert third['is_incremental'] and third['warnings'] == []
    assert 0 < grown(cli, before) < SIZE
    file.unlink(missing_ok=True)
    cli.good('backup', 'restore', 'third', tmp_path / 'back')
    assert (tmp_path / 'back').read_bytes() == changed
    assert verify(cli, 'third')[0]['result'] == 'good'
    assert shown(cli, second)['damage'] == hurt
    assert verify(cli, 'second', code=6)[0]['result'] == 'bad'
    fourth = cli.create(volume, '--incremental')
    cli.good('backup', 'delete', 'first', 'second')
    cli.good('backup', 'verify', 'third', fourth['id'])


def test_only_the_blocks_of_the_bad_object_are_stored_anew(cli, make_volume):
    """Of 15 chunks one has its blocks in the object that is marked."""
    cli.configure(format=OURS, compression='none', duplicates='none')
    volume = make_volume(size=SIZE)
    cli.create(volume)
    change(volume, 900_000, bytes(range(256)) * 16)
    small = cli.create(volume, '--incremental')
    flip(object_of(cli, small))
    verify(cli, '--all', '--mark-bad', code=6)
    before = set(cli.objects())
    again = cli.create(volume, '--incremental')
    assert again['is_incremental'] and grown(cli, before) < 4 * CHUNK
    assert verify(cli, again['id'])[0]['result'] == 'good'


def test_a_chunk_with_only_its_table_in_a_bad_object_gets_another(cli, make_volume):
    """The table can be read, and nothing of the chunk has changed."""
    cli.configure(format=OURS)
    volume = make_volume(size=SIZE)
    cli.create(volume)
    change(volume, 0, bytes(4096))
    second = cli.create(volume, '--incremental')
    file = object_of(cli, second)
    file.write_bytes(file.read_bytes()[:-1] + b'?')
    row, = verify(cli, second['id'], '--mark-bad', code=6)
    assert 'footer' in row['problems'][0]['problem']
    third = cli.create(volume, '--incremental')
    assert third['warnings'] == [] and third['stored_bytes'] < CHUNK
    file.unlink()
    assert verify(cli, third['id'])[0]['result'] == 'good'


def test_without_a_mark_later_backups_go_on_as_before(cli, make_volume):
    cli.configure(format=OURS)
    volume = make_volume(size=SIZE)
    first = cli.create(volume)
    flip(object_of(cli, first))
    verify(cli, first['id'], code=6)
    before = set(cli.objects())
    second = cli.create(volume, '--incremental')
    assert grown(cli, before) < CHUNK
    verify(cli, second['id'], code=6)


def test_a_full_backup_shares_nothing_with_what_is_marked(cli, make_volume):
    cli.configure(format=OURS, duplicates='container')
    volume = make_volume(size=SIZE)
    first = cli.create(volume)
    shared = cli.create(volume)
    assert shared['stored_bytes'] < CHUNK
    flip(object_of(cli, first))
    verify(cli, first['id'], '--mark-bad', code=6)
    assert shown(cli, shared)['damage']
    full = cli.create(volume)
    assert full['stored_bytes'] > SIZE // 2 and verify(cli, full['id'])[0]['result'] == 'good'


def test_a_chain_with_a_marked_object_is_no_parent(cli, make_volume):
    cli.configure(format=CINDERS, workers=0)
    volume = make_volume(size=SIZE)
    made = chain(cli, volume, 2)
    file = object_of(cli, made[0], '-00003')
    flip(file)
    assert cli.create(volume, '--incremental')['is_incremental']
    verify(cli, made[0]['id'], '--mark-bad', code=6)
    assert shown(cli, made[1])['damage']
    done = cli.run('backup', 'create', volume, '--incremental', '-f', 'json')
    assert not done.json['is_incremental'] and verify(cli, done.json['id'])[0]['result'] == 'good'
    sentence, = done.json['warnings']
    assert file.name in sentence and 'marked as bad' in sentence
    assert cli.create(volume, '--incremental')['is_incremental']
    assert 'marked as bad' in cli.refused(4, 'backup', 'create', volume, '--parent', made[1]['id'])


def test_marks_go_with_the_damage(cli, make_volume, version):
    """When it was mended, or when all that need it are gone."""
    volume = make_volume(size=SIZE)
    first = cli.create(volume)
    file = object_of(cli, first)
    sound = file.read_bytes()
    flip(file)
    verify(cli, first['id'], '--mark-bad', code=6)
    file.write_bytes(sound)
    verify(cli, first['id'])
    before = set(cli.objects())
    assert cli.create(volume, '--incremental')['is_incremental']
    assert grown(cli, before) < 2 * CHUNK
    flip(file)
    verify(cli, '--all', '--mark-bad', code=6)
    rows = cli.json('backup', 'list')
    cli.good('backup', 'delete', *(row['id'] for row in rows))
    again = cli.create(volume)
    before = set(cli.objects())
    assert cli.create(volume, '--incremental')['is_incremental']
    assert grown(cli, before) < 2 * CHUNK and verify(cli, again['id'])


def test_a_mark_stays_while_one_backup_is_hurt(cli, make_volume):
    """Another one uses the sound part of the object, and is found whole."""
    cli.configure(format=OURS, compression='none')
    volume = make_volume(size=SIZE)
    first = cli.create(volume, '--name', 'first')
    data = change(volume, 0, bytes(CHUNK * 4))
    second = cli.create(volume, '--incremental', '--name', 'second')
    file = object_of(cli, first)
    body = bytearray(file.read_bytes())
    body[100] ^= 1
    file.write_bytes(body)
    verify(cli, 'first', '--mark-bad', code=6)
    verify(cli, 'second')
    assert shown(cli, second)['damage'] == [] and shown(cli, first)['damage']
    before = set(cli.objects())
    cli.create(volume, '--incremental', '--name', 'third')
    assert grown(cli, before) > 0 and volume.read_bytes() == data
    verify(cli, 'third')
    file.unlink()
    verify(cli, 'third')


def test_a_new_catalog_knows_no_marks(cli, make_volume, tmp_path):
    cli.configure(format=OURS)
    volume = make_volume(size=SIZE)
    first = cli.create(volume)
    flip(object_of(cli, first))
    verify(cli, first['id'], '--mark-bad', code=6)
    shutil.rmtree(cli.state)
    cli.good('catalog', 'rebuild', 'local', '--adopt')
    assert shown(cli, first)['damage'] == [] and shown(cli, first)['verified_at'] is None


# Manifests

def test_a_manifest_that_was_put_in_the_place_of_another(cli, volume, tmp_path, version):
    cli.configure(compression='none')
    made = cli.create(volume, '--property', 'a=b')
    manifest = object_of(cli, made, '_metadata')
    sound = manifest.read_bytes()
    other = _remade(sound, version)
    manifest.write_bytes(other)
    for words in (['backup', 'verify', made['id']], ['backup', 'restore', made['id'], 'target'],
                  ['backup', 'copy', made['id'], '--to-backend', 'local']):
        assert 'is not the one that was recorded' in cli.refused(6, *words)
    assert not (tmp_path / 'target').exists()
    done = cli.run('backup', 'create', volume, '--incremental', '-f', 'json')
    assert not done.json['is_incremental'] and 'was recorded' in done.json['warnings'][0]
    cli.good('backup', 'forget', made['id'])
    cli.good('catalog', 'rebuild', 'local')
    cli.good('backup', 'verify', made['id'])
    assert shown(cli, made)['metadata'] == {'a': 'c'}
    manifest.write_bytes(sound)
    assert 'was recorded' in cli.refused(6, 'backup', 'verify', made['id'], '--quick')
    cli.good('backup', 'delete', made['id'])


def _remade(document: bytes, version: str) -> bytes:
    """Another property, and the digests in the manifest made right again."""
    if version == CINDERS:
        members = json.loads(document)
        members['backup_framework']['properties'] = {'a': 'c'}
        members['backup_framework'].pop('sha256', None)
        return json.dumps(members).encode()
    import blake3
    body, _, tail = document.replace(b'"a": "b"', b'"a": "c"').rpartition(b',\n  "manifest_digest')
    return body + b',\n  "manifest_digest": "%s"\n}' % blake3.blake3(body).hexdigest().encode()


def test_records_of_older_releases_get_their_digest_by_verifying(cli, volume, version):
    import sqlite3
    made = cli.create(volume)
    manifest = Path(object_of(cli, made, '_metadata'))
    sound = manifest.read_bytes()

    def digest(*change: str) -> str | None:
        with sqlite3.connect(cli.state / 'catalog.sqlite') as database:
            for statement in change:
                database.execute(statement)
            return database.execute('SELECT manifest_digest FROM backups').fetchone()[0]

    recorded = digest()
    assert recorded is not None
    assert digest('UPDATE backups SET manifest_digest = NULL') is None
    verify(cli, made['id'], '--quick')
    verify(cli, made['id'], '--percent', '50')
    assert digest() is None
    file = object_of(cli, made)
    body = file.read_bytes()
    flip(file)
    verify(cli, made['id'], code=6)
    assert digest() is None
    file.write_bytes(body)
    verify(cli, made['id'])
    assert digest() == recorded
    manifest.write_bytes(sound + b' ')
    verify(cli, made['id'], code=6)
