"""Backups and restores that were killed on their way, and gone on with."""

from __future__ import annotations

import random
import re
import signal

import pytest

from tests.functional.conftest import change

OBJECTS = 20
CHUNK = 5 << 20
"""Chunks so large that each becomes an object of its own."""


@pytest.fixture
def large(cli, gate, tmp_path):
    """A volume of many objects, backed up by one worker after the other."""
    cli.configure(format='2.0.0', chunk_size=CHUNK, block_size='64KiB', workers=1)
    path = tmp_path / 'disk'
    path.write_bytes(random.Random(1).randbytes(OBJECTS * CHUNK))
    return path


def killed(cli, gate, stop: str, *argv: object) -> dict:
    """The record of a create that was killed at this step."""
    gate.shut(stop)
    running = cli.start('backup', 'create', *argv)
    gate.wait()
    running.kill()
    gate.open()
    cli.good('backend', 'clean', '--older-than', 0)
    return cli.json('backup', 'list', '--status', 'error')[0]


def sizes(cli) -> dict[str, int]:
    """The objects of the store, by name."""
    return {name: (cli.store / name).stat().st_size for name in cli.objects()}


@pytest.mark.parametrize('percent', [25, 50, 75, 99])
def test_what_was_stored_is_not_sent_again(cli, gate, large, percent):
    done = OBJECTS * percent // 100
    lost = killed(cli, gate, f'writing *-{done + 1:05d}', large)
    before = sizes(cli)
    assert len([name for name in before if re.search(r'-\d{5}$', name)]) == done
    made = cli.create(large, '--resume')
    assert (made['id'], made['status']) == (lost['id'], 'available')
    after = sizes(cli)
    sent = sum(size for name, size in after.items() if name not in before)
    assert before.items() <= after.items()
    assert sent <= (OBJECTS - done) * (CHUNK + 100_000) + CHUNK
    cli.good('backup', 'verify', made['id'])
    cli.good('backup', 'restore', made['id'], 'target')
    assert (cli.directory / 'target').read_bytes() == large.read_bytes()
    cli.good('backup', 'delete', made['id'])
    assert [name for name in cli.objects() if made['id'] in name] == []
