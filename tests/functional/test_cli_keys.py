"""Sealed backups through the command line: keys made, added, removed, exchanged, wrong and lost."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
import subprocess
import sys
from typing import Any

import pytest

from backup_framework import conf, exceptions
from backup_framework.drivers.local import LocalBackupDriver
from backup_framework.formats.v2 import key_sets
from backup_framework.manager import Manager
from tests.functional.command_line import CommandLine
from tests.functional.conftest import Volume, change
from tests.functional.gated_store import Gate

PHRASE = 'canary-correct-horse-battery'


class Keys:
    """A command line whose backend seals, and its key files."""

    def __init__(self, cli: CommandLine) -> None:
        self.cli = cli
        self.directory = cli.directory
        for name in ('main', 'escrow', 'other'):
            cli.good('key', 'generate', self.file(name))

    def file(self, name: str) -> Path:
        return self.directory / f'{name}.key'

    def configure(self, keys: str = 'main', sections: str = 'main', **local: object) -> None:
        """:param sections: which keys have one, in this order; `pass` has a passphrase."""
        text = ''
        for name in sections.split():
            text += (f'[key:pass]\ntype = passphrase\npassphrase = {PHRASE}\n' if name == 'pass'
                     else f'[key:{name}]\ntype = file\npath = {self.file(name)}\n')
        self.cli.configure(text, encryption='aes-256-gcm' if keys else 'none', keys=keys, **local)

    def recipients(self, backup: str) -> list[str]:
        found: list[str] = self.cli.json('backup', 'show', backup, '--recipients')['recipients']
        return found

    def restored(self, backup: str) -> bytes:
        target = self.directory / 'restored'
        self.cli.good('backup', 'restore', backup, target, '--force')
        return target.read_bytes()

    def objects(self) -> dict[str, bytes]:
        """All that is in the store."""
        return {name: (self.cli.store / name).read_bytes() for name in self.cli.objects()}


@pytest.fixture
def keys(cli: CommandLine) -> Keys:
    made = Keys(cli)
    made.configure()
    return made


@pytest.fixture
def chain(keys: Keys, volume: Path) -> list[bytes]:
    """The bytes of the backups `full` and `next`."""
    full = volume.read_bytes()
    keys.cli.create(volume, '--name', 'full')
    changed = change(volume)
    keys.cli.create(volume, '--name', 'next', '--incremental')
    return [full, changed]


def test_the_main_flow(keys: Keys, chain: list[bytes], volume: Path) -> None:
    cli = keys.cli
    data = b''.join(keys.objects().values())
    assert b'changed' * 10 not in data and chain[0][:64] not in data
    assert keys.recipients('full') == keys.recipients('next') == ['main (file)']
    cli.good('backup', 'verify', '--all')
    assert [keys.restored('full'), keys.restored('next')] == chain

    keys.configure(sections='main escrow pass')
    before = keys.objects()
    for name in ('escrow', 'pass'):
        assert cli.json('key', 'add', name, '--backend', 'local') == {
            'backend': 'local', 'sealed': 2, 'changed': 2, 'failed': 0}
    assert keys.recipients('full') == ['main (file)', 'escrow (file)', 'pass (passphrase)']
    after = keys.objects()
    assert {name for name in before.items() ^ after.items() if '_keys-' not in name[0]} == set()

    keys.file('main').rename(keys.directory / 'lost')
    for section in ('escrow', 'pass'):
        keys.configure(keys='', sections=section)
        assert [keys.restored('full'), keys.restored('next')] == chain
        cli.good('backup', 'verify', '--all')

    keys.configure(keys='escrow', sections='escrow pass')
    assert cli.json('key', 'remove', 'main', '--backend', 'local')['changed'] == 2
    keys.file('escrow').rename(keys.directory / 'escrow.lost')
    keys.configure(keys='other', sections='other pass')
    assert cli.json('key', 'rotate', '--backend', 'local')['changed'] == 2
    assert keys.recipients('next') == ['other (file)']
    keys.configure(keys='other', sections='other')
    assert [keys.restored('full'), keys.restored('next')] == chain
    changed = change(volume, 5_000)
    cli.create(volume, '--name', 'third', '--incremental')
    assert keys.restored('third') == changed
    cli.good('backup', 'delete', 'full')
    assert [keys.restored('next'), keys.restored('third')] == [chain[1], changed]


def test_any_one_recipient_suffices(keys: Keys, volume: Path) -> None:
    keys.configure('main, escrow, pass', 'main escrow pass')
    keys.cli.create(volume, '--name', 'full')
    for section in ('main', 'escrow', 'pass'):
        keys.configure('', section)
        assert keys.restored('full') == volume.read_bytes()


def test_without_a_key_it_is_said_and_nothing_is_touched(keys: Keys, chain: list[bytes],
                                                         volume: Path) -> None:
    before = keys.objects()
    target = keys.directory / 'target'
    keys.configure('', 'other')
    for _ in range(2):
        told = keys.cli.refused(4, 'backup', 'restore', 'next', target)
        assert 'sealed for main' in told and 'no key that is configured here opens it' in told
        assert keys.cli.run('backup', 'verify', 'next').code == 4
        assert not target.exists()
        keys.configure('', '')
    assert keys.objects() == before
    keys.configure()
    assert [keys.restored('full'), keys.restored('next')] == chain


def test_a_wrong_key_under_the_right_name_is_told_from_damage(keys: Keys, chain: list[bytes]
                                                              ) -> None:
    keys.file('main').write_bytes(keys.file('other').read_bytes())
    told = keys.cli.refused(4, 'backup', 'restore', 'next', keys.directory / 'target')
    assert '[key:main]: the key with the id ' in told and 'is needed' in told


def test_a_key_that_others_can_read_is_refused(keys: Keys, chain: list[bytes], volume: Path
                                               ) -> None:
    keys.file('main').chmod(0o640)
    before = keys.objects()
    told = keys.cli.refused(4, 'backup', 'restore', 'next', keys.directory / 'target')
    assert f'chmod 600 {keys.file("main")}' in told
    told = keys.cli.refused(2, 'backup', 'create', volume)
    assert f'chmod 600 {keys.file("main")}' in told
    assert keys.objects() == before
    assert keys.cli.json('key', 'list')[0]['at_hand'] is False


def test_a_backup_without_its_key_stores_nothing(keys: Keys, volume: Path) -> None:
    keys.file('main').unlink()
    told = keys.cli.refused(4, 'backup', 'create', volume)
    assert 'main.key cannot be read: No such file' in told
    assert [name for name in keys.cli.objects() if 'bf-container' not in name] == []


def with_digest(data: bytes) -> bytes:
    """What somebody changed on purpose: its digest fits."""
    covered = data[:data.rindex(b',\n  "keys_digest"')]
    digest = hashlib.sha256(covered).hexdigest().encode()
    return covered + b',\n  "keys_digest": "%s"\n}' % digest


def test_a_changed_entry_opens_nothing(keys: Keys, volume: Path) -> None:
    """Damage is damage; what was changed on purpose is useless, and that is noticed."""
    keys.cli.create(volume, '--name', 'full')
    path = next(keys.cli.store.rglob('*_keys-*'))
    path.chmod(0o600)
    good = path.read_bytes()
    entry = json.loads(good)['entries'][0]
    target = keys.directory / 'target'
    expected = {'key_id': 'is needed', 'salt': 'right key', 'nonce': 'right key',
                'sealed': 'right key', 'name': '(the keys) is damaged', 'type': 'sealed for main'}
    for member, told in expected.items():
        old = str(entry.get(member) or entry['wrapped'][member])
        new = ('0' if old[0] != '0' else '1') + old[1:]
        changed = good.replace(f'"{old}"'.encode(), f'"{new}"'.encode(), 1)
        path.write_bytes(changed)
        assert 'is damaged' in keys.cli.refused(6, 'backup', 'restore', 'full', target)
        path.write_bytes(with_digest(changed))
        code = 6 if 'damaged' in told else 4
        assert told in keys.cli.refused(code, 'backup', 'restore', 'full', target)
        assert not target.exists()
    path.write_bytes(good)
    assert keys.restored('full') == volume.read_bytes()


def test_the_last_key_stays(keys: Keys, chain: list[bytes]) -> None:
    before = keys.objects()
    told = keys.cli.refused(4, 'key', 'remove', 'main', '--backend', 'local')
    assert 'nothing was changed' in told and 'nobody could open backup' in told
    assert keys.objects() == before


def test_where_the_remaining_key_cannot_open_nothing_changes(keys: Keys, chain: list[bytes]
                                                             ) -> None:
    keys.configure('main', 'main escrow')
    keys.cli.good('key', 'add', 'escrow', '--backend', 'local')
    before = keys.objects()
    keys.file('escrow').rename(keys.directory / 'away')
    told = keys.cli.refused(4, 'key', 'remove', 'main', '--backend', 'local')
    assert 'nothing was changed, because the key escrow cannot be used' in told
    assert keys.objects() == before


def test_a_key_without_a_section_is_not_dropped_by_the_way(keys: Keys, chain: list[bytes]) -> None:
    keys.configure('main', 'main escrow')
    keys.cli.good('key', 'add', 'escrow', '--backend', 'local')
    before = keys.objects()
    keys.configure('main', 'main other')
    done = keys.cli.run('key', 'add', 'other', '--backend', 'local')
    assert done.code == 2
    assert done.err.count('there is no section [key:escrow] to do so again') == 2
    assert keys.objects() == before
    keys.cli.good('key', 'remove', 'escrow', '--backend', 'local')
    assert keys.recipients('next') == ['main (file)']


def test_what_is_not_there_is_named(keys: Keys) -> None:
    told = keys.cli.refused(2, 'key', 'add', 'nobody', '--backend', 'local')
    assert 'there is no section [key:nobody]' in told
    for words in (['add', 'main'], ['remove', 'main'], ['rotate']):
        told = keys.cli.refused(3, 'key', *words, '--backend', 'nowhere')
        assert 'no backend nowhere is enabled' in told
    keys.configure('', 'main')
    assert 'names no keys' in keys.cli.refused(4, 'key', 'rotate', '--backend', 'local')


def test_one_backup_that_fails_stops_no_other(keys: Keys, make_volume: Volume) -> None:
    ids = [keys.cli.create(make_volume(f'disk{number}', 20_000, number))['id']
           for number in range(3)]
    path = next(keys.cli.store.rglob(f'*{ids[1]}_keys-1'))
    path.chmod(0o600)
    path.write_bytes(b'damaged')
    done = keys.cli.run('key', 'rotate', '--backend', 'local', '-f', 'json')
    assert done.code == 6
    assert done.json == {'backend': 'local', 'sealed': 3, 'changed': 2, 'failed': 1}
    assert f'Error: backup {ids[1]}: ' in done.err and 'is damaged' in done.err
    assert len(list(keys.cli.store.rglob('*_keys-2'))) == 2


def test_what_nobody_looks_at_needs_no_key(keys: Keys, chain: list[bytes]) -> None:
    """Listing, showing and deleting need no key, so a lost one is no dead end."""
    keys.file('main').unlink()
    for words in (['backup', 'list'], ['backup', 'show', 'next'], ['backend', 'list'],
                  ['backend', 'show', 'local'], ['backup', 'show', 'next', '--recipients'],
                  ['backup', 'delete', 'full', 'next']):
        keys.cli.good(*words)
    # What the maps name of others' cannot be known without the key.
    assert not [name for name in keys.cli.objects() if name.endswith(('-00001', '_metadata'))]


def test_nothing_of_keys_is_imported_before_one_is_needed(keys: Keys, volume: Path) -> None:
    keys.configure('', 'main pass')
    code = ('import sys\nfrom backup_framework.cmd import main\n'
            'code = main.main(sys.argv[1:])\n'
            'print(code, [name for name in sys.modules if name.startswith("cryptography")'
            ' or "key_managers" in name], file=sys.stderr)')
    for words in (['backend', 'list'], ['backup', 'create', str(volume)], ['backup', 'list']):
        done = subprocess.run(
            [sys.executable, '-c', code, '--config-file', str(keys.cli.config), *words],
            text=True, capture_output=True, timeout=60)
        assert done.stderr.splitlines()[-1] == '0 []', done.stderr


def test_unsealed_backups_are_read_as_the_catalog_knows_them_or_where_accepted(
        keys: Keys, volume: Path) -> None:
    keys.configure('', 'main')
    keys.cli.create(volume, '--name', 'plain')
    keys.configure()
    assert keys.restored('plain') == volume.read_bytes()
    for file in keys.cli.state.glob('catalog.sqlite*'):
        file.unlink()
    done = keys.cli.run('catalog', 'rebuild', 'local', '--adopt')
    assert done.code != 0 and 'is not sealed, as backups of this backend are' in done.err
    keys.configure(unsealed='accept')
    keys.cli.good('catalog', 'rebuild', 'local', '--adopt')
    assert keys.restored('plain') == volume.read_bytes()


def test_no_secret_is_ever_shown(keys: Keys, chain: list[bytes]) -> None:
    keys.configure('main, pass', 'main pass escrow other')
    digits = [keys.file(name).read_text().strip() for name in ('main', 'escrow', 'other')]
    shown = ''
    for words in (['key', 'list'], ['key', 'rotate', '--backend', 'local'],
                  ['key', 'add', 'escrow', '--backend', 'local'],
                  ['key', 'remove', 'nobody', '--backend', 'local'],
                  ['backend', 'show', 'local'], ['backup', 'show', 'next', '--recipients'],
                  ['backup', 'export', 'next'], ['backup', 'verify', '--all'],
                  ['backup', 'restore', 'next', str(keys.directory / 'out')], ['config', 'sample']):
        done = keys.cli.run('--debug', *words)
        assert done.code == 0, done.err
        shown += done.out + done.err
    keys.configure('main', 'main')
    keys.file('main').write_bytes(b'not a key')
    shown += keys.cli.run('--debug', 'backup', 'restore', 'next', keys.directory / 'x').err
    assert 'holds no key' in shown
    for secret in (PHRASE, *digits, *(repr(bytes.fromhex(each))[2:20] for each in digits)):
        assert secret not in shown
    for file in keys.cli.state.rglob('*'):
        if file.is_file():
            data = file.read_bytes()
            assert not any(secret.encode() in data or bytes.fromhex(secret) in data
                           for secret in digits)
            assert PHRASE.encode() not in data


def test_an_exported_record_holds_no_keys_and_is_enough(keys: Keys, chain: list[bytes]) -> None:
    record = keys.cli.good('backup', 'export', 'next', '-f', 'json').out
    assert 'sealed' not in record
    keys.cli.good('backup', 'forget', 'next')
    (keys.directory / 'record').write_text(record)
    keys.cli.good('backup', 'import', str(keys.directory / 'record'))
    assert keys.restored('next') == chain[1]


def test_a_lost_catalog_is_rebuilt_with_the_key_alone(keys: Keys, chain: list[bytes]) -> None:
    for file in keys.cli.state.glob('catalog.sqlite*'):
        file.unlink()
    keys.cli.good('catalog', 'rebuild', 'local', '--adopt')
    assert [keys.restored('full'), keys.restored('next')] == chain


def test_two_rotations_at_once_are_refused(keys: Keys, chain: list[bytes], gate: Gate) -> None:
    keys.configure(workers=0)
    gate.shut('written *_keys-2')
    first = keys.cli.start('key', 'rotate', '--backend', 'local')
    gate.wait()
    told = keys.cli.refused(4, 'key', 'rotate', '--backend', 'local')
    assert 'are being changed already' in told
    gate.open()
    assert first.wait().code == 0
    assert [keys.restored('full'), keys.restored('next')] == chain


STEPS = ['writing *_keys-*', 'reading *_keys-2', 'deleted *_keys-1']
"""Some; `tests/trust/keys` has them all."""


@pytest.mark.parametrize('step', STEPS)
def test_a_rotation_that_is_killed_leaves_every_backup_readable(
        keys: Keys, chain: list[bytes], gate: Gate, step: str) -> None:
    """With the old key or the new one; and the next rotation goes on with it."""
    keys.configure('other', 'other main', workers=0)
    gate.shut(step)
    running = keys.cli.start('key', 'rotate', '--backend', 'local')
    gate.wait()
    running.kill()
    gate.open()
    keys.configure('other', 'other main')
    told = keys.cli.good('backup', 'list').err
    assert 'changing the keys of backend local was interrupted' in told
    assert [keys.restored('full'), keys.restored('next')] == chain
    again = keys.cli.good('key', 'rotate', '--backend', 'local', '-f', 'json')
    assert again.json['changed'] == 2
    keys.configure('other', 'other')
    assert [keys.restored('full'), keys.restored('next')] == chain
    assert len([name for name in keys.cli.objects() if '_keys-' in name]) == 2


def test_a_key_that_is_removed_stays_in_no_older_generation(keys: Keys, chain: list[bytes],
                                                            gate: Gate) -> None:
    keys.configure('main', 'main escrow', workers=0)
    keys.cli.good('key', 'add', 'escrow', '--backend', 'local')
    gate.shut('written *_keys-3')
    running = keys.cli.start('key', 'remove', 'escrow', '--backend', 'local')
    gate.wait()
    running.kill()
    gate.open()
    keys.cli.good('key', 'remove', 'escrow', '--backend', 'local')
    for path in keys.cli.store.rglob('*_keys-*'):
        names: list[Any] = json.loads(path.read_bytes())['entries']
        assert [entry['name'] for entry in names] == ['main']


def test_a_backup_that_ends_while_keys_are_changed_is_named(
        keys: Keys, make_volume: Volume, gate: Gate) -> None:
    """It is sealed as was configured when it began, whether it runs still or has ended."""
    cli, remove = keys.cli, ('key', 'remove', 'escrow', '--backend', 'local')
    keys.configure('main, escrow', 'main escrow', workers=0)
    full = cli.create(make_volume())
    gate.shut('writing *_metadata')
    running = cli.start('backup', 'create', make_volume('other', seed=2), '-f', 'json')
    gate.wait()
    looking = Gate(keys.directory / 'looking')
    keys.configure('main', 'main escrow', gate=looking.directory)
    late = next(row['id'] for row in cli.json('backup', 'list') if row['id'] != full['id'])
    told = cli.good(*remove).err
    assert f'backup {late} is running, or has ended meanwhile' in told and full['id'] not in told
    looking.shut('reading *_keys-*')
    removing = cli.start(*remove)
    looking.wait()
    gate.open()
    assert running.wait().code == 0
    looking.open()
    done = removing.wait()
    assert done.code == 0 and f'backup {late} is running, or has ended meanwhile' in done.err
    assert keys.recipients(late) == ['main (file)', 'escrow (file)']
    assert 'repeat this' not in cli.good(*remove).err
    assert keys.recipients(late) == ['main (file)']


def test_a_store_that_fails_after_the_change_hides_nothing_that_was_done(
        keys: Keys, chain: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Here once both were attempted, when those are looked for that ended meanwhile."""
    attempts: list[str] = []
    rewrap, entries = key_sets.rewrap, LocalBackupDriver.get_container_entries

    def rewrap_one(container: Any, prefix: str, *others: Any) -> None:
        attempts.append(prefix)
        if len(attempts) == 2:
            raise exceptions.CorruptManifest('no key')
        rewrap(container, prefix, *others)

    def list_no_more(driver: LocalBackupDriver, container: str, prefix: str) -> list[str]:
        if len(attempts) == 2:
            raise exceptions.PermissionDenied('listing is forbidden')
        return entries(driver, container, prefix)
    keys.configure(workers=0)
    monkeypatch.setattr(key_sets, 'rewrap', rewrap_one)
    monkeypatch.setattr(LocalBackupDriver, 'get_container_entries', list_no_more)
    told: list[str] = []
    with Manager(conf.load([str(keys.cli.config)]), warn=told.append) as manager:
        done = manager.rotate_keys('local')
    assert (done.sealed, done.changed) == (2, 1)
    assert [str(error) for _, error in done.failures] == ['no key']
    warning, = told
    assert 'backups of backend local that have ended meanwhile could not be looked for' in warning
    assert 'listing is forbidden' in warning


def test_a_new_key_file_is_private(cli: CommandLine) -> None:
    for umask in (0o000, 0o077):
        before = os.umask(umask)
        try:
            done = subprocess.run(cli.script_words('key', 'generate', f'{umask}.key'),
                                  cwd=cli.directory, capture_output=True, text=True, timeout=60)
        finally:
            os.umask(before)
        assert done.returncode == 0, done.stderr
        assert (cli.directory / f'{umask}.key').stat().st_mode & 0o777 == 0o600
        assert done.stdout == ''
    assert 'never overwritten' in cli.refused(4, 'key', 'generate', '0.key')
