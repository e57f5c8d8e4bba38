"""Pruning through the command line."""

import datetime
import sqlite3

import pytest

from tests.functional.conftest import change

NOW = datetime.datetime.now(datetime.UTC)


def days_ago(cli, backup: dict, days: int) -> dict:
    """Make a backup older, as its record has it."""
    time = (NOW - datetime.timedelta(days=days)).replace(tzinfo=None)
    with sqlite3.connect(cli.state / 'catalog.sqlite') as link:
        link.execute('UPDATE backups SET data_timestamp = ?, created_at = ? WHERE id = ?',
                     (*[time.isoformat(timespec='microseconds')] * 2, backup['id']))
    return backup


def history(cli, volume, ages, name=None) -> list[dict]:
    """Backups of these ages in days, oldest first; each but the first is an incremental one.

    :param name: of the volume's section.
    """
    made = []
    for number, age in enumerate(sorted(ages, reverse=True)):
        change(volume, number * 5000, bytes([number + 1]) * 5000)
        how = ('--incremental',) if number else ()
        made.append(days_ago(cli, cli.create(name or volume, *how), age))
    return made


def outcomes(cli, *argv, **how) -> dict[str, tuple[str, list[str]]]:
    return {row['id']: (row['outcome'], row['reasons'])
            for row in cli.json('backup', 'prune', *argv, **how)}


def test_prune(cli, volume, tmp_path):
    made = history(cli, volume, [0, 1, 8, 9])
    ids = [backup['id'] for backup in made]
    before = cli.objects()
    rules = ('--keep-last', 1, '--keep-weekly', 2)
    planned = outcomes(cli, '--dry-run', *rules)
    assert planned[ids[3]] == ('stays', ['last', 'weekly'])
    assert cli.objects() == before
    done = outcomes(cli, *rules)
    assert done == {backup: ('deleted', []) if outcome == 'would be deleted' else (outcome, why)
                    for backup, (outcome, why) in planned.items()}
    left = [backup['id'] for backup in cli.json('backup', 'list')]
    assert set(left) == {backup for backup, (outcome, _) in done.items() if outcome == 'stays'}
    assert 2 <= len(left) < 4
    cli.good('backup', 'verify', '--all')
    cli.good('backup', 'restore', ids[3], tmp_path / 'target')
    assert (tmp_path / 'target').read_bytes() == volume.read_bytes()
    assert outcomes(cli, *rules) == {backup: done[backup] for backup in left}
    cli.good('backup', 'delete', *left)
    assert cli.objects() == []


def test_who_owns_the_machine_prunes_all_projects(cli, volume):
    old, middle, new = (each['id'] for each in history(cli, volume, [2, 1, 0]))
    with sqlite3.connect(cli.state / 'catalog.sqlite') as link:
        link.execute('UPDATE backups SET project_id = ? WHERE id = ?', ('p', middle))
    assert outcomes(cli, '--keep-last', 1) == {
        new: ('stays', ['last']), middle: ('deleted', []), old: ('deleted', [])}


def test_a_chain_of_cinders_format(cli, volume):
    """What a backup that stays is built on stays."""
    cli.configure(format='1.0.0')
    full, first, second = (each['id'] for each in history(cli, volume, [0, 1, 2]))
    assert outcomes(cli, '--keep-last', 2) == {
        second: ('stays', ['last']), first: ('stays', ['last', f'{second} needs it']),
        full: ('stays', [f'{first} needs it'])}
    alone = days_ago(cli, cli.create(volume), -1)['id']
    assert outcomes(cli, '--keep-last', 1) == {alone: ('stays', ['last'])} | {
        each: ('deleted', []) for each in (full, first, second)}


def test_what_a_parent_may_need_that_is_not_in_the_catalog_stays(cli, volume, tmp_path):
    """A rebuild may leave one out of a chain; what that one is built on must wait for it."""
    cli.configure(format='1.0.0')
    full, lost, orphan = (each['id'] for each in history(cli, volume, [0, 1, 2]))
    with sqlite3.connect(cli.state / 'catalog.sqlite') as link:
        link.execute('DELETE FROM backups WHERE id = ?', (lost,))
    told = f'{orphan} needs {lost}, which is not in the catalog and may need it'
    assert outcomes(cli, '--keep-last', 1) == {
        orphan: ('stays', ['last']), full: ('stays', [told])}
    said = cli.refused(4, 'backup', 'delete', '--with-dependents', full)
    assert told in said and f'import {lost}, or delete {orphan} first' in said
    assert 'backup-framework catalog rebuild local' in said
    # What it has stays, and a rebuild finds that.
    cli.good('backup', 'forget', full)
    cli.good('catalog', 'rebuild', 'local')
    cli.good('backup', 'restore', orphan, tmp_path / 'target')
    assert (tmp_path / 'target').read_bytes() == volume.read_bytes()


