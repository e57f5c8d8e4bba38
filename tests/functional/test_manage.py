"""backup-framework-manage and backup-framework-status, on a database of their own."""

import contextlib
import datetime
import json
import os
import sqlite3
import subprocess
import sys

import pytest

from backup_framework.catalog import Catalog
from backup_framework.cmd import manage as manage_program
from backup_framework.cmd import status
from backup_framework.model import Job, JobState


@pytest.fixture
def place(tmp_path):
    """A function that writes a configuration and gives its path."""
    def write(text=''):
        (tmp_path / 'test.conf').write_text(f'[DEFAULT]\nstate_path = {tmp_path}/state\n{text}')
        return str(tmp_path / 'test.conf')
    write.catalog = tmp_path / 'state' / 'catalog.sqlite'
    return write


def program(name, *words):
    """Its exit code, what it printed and what it said; run as by its entry point."""
    done = subprocess.run(
        [sys.executable, '-c', f'import sys; from backup_framework.cmd import {name}; '
                               f'sys.exit({name}.main())', *words],
        capture_output=True, text=True, timeout=60)
    assert 'Traceback' not in done.stderr, done.stderr
    return done.returncode, done.stdout.strip(), done.stderr.strip()


def manage(config, *words):
    return program('manage', '--config-file', config, *words)


def tables(path):
    with contextlib.closing(sqlite3.connect(path)) as found:
        return {row[0] for row in found.execute('SELECT name FROM sqlite_master')}


def test_sync_makes_all_tables_and_version_shows_them(place):
    config = place()
    code, said, hint = manage(config, 'db', 'version')
    assert (code, said) == (0, 'none') and 'db sync' in hint
    assert not place.catalog.exists(), 'version changes nothing'
    code, said, _ = manage(config, 'db', 'sync')
    assert code == 0 and 'made from nothing' in said
    assert {'backups', 'jobs', 'alembic_version', 'logbooks', 'flowdetails',
            'atomdetails'} <= tables(place.catalog)
    code, version, hint = manage(config, 'db', 'version')
    assert (code, hint) == (0, '') and version.isdigit()


def test_purge_forgets_jobs_that_ended_and_nothing_else(place):
    config = place()
    catalog = Catalog(f'sqlite:///{place.catalog}', str(place.catalog.parent))
    ids = [catalog.accept(Job(kind='prune')).id for _ in range(3)]
    for job_id in ids[:2]:
        assert catalog.start_job(job_id, 'here')
        assert catalog.end_job(job_id, JobState.DONE)
    catalog.close()
    old = (datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=9)).isoformat()
    with contextlib.closing(sqlite3.connect(place.catalog)) as found:
        (kept,) = found.execute('SELECT ended_at FROM jobs WHERE id = ?', [ids[1]]).fetchone()
        found.execute('UPDATE jobs SET ended_at = ? WHERE id = ?',
                      [old[:10] + kept[10:], ids[0]])
        found.commit()
    code, said, _ = manage(config, 'db', 'purge', '--older-than', '7')
    assert (code, said) == (0, '1 jobs forgotten')
    assert {job.id for job in catalog.jobs()} == set(ids[1:])
    catalog.close()


@pytest.mark.parametrize('words', [
    (), ('db',), ('db', 'drop'), ('db', 'purge'), ('db', 'purge', '--older-than', '-1'),
    ('db', 'purge', '--older-than', 'all'), ('db', 'purge', '--older-than', '99999999')])
def test_words_that_make_no_sense(monkeypatch, capsys, words):
    monkeypatch.setattr(sys, 'argv', ['backup-framework-manage', *words])
    with pytest.raises(SystemExit, match='2'):
        manage_program.main()
    assert capsys.readouterr().err.startswith('usage: backup-framework-manage')


def test_a_database_that_is_away(place):
    config = place('[database]\nconnection = postgresql+psycopg2://me:secret@127.0.0.1:1/none\n')
    code, _, why = manage(config, 'db', 'sync')
    assert code == 5 and why.startswith('Error: ') and 'secret' not in why


# Status

def check(config):
    code, said, why = program('status', '--config-file', config, 'upgrade', 'check', '--json')
    assert why == ''
    return code, {each['check']: (each['result'], each['details'])
                  for each in json.loads(said)['checks']}


def test_all_is_well_after_a_sync(place):
    config = place()
    code, found = check(config)
    assert code == 1 and found['Database'][0] == 1 and 'db sync' in found['Database'][1]
    assert not place.catalog.exists(), 'a check changes nothing'
    manage(config, 'db', 'sync')
    code, found = check(config)
    assert code == 0 and {result for result, _ in found.values()} == {0}
    assert list(found) == ['Packages', 'Configuration', 'State directory', 'Database', 'Jobboard',
                           'Policies']


def test_what_stands_in_the_way_is_named(place, tmp_path):
    manage(place(), 'db', 'sync')
    with contextlib.closing(sqlite3.connect(place.catalog)) as found:
        found.execute("UPDATE alembic_version SET version_num = '9999'")
        found.commit()
    (tmp_path / 'policy.yaml').write_text('"backup:get": "rule:nowhere"\n')
    config = place('[local]\ndriver = local\npaht = /x\n'
                   '[jobboard]\nconnection = etcd://127.0.0.1:1\n'
                   f'[oslo_policy]\npolicy_file = {tmp_path}/policy.yaml\n')
    code, found = check(config)
    assert code == 2
    failed = {name: details for name, (result, details) in found.items() if result == 2}
    assert set(failed) == {'Configuration', 'Database', 'Jobboard', 'Policies'}
    assert 'did you mean path' in failed['Configuration']
    assert 'written by a newer one' in failed['Database']
    assert 'does not answer' in failed['Jobboard']


@pytest.mark.parametrize('text, extra', [
    ('[jobboard]\nconnection = zookeeper://127.0.0.1:1\n', 'zookeeper'),
    ('[oslo_messaging_notifications]\ndriver = log\n', 'messaging')])
def test_packages_that_are_missing(place, tmp_path, text, extra):
    """Hidden by modules of their names that cannot be found."""
    script = ('import sys, importlib.util as u; find = u.find_spec; '
              'u.find_spec = lambda name, *rest: None if name in ("kazoo", "oslo_messaging") '
              'else find(name, *rest); from backup_framework.cmd import status; '
              'sys.exit(status.main())')
    done = subprocess.run([sys.executable, '-c', script, '--config-file', place(text), 'upgrade',
                           'check', '--json'], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    packages = json.loads(done.stdout)['checks'][0]
    assert packages['result'] == 2 and f'backup-framework[{extra}]' in packages['details']


def test_another_users_state(place):
    if os.geteuid() != 0:
        pytest.skip('only root can give a directory away')
    config = place()
    manage(config, 'db', 'sync')
    os.chown(place.catalog.parent, 65534, 65534)
    code, found = check(config)
    assert code == 2 and '65534' in found['State directory'][1]


def test_other_words(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['backup-framework-status', 'upgrade'])
    with pytest.raises(SystemExit, match='2'):
        status.main()
    assert 'upgrade check' in capsys.readouterr().err
