"""A key in a file: who may read it, what stands in it, and how it is made."""

from __future__ import annotations

import errno
import os
from pathlib import Path
import stat
from typing import Any

import pytest

from backup_framework import exceptions
from backup_framework.key_managers import file
from backup_framework.model import Settings

KEY, CONTEXT = bytes(range(32)), b'context'


def manager(path: Path) -> file.KeyFile:
    return file.KeyFile(Settings(file.KeyFile.OPTIONS, {'path': str(path)}))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / 'main.key'
    file.generate(str(made))
    return made


def test_a_generated_file_wraps_and_unwraps(path: Path) -> None:
    wrapped = manager(path).wrap(KEY, CONTEXT)
    assert manager(path).unwrap(wrapped, CONTEXT) == KEY


def test_another_file_does_not_open_it(path: Path, tmp_path: Path) -> None:
    file.generate(str(tmp_path / 'other.key'))
    with pytest.raises(exceptions.KeyUnavailable, match='is needed'):
        manager(tmp_path / 'other.key').unwrap(manager(path).wrap(KEY, CONTEXT), CONTEXT)


def test_nothing_is_read_before_it_is_needed(tmp_path: Path) -> None:
    late = manager(tmp_path / 'late.key')
    with pytest.raises(exceptions.KeyUnavailable, match='No such file'):
        late.wrap(KEY, CONTEXT)
    file.generate(str(tmp_path / 'late.key'))
    late.wrap(KEY, CONTEXT)


