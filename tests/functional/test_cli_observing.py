"""What those who watch are told: the metrics file and the failure command."""

import os
import re
import stat

import pytest

from tests.functional.conftest import change

LINE = re.compile(r'(backup_framework_\w+)\{volume="((?:[^"\\]|\\.)*)",backend="(\w+)"'
                  r'(?:,status="(\w+)")?\} ([0-9.]+)\Z')


@pytest.fixture
def metrics(cli, tmp_path):
    """Reads the file: values by name, volume, backend and status."""
    directory = tmp_path / 'textfile'
    directory.mkdir()
    cli.configure(default=f'metrics_file = {directory}/backups.prom')

    def read() -> dict:
        assert os.listdir(directory) == ['backups.prom']
        lines = (directory / 'backups.prom').read_text().splitlines()
        return {match.group(1, 2, 3, 4): float(match[5])
                for match in map(LINE.match, (line for line in lines if line[0] != '#'))}
    return read


@pytest.fixture
def failures(cli, tmp_path):
    """What the failure command was told, each time."""
    script, log = tmp_path / 'tell', tmp_path / 'told'
    script.write_text(f'#!/bin/sh\nprintf "%s|%s|%s\\n" "$BF_COMMAND" "$BF_EXIT_CODE" '
                      f'"$BF_MESSAGE" >> {log}\necho said\n')
    script.chmod(0o755)
    cli.configure(default=f'failure_command = {script}')
    return lambda: log.read_text().splitlines() if log.exists() else []


def value(found: dict, name: str, status: str | None = None) -> float | None:
    return next((number for (metric, _, _, state), number in found.items()
                 if (metric, state) == (f'backup_framework_{name}', status)), None)


def test_metrics_follow_the_catalog(cli, metrics, volume):
    made = cli.create(volume)
    found = metrics()
    assert {key[1:3] for key in found} == {(str(volume), 'local')}
    assert value(found, 'backups', 'available') == 1
    assert value(found, 'stored_bytes') == made['stored_bytes']
    assert (value(found, 'unverified_backups'), value(found, 'damaged_backups')) == (1, 0)
    assert value(found, 'oldest_verification_timestamp_seconds') is None
    first = value(found, 'last_success_timestamp_seconds')
    change(volume)
    cli.create(volume, '--incremental')
    found = metrics()
    assert value(found, 'backups', 'available') == 2
    assert value(found, 'last_success_timestamp_seconds') > first
    cli.good('backup', 'verify', '--all')
    cli.good('backup', 'verify', '--all', '--quick')
    found = metrics()
    assert value(found, 'unverified_backups') == 0
    assert value(found, 'oldest_verification_timestamp_seconds') > first
    cli.good('backup', 'prune', '--keep-last', 1)
    assert value(metrics(), 'backups', 'available') == 1


def test_the_exporter_can_read_the_file(cli, metrics, volume, tmp_path):
    cli.create(volume)
    metrics()
    assert stat.S_IMODE((tmp_path / 'textfile' / 'backups.prom').stat().st_mode) == 0o644


def test_names_are_escaped(cli, metrics, make_volume):
    cli.create(make_volume('a"b\\c'))
    assert {volume.rpartition('/')[2] for _, volume, *_ in metrics()} == {r'a\"b\\c'}


def test_failed_backups_are_counted(cli, gate, metrics, volume):
    gate.shut('writing *-00001')
    running = cli.start('backup', 'create', volume)
    gate.wait()
    running.kill()
    gate.open()
    cli.run('backup', 'create', volume, '--parent', 'nosuch')
    found = metrics()
    assert value(found, 'backups', 'error') == 1 and value(found, 'backups', 'available') is None


def test_a_file_that_cannot_be_written_is_a_warning(cli, volume, tmp_path):
    cli.configure(default=f'metrics_file = {tmp_path}/nosuch/metrics.prom')
    done = cli.run('backup', 'create', volume)
    assert done.code == 0
    assert 'Warning: the metrics cannot be written' in done.err


def test_what_is_no_file_is_not_replaced(cli, volume, tmp_path):
    """Root could replace /dev/null."""
    os.mkfifo(tmp_path / 'pipe')
    cli.configure(default=f'metrics_file = {tmp_path}/pipe')
    done = cli.run('backup', 'create', volume)
    assert done.code == 0 and 'no regular file; leave metrics_file out' in done.err
    assert stat.S_ISFIFO(os.stat(tmp_path / 'pipe').st_mode)


def test_commands_that_only_look_write_nothing(cli, metrics, tmp_path):
    cli.good('backup', 'list')
    assert os.listdir(tmp_path / 'textfile') == []


def test_the_failure_command(cli, failures, volume, tmp_path):
    cli.create(volume)
    assert failures() == []
    cli.refused(3, 'backup', 'create', tmp_path / 'nosuch')
    cli.refused(3, 'backup', 'restore', 'nosuch', tmp_path / 'target')
    cli.run('backup', 'list', '--backend', 'nosuch')
    create, restore = (line.split('|') for line in failures())
    assert create[:2] == ['backup create', '3'] and str(tmp_path / 'nosuch') in create[2]
    assert restore[:2] == ['backup restore', '3']


def test_what_is_damaged_is_told(cli, failures, volume):
    made = cli.create(volume)
    store = cli.store / made['container']
    next(store.glob('*-00001')).write_bytes(b'')
    done = cli.run('backup', 'verify', made['id'])
    told = '\n'.join(failures())
    assert (done.code, told.split('|')[:2]) == (6, ['backup verify', '6'])
    assert '-00001' in told and made['id'] in told


def test_its_output_does_not_mix_with_results(cli, failures, volume):
    done = cli.run('backup', 'create', volume, '--parent', 'nosuch', '-f', 'json')
    assert done.out == '' and 'said' in done.err and len(failures()) == 1


@pytest.mark.parametrize('command, words', [
    ('/nosuch/command', 'cannot be run'), ('false', 'failed with exit code 1')])
def test_a_command_that_fails_is_a_warning(cli, tmp_path, command, words):
    cli.configure(default=f'failure_command = {command}')
    done = cli.run('backup', 'create', tmp_path / 'nosuch')
    assert done.code == 3
    assert f'Warning: failure_command {command} {words}' in done.err


def test_secrets_are_masked(cli, failures, volume):
    cli.configure('[other]\ndriver = nosuch-canary\npassword = canary-secret\n',
                  default=f'enabled_backends = local, other\n'
                          f'{cli.config.read_text().splitlines()[2]}')
    cli.run('backup', 'create', volume, '--backend', 'other', '--name', 'canary-secret')
    told, = failures()
    assert 'canary-secret' not in told


def test_quotes_that_do_not_match(cli):
    cli.configure(default='failure_command = "tell')
    assert 'cannot be split into words' in cli.refused(2, 'backup', 'list')
