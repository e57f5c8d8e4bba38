"""Which transport is chosen, how each gets to a server, and what is said when it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import json
import logging
import os
from pathlib import Path
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

from backup_framework_sftp import connect, login, openssh
from backup_framework_sftp.driver import SFTPBackupDriver
from backup_framework_sftp.protocol import Session, Stream
import pytest

from backup_framework import exceptions, model
from plugins.sftp.tests import odd_server
from plugins.sftp.tests.conftest import TRANSPORTS
from tests.patience import soon
from tools.servers import proxy, sshd

each_transport = pytest.mark.parametrize('transport', TRANSPORTS)
NO_SECRET = ('no-such-secret', sshd.PASSPHRASE, sshd.PASSWORD)


def make(**values: Any) -> model.Settings:
    return SFTPBackupDriver.make_settings(**{'host': 'host', 'path': 'x', 'timeout': 20, **values})


@contextlib.contextmanager
def session(**values: Any) -> Iterator[Session]:
    """SFTP has begun."""
    made = Session(connect.connect(make(**values)))
    try:
        assert made.is_usable()
        yield made
    finally:
        made.close()


def refused(kind: type[exceptions.StoreError], **values: Any) -> str:
    """The sentence with which connecting fails."""
    with pytest.raises(exceptions.StoreError) as caught, session(**values):
        pass
    assert type(caught.value) is kind, caught.value
    sentence = str(caught.value)
    assert '\n' not in sentence
    return sentence


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[odd_server.OddServer]:
    with odd_server.serving(tmp_path) as made:
        yield made


# --- which one

def fake_ssh(directory: Path, script: str, monkeypatch: pytest.MonkeyPatch,
             version: str = 'OpenSSH_9.9') -> None:
    """A program called ssh, and no other on the path."""
    directory.mkdir(exist_ok=True)
    program = directory / 'ssh'
    program.write_text(
        f'#!/bin/sh\nif [ "$1" = -V ]; then echo {version} >&2; exit; fi\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv('PATH', str(directory))


@pytest.mark.parametrize(('key', 'values', 'transport', 'reason'), [
    ('ed25519', {}, 'openssh', '/ssh'),
    ('ed25519', {'transport': 'openssh'}, 'openssh', '/ssh'),
    ('ed25519', {'transport': 'paramiko'}, 'paramiko', 'as the option says'),
    ('ed25519', {'password': 'no-such-secret'}, 'paramiko', 'given a password'),
    ('locked', {}, 'openssh', '/ssh'),
    ('locked', {'private_key_passphrase': 'no-such-secret'}, 'paramiko', 'given the passphrase'),
    ('ed25519', {'private_key_passphrase': 'no-such-secret'}, 'openssh', '/ssh'),
    ('ed25519', {'known_hosts': '/${HOME}/known'}, 'paramiko', r"the path '/\${HOME}/known'"),
    ('ed25519', {'known_hosts': '/a\nb'}, 'paramiko', 'the path'),
    ('ed25519', {'known_hosts': '/$HOME/%h'}, 'openssh', '/ssh'),
])
def test_the_choice(server: sshd.Server, key: str, values: dict[str, Any], transport: str,
                    reason: str) -> None:
    choice = connect.choose(make(**server.options(key, **values)))
    assert choice.transport == transport
    assert re.search(reason, choice.reason)
    assert 'no-such-secret' not in choice.reason


def test_without_ssh_it_is_paramiko(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    assert connect.choose(make()).transport == 'paramiko'
    assert 'no ssh' in connect.choose(make()).reason
    with pytest.raises(exceptions.StoreError, match='choose auto or paramiko'):
        connect.choose(make(transport='openssh'))


def test_another_ssh_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_ssh(tmp_path / 'bin', '', monkeypatch, version='Dropbear')
    assert connect.choose(make()).transport == 'paramiko'


def test_the_choice_is_said_once(server: sshd.Server, caplog: pytest.LogCaptureFixture) -> None:
    values = server.options(transport='paramiko')
    connect._say.cache_clear()
    with caplog.at_level(logging.INFO), session(**values), session(**values):
        pass
    assert [record.levelname for record in caplog.records
            if 'the transport is paramiko' in record.getMessage()] == ['INFO']


# --- knowing the server; test_real_server.py has those that are not known

def as_it_is(server: sshd.Server) -> str:
    return server.known_hosts.read_text()


def only_rsa(server: sshd.Server) -> str:
    return ''.join(line for line in as_it_is(server).splitlines(True) if 'ssh-rsa' in line)


def without_port(server: sshd.Server) -> str:
    return as_it_is(server).replace(f'[{server.host}]:{server.port}', server.host)


def another_beside(server: sshd.Server) -> str:
    other = server.keys['stranger'].with_suffix('.pub').read_text()
    return f'[{server.host}]:{server.port} {other}\n{as_it_is(server)}'


def another_is_revoked(server: sshd.Server) -> str:
    other = server.keys['stranger'].with_suffix('.pub').read_text()
    return f'@revoked * {other}\n{as_it_is(server)}'


def hashed(server: sshd.Server) -> str:
    file = server.directory / 'hashed'
    file.write_text(as_it_is(server))
    subprocess.run(['ssh-keygen', '-H', '-f', str(file)], check=True, capture_output=True,
                   timeout=30)
    return file.read_text()


@each_transport
@pytest.mark.parametrize('text', [
    only_rsa, without_port, another_beside, another_is_revoked, hashed])
def test_the_server_is_known(server: sshd.Server, tmp_path: Path, transport: str,
                             text: Callable[[sshd.Server], str]) -> None:
    (tmp_path / 'known').write_text(text(server))
    with session(**server.options(transport=transport, known_hosts=str(tmp_path / 'known'))):
        pass


def changed(server: sshd.Server) -> tuple[str, str]:
    other = server.keys['stranger'].with_suffix('.pub').read_text()
    return (f'# comment\n[{server.host}]:{server.port} {other}',
            r'another key .*SHA256:.* than line 2 of .*sftp host-key 127.0.0.1:')


def unknown(server: sshd.Server) -> tuple[str, str]:
    return '', f'is not in .*ssh-keyscan -p {server.port} {server.host}'


def other_type(server: sshd.Server) -> tuple[str, str]:
    with_ecdsa = server.directory / 'ecdsa'
    if not with_ecdsa.exists():
        subprocess.run(['ssh-keygen', '-q', '-t', 'ecdsa', '-N', '', '-f', str(with_ecdsa)],
                       check=True, timeout=30)
    key = with_ecdsa.with_suffix('.pub').read_text()
    return f'[{server.host}]:{server.port} {key}', 'another key .* than line 1 of '


def revoked(server: sshd.Server) -> tuple[str, str]:
    return (''.join(f'{line}\n@revoked {line}\n' for line in as_it_is(server).splitlines()),
            'is revoked')


def certified(server: sshd.Server) -> tuple[str, str]:
    return (''.join(f'@cert-authority {line}\n' for line in as_it_is(server).splitlines()),
            'is not in .*for the transport openssh only')


@each_transport
@pytest.mark.parametrize('case', [changed, unknown, other_type, revoked, certified])
def test_what_is_said_of_a_server_that_is_not_known(
        server: sshd.Server, tmp_path: Path, transport: str,
        case: Callable[[sshd.Server], tuple[str, str]]) -> None:
    text, wanted = case(server)
    (tmp_path / 'known').write_text(text)
    before = len(server.log())
    said = refused(exceptions.PermissionDenied, **server.options(
        transport=transport, known_hosts=str(tmp_path / 'known')))
    assert re.search(wanted, said), said
    log = server.log()[before:]
    assert 'Accepted' not in log and 'Failed' not in log and 'Postponed' not in log


@each_transport
def test_without_known_hosts(server: sshd.Server, transport: str) -> None:
    assert 'No such file' in refused(exceptions.PermissionDenied, **server.options(
        transport=transport, known_hosts='/no/such/file'))


def test_a_certificate_is_for_ssh(tmp_path: Path) -> None:
    with sshd.serving(more=f'HostCertificate {tmp_path}/host-cert.pub') as server:
        keygen = ['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', str(tmp_path / 'authority')]
        subprocess.run(keygen, check=True, timeout=30)
        shutil.copy(server.directory / 'host_ed25519.pub', tmp_path / 'host.pub')
        subprocess.run(['ssh-keygen', '-q', '-s', str(tmp_path / 'authority'), '-h', '-I', 'host',
                        '-n', server.host, str(tmp_path / 'host.pub')], check=True, timeout=30)
        server.restart()
        (tmp_path / 'known').write_text(
            f'@cert-authority * {(tmp_path / "authority.pub").read_text()}')
        values = server.options(known_hosts=str(tmp_path / 'known'))
        with session(**values):
            pass
        assert 'for the transport openssh only' in refused(
            exceptions.PermissionDenied, **values, transport='paramiko')


# --- paths that ssh would take for something else

@each_transport
@pytest.mark.parametrize('name', [
    'with blank', 'quo"te', "quo'te", 'back\\slash', 'back\\ blank', '%h%%d', '$HOME', '#hash',
    '~', '-o', 'ü', 'a,b', 'a=b', 'none', '*?[x]', 'ends\\'])
def test_odd_paths(server: sshd.Server, tmp_path: Path, transport: str, name: str) -> None:
    directory = tmp_path / name
    directory.mkdir()
    known = shutil.copy(server.known_hosts, directory / f'known {name}')
    key = shutil.copy(server.keys['ed25519'], directory / f'key {name}')
    with session(**server.options(transport=transport, known_hosts=str(known)) | {
            'private_key': str(key)}):
        pass


def test_a_path_that_ssh_cannot_be_told(server: sshd.Server, tmp_path: Path) -> None:
    known = shutil.copy(server.known_hosts, tmp_path / '${HOME}')
    with session(**server.options(known_hosts=str(known))):
        pass
    assert '${HOME}' in refused(exceptions.StoreError, **server.options(
        known_hosts=str(known), transport='openssh'))


def test_values_never_become_options_of_ssh(tmp_path: Path) -> None:
    """As far as `options.check` lets them through, which it does not."""
    words = openssh.command(make(host='-oProxyCommand=x', username='-v', known_hosts='-F'), [])
    assert words[-3:] == ['--', '-oProxyCommand=x', 'sftp']
    assert words[words.index('-l') + 1] == '-v'
    assert f'UserKnownHostsFile="{os.getcwd()}/-F"' in words


# --- logging in; test_real_server.py has keys and passwords of all kinds

@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """An agent; gives a function that has it hold a key."""
    sock = tmp_path / 'agent'
    running = subprocess.Popen(['ssh-agent', '-D', '-a', str(sock)], stdout=subprocess.DEVNULL)
    ask = tmp_path / 'ask'
    ask.write_text(f'#!/bin/sh\necho {sshd.PASSPHRASE}\n')
    ask.chmod(0o700)
    environment = {**os.environ, 'SSH_AUTH_SOCK': str(sock), 'SSH_ASKPASS': str(ask),
                   'SSH_ASKPASS_REQUIRE': 'force'}

    def add(key: Path) -> None:
        subprocess.run(['ssh-add', '-q', str(key)], env=environment, check=True, timeout=30,
                       capture_output=True, stdin=subprocess.DEVNULL)

    deadline = time.monotonic() + 15
    while not sock.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    monkeypatch.setenv('SSH_AUTH_SOCK', str(sock))
    yield add
    running.terminate()
    running.wait(15)


@each_transport
def test_keys_of_an_agent(server: sshd.Server, agent: Callable[[Path], None], transport: str
                          ) -> None:
    values = server.options(transport=transport) | {'private_key': None}
    assert 'Tried: ' in refused(exceptions.PermissionDenied, **values)
    agent(server.keys['stranger'])
    agent(server.keys['rsa'])
    with session(**values):
        pass
    assert 'nothing: give private_key' in refused(
        exceptions.PermissionDenied, **values, use_agent=False)


@each_transport
def test_a_locked_key_that_an_agent_holds(server: sshd.Server, agent: Callable[[Path], None],
                                          transport: str) -> None:
    values = server.options('locked', transport=transport)
    assert 'or an agent that holds the key' in refused(exceptions.PermissionDenied, **values)
    agent(server.keys['locked'])
    with session(**values):
        pass
    refused(exceptions.PermissionDenied, **values, use_agent=False)


@each_transport
def test_of_an_agent_only_the_key_that_is_named(
        server: sshd.Server, agent: Callable[[Path], None], transport: str) -> None:
    agent(server.keys['ed25519'])
    refused(exceptions.PermissionDenied, **server.options('stranger', transport=transport))


@each_transport
def test_an_agent_that_is_gone(server: sshd.Server, transport: str,
                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('SSH_AUTH_SOCK', '/no/such/socket')
    with session(**server.options(transport=transport)):
        pass


@pytest.fixture
def mute_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[socket.socket]]:
    """One that answers nothing; gives those who asked."""
    asked: list[socket.socket] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / 'mute'))
        listener.listen()
        thread = threading.Thread(target=_take_all, args=(listener, asked))
        thread.start()
        monkeypatch.setenv('SSH_AUTH_SOCK', str(tmp_path / 'mute'))
        yield asked
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(15)
        for each in asked:
            each.close()


def _take_all(listener: socket.socket, taken: list[socket.socket]) -> None:
    with contextlib.suppress(OSError):
        while True:
            taken.append(listener.accept()[0])


@each_transport
def test_an_agent_that_does_not_answer(
        server: sshd.Server, mute_agent: list[socket.socket], transport: str) -> None:
    values = server.options('stranger', transport=transport, timeout=2)

    def connect_in_vain() -> str:
        with pytest.raises(exceptions.StoreError) as caught, session(**values):
            pass
        return str(caught.value)

    said = soon(connect_in_vain, 3)
    if transport == 'paramiko':
        assert 'the agent, which does not answer' in said


def test_a_key_that_suffices_needs_no_agent(server: sshd.Server, mute_agent: list[socket.socket]
                                            ) -> None:
    with session(**server.options(transport='paramiko', timeout=2)):
        assert not mute_agent


def test_a_password_helps_where_the_agent_is_silent(
        odd: odd_server.OddServer, mute_agent: list[socket.socket]) -> None:
    odd.ways = ['publickey', 'password']
    with session(**odd.options(password=odd_server.PASSWORD, timeout=2)):
        assert mute_agent


def test_an_agent_that_does_not_sign(server: sshd.Server, agent: Callable[[Path], None],
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    agent(server.keys['ed25519'])
    listed = login.Agent.get_keys
    with contextlib.ExitStack() as stack:
        def fall_silent(self: login.Agent) -> Any:
            ours, theirs = (stack.enter_context(end) for end in socket.socketpair())
            ours.settimeout(0.5)
            self._conn = ours
            return listed(self)

        monkeypatch.setattr(login.Agent, 'get_keys', fall_silent)
        said = refused(exceptions.PermissionDenied, **server.options(
            transport='paramiko', private_key=None, timeout=5))
    assert 'the agent does not answer' in said


@pytest.mark.parametrize(('ways', 'asks', 'tried'), [
    (['keyboard-interactive'], [('Password: ', False)], ['keyboard-interactive', 'response']),
    (['keyboard-interactive'], [], ['keyboard-interactive', 'response']),
    (['password', 'keyboard-interactive'], [('Password: ', False)], ['password']),
    ([], [], []),
])
def test_the_password_is_an_answer_too(odd: odd_server.OddServer, ways: list[str],
                                       asks: list[tuple[str, bool]], tried: list[str]) -> None:
    odd.ways, odd.asks = ways, asks
    with session(**odd.options(password=odd_server.PASSWORD)):
        pass
    assert odd.tried == tried


def test_the_password_is_no_answer_to_other_questions(odd: odd_server.OddServer) -> None:
    odd.ways, odd.asks = ['keyboard-interactive'], [('Your name: ', True)]
    with session(**odd.options(password=odd_server.PASSWORD)):
        pass
    odd.asks = [('Password: ', False), ('Token: ', False)]
    refused(exceptions.PermissionDenied, **odd.options(password=odd_server.PASSWORD))


@each_transport
def test_a_damaged_key(server: sshd.Server, tmp_path: Path, transport: str) -> None:
    text = server.keys['ed25519'].read_text().splitlines(keepends=True)
    (tmp_path / 'key').touch(0o600)
    (tmp_path / 'key').write_text(''.join([*text[:2], *text[-1:]]))
    said = refused(exceptions.PermissionDenied, **server.options(transport=transport) | {
        'private_key': str(tmp_path / 'key')})
    assert 'damaged' in said or 'Load key' in said


def test_what_was_tried_and_offered_is_said(odd: odd_server.OddServer) -> None:
    odd.ways = ['password', 'keyboard-interactive']
    said = refused(exceptions.PermissionDenied, **odd.options(password='no-such-secret'))
    assert 'Tried: the password and the password as an answer' in said
    assert 'offers password, keyboard-interactive' in said


@each_transport
def test_too_many_attempts(tmp_path: Path, agent: Callable[[Path], None], transport: str) -> None:
    with sshd.serving(more='MaxAuthTries 2') as strict:
        for number in range(4):
            key = tmp_path / f'key{number}'
            subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', str(key)],
                           check=True, timeout=30)
            agent(key)
        said = refused(exceptions.PermissionDenied, **strict.options(transport=transport) | {
            'private_key': None})
    assert 'does not let us in' in said


# --- what is in the way

@each_transport
def test_no_sftp(odd: odd_server.OddServer, server: sshd.Server, transport: str) -> None:
    odd.sftp, odd.ways = False, ['publickey']
    said = refused(exceptions.StoreError, **odd.options(
        transport=transport, private_key=str(server.keys['ed25519'])))
    assert 'offers no SFTP' in said


@each_transport
def test_a_session_that_ends_at_once(transport: str) -> None:
    with sshd.serving(more='ForceCommand exit 3') as strict:
        said = refused(exceptions.StoreError, **strict.options(transport=transport))
    assert 'the session ended at once' in said


@each_transport
@pytest.mark.parametrize(('values', 'kind', 'sentence'), [
    ({'port': 1}, exceptions.StoreUnavailable, 'Connection refused'),
    ({'host': 'no-such-host.invalid'}, exceptions.StoreUnavailable, '[Nn]ame'),
    ({'ciphers': ['3des-cbc']}, exceptions.StoreError, 'option ciphers'),
    ({'ciphers': ['no-such-cipher']}, exceptions.StoreError, 'option ciphers'),
    ({'private_key': '/no/such/key'}, exceptions.PermissionDenied, 'No such file'),
])
def test_what_is_said_of_other_failures(
        server: sshd.Server, transport: str, values: dict[str, Any],
        kind: type[exceptions.StoreError], sentence: str) -> None:
    said = refused(kind, **server.options(transport=transport) | values)
    assert re.search(sentence, said), said


@each_transport
@pytest.mark.parametrize('cipher', ['aes256-gcm@openssh.com', 'aes192-ctr'])
def test_ciphers(server: sshd.Server, transport: str, cipher: str) -> None:
    with sshd.serving(more=f'Ciphers {cipher}') as strict:
        with session(**strict.options(transport=transport)):
            pass
        refused(exceptions.StoreError, **strict.options(
            transport=transport, ciphers=['aes128-gcm@openssh.com']))


@each_transport
def test_an_ipv6_address(tmp_path: Path, server: sshd.Server, transport: str) -> None:
    try:
        socket.create_server(('::1', 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f'no IPv6 here: {error}')
    with odd_server.serving(tmp_path, '::1') as odd:
        odd.ways = ['publickey']
        with session(**odd.options(transport=transport,
                                   private_key=str(server.keys['ed25519']))):
            pass


# --- silence

@each_transport
@pytest.mark.parametrize('place', ['connection', 'banner', 'login', 'session', 'subsystem'])
def test_silence_while_connecting(odd: odd_server.OddServer, server: sshd.Server, transport: str,
                                  place: str) -> None:
    odd.silent, odd.ways = place, ['publickey']
    values = odd.options(transport=transport, timeout=2, private_key=str(server.keys['ed25519']))
    said = soon(lambda: refused(exceptions.StoreUnavailable, **values), 3.5)
    assert 'within 2 seconds' in said or 'timed out' in said


@each_transport
@pytest.mark.parametrize('way', ['send', 'receive'])
def test_silence_later(server: sshd.Server, between: proxy.Proxy, transport: str, way: str
                       ) -> None:
    stream = connect.connect(make(**server.options(
        transport=transport, port=between.port, timeout=5)))
    with contextlib.closing(Session(stream)):
        between.stall()
        before = time.monotonic()
        with pytest.raises(TimeoutError, match='no answer within 5 seconds'):
            while way == 'send':
                stream.sendall(bytes(1 << 20))
            stream.recv_into(bytearray(10))
        assert 4 < time.monotonic() - before < 12
        between.heal()


def test_a_channel_that_takes_nothing(server: sshd.Server) -> None:
    from backup_framework_sftp import portable
    stream = portable.connect(make(**server.options(timeout=2)))
    with contextlib.closing(stream):
        stream._channel.out_window_size = 0
        with pytest.raises(exceptions.StoreUnavailable, match='no answer within 2 seconds'):
            Session(stream)


def test_a_socket_that_takes_nothing() -> None:
    """Whose buffers are smaller than the window that the server opened."""
    from backup_framework_sftp import portable

    def send_in_vain() -> None:
        ours, theirs = socket.socketpair()
        with theirs, portable.Wire(fileno=ours.detach()) as wire:
            wire.settimeout(0.1)
            wire.patience = 1.0
            before = time.monotonic()
            with pytest.raises(ConnectionAbortedError, match='does not take'):
                while True:
                    with contextlib.suppress(TimeoutError):
                        wire.send(bytes(1 << 20))
            assert 0.9 < time.monotonic() - before
            theirs.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while theirs.recv(1 << 20):
                    pass
            assert wire.send(b'x') == 1

    soon(send_in_vain, 3)


@each_transport
def test_an_end_in_the_middle(server: sshd.Server, between: proxy.Proxy, transport: str) -> None:
    stream = connect.connect(make(**server.options(transport=transport, port=between.port)))
    with contextlib.closing(Session(stream)) as opened:
        assert opened.is_usable()
        between.drop()
        deadline = time.monotonic() + 10
        while opened.is_usable() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not opened.is_usable()
        with contextlib.suppress(OSError):
            assert stream.recv_into(bytearray(10)) == 0
        with pytest.raises(OSError):
            for _ in range(100):
                stream.sendall(bytes(1 << 16))
    stream.close()
    stream.close()


# --- the process

def child(stream: object) -> int:
    assert isinstance(stream, openssh.Stream)
    return stream._process.pid


def test_what_ssh_is_given(server: sshd.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('OS_VAULT__PASSWORD', 'no-such-secret')
    with contextlib.closing(connect.connect(make(**server.options(
            'ed25519', private_key_passphrase=sshd.PASSPHRASE, transport='openssh')))) as stream:
        Session(stream)
        place = Path(f'/proc/{child(stream)}')
        for text in ((place / 'cmdline').read_bytes(), (place / 'environ').read_bytes()):
            assert not [secret for secret in NO_SECRET if secret.encode() in text]
        assert len(os.listdir(place / 'fd')) <= 12
        ours = [os.readlink(f'/proc/self/fd/{fd}') for fd in held()]
        theirs = [os.readlink(file) for file in (place / 'fd').iterdir()]
        errors = os.readlink(place / 'fd/2')
        assert not set(ours) & set(theirs) - {'/dev/null', errors}
        assert os.getsid(child(stream)) != os.getsid(0), 'Ctrl-C would reach it'


def held() -> list[int]:
    """Descriptors of this process."""
    found = []
    for fd in map(int, os.listdir('/proc/self/fd')):
        with contextlib.suppress(OSError):
            os.fstat(fd)
            found.append(fd)
    return found


def is_there(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    return False


CONNECT_AND_WAIT = """
import json, sys, time
from backup_framework_sftp import connect, protocol
from backup_framework_sftp.driver import SFTPBackupDriver
options = json.loads(sys.argv[1])
stream = connect.connect(SFTPBackupDriver.make_settings(**options))
print(stream._process.pid, flush=True)
session = protocol.Session(stream)
print('begun', flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize('place', ['begun', 'in a black hole'])
def test_ssh_ends_with_a_process_that_is_killed(server: sshd.Server, odd: odd_server.OddServer,
                                                place: str) -> None:
    values = server.options(transport='openssh')
    if place != 'begun':
        odd.silent = 'banner'
        values = odd.options(transport='openssh', timeout=2, keepalive=2)
    ours = subprocess.Popen([sys.executable, '-c', CONNECT_AND_WAIT, json.dumps(values)],
                            stdout=subprocess.PIPE, text=True)
    try:
        assert ours.stdout is not None
        ssh = int(ours.stdout.readline())
        if place == 'begun':
            assert ours.stdout.readline() == 'begun\n'
        assert is_there(ssh)
    finally:
        ours.send_signal(signal.SIGKILL)
        ours.communicate(timeout=15)
    deadline = time.monotonic() + 10
    while is_there(ssh) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_there(ssh)


def test_a_flood_on_stderr_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what ssh says the end is kept."""
    fake_ssh(tmp_path / 'bin', 'printf x; /usr/bin/yes flood | /usr/bin/head -c 3000000 >&2\n'
             'printf y; echo the last word >&2', monkeypatch)
    (tmp_path / 'known').touch()
    stream = connect.connect(make(transport='openssh', known_hosts=str(tmp_path / 'known')))
    buffer = bytearray(10)
    assert (stream.recv_into(buffer), buffer[:1]) == (1, b'x')
    assert (stream.recv_into(buffer), buffer[:1]) == (1, b'y')
    assert stream.recv_into(buffer) == 0
    assert stream.complaint().endswith('the last word')
    stream.close()
    assert stream.complaint().endswith('the last word')
    assert len(stream.complaint()) < 6000


def test_an_ssh_that_hangs_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_ssh(tmp_path / 'bin', "printf x; trap '' TERM HUP; while :; do /bin/sleep 1; done",
             monkeypatch)
    (tmp_path / 'known').touch()

    def hang_and_close() -> Stream:
        settings = make(transport='openssh', known_hosts=str(tmp_path / 'known'))
        stream = connect.connect(settings)
        assert stream.recv_into(bytearray(1)) == 1
        assert stream.is_quiet()
        vars(settings)['timeout'] = 0.1
        with pytest.raises(TimeoutError):
            stream.recv_into(bytearray(1))
        assert not stream.is_quiet()
        stream.close()
        return stream

    assert not is_there(child(soon(hang_and_close, 1)))


# --- nothing is left, nothing is told

def belongings() -> tuple[int, int, list[int]]:
    """Descriptors, threads and children of this process."""
    children: list[int] = []
    for thread in os.listdir('/proc/self/task'):
        with contextlib.suppress(FileNotFoundError):  # it has just ended
            children += map(int, Path(f'/proc/self/task/{thread}/children').read_text().split())
    return len(os.listdir('/proc/self/fd')), threading.active_count(), sorted(children)


@each_transport
@pytest.mark.parametrize('how', ['refused', 'cut', 'unknown', 'not let in'])
def test_failures_leave_nothing(server: sshd.Server, between: proxy.Proxy, tmp_path: Path,
                                transport: str, how: str) -> None:
    (tmp_path / 'empty').touch()
    between.cut(after=100, way='down', times=None)
    values, times = {
        'refused': ({'port': 1}, 200),
        'cut': ({'port': between.port}, 50),
        'unknown': ({'known_hosts': str(tmp_path / 'empty')}, 40),
        'not let in': ({'private_key': str(server.keys['stranger'])}, 30)}[how]
    values = server.options(transport=transport) | values

    def fail() -> None:
        with pytest.raises(exceptions.StoreError):
            Session(connect.connect(make(**values)))

    before = belongings()
    for _ in range(times):
        fail()
    deadline = time.monotonic() + 10
    while belongings() != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert belongings() == before


@pytest.mark.parametrize('values', [
    {'private_key': None, 'password': 'no-such-secret'},
    {'private_key_passphrase': 'no-such-secret'},
    {'private_key_passphrase': sshd.PASSPHRASE, 'password': 'no-such-secret'},
])
def test_secrets_are_not_told(jail: sshd.Server, caplog: pytest.LogCaptureFixture,
                              values: dict[str, Any]) -> None:
    with caplog.at_level(logging.DEBUG):
        for more in ({}, {'username': 'stranger'}):
            told: list[BaseException | None] = []
            try:
                with session(**jail.options('locked') | values | more):
                    pass
            except exceptions.StoreError as error:
                told = [error, error.__cause__, error.__context__]
            text = caplog.text + ''.join(f'{error!r}' for error in told)
            assert not [secret for secret in NO_SECRET if secret in text]
