"""The units in etc/systemd can be read, and call a command that exists."""

import configparser
import pathlib
import shutil
import subprocess

import pytest

UNITS = pathlib.Path(__file__).parents[3] / 'etc' / 'systemd'
SERVICE = UNITS / 'backup-framework.service'
TIMER = UNITS / 'backup-framework.timer'


def read(unit):
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str
    parser.read_string(unit.read_text())
    return parser


def test_the_command():
    program, *words = read(SERVICE)['Service']['ExecStart'].split()
    assert pathlib.Path(program).name == 'backup-framework'
    assert words == ['--quiet', 'backup', 'run']
    setup = configparser.ConfigParser()
    setup.read(UNITS.parents[1] / 'setup.cfg')
    commands = setup['options.entry_points'].get('backup_framework.commands')
    assert 'backup_run' in [line.partition('=')[0].strip() for line in commands.splitlines()]


def test_the_service_has_no_privileges():
    service = read(SERVICE)['Service']
    assert service['User'] == 'backup-framework'
    assert service['NoNewPrivileges'] == 'yes'
    assert service['ProtectSystem'] == 'strict'
    assert service['CapabilityBoundingSet'] == ''
    assert service['StateDirectory'] == 'backup_framework'


def test_the_state_directory_is_the_one_that_the_service_user_gets():
    """StateDirectory is below /var/lib, and XDG_STATE_HOME must lead to the same place."""
    service = read(SERVICE)['Service']
    assert service['Environment'] == 'XDG_STATE_HOME=/var/lib'


def test_the_timer_starts_the_service_every_night():
    timer = read(TIMER)
    assert timer['Timer']['Unit'] == SERVICE.name
    assert timer['Timer']['Persistent'] == 'yes'
    assert timer['Install']['WantedBy'] == 'timers.target'


def test_systemd_agrees(tmp_path):
    if shutil.which('systemd-analyze') is None:
        pytest.skip('systemd-analyze is not installed')
    # The program is not installed at its final place here.
    service = SERVICE.read_text().replace('/usr/bin/backup-framework', shutil.which('true'))
    (tmp_path / SERVICE.name).write_text(service)
    (tmp_path / TIMER.name).write_text(TIMER.read_text())
    done = subprocess.run(
        ['systemd-analyze', 'verify', '--man=no', str(tmp_path / SERVICE.name),
         str(tmp_path / TIMER.name)], capture_output=True, text=True)
    complaints = [line for line in (done.stdout + done.stderr).splitlines()
                  if 'backup-framework' in line]
    assert complaints == []
