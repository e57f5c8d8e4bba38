"""The command line on volumes that sources have."""

from __future__ import annotations

from pathlib import Path
import random

from tests.functional.command_line import CommandLine
from tests.unit.volumes.conftest import reflinks  # noqa: F401

MIB = 1 << 20
DATA = random.Random(6).randbytes(8 * MIB)


def images(cli: CommandLine, path: Path, more: str = '') -> str:
    return f'[volumes:images]\ntype = file\npath = {path}\n{more}\n'


def test_a_volume_by_its_name(cli: CommandLine, tmp_path: Path) -> None:
    folder = tmp_path / 'images'
    folder.mkdir()
    (folder / 'mail').write_bytes(DATA)
    cli.configure(images(cli, folder, 'project_id = demo') + '[volumes:odd]\ntype = nobody\n')
    done = cli.run('backup', 'create', 'mail', '-f', 'json')
    assert done.code == 0 and 'source odd cannot be asked' in done.err
    first = done.json
    (volume,) = cli.json('volume', 'list')
    assert (volume['name'], volume['source'], volume['size_bytes']) == ('mail', 'images', 8 * MIB)
    assert first['volume_id'] == volume['id']
    (folder / 'mail').write_bytes(DATA[MIB:] + DATA[:MIB])
    second = cli.json('backup', 'create', volume['id'], '--incremental')
    assert second['parent_id'] == first['id']
    cli.json('backup', 'restore', second['id'], str(tmp_path / 'back'))
    assert (tmp_path / 'back').read_bytes() == DATA[MIB:] + DATA[:MIB]
    with open(folder / 'mail', 'r+b'):
        assert 'is in use' in cli.run('backup', 'create', 'mail').err
        assert 'is in use' not in cli.run('backup', 'create', 'mail', '--force').err
    (folder / 'mail').unlink()
    assert 'there is no volume' in cli.refused(3, 'backup', 'create', 'mail')
    assert 'no volume is known by that name' in cli.refused(3, 'backup', 'create', 'none')


def test_kept_states(cli: CommandLine, reflinks: Path) -> None:  # noqa: F811
    (reflinks / 'mail').write_bytes(DATA)
    try:
        cli.configure(images(cli, reflinks, 'keep_snapshot = yes'), incremental='yes')
        first = cli.json('backup', 'create', 'mail')
        (kept,) = reflinks.glob('.*')
        assert first['id'] in kept.name
        with open(reflinks / 'mail', 'r+b') as file:
            file.write(b'changed')
            file.flush()
            # In use as well: what is read is a copy.
            second = cli.json('backup', 'create', 'mail')
        assert second['parent_id'] == first['id'] and not second['warnings']
        (kept,) = reflinks.glob('.*')
        assert second['id'] in kept.name
        cli.json('backup', 'restore', second['id'], str(cli.directory / 'back'))
        assert (cli.directory / 'back').read_bytes() == b'changed' + DATA[7:]
        # The state is of another backup than the parent that is named: all is read.
        third = cli.json('backup', 'create', 'mail', '--parent', first['id'])
        assert third['parent_id'] == first['id'] and not third['warnings']
    finally:
        for path in reflinks.iterdir():
            path.unlink()
