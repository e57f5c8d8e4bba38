"""Sealed backups beside unsealed ones through the command line: copied, checked, tidied up."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.functional.command_line import CommandLine
from tests.functional.conftest import change

SEALED = 'encryption = aes-256-gcm\nkeys = {}\n'


@pytest.fixture
def three(cli: CommandLine) -> CommandLine:
    """Backends that seal, that do not, and that seal for somebody else."""
    more = ''
    for name in ('main', 'other'):
        cli.good('key', 'generate', cli.directory / f'{name}.key')
        more += f'[key:{name}]\ntype = file\npath = {cli.directory / name}.key\n'
    for backend, keys in (('plain', None), ('sealed', 'main'), ('theirs', 'other')):
        more += (f'[{backend}]\ndriver = local\npath = {cli.directory / backend}\n'
                 'chunk_size = 64KiB\nblock_size = 4KiB\nformat = 2.0.0\n')
        (cli.directory / backend).mkdir()
        more += SEALED.format(keys) if keys else ''
    cli.configure(more, default='enabled_backends = sealed, plain, theirs')
    return cli


def stored(cli: CommandLine, backend: str) -> dict[str, bytes]:
    directory = cli.directory / backend
    return {str(file.relative_to(directory)): file.read_bytes()
            for file in directory.rglob('*') if file.is_file()}


def test_a_chain_is_copied_sealed_unsealed_and_sealed_for_others(
        three: CommandLine, volume: Path) -> None:
    held = [volume.read_bytes()]
    made = [three.create(volume, '--name', 'secret-one')]
    for number in range(2):
        held.append(change(volume, number * 9000, bytes([number + 1]) * 5000))
        made.append(three.create(volume, '--name', 'secret-two', '--incremental'))
    for backend in ('plain', 'theirs', 'sealed'):
        made = three.json('backup', 'copy', made[-1]['id'], '--to-backend', backend, '--chain')
        assert len(made) == 3
        for copied, data in zip(made, held, strict=True):
            target = three.directory / copied['id']
            three.good('backup', 'restore', copied['id'], target)
            assert target.read_bytes() == data
        found = any(b'secret-' in body for body in stored(three, backend).values())
        assert found == (backend == 'plain')
    three.good('backup', 'verify', '--all')


def test_what_is_sealed_is_neither_drift_nor_spare(three: CommandLine, volume: Path) -> None:
    first = three.create(volume)
    change(volume)
    three.create(volume, '--incremental', '--name', 'next')
    three.good('backup', 'delete', first['id'])
    before = stored(three, 'sealed')
    assert any('_keys-1' in name for name in before)
    assert three.json('catalog', 'check', '--repair') == []
    assert stored(three, 'sealed') == before
    three.good('catalog', 'rebuild', 'sealed')
    assert stored(three, 'sealed') == before
    # Without the key nothing can be said of them, and nothing is done.
    (three.directory / 'main.key').rename(three.directory / 'away')
    three.run('catalog', 'check', '--repair')
    assert stored(three, 'sealed') == before
    (three.directory / 'away').rename(three.directory / 'main.key')
    target = three.directory / 'target'
    three.good('backup', 'restore', 'next', target)
    assert target.read_bytes() == volume.read_bytes()


def test_turning_encryption_on_and_off_makes_full_backups(cli: CommandLine, volume: Path) -> None:
    cli.good('key', 'generate', cli.directory / 'main.key')
    key = f'[key:main]\ntype = file\npath = {cli.directory}/main.key\n'
    cli.configure(key, format='2.0.0')
    cli.create(volume)
    for encryption, said in (('aes-256-gcm', 'is not sealed, and new backups are'),
                             ('none', 'is sealed, and new backups are not')):
        cli.configure(key, encryption=encryption, keys='main')
        made = cli.create(volume, '--incremental')
        assert not made['is_incremental']
        assert [said in warning for warning in made['warnings']] == [True]
        assert cli.create(volume, '--incremental')['is_incremental']
