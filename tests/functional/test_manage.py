"""backup-framework-manage and backup-framework-status, on a database of their own."""

import contextlib
import datetime
import importlib.util
import json
import logging
import os
from pathlib import Path
import sqlite3
import subprocess
import sys

import pytest

from backup_framework.catalog import Catalog, records, schema
from backup_framework.cmd import manage as manage_program
from backup_framework.cmd import status
from backup_framework.model import Backup, Job, JobState, Service, Status, utcnow


@pytest.fixture
def place(tmp_path):
    """A function that writes a configuration and gives its path."""
    def write(text=''):
        (tmp_path / 'test.conf').write_text(f'[DEFAULT]\nstate_path = {tmp_path}/state\n{text}')
        return str(tmp_path / 'test.conf')
    write.catalog = tmp_path / 'state' / 'catalog.sqlite'
    return write


@pytest.fixture
def program(monkeypatch, capsys):
    """Runs one of the two: its exit code, what it printed and what it said."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def run(program, *words):
        monkeypatch.setattr(sys, 'argv', ['backup-framework', *words])
        try:
            code = program.main()
        except SystemExit as error:
            code = error.code
        said = capsys.readouterr()
        return code, said.out.strip(), said.err.strip()
    yield run
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def manage(program):
    return lambda config, *words: program(manage_program, '--config-file', config, *words)


@pytest.fixture
def check(program):
    def run(config):
        code, said, why = program(status, '--config-file', config, 'upgrade', 'check', '--json')
        assert why == ''
        return code, {each['check']: (each['result'], each['details'])
                      for each in json.loads(said)['checks']}
    return run


def tables(path):
    with contextlib.closing(sqlite3.connect(path)) as found:
        return {row[0] for row in found.execute('SELECT name FROM sqlite_master')}


def test_sync_makes_all_tables_and_version_shows_them(manage, place):
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


def test_purge_forgets_jobs_that_ended_and_nothing_else(manage, place):
    config = place()
    catalog = Catalog(f'sqlite:///{place.catalog}', str(place.catalog.parent))
    ids = [catalog.accept(Job(kind='verify')).id for _ in range(3)]
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


@pytest.fixture
def other(tmp_path):
    """A catalog in SQLite with a backup of a project, and an operation that died; its URL."""
    url = f'sqlite:///{tmp_path}/other/catalog.sqlite'
    catalog = Catalog(url, f'{tmp_path}/state')
    catalog.add_backup(Backup(volume_id='v', status=Status.AVAILABLE, project_id='web'))
    child = os.fork()
    if child == 0:
        with catalog.operation('restore', backup_id='b', detail='/dev/x'):
            os._exit(0)
    os.waitpid(child, 0)
    catalog.close()
    return url


@pytest.mark.parametrize('kind', ['sqlite', 'postgresql'])
def test_copy_moves_to_another_database(manage, place, other, tmp_path, request, kind):
    url = (f'sqlite:///{tmp_path}/new/catalog.sqlite' if kind == 'sqlite'
           else request.getfixturevalue(kind).database())
    config = place(f'[database]\nconnection = {url}\n')
    code, said, hint = manage(config, 'db', 'copy', '--from', other)
    assert (code, hint.count('\n')) == (0, 0) and 'interrupted' in hint
    assert said.startswith(f'1 backups and 0 volumes copied from {tmp_path}/other/catalog.sqlite')
    catalog, was = Catalog(url, f'{tmp_path}/elsewhere'), Catalog(other, f'{tmp_path}/state')
    try:
        assert [backup.project_id for backup in catalog.backups()] == ['web']
        assert catalog.owner == was.owner
    finally:
        catalog.close()
        was.close()
    code, _, why = manage(config, 'db', 'copy', '--from', other)
    assert code == 4 and 'is not empty, it has backups and settings' in why


def test_where_to_copy_from_stands_in_a_file(manage, place, other, tmp_path):
    """In the words of a command every user of the machine sees a password."""
    config, file = place(), tmp_path / 'url'
    file.write_text(f'{other}\n')
    file.chmod(0o644)
    code, said, hint = manage(config, 'db', 'copy', '--from-file', str(file))
    assert code == 0 and said.startswith('1 backups and 0 volumes copied')
    assert 'chmod 600' in hint
    code, _, why = manage(config, 'db', 'copy', '--from-file', str(tmp_path / 'none'))
    assert (code, why) == (
        2, f'Error: --from-file: cannot read {tmp_path}/none: No such file or directory')
    file.write_text('postgresql+psycopg2://me:hidden@127.0.0.1:1/hidden')
    code, _, why = manage(config, 'db', 'copy', '--from-file', str(file))
    assert code == 5 and '127.0.0.1:1' in why and 'hidden' not in why


def test_a_worker_that_reports_seldom_is_noticed_by_a_copy(manage, place, other, tmp_path):
    seen = utcnow() - datetime.timedelta(minutes=10)
    catalog = Catalog(other, f'{tmp_path}/state')
    catalog.beat(Service(id='s', binary='worker', host='here'))
    catalog._database.change(schema.services.update().values(seen_at=records.time_text(seen)))
    catalog.close()
    config = place('[service]\nservice_down_time = 900\n')
    code, _, why = manage(config, 'db', 'copy', '--from', other)
    assert code == 4 and '1 processes of the service ran within the last 900 seconds' in why
    assert 'stop all workers and API hosts' in why
    assert manage(place(), 'db', 'copy', '--from', other)[0] == 0


def test_copy_of_what_is_not_there(manage, place, tmp_path):
    code, _, why = manage(place(), 'db', 'copy', '--from', f'sqlite:///{tmp_path}/old/c.sqlite')
    assert (code, why) == (2, f'Error: there is no catalog in {tmp_path}/old/c.sqlite to copy')
    assert not (tmp_path / 'old').exists() and not place.catalog.exists()


@pytest.mark.parametrize('words', [
    (), ('db',), ('db', 'copy'), ('db', 'copy', '--from', 'sqlite:///x', '--from-file', 'x'),
    ('db', 'drop'), ('db', 'purge'),
    ('db', 'purge', '--older-than', '-1'), ('db', 'purge', '--older-than', 'all'),
    ('db', 'purge', '--older-than', '99999999')])
def test_words_that_make_no_sense(manage, place, words):
    code, said, why = manage(place(), *words)
    assert (code, said) == (2, '') and why.startswith('usage: backup-framework-manage')


def test_a_database_that_is_away(manage, place):
    config = place('[database]\nconnection = postgresql+psycopg2://me:secret@127.0.0.1:1/none\n')
    code, _, why = manage(config, 'db', 'sync')
    assert code == 5 and why.startswith('Error: ') and 'secret' not in why


# Status

def test_all_is_well_after_a_sync(manage, check, place):
    config = place()
    code, found = check(config)
    assert code == 1 and found['Database'][0] == 1 and 'db sync' in found['Database'][1]
    assert not place.catalog.exists(), 'a check changes nothing'
    manage(config, 'db', 'sync')
    code, found = check(config)
    assert code == 0 and {result for result, _ in found.values()} == {0}
    assert list(found) == ['Packages', 'Configuration', 'State directory', 'Database', 'Jobboard',
                           'Policies']


def test_what_stands_in_the_way_is_named(manage, check, place, tmp_path):
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


@pytest.mark.parametrize('text, failed, why', [
    ('[quota]\nbackups = many\n', 'Configuration', '[quota] backups must be'),
    ('[healthcheck]\ndetailed = perhaps\n', 'Configuration', 'perhaps'),
    ('[api]\nauth_strategy = http_basic\n', 'Policies', 'needs http_basic_auth_user_file'),
    ('[api]\nauth_strategy = http_basic\nhttp_basic_auth_user_file = /nosuch/htpasswd\n',
     'Policies', 'cannot read /nosuch/htpasswd'),
    ('[api]\nauth_strategy = keystone\n', 'Policies', 'needs www_authenticate_uri')])
def test_what_keeps_the_api_from_starting(manage, check, place, text, failed, why):
    manage(place(), 'db', 'sync')
    code, found = check(place(text))
    assert code == 2
    assert [name for name, (result, _) in found.items() if result == 2] == [failed]
    assert why in found[failed][1]


@pytest.mark.parametrize('text, extra', [
    ('[jobboard]\nconnection = zookeeper://127.0.0.1:1\n', 'zookeeper'),
    ('[oslo_messaging_notifications]\ndriver = log\n', 'messaging')])
def test_packages_that_are_missing(check, place, monkeypatch, text, extra):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name, *rest: (
        None if name in ('kazoo', 'oslo_messaging') else find(name, *rest)))
    code, found = check(place(text))
    assert code == 2
    assert found['Packages'][0] == 2 and f'backup-framework[{extra}]' in found['Packages'][1]


def test_another_users_state(manage, check, place):
    if os.geteuid() != 0:
        pytest.skip('only root can give a directory away')
    config = place()
    manage(config, 'db', 'sync')
    os.chown(place.catalog.parent, 65534, 65534)
    code, found = check(config)
    assert code == 2 and '65534' in found['State directory'][1]


def test_other_words(program, place):
    code, said, why = program(status, '--config-file', place(), 'upgrade')
    assert (code, said) == (2, '') and 'upgrade check' in why


def test_they_are_installed_as_programs():
    """The entry points, in processes of their own."""
    for name in ('manage', 'status'):
        done = subprocess.run([Path(sys.executable).with_name(f'backup-framework-{name}'),
                               '--version'], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, '') and done.stdout.startswith(
            f'backup-framework-{name} ')
