"""`backup run`: every volume that has a section, with its commands before and after."""

from __future__ import annotations

import functools
from pathlib import Path
import shlex
import subprocess
import uuid

import pytest

from tests.functional import command_line


def section(name: str, path: Path, **options: object) -> str:
    lines = ''.join(f'{key} = {value}\n' for key, value in options.items())
    return f'[volume:{name}]\npath = {path}\n{lines}'


def shell(text: str) -> str:
    """A command of one shell line, as an option takes it."""
    return f'sh -c {shlex.quote(text)}'


def test_every_section_is_backed_up(cli, make_volume):
    one, two = make_volume('one'), make_volume('two', seed=2)
    cli.configure(
        section('first', one, incremental='yes', description='of first', properties='a:b,c:d')
        + section('second', two, backend='other', container='shelf')
        + '[other]\ndriver = local\npath = $state_path/other\n',
        default='enabled_backends = local, other')
    rows = cli.json('backup', 'run')
    assert [(row['volume'], row['status'], row['error']) for row in rows] == [
        ('first', 'available', None), ('second', 'available', None)]
    shown = cli.json('backup', 'show', rows[0]['backup'])
    assert shown['volume'] == 'first' and shown['description'] == 'of first'
    assert shown['metadata'] == {'a': 'b', 'c': 'd'} and not shown['is_incremental']
    shown = cli.json('backup', 'show', rows[1]['backup'])
    assert (shown['backend'], shown['container']) == ('other', 'shelf')
    again = cli.json('backup', 'run', 'first')
    assert len(again) == 1
    assert cli.json('backup', 'show', again[0]['backup'])['parent_id'] == rows[0]['backup']
    assert cli.create('second')['backend'] == 'other'


def test_one_failing_does_not_stop_the_others(cli, make_volume):
    (cli.directory / 'folder').mkdir()
    cli.configure(section('gone', cli.directory / 'gone')
                  + section('folder', cli.directory / 'folder')
                  + section('good', make_volume()))
    done = cli.run('backup', 'run', '-f', 'json')
    assert done.code == 4 and done.err.count('Error: ') == 2 and 'Traceback' not in done.err
    assert [(row['volume'], row['status']) for row in done.json] == [
        ('gone', 'error'), ('folder', 'error'), ('good', 'available')]
    assert 'no volume' in done.json[0]['error'] and 'a directory' in done.json[1]['error']
    assert len(cli.json('backup', 'list')) == 1


def test_a_section_that_nobody_wrote_backs_up_nothing(cli, make_volume):
    cli.configure(section('good', make_volume()))
    cli.refused(3, 'backup', 'run', 'good', 'other')
    assert cli.json('backup', 'list') == []


def test_nothing_to_do(cli):
    done = cli.good('backup', 'run')
    assert 'nothing to do' in done.err


@pytest.fixture
def log(cli) -> Path:
    return cli.directory / 'log'


def hooked(cli, volume: Path, log: Path, freeze: str = 'true', thaw: str = 'true',
           **options: object) -> None:
    cli.configure(section(
        'mine', volume, freeze_command=shell(f'echo freeze >> {log}; {freeze}'),
        thaw_command=shell(f'echo thaw >> {log}; {thaw}'), **options))


def test_freeze_comes_before_and_thaw_after(cli, volume, log):
    hooked(cli, volume, log, freeze=f'printf frozen | dd of={volume} conv=notrunc 2> {log}.dd')
    made, = cli.json('backup', 'run')
    assert log.read_text() == 'freeze\nthaw\n'
    cli.good('backup', 'restore', made['backup'], 'target')
    assert (cli.directory / 'target').read_bytes()[:6] == b'frozen'
    cli.create('mine')
    cli.create(volume)
    assert log.read_text() == 'freeze\nthaw\n' * 3


@pytest.mark.parametrize('freeze, why', [
    ('echo it does not want >&2; exit 3', 'it does not want'),
    ('sleep 30', 'took longer than 1 s'),
])
def test_thaw_runs_when_freeze_failed(cli, volume, log, freeze, why):
    hooked(cli, volume, log, freeze, hook_timeout=1)
    message = cli.refused(5, 'backup', 'run', seconds=15)
    assert 'freeze_command' in message and why in message
    assert log.read_text() == 'freeze\nthaw\n'
    assert cli.objects() == []
    assert why in cli.json('backup', 'list')[0]['fail_reason']


def test_thaw_runs_when_the_backup_failed(cli, volume, log):
    cli.store.write_text('no directory')
    hooked(cli, volume, log)
    assert cli.run('backup', 'run').code == 5
    assert log.read_text() == 'freeze\nthaw\n'


def test_thaw_runs_when_the_backup_is_interrupted(cli, gate, volume, log):
    hooked(cli, volume, log)
    gate.shut('writing *-00001')
    running = cli.start('backup', 'run')
    gate.wait()
    assert log.read_text() == 'freeze\n'
    running.signal(15)
    gate.open()
    assert running.wait().code == 143
    assert log.read_text() == 'freeze\nthaw\n'


def test_a_failing_thaw_is_an_error_but_the_backup_is_kept(cli, volume, log):
    hooked(cli, volume, log, thaw='echo stuck; exit 9')
    done = cli.run('backup', 'run')
    assert done.code == 5 and done.err.count('Error: ') == 1
    assert 'thaw_command' in done.err and 'exit code 9: stuck' in done.err
    made, = cli.json('backup', 'list')
    assert f'Backup {made["id"]} itself is complete' in done.err
    assert made['status'] == 'available' and 'stuck' in made['warnings'][0]
    cli.good('backup', 'verify', made['id'])


def test_what_a_command_started_ends_with_it(cli, volume, log):
    seconds = f'31.{uuid.uuid4().int}'
    hooked(cli, volume, log, freeze=f'sleep {seconds} & wait', hook_timeout=1)
    assert 'took longer' in cli.refused(5, 'backup', 'run')
    list_all = functools.partial(subprocess.check_output, ['ps', '-efww'])
    command_line.until(lambda: seconds.encode() not in list_all(), 'its end', 10)


def test_a_command_that_does_not_exist(cli, volume):
    cli.configure(section('mine', volume, freeze_command='nothing-of-this-name'))
    assert 'nothing-of-this-name' in cli.refused(5, 'backup', 'run')


def test_no_shell_runs_a_command(cli, volume):
    cli.configure(section('mine', volume, freeze_command='true ; touch hacked'))
    cli.good('backup', 'run')
    assert not (cli.directory / 'hacked').exists()