@pytest.mark.parametrize('umask', [0o000, 0o022, 0o077])
def test_a_new_file_is_private_from_the_call_that_makes_it(
        umask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    really = os.open

    def spy(path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        asked.append((flags, mode))
        return really(path, flags, mode, **more)

    monkeypatch.setattr(os, 'open', spy)
    before = os.umask(umask)
    try:
        file.generate(str(tmp_path / 'a.key'))
    finally:
        os.umask(before)
    flags, mode = asked[0]
    assert flags & os.O_CREAT and flags & os.O_EXCL and mode == 0o600
    assert stat.S_IMODE((tmp_path / 'a.key').stat().st_mode) == 0o600
    assert len((tmp_path / 'a.key').read_bytes()) == 65


def test_it_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    really = os.fsync

    def spy(descriptor: int) -> None:
        synced.append(os.readlink(f'/proc/self/fd/{descriptor}'))
        really(descriptor)

    monkeypatch.setattr(os, 'fsync', spy)
    file.generate(str(tmp_path / 'a.key'))
    assert synced == [str(tmp_path / 'a.key'), str(tmp_path)]


def test_two_files_have_different_keys(tmp_path: Path) -> None:
    for number in range(50):
        file.generate(str(tmp_path / str(number)))
    assert len({each.read_bytes() for each in tmp_path.iterdir()}) == 50


@pytest.mark.parametrize('kind', ['file', 'directory', 'symlink', 'dangling'])
def test_nothing_is_ever_overwritten(kind: str, tmp_path: Path) -> None:
    there = tmp_path / 'there'
    match kind:
        case 'file':
            there.write_text('mine')
        case 'directory':
            there.mkdir()
        case 'symlink':
            (tmp_path / 'target').write_text('mine')
            there.symlink_to(tmp_path / 'target')
        case 'dangling':
            there.symlink_to(tmp_path / 'nowhere')
    with pytest.raises(exceptions.Refused, match='never overwritten'):
        file.generate(str(there))
    assert not (tmp_path / 'nowhere').exists()
    if kind in ('file', 'symlink'):
        assert there.read_text() == 'mine'


@pytest.mark.parametrize(('call', 'code', 'error'), [
    ('write', errno.ENOSPC, exceptions.NoSpace),
    ('write', errno.EIO, exceptions.ConfigurationError),
    ('fsync', errno.EIO, exceptions.ConfigurationError),
    ('fsync', errno.EDQUOT, exceptions.NoSpace)])
def test_a_failure_leaves_no_file(call: str, code: int, error: type[Exception], tmp_path: Path,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(error, match='cannot be written'):
        file.generate(str(tmp_path / 'a.key'))
    assert not list(tmp_path.iterdir())


def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = os.write
    monkeypatch.setattr(os, 'write', lambda descriptor, data: really(descriptor, data[:7]))
    file.generate(str(tmp_path / 'a.key'))
    monkeypatch.undo()
    assert len(file.read(str(tmp_path / 'a.key'))) == 32


def test_a_directory_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(exceptions.ConfigurationError, match='missing/a.key cannot be written: No '):
        file.generate(str(tmp_path / 'missing' / 'a.key'))


def test_modes_for_others_are_refused_with_what_mends_them(path: Path) -> None:
    refused = 0
    for mode in range(0o1000):
        os.chmod(path, mode | 0o400)
        if not mode & 0o077:
            assert len(file.read(str(path))) == 32
            continue
        with pytest.raises(exceptions.ConfigurationError, match='chmod [4567]00 ') as caught:
            file.read(str(path))
        words = str(caught.value).rpartition('chmod ')[2].split()
        os.chmod(words[1], int(words[0], 8))
        assert len(file.read(str(path))) == 32
        refused += 1
    assert refused == 504


def test_an_owner_who_is_neither_us_nor_root_is_refused(
        path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = os.stat(path).st_uid
    monkeypatch.setattr(os, 'geteuid', lambda: owner + 1)
    if owner == 0:
        assert len(file.read(str(path))) == 32
        monkeypatch.setattr(os, 'geteuid', lambda: 0)
        os.chown(path, 12345, -1)
    with pytest.raises(exceptions.ConfigurationError, match='belongs to user .* chown'):
        file.read(str(path))


@pytest.mark.parametrize('kind', ['directory', 'fifo', 'device'])
def test_what_is_no_regular_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    there = tmp_path / 'there'
    match kind:
        case 'directory':
            there.mkdir(mode=0o700)
        case 'fifo':
            os.mkfifo(there, 0o600)
        case 'device':
            there = Path('/dev/null')
    with pytest.raises(exceptions.ConfigurationError, match='not a regular file'):
        file.read(str(there))


def test_what_was_opened_is_judged_not_what_has_the_name_now(
        path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name may point elsewhere between two looks at it."""
    bad = tmp_path / 'bad.key'
    bad.write_bytes(b'0' * 65)
    bad.chmod(0o644)
    link = tmp_path / 'link'
    link.symlink_to(bad)
    really = os.open

    def swap(*args: Any, **more: Any) -> int:
        descriptor = really(*args, **more)
        link.unlink()
        link.symlink_to(path)
        return descriptor

    monkeypatch.setattr(os, 'open', swap)
    with pytest.raises(exceptions.ConfigurationError, match='mode 0644'):
        file.read(str(link))


@pytest.mark.parametrize('text', [
    b'', b'\n', b'0' * 63, b'0' * 63 + b'\n', b'0' * 64 + b'\n\n', b'0' * 66, b'0' * 64 + b' ',
    b' ' + b'0' * 64, b'g' * 64, b'0' * 64 + b'\r\n', b'\xff' * 64, b'0' * 1_000_000])
def test_what_is_no_key_is_refused_and_not_shown(text: bytes, path: Path) -> None:
    path.write_bytes(text)
    with pytest.raises(exceptions.ConfigurationError, match='holds no key') as caught:
        file.read(str(path))
    assert '000' not in str(caught.value)


def test_an_editor_may_leave_the_line_feed_out(path: Path) -> None:
    key = file.read(str(path))
    path.write_text(key.hex().upper())
    assert file.read(str(path)) == key


def test_the_key_is_in_no_text(path: Path) -> None:
    made = manager(path)
    wrapped = made.wrap(KEY, CONTEXT)
    digits = path.read_text().strip()
    shown = f'{made!r} {made} {wrapped}'
    with pytest.raises(exceptions.KeyUnavailable) as caught:
        made.unwrap(wrapped | {'nonce': '00' * 12}, CONTEXT)
    shown += repr(caught.value)
    assert digits not in shown and repr(bytes.fromhex(digits)) not in shown
