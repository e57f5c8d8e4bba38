"""The units in etc/systemd can be read, and call a command that exists."""

import configparser
import pathlib
import shutil
import subprocess

import pytest

UNITS = pathlib.Path(__file__).parents[3] / 'etc' / 'systemd'
SERVICE = UNITS / 'backup-framework.service'
TIMER = UNITS / 'backup-framework.timer'
DAEMONS = [UNITS / 'backup-framework-api.service', UNITS / 'backup-framework-worker.service']
SERVICES = [SERVICE, *DAEMONS]


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


def by_name(unit):
    return unit.name


@pytest.mark.parametrize('unit', DAEMONS, ids=by_name)
def test_the_daemons(unit):
    service = read(unit)['Service']
    assert service['ExecStart'] == f'/usr/bin/{unit.stem}'
    setup = configparser.ConfigParser()
    setup.read(UNITS.parents[1] / 'setup.cfg')
    programs = setup['options.entry_points'].get('console_scripts')
    assert unit.stem in [line.partition('=')[0].strip() for line in programs.splitlines()]
    # cotyledon tells when it is ready; its master ends its processes in order.
    assert (service['Type'], service['KillMode']) == ('notify', 'mixed')
    # What is wrong with a configuration is wrong at the next start too.
    assert service['RestartPreventExitStatus'] == '2'


def test_the_worker_has_time_to_come_to_its_end():
    from backup_framework import conf
    from backup_framework.service import working
    configuration = conf.load([], state_path='/nonexistent')
    assert read(DAEMONS[1])['Service']['TimeoutStopSec'] == '3min'
    assert working.patience(configuration) + 30 < 180
    assert read(DAEMONS[0])['Service']['TimeoutStopSec'] == '90s'
    assert configuration.api.request_timeout + 30 < 90


@pytest.mark.parametrize('unit', SERVICES, ids=by_name)
def test_the_service_has_no_privileges(unit):
    service = read(unit)['Service']
    assert service['User'] == 'backup-framework'
    assert service['NoNewPrivileges'] == 'yes'
    assert service['ProtectSystem'] == 'strict'
    assert service['CapabilityBoundingSet'] == ''
    assert service['StateDirectory'] == 'backup_framework'


@pytest.mark.parametrize('unit', SERVICES, ids=by_name)
def test_the_state_directory_is_the_one_that_the_service_user_gets(unit):
    """StateDirectory is below /var/lib, and XDG_STATE_HOME must lead to the same place."""
    service = read(unit)['Service']
    assert service['Environment'] == 'XDG_STATE_HOME=/var/lib'


def test_the_timer_starts_the_service_every_night():
    timer = read(TIMER)
    assert timer['Timer']['Unit'] == SERVICE.name
    assert timer['Timer']['Persistent'] == 'yes'
    assert timer['Install']['WantedBy'] == 'timers.target'


def test_systemd_agrees(tmp_path):
    if shutil.which('systemd-analyze') is None:
        pytest.skip('systemd-analyze is not installed')
    # The programs are not installed at their final places here.
    for unit in SERVICES:
        text = read(unit)['Service']['ExecStart'].split()[0]
        (tmp_path / unit.name).write_text(unit.read_text().replace(text, shutil.which('true')))
    (tmp_path / TIMER.name).write_text(TIMER.read_text())
    done = subprocess.run(
        ['systemd-analyze', 'verify', '--man=no',
         *(str(tmp_path / unit.name) for unit in [*SERVICES, TIMER])],
        capture_output=True, text=True)
    complaints = [line for line in (done.stdout + done.stderr).splitlines()
                  if 'backup-framework' in line]
    assert complaints == []
