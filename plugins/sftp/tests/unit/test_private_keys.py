"""What is told of the files of private keys without opening them."""

from __future__ import annotations

import base64
from collections.abc import Callable
import os
from pathlib import Path
import shutil
import subprocess

from backup_framework_sftp import host_keys, login, private_keys
from backup_framework_sftp.driver import SFTPBackupDriver
import pytest

from backup_framework import exceptions, model


def named(path: object = None, **values: object) -> model.Settings:
    return SFTPBackupDriver.make_settings(
        host='host', path='x', private_key=path and str(path), **values)


@pytest.fixture
def keygen(require_part: Callable[[str, str], None]) -> Callable[..., Path]:
    program = shutil.which('ssh-keygen')
    if program is None:
        require_part('sshd', 'no ssh-keygen')

    def run(path: Path, *words: str, passphrase: str = '') -> Path:
        path.parent.mkdir(exist_ok=True)
        subprocess.run([str(program), '-q', *words, '-N', passphrase, '-f', str(path)],
                       check=True, timeout=30)
        return path
    return run


@pytest.mark.parametrize('form', ['RFC4716', 'PEM', 'PKCS8'])
@pytest.mark.parametrize('passphrase', ['', 'open sesame'])
@pytest.mark.parametrize('kind', ['ed25519', 'rsa', 'ecdsa'])
def test_what_is_told(tmp_path: Path, keygen: Callable[..., Path], kind: str, passphrase: str,
                      form: str) -> None:
    path = keygen(tmp_path / 'key', '-t', kind, '-m', form, passphrase=passphrase)
    public = base64.b64decode(Path(f'{path}.pub').read_text().split()[1])
    assert private_keys.find(named(path)) == [
        private_keys.KeyFile(str(path), bool(passphrase), public)]
    Path(f'{path}.pub').unlink()
    inside = kind == 'ed25519' or form == 'RFC4716'
    assert private_keys.find(named(path))[0].public == (public if inside else None)


@pytest.mark.parametrize('passphrase', ['', 'open sesame'])
@pytest.mark.parametrize('form', ['RFC4716', 'PEM', 'PKCS8'])
@pytest.mark.parametrize('kind', ['ed25519', 'rsa', 'ecdsa'])
def test_each_form_is_opened(tmp_path: Path, keygen: Callable[..., Path], kind: str, form: str,
                             passphrase: str) -> None:
    path = keygen(tmp_path / 'key', '-t', kind, '-m', form, passphrase=passphrase)
    public = base64.b64decode(Path(f'{path}.pub').read_text().split()[1])
    file, = private_keys.find(named(path))
    assert login._opened(file, passphrase).asbytes() == public
    if passphrase:
        with pytest.raises(exceptions.PermissionDenied, match='does not open it'):
            login._opened(file, 'no sesame')


def test_a_pipe_holds_nothing_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'pipe', 0o600)
    for read in (lambda path: private_keys.find(named(path)), host_keys.read):
        with pytest.raises(exceptions.PermissionDenied, match='not a regular file'):
            read(str(tmp_path / 'pipe'))


def test_a_public_key_is_named_as_one(tmp_path: Path, keygen: Callable[..., Path]) -> None:
    path = Path(f"{keygen(tmp_path / 'key', '-t', 'ed25519')}.pub")
    path.chmod(0o644)
    with pytest.raises(exceptions.PermissionDenied, match='is a public key; private_key is'):
        private_keys.find(named(path))


def test_without_a_name_the_usual_ones_are_tried(tmp_path: Path, keygen: Callable[..., Path]
                                                 ) -> None:
    assert private_keys.find(named()) == []
    paths = [keygen(tmp_path / '.ssh' / f'id_{kind}', '-t', kind) for kind in ('rsa', 'ed25519')]
    keygen(tmp_path / '.ssh' / 'other', '-t', 'ed25519')
    assert [key.path for key in private_keys.find(named())] == [str(paths[1]), str(paths[0])]
    paths[1].chmod(0o644)
    assert [key.path for key in private_keys.find(named())] == [str(paths[0])]
    assert [key.path for key in private_keys.find(named('~/.ssh/other'))] == [
        str(tmp_path / '.ssh' / 'other')]


@pytest.mark.parametrize(('content', 'mode', 'sentence'), [
    (None, 0, 'No such file'), ('nonsense', 0o600, 'no private key'), ('', 0o600, 'no private key'),
    ('-----BEGIN OPENSSH PRIVATE KEY-----\n', 0o644, 'chmod 600')])
def test_a_named_one_that_cannot_be_used(tmp_path: Path, content: str | None, mode: int,
                                         sentence: str) -> None:
    path = tmp_path / 'key'
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    with pytest.raises(exceptions.PermissionDenied, match=f'{path}.*{sentence}'):
        private_keys.find(named(path))


@pytest.mark.parametrize('inside', ['', 'AAAA', '!!!!', 'b3BlbnNzaC1rZXktdjEA', 'A' * 4000])
def test_a_damaged_one_is_left_to_who_opens_it(tmp_path: Path, inside: str) -> None:
    path = tmp_path / 'key'
    path.write_text('-----BEGIN OPENSSH PRIVATE KEY-----\n'
                    f'{inside}\n-----END OPENSSH PRIVATE KEY-----\n')
    path.chmod(0o600)
    assert private_keys.find(named(path))[0].path == str(path)
