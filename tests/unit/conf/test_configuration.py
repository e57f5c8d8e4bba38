"""Backends, volumes, state and catalog, and what the files say wrong about them."""

import os
import re

from oslo_config import cfg
import pytest

from backup_framework import conf
from backup_framework.exceptions import BackendNotFound, ConfigurationError

TWO = """
[DEFAULT]
enabled_backends = local, offsite
[local]
driver = local
path = $state_path/backups
[offsite]
driver = sftp
"""


def test_two_backends(loaded):
    configuration = loaded(TWO)
    assert configuration.enabled_backends == ['local', 'offsite']
    assert configuration.default_backend == 'local'
    assert configuration.backend('offsite') == conf.BackendConfig('offsite', 'sftp', 'offsite')
    assert configuration.warnings == []


def test_a_backend_may_be_called_like_a_section_of_some_library(loaded):
    text = '[DEFAULT]\nenabled_backends = vault\n[vault]\ndriver = x\n'
    assert loaded(text).backend('vault').driver == 'x'


def test_an_unknown_backend_names_the_nearest(loaded):
    with pytest.raises(BackendNotFound, match='did you mean offsite.*enabled: local, offsite'):
        loaded(TWO).backend('ofsite')


@pytest.mark.parametrize('text, words', [
    ('[DEFAULT]\nenabled_backends =\n', 'is empty'),
    ('[DEFAULT]\nenabled_backends = a\n', r'names a, but there is no section \[a\]'),
    ('[DEFAULT]\nenabled_backends = offsite\n[ofsite]\ndriver=x\n', 'did you mean ofsite'),
    ('[DEFAULT]\nenabled_backends = a\n[a]\npath = /x\n', r'section \[a\] lacks its driver'),
    ('[DEFAULT]\nenabled_backends = a,A\n[a]\ndriver = x\n', 'differ at most in case'),
    ('[DEFAULT]\nenabled_backends = debug\n[debug]\ndriver = x\n', 'the name debug is taken'),
    ('[DEFAULT]\nenabled_backends = DEFAULT\n', 'the name DEFAULT is taken'),
    ('[DEFAULT]\nenabled_backends = database\n', 'the name database is taken'),
    ('[DEFAULT]\nenabled_backends = "a b"\n', 'cannot be the name of a backend'),
    ('[DEFAULT]\nenabled_backends = ../x\n', 'cannot be the name of a backend'),
    ('[DEFAULT]\ndefault_backend = locale\n', 'locale is not enabled; did you mean local'),
    ('[DEFAULT]\ndebug = perhaps\n', 'test.conf: argument --debug: Invalid Boolean value'),
    ('[DEFAULT]\nstate_path = $nothing/x\n', 'refers to itself or to an option that does not'),
    ('[DEFAULT]\nstate_path = $state_path/x\n', 'refers to itself or'),
    ('[DEFAULT]\nstate_path = here\n', 'state_path must be an absolute path'),
])
def test_what_cannot_be(loaded, text, words):
    with pytest.raises(ConfigurationError, match=words):
        loaded(text, state_path=None)


def test_state_path_of_root_of_the_file_and_of_others(loaded, monkeypatch, tmp_path):
    monkeypatch.setattr(os, 'geteuid', lambda: 0)
    assert conf.load().state_path == '/var/lib/backup_framework'
    monkeypatch.setattr(os, 'geteuid', lambda: 1000)
    assert conf.load().state_path == str(tmp_path / 'xdg' / 'backup_framework')
    monkeypatch.setenv('HOME', '/home/somebody')
    monkeypatch.setenv('XDG_STATE_HOME', 'relative')
    assert conf.load().state_path == '/home/somebody/.local/state/backup_framework'
    text = '[DEFAULT]\nstate_path = /srv/state/\n'
    assert loaded(text, state_path=None).state_path == '/srv/state'
    assert loaded(text, state_path='/mine').state_path == '/mine'


def test_the_catalog_follows_the_state(loaded):
    assert loaded('', state_path='/mine').connection == 'sqlite:////mine/catalog.sqlite'


def test_what_is_in_use_is_said_without_the_password(loaded):
    configuration = loaded(
        '[database]\nconnection = postgresql://bf:hunt%40er2@db.example.org/backups\n')
    assert configuration.connection.startswith('postgresql://bf:hunt%40er2@')
    said = configuration.describe_source()
    assert configuration.files[0] in said
    assert 'db.example.org/backups' in said
    assert 'hunt' not in said
    assert 'hunt@er2' not in conf.mask('cannot log in with hunt@er2')


def test_connection_from_a_file(loaded, tmp_path):
    (tmp_path / 'url').write_text('postgresql://bf:s3cr3t@db/backups\n')
    (tmp_path / 'url').chmod(0o600)
    configuration = loaded(f'[database]\nconnection_file = {tmp_path}/url\n')
    assert configuration.connection == 'postgresql://bf:s3cr3t@db/backups'