def test_a_failed_import_is_deleted_without_what_needs_the_backup(cli, volume):
    cli.configure(format='1.0.0')
    full, child = (each['id'] for each in history(cli, volume, [0, 1]))
    with sqlite3.connect(cli.state / 'catalog.sqlite') as link:
        link.execute("UPDATE backups SET status = 'error', service = NULL, service_metadata = NULL,"
                     ' container = NULL, format = NULL WHERE id = ?', (full,))
    cli.good('backup', 'delete', full)
    assert [each['id'] for each in cli.json('backup', 'list')] == [child]
    cli.good('catalog', 'rebuild', 'local')
    cli.good('backup', 'verify', child)


def test_without_the_backup_that_lacks_its_parent_nothing_waits_for_that(cli, volume):
    cli.configure(format='1.0.0')
    full, lost, orphan = (each['id'] for each in history(cli, volume, [0, 1, 2]))
    with sqlite3.connect(cli.state / 'catalog.sqlite') as link:
        link.execute('DELETE FROM backups WHERE id = ?', (lost,))
    cli.good('backup', 'delete', full, orphan)
    assert cli.json('backup', 'list') == []


def test_rules_of_the_configuration(cli, make_volume):
    one, two = make_volume('one'), make_volume('two')
    sections = f'[volume:two]\npath = {two}\nkeep_last = 2\n'
    cli.configure(sections)
    ones, twos = history(cli, one, [0, 1, 2]), history(cli, two, [0, 1, 2], 'two')
    found = outcomes(cli)
    assert [found[each['id']] for each in ones] == [('stays', ['no rule for its volume'])] * 3
    assert [found[each['id']][0] for each in twos] == ['deleted', 'stays', 'stays']
    assert 'nothing says what to keep' in cli.refused(4, 'backup', 'prune', one)
    cli.configure('[retention]\nkeep_last = 1\nprotect = case\n' + sections)
    cli.good('backup', 'set', ones[0]['id'], '--property', 'case=7')
    found = outcomes(cli, one)
    assert [found[each['id']] for each in ones] == [
        ('stays', ['has property case']), ('deleted', []), ('stays', ['last'])]
    assert len(cli.json('backup', 'list')) == 4


def test_options_take_no_protection_away(cli, volume):
    made = history(cli, volume, [0, 1, 2])
    cli.configure('[retention]\nkeep_last = 3\nprotect = case\n')
    cli.good('backup', 'set', made[0]['id'], '--property', 'case=7')
    found = outcomes(cli, '--keep-last', 1, '--protect', 'other')
    assert [found[each['id']] for each in made] == [
        ('stays', ['has property case']), ('deleted', []), ('stays', ['last'])]


def test_what_cannot_be_relied_on_stays(cli, gate, volume, make_volume):
    old = days_ago(cli, cli.create(volume), 1)['id']
    gate.shut('writing *-00001')
    running = cli.start('backup', 'create', make_volume(seed=2), '--volume', volume)
    gate.wait()
    running.kill()
    gate.open()
    found = outcomes(cli, '--keep-last', 1)
    assert found.pop(old) == ('stays', ['last'])
    assert list(found.values()) == [('stays', ['is error'])]


def test_one_that_fails_stops_no_other(cli, gate, volume):
    made = [days_ago(cli, cli.create(volume), age)['id'] for age in (3, 2, 1, 0)]
    damaged = cli.json('backup', 'show', made[2])
    manifest = cli.store / damaged['container'] / f'{prefix(cli, made[3])}_metadata'
    whole = manifest.read_bytes()
    manifest.write_bytes(whole.replace(b'2.0.0', b'9.0.0'))
    done = cli.run('backup', 'prune', '--keep-last', 1, '-f', 'json')
    assert done.code == 4, done.err
    assert {row['id']: row['outcome'] for row in done.json} == {
        made[3]: 'stays', **dict.fromkeys(made[:3], 'failed')}
    assert done.err.count('Error: ') == 3
    manifest.write_bytes(whole)
    cli.good('backup', 'delete', *made[:3])


def prefix(cli, backup: str) -> str:
    with sqlite3.connect(cli.state / 'catalog.sqlite') as link:
        return link.execute('SELECT service_metadata FROM backups WHERE id = ?',
                            (backup,)).fetchone()[0]


@pytest.mark.parametrize('argv, code, words', [
    ((), 4, 'nothing says what to keep'), (('--protect', 'x'), 4, 'nothing says what to keep'),
    (('--keep-last', '0'), 4, 'nothing says what to keep'),
    (('--keep-last', '1', 'nosuch'), 3, 'nosuch')])
def test_refusals(cli, volume, argv, code, words):
    cli.create(volume)
    assert words in cli.refused(code, 'backup', 'prune', *argv)
    assert len(cli.json('backup', 'list')) == 1


def test_nothing_to_prune(cli):
    assert outcomes(cli, '--keep-last', 1) == {}


@pytest.mark.parametrize('argv', [('--keep-last', '-1'), ('--keep-last', 'x'), ('--within', '3'),
                                  ('--keep-daily', '9' * 400), ('--backend', 'x')])
def test_bad_options(cli, volume, argv):
    done = cli.run('backup', 'prune', '--keep-last', 1, *argv)
    assert done.code in (2, 3) and 'Traceback' not in done.err
