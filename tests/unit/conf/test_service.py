"""The sections [service] and [jobboard]."""

import datetime
from pathlib import Path
import socket

import pytest

from backup_framework import conf, exceptions


def test_nothing_need_be_said(loaded):
    configuration = loaded('')
    service = configuration.service()
    assert (service.host, service.zone, service.max_operations) == (
        socket.gethostname(), 'nova', 4)
    assert service.keep_jobs == datetime.timedelta(days=7)
    assert configuration.jobboard().connection is None


def test_what_is_said_counts(loaded):
    configuration = loaded(
        '[service]\nhost = backup1\nbackup_max_operations = 9\nkeep_jobs = 2w\n'
        '[jobboard]\nconnection = etcd://board\nclaim_ttl = 5\nname = ours\n')
    assert configuration.warnings == []
    assert configuration.service().host == 'backup1'
    assert configuration.service().keep_jobs == datetime.timedelta(weeks=2)
    assert configuration.jobboard() == conf.service.JobboardConfig('etcd://board', 'ours', 5)


@pytest.mark.parametrize('section, line', [
    ('service', 'backup_max_operations = 0'), ('service', 'report_interval = 0'),
    ('service', 'drain_timeout = -1'), ('service', 'keep_jobs = long'),
    ('jobboard', 'claim_ttl = 2'), ('jobboard', 'claim_ttl = 1.5')])
def test_what_makes_no_sense_is_refused(loaded, section, line):
    configuration = loaded(f'[{section}]\n{line}\n')
    name = line.partition(' ')[0]
    with pytest.raises(exceptions.ConfigurationError, match=rf'\[{section}\] {name} must be'):
        configuration.service()
        configuration.jobboard()


@pytest.mark.parametrize('section', ['service', 'jobboard'])
def test_misspelled_options_are_told(loaded, section):
    configuration = loaded(f'[{section}]\nhosts = a\n')
    assert any(f'[{section}] hosts' in sentence for sentence in configuration.warnings)
    with pytest.raises(exceptions.ConfigurationError, match='taken by something else'):
        loaded(f'[DEFAULT]\nenabled_backends = {section}\n')


def test_the_password_of_a_board_is_masked(loaded):
    loaded('[jobboard]\nconnection = redis://user:hu%2Fsh-hu%2Fsh@board\n').jobboard()
    assert conf.mask('as hu/sh-hu/sh or hu%2Fsh-hu%2Fsh') == 'as *** or ***'


def test_a_reload_changes_what_is_mutable(loaded, tmp_path: Path):
    configuration = loaded('[service]\nhost = a\nbackup_max_operations = 2\n')
    assert configuration.service().max_operations == 2
    (tmp_path / 'test.conf').write_text('[service]\nhost = b\nbackup_max_operations = 3\n')
    configuration.reload()
    service = configuration.service()
    assert (service.host, service.max_operations) == ('a', 3)