@pytest.mark.parametrize('text, words', [
    ('[DEFAULT]\nstate-path = /x\n', 'state-path is not an option.*did you mean state_path'),
    ('[DEFAULT]\nenabled_backend = local\n', 'did you mean enabled_backends'),
    ('[DEFAULT]\nlogfile = /x\n', 'did you mean log_file'),
    ('[database]\nconection = sqlite://\n', 'did you mean connection'),
    ('[databse]\nconnection = sqlite://\n', r'section \[databse\] is not used; did you mean'),
    ('[offsite]\ndriver = sftp\n', 'enabled_backends names it: offsite'),
    ('[vault]\ndriver = sftp\n', 'enabled_backends names it: vault'),
    ('[volume:a]\npath = /x\nincremetal = yes\n', 'did you mean incremental'),
    ('[backend_defaults]\nchunksize = 1MiB\n', 'did you mean chunk_size'),
    ('[DEFAULT]\ndebug = no\ndebug = yes\n', 'debug is given more than once'),
])
def test_warnings(loaded, text, words):
    warnings = loaded(text).warnings
    assert len(warnings) == 1
    assert re.search(words, warnings[0]), warnings


def test_no_warning_for_what_others_read(loaded):
    assert loaded('[oslo_messaging_rabbit]\nssl = yes\n[keystone_authtoken]\nx = y\n'
                  '[oslo_messaging_notifications]\ndriver = messagingv2\n[vault]\nurl = x\n'
                  '[DEFAULT]\nlog_file = /x\nuse_journal = no\ndefault_log_levels = a=INFO\n'
                  '[nfs]\n[volume:example]\n').warnings == []


VOLUME = """
[volume:web]
path = /dev/vg/web
incremental = yes
freeze_command = fsfreeze --freeze "/srv/my web"
thaw_command = fsfreeze --unfreeze '/srv/my web'
hook_timeout = 2.5
properties = owner:web team,tier:1
[volume:mail]
path = /dev/vg/mail
backend = local
"""


def test_volumes(loaded):
    web, mail = loaded(VOLUME).volumes()
    assert web == conf.VolumeConfig(
        'web', '/dev/vg/web', incremental=True, hook_timeout=2.5,
        freeze_command=('fsfreeze', '--freeze', '/srv/my web'),
        thaw_command=('fsfreeze', '--unfreeze', '/srv/my web'),
        properties={'owner': 'web team', 'tier': '1'})
    assert mail == conf.VolumeConfig('mail', '/dev/vg/mail', backend='local')


def test_one_volume(loaded):
    configuration = loaded(VOLUME)
    assert configuration.volume('mail').path == '/dev/vg/mail'
    assert configuration.volume('post') is None


@pytest.mark.parametrize('text, words', [
    ('[volume:a]\nbackend = local\n', 'lacks the path'),
    ('[volume:]\npath = /x\n', 'lacks the name'),
    ('[volume:a]\npath = x\n', 'must be an absolute path'),
    ('[volume:a]\npath = /x\nbackend = loca\n', 'loca is not enabled; did you mean local'),
    ('[volume:a]\npath = /x\nfreeze_command = a "b\n', 'cannot be split into words'),
    ('[volume:a]\npath = /x\nhook_timeout = 0\n', 'must be a number of at least 1'),
    ('[volume:a]\npath = /x\nincremental = maybe\n', 'must be yes or no, not .maybe'),
    ('[volume:a]\npath = /x\nproperties = a\n', 'must be name:value pairs'),
])
def test_volumes_that_make_no_sense(loaded, text, words):
    configuration = loaded(text)
    with pytest.raises(ConfigurationError, match=words):
        configuration.volumes()


def test_loading_again_forgets_what_was(loaded, path_driver):
    first = loaded(TWO)
    first.settings('local', path_driver)
    second = loaded('[DEFAULT]\nenabled_backends = local\n[local]\ndriver = x\npath = /b\n')
    assert second.settings('local', path_driver).path == '/b'
    assert cfg.CONF.state_path == second.state_path


def test_another_oslo_config_object(tmp_path, path_driver):
    one = conf.load(state_path=str(tmp_path / 'one'), oslo=cfg.ConfigOpts())
    two = conf.load(state_path=str(tmp_path / 'two'), oslo=cfg.ConfigOpts())
    assert one.settings('local', path_driver).path == str(tmp_path / 'one' / 'backups')
    assert two.settings('local', path_driver).path == str(tmp_path / 'two' / 'backups')


def test_environment(loaded, monkeypatch, path_driver):
    monkeypatch.setenv('OS_LOCAL__WORKERS', '7')
    assert loaded('').settings('local', path_driver).workers == 7


def test_the_paths_that_a_section_names(loaded, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    configuration = loaded(
        '[DEFAULT]\nenabled_backends = local, far, odd\nvolumes = /vol\n'
        '[backend_defaults]\nkeys = /etc/keys\n'
        '[far]\ndriver = shelf\npath = /\nhost = a/b\nlink = ${path}x/../y\n'
        '[odd]\ndriver = a:B\none = $state_path/odd\ntwo = ~/store\nthree = $nobody\n'
        'four = $volumes/4\nkeys = keys\n')
    assert sorted(configuration.named_paths('far')) == ['/etc/keys', '/y']
    assert sorted(configuration.named_paths('odd')) == [
        '/home/me/store', str(tmp_path / 'state' / 'odd'), '/vol/4']
    assert configuration.named_paths('local') == [
        str(tmp_path / 'state' / 'backups'), '/etc/keys']
