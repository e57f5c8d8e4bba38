"""What is read out of known_hosts files, compared with what OpenSSH makes of them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
import shutil
import struct
import subprocess

from backup_framework_sftp import host_keys
from backup_framework_sftp.host_keys import HostKey, KnownHosts, Verdict
import pytest

from backup_framework import exceptions


def key(number: int, kind: str = 'ssh-ed25519') -> HostKey:
    blob = b''.join(struct.pack('>I', len(part)) + part
                    for part in (kind.encode(), number.to_bytes(32, 'big')))
    return host_keys.from_blob(blob)


def text(of: HostKey) -> str:
    return f'{of.type} {base64.b64encode(of.blob).decode()}'


OURS, OTHER, RSA = key(1), key(2), key(3, 'ssh-rsa')


def judge(lines: str, shown: HostKey = OURS, host: str = 'host', port: int = 22) -> Verdict:
    return KnownHosts('file', lines).judge(host, port, shown)[0]


@pytest.mark.parametrize(('hosts', 'host', 'port', 'known'), [
    ('host', 'host', 22, True),
    ('host', 'HOST', 22, True),
    ('HOST', 'host', 22, True),
    ('host', 'hos', 22, False),
    ('host', 'host.example.org', 22, False),
    ('[host]:2222', 'host', 2222, True),
    ('[host]:2222', 'host', 22, False),
    ('[host]:2222', 'host', 2223, False),
    ('host', 'host', 2222, True),
    ('other,host', 'host', 22, True),
    ('*.example.org', 'a.example.org', 22, True),
    ('*.example.org,!a.example.org', 'a.example.org', 22, False),
    ('!a.example.org,*.example.org', 'b.example.org', 22, True),
    ('h?st', 'host', 22, True),
    ('[h*]:2222', 'host', 2222, True),
    ('h[o]st', 'host', 22, False),
    ('2001:db8::7', '2001:db8::7', 22, True),
    ('[2001:db8::7]:2222', '2001:db8::7', 2222, True),
    ('192.0.2.1', '192.0.2.1', 22, True),
])
def test_which_lines_are_about_a_server(tmp_path: Path, hosts: str, host: str, port: int,
                                        known: bool) -> None:
    line = f'{hosts} {text(OURS)} a comment\n'
    assert judge(line, host=host, port=port) is (Verdict.KNOWN if known else Verdict.UNKNOWN)


@pytest.mark.parametrize(('lines', 'verdict', 'number'), [
    ('', Verdict.UNKNOWN, None),
    (f'host {text(OURS)}', Verdict.KNOWN, 1),
    (f'# host {text(OURS)}', Verdict.UNKNOWN, None),
    (f'\n\n  host\t{text(OURS)}\r\n', Verdict.KNOWN, 3),
    (f'host {text(OTHER)}', Verdict.CHANGED, 1),
    (f'host {text(OTHER)}\nhost {text(OURS)}', Verdict.KNOWN, 2),
    (f'host {text(RSA)}', Verdict.CHANGED, 1),
    (f'host {text(RSA)}\nhost {text(OTHER)}', Verdict.CHANGED, 2),
    (f'else {text(OTHER)}', Verdict.UNKNOWN, None),
    (f'host {text(OURS)}\n@revoked host {text(OURS)}', Verdict.REVOKED, 2),
    (f'@revoked * {text(OURS)}\nhost {text(OURS)}', Verdict.REVOKED, 1),
    (f'@revoked host {text(OTHER)}\nhost {text(OURS)}', Verdict.KNOWN, 2),
    (f'@revoked host {text(OTHER)}', Verdict.UNKNOWN, None),
    (f'@cert-authority host {text(OURS)}', Verdict.UNKNOWN, None),
    (f'@nonsense host {text(OURS)}', Verdict.UNKNOWN, None),
    ('host ssh-ed25519 !!!!', Verdict.UNKNOWN, None),
    ('host ssh-ed25519', Verdict.UNKNOWN, None),
    (f'host ssh-rsa {text(OURS).split()[1]}', Verdict.UNKNOWN, None),
    ('|1|x|y ssh-ed25519 ' + text(OURS).split()[1], Verdict.UNKNOWN, None),
    ('|1|a ssh-ed25519 ' + text(OURS).split()[1], Verdict.UNKNOWN, None),
])
def test_what_is_said_of_a_key(lines: str, verdict: Verdict, number: int | None) -> None:
    found, line = KnownHosts('file', lines).judge('host', 22, OURS)
    assert (found, line and line.number) == (verdict, number)


def test_types_and_authorities() -> None:
    known = KnownHosts('file', f'host {text(RSA)}\nhost {text(OURS)}\nhost {text(OTHER)}\n'
                               f'@revoked host {text(key(4, "ssh-dss"))}\n'
                               f'@cert-authority *.example.org {text(OTHER)}')
    assert known.types('host', 22) == ['ssh-rsa', 'ssh-ed25519']
    assert known.has_authority('a.example.org', 22)
    assert not known.has_authority('host', 22)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(exceptions.PermissionDenied, match='No such file.*sftp host-key'):
        host_keys.read(str(tmp_path / 'known_hosts'))


def test_bytes_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / 'known').write_bytes(b'\xff\xfe\0 x y\n' + f'host {text(OURS)}\n'.encode())
    known = host_keys.read(str(tmp_path / 'known'))
    assert known.judge('host', 22, OURS)[0] is Verdict.KNOWN


@pytest.mark.parametrize('blob', [b'', b'abc', b'\0\0\0\4\xff\xfe\0\0'])
def test_what_is_no_key(blob: bytes) -> None:
    with pytest.raises(ValueError):
        host_keys.from_blob(blob)


# --- OpenSSH's own tool says the same

@pytest.fixture
def keygen(require_part: Callable[[str, str], None]) -> Callable[..., str]:
    program = shutil.which('ssh-keygen')
    if program is None:
        require_part('sshd', 'no ssh-keygen')

    def run(*words: object) -> str:
        return subprocess.run([str(program), *map(str, words)], check=True, capture_output=True,
                              text=True, timeout=30).stdout
    return run


@pytest.mark.parametrize('kind', ['ed25519', 'rsa', 'ecdsa'])
def test_fingerprints(tmp_path: Path, keygen: Callable[..., str], kind: str) -> None:
    keygen('-q', '-t', kind, '-N', '', '-f', tmp_path / 'key')
    made = host_keys.from_blob(base64.b64decode((tmp_path / 'key.pub').read_text().split()[1]))
    assert keygen('-l', '-f', tmp_path / 'key.pub').split()[1] == made.fingerprint
    assert made.line('Host', 2222) == (
        '[host]:2222 ' + ' '.join((tmp_path / 'key.pub').read_text().split()[:2]))


@pytest.mark.parametrize(('host', 'port'), [('host', 22), ('host', 2222), ('2001:db8::7', 22)])
def test_hashed_hosts(tmp_path: Path, keygen: Callable[..., str], host: str, port: int) -> None:
    file = tmp_path / 'known'
    file.write_text(OURS.line(host, port) + '\n')
    keygen('-H', '-f', file)
    assert host not in file.read_text()
    known = host_keys.read(str(file))
    assert known.judge(host, port, OURS)[0] is Verdict.KNOWN
    assert known.judge(host, port, OTHER)[0] is Verdict.CHANGED
    assert known.judge('else', port, OURS)[0] is Verdict.UNKNOWN
