"""What is wrong with options is told before anything is done with them."""

from __future__ import annotations

import os
from pathlib import Path
import pwd

from backup_framework_sftp import options, sample
from backup_framework_sftp.driver import SFTPBackupDriver
import pytest

from backup_framework import conf, exceptions, model


def make(**values: object) -> model.Settings:
    return SFTPBackupDriver.make_settings(**{'host': 'host', 'path': 'backups', **values})


@pytest.mark.parametrize('host', [
    'host', 'Host.example.org', 'host.', 'a', '_x', 'a-b', '192.0.2.1', '::1', '2001:db8::7',
    'fe80::1%eth0', '::ffff:192.0.2.1'])
def test_hosts(host: str) -> None:
    options.check(make(host=host))


@pytest.mark.parametrize('host', [
    '', '-oProxyCommand=reboot', '-', 'a b', 'user@host', 'host:22', '[::1]', '[::1]:22', 'a/b',
    'höst', 'a\nb', 'a\0', '$(reboot)', '`id`', 'a;b', 'a%h', '*', '%h', 'ssh://host',
    'fe80::1%$(id)', 'fe80::1%', '::1 ', ':::', 'a' * 254, 'trailing-'])
def test_no_hosts(host: str) -> None:
    with pytest.raises(exceptions.ConfigurationError, match='^host must be'):
        options.check(make(host=host))


@pytest.mark.parametrize(('option', 'value'), [
    ('username', '-l'), ('username', 'a b'), ('username', 'a\nb'), ('username', 'a\0'),
    ('username', '${HOME}'), ('username', 'a"b'), ('path', '~/x'), ('path', '~'),
    ('path', Path('/x')),
    ('port', 0), ('port', 65536), ('port', -1), ('path', ''), ('path', 'a\0b'),
    ('transport', 'telnet'), ('ciphers', []), ('ciphers', ['aes128-ctr,none']),
    ('ciphers', ['-x']), ('ciphers', ['+aes128-ctr']), ('ciphers', ['']), ('ciphers', ['a b'])])
def test_other_values_that_make_no_sense(option: str, value: object) -> None:
    with pytest.raises(exceptions.ConfigurationError, match=f'^{option} must be'):
        SFTPBackupDriver(make(**{option: value}))


@pytest.mark.parametrize('name', ['backup', 'DOMAIN\\user', 'user@domain', "o'neil", 'ü'])
def test_user_names(name: str) -> None:
    options.check(make(username=name))


def test_without_a_user_name_it_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('LOGNAME', 'somebody-else')
    assert options.user(make()) == pwd.getpwuid(os.geteuid()).pw_name


def test_a_user_who_has_no_name_must_give_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, 'geteuid', lambda: 4_000_000_123)
    with pytest.raises(exceptions.ConfigurationError, match='username must be set.* 4000000123'):
        SFTPBackupDriver(make())
    SFTPBackupDriver(make(username='backup'))


@pytest.mark.parametrize(('values', 'where', 'argument'), [
    ({}, 'me@host', 'host'), ({'port': 2222}, 'me@host port 2222', 'host:2222'),
    ({'host': '::1', 'port': 2222}, 'me@::1 port 2222', '[::1]:2222'),
    ({'host': '::1'}, 'me@::1', '::1')])
def test_how_a_server_is_spelled(values: dict[str, object], where: str, argument: str) -> None:
    settings = make(username='me', **values)
    assert options.where(settings) == where
    assert options.command_argument(settings) == argument


def test_a_section_of_a_file(tmp_path: Path) -> None:
    (tmp_path / 'password').write_text('correct horse\n')
    (tmp_path / 'password').chmod(0o600)
    (tmp_path / 'test.conf').write_text(f"""[DEFAULT]
state_path = {tmp_path}
enabled_backends = vault
[vault]
driver = sftp
host = vault.example.org
path = ~backups
password_file = {tmp_path}/password
ciphers = aes256-gcm@openssh.com, aes128-ctr
file_mode = 0640
""")
    configuration = conf.load([str(tmp_path / 'test.conf')])
    settings = configuration.settings('vault', SFTPBackupDriver)
    assert settings.password == 'correct horse'
    assert settings.path == '~backups', 'a path of the server is not of this host'
    assert settings.known_hosts == str(tmp_path / '.ssh/known_hosts'), 'HOME is tmp_path here'
    assert settings.ciphers == ['aes256-gcm@openssh.com', 'aes128-ctr']
    assert (settings.port, settings.file_mode, settings.use_agent) == (22, 0o640, True)
    assert 'horse' not in repr(settings)


def test_secrets_are_secret() -> None:
    assert {o.name for o in options.OPTIONS if o.secret} == {'password', 'private_key_passphrase'}


def test_the_sample_shows_all_options() -> None:
    (group, listed), = sample.list_opts()
    text = conf.sample([('distribution', (group, listed))])
    section = text[text.index('\n[sftp]\n'):]
    for option in options.OPTIONS:
        assert f'\n#{option.name} = ' in section
