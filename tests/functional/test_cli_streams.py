"""Volumes from a pipe and into one, parts of volumes, and targets that have most bytes already."""

from __future__ import annotations

import os
from pathlib import Path
import pty
import random
import re
import subprocess
import sys
import time

import pytest

from tests.functional.command_line import Done
from tests.functional.conftest import change

CHUNK = 65536


def fifo(cli, name: str) -> Path:
    path = cli.directory / name
    os.mkfifo(path)
    return path


def piped(cli, data: bytes, *argv: object) -> Done:
    """A backup of what comes through a pipe."""
    pipe = fifo(cli, f'pipe-{len(list(cli.directory.glob("pipe-*")))}')
    running = cli.start('backup', 'create', '-', '--volume', 'dump', '-f', 'json', *argv,
                        stdin=pipe)
    with open(pipe, 'wb') as file:
        file.write(data)
    done = running.wait()
    assert done.code == 0, done.err
    return done


def restored(cli, made: dict) -> bytes:
    """The bytes of a backup, by a stream."""
    return cli.good('backup', 'restore', made['id'], '-').output


@pytest.mark.parametrize('size', [0, CHUNK - 1, 4 * CHUNK, 300_001])
def test_a_stream_of_any_length(cli, version, size):
    data = random.Random(size).randbytes(size)
    made = piped(cli, data).json
    assert (made['size_bytes'], made['volume'], made['format']) == (size, 'dump', version)
    assert restored(cli, made) == data
    again = piped(cli, data, '--incremental').json
    # Of format 1.0.0 an incremental needs to know the size from the start.
    assert again['parent_id'] == (made['id'] if version == '2.0.0' else None)
    assert restored(cli, again) == data


def test_a_stream_that_grew_and_shrank(cli, version):
    """In format 2.0.0 it still shares what it has; 1.0.0 begins again, and says so."""
    data = random.Random(1).randbytes(300_001)
    piped(cli, data)
    for other in data + b'more', data[:200_000]:
        done = piped(cli, other, '--incremental')
        assert done.json['size_bytes'] == len(other) and restored(cli, done.json) == other
        if version == '1.0.0':
            assert done.json['parent_id'] is None and 'full backup' in done.err
    cli.good('backup', 'verify', '--all')


def test_a_pipe_that_comes_in_pieces(cli):
    """Its end is the end of the volume: no pipe tells whether its writer was done."""
    pipe = fifo(cli, 'in')
    running = cli.start('backup', 'create', '-', '--volume', 'dump', '-f', 'json', stdin=pipe)
    with open(pipe, 'wb', buffering=0) as file:
        for piece in b'one', b'two' * 30_000, b'':
            file.write(piece)
            time.sleep(0.05)
    done = running.wait()
    assert done.code == 0, done.err
    assert restored(cli, done.json) == b'one' + b'two' * 30_000


def test_a_stream_needs_a_name_and_no_terminal(cli):
    assert '--volume' in cli.refused(2, 'backup', 'create', '-', stdin='data')
    assert cli.json('backup', 'list') == []
    master, slave = pty.openpty()
    try:
        done = cli.script('backup', 'create', '-', '--volume', 'dump', stdin=slave)
        assert done.returncode == 2 and 'terminal' in done.stderr
        made = cli.create('-', '--volume', 'dump', stdin='data')
        terminal = Path(os.ttyname(slave))
        assert 'terminal' in cli.refused(2, 'backup', 'restore', made['id'], '-', stdout=terminal)
    finally:
        os.close(master)
        os.close(slave)


def closed(cli, redirection: str, *argv: object):
    """A command that is started without one of its standard streams."""
    return subprocess.run(['sh', '-c', f'exec "$@" {redirection}', 'sh',
                           *cli.script_words(*argv)], stderr=subprocess.PIPE, text=True,
                          timeout=60, check=False)


def test_a_stream_that_is_closed_is_no_empty_volume(cli):
    done = closed(cli, '<&-', 'backup', 'create', '-', '--volume', 'dump')
    assert done.returncode == 2 and 'closed' in done.stderr
    assert cli.json('backup', 'list') == []
    made = cli.create('-', '--volume', 'dump', stdin='data')
    done = closed(cli, '>&-', 'backup', 'restore', made['id'], '-')
    assert done.returncode == 2 and 'closed' in done.stderr


def test_a_path_is_no_name_for_the_volume_of_a_stream(cli):
    assert '/dev/vg/web' in cli.refused(3, 'backup', 'create', '-', '--volume', '/dev/vg/web',
                                        stdin='data')
    assert cli.json('volume', 'list') == []


def test_nothing_but_the_volume_is_in_a_stream(cli, volume, version):
    made = cli.create(volume)
    done = cli.good('backup', 'restore', '--latest', volume, '-')
    assert done.output == volume.read_bytes()
    assert made['id'] in done.err
    for option in '--delta', '--force', '--truncate':
        assert 'stream' in cli.refused(2, 'backup', 'restore', made['id'], '-', option)


def test_a_reader_that_goes_away(cli, make_volume, version):
    cli.configure(chunk_size='1MiB', block_size='64KiB')
    made = cli.create(make_volume(size=8 << 20))
    pipe = fifo(cli, 'out')
    running = cli.start('backup', 'restore', made['id'], '-', stdout=pipe)
    with open(pipe, 'rb', buffering=0) as file:
        assert file.read(1000)
    done = running.wait()
    assert done.code == 141 and done.err.count('Error: ') == 1, (done.code, done.err)
    assert 'Traceback' not in done.err and 'damaged' not in done.err
    assert cli.json('backup', 'show', made['id'])['status'] == 'available'


def test_damage_ends_a_stream_before_a_wrong_byte(cli, make_volume, version):
    cli.configure(workers=0)
    volume = make_volume()
    made = cli.create(volume)
    broken = cli.store / next(name for name in cli.objects() if name.endswith('-00001'))
    data = bytearray(broken.read_bytes())
    data[len(data) * 3 // 4] ^= 1
    broken.write_bytes(data)
    done = cli.run('backup', 'restore', made['id'], '-')
    assert done.code == 6 and broken.name in done.err
    assert volume.read_bytes().startswith(done.output) and len(done.output) < 300_001


def test_parts_of_a_volume(cli, volume, version):
    cli.create(volume)
    change(volume)
    made = cli.create(volume, '--incremental')
    data = volume.read_bytes()
    for offset, length in [(0, 1), (300_000, 1), (CHUNK - 1, 2), (CHUNK, CHUNK), (150_000, 10)]:
        done = cli.good('backup', 'restore', made['id'], '-', '--range', f'{offset}:{length}')
        assert done.output == data[offset:offset + length]


@pytest.mark.parametrize('offset, length', [(0, 300_001), (99_001, 120_000)])
def test_a_part_alone_or_to_where_it_was(cli, make_volume, version, offset, length):
    """Alone in a new file; in its place in an existing one."""
    volume, used = make_volume(), make_volume('used', 310_000, seed=7)
    words = ('backup', 'restore', cli.create(volume)['id'])
    data, before = volume.read_bytes(), used.read_bytes()
    part = data[offset:offset + length]
    cli.good(*words, 'new', '--range', f'{offset}:{length}')
    assert (cli.directory / 'new').read_bytes() == part
    cli.refused(4, *words, used, '--range', f'{offset}:{length}')
    assert used.read_bytes() == before
    for more in ([], ['--delta']):
        used.write_bytes(before)
        done = cli.good(*words, used, '--force', '--range', f'{offset}:{length}', *more)
        assert used.read_bytes() == before[:offset] + part + before[offset + length:]
        assert 'left as they were' not in done.err


def test_ranges_that_are_none(cli, volume):
    made = cli.create(volume)
    words = ('backup', 'restore', made['id'], 'new', '--range')
    for text in '0', '1:2:3', 'a:b', '0:0', '-1:5', '5:-1', '', ':', '1:':
        assert cli.run(*words[:-1], f'--range={text}').code == 2, text
    done = cli.run(*words, '1MB:1')
    assert done.code == 2 and 'KB, MB and GB mean different things' in done.err
    for text in '0:300002', '300001:1', '1TiB:1TiB':
        assert '300001' in cli.refused(2, *words, text)
    assert '--truncate' in cli.refused(2, *words, '0:1', '--truncate', '--force')
    assert not (cli.directory / 'new').exists()
    cli.good(*words, '4KiB:1KiB')
    assert (cli.directory / 'new').read_bytes() == volume.read_bytes()[4096:5120]
    assert 'the range ends at byte 5121' in cli.refused(4, *words, '4097:1024', '--force')



@pytest.mark.parametrize('shape', ['equal', 'garbage', 'longer', 'shorter'])
def test_a_delta_writes_only_what_differs(cli, make_volume, version, shape):
    """The target is a file of holes and bytes: a hole that is equal stays one."""
    volume = make_volume(size=3 << 20)
    made = cli.create(volume)
    target = cli.directory / 'target'
    subprocess.run(['cp', '--sparse=always', volume, target], check=True)
    if shape == 'garbage':
        change(target, (1 << 20) + 200_000, b'garbage' * 1000)
        change(target, 10, b'x')
    elif shape == 'longer':
        with open(target, 'ab') as file:
            file.write(b'tail')
    elif shape == 'shorter':
        os.truncate(target, 2_900_000)
    blocks = target.stat().st_blocks
    os.utime(target, (0, 0))
    more = ['--truncate'] if shape in ('longer', 'shorter') else []
    if shape == 'shorter':
        cli.refused(4, 'backup', 'restore', made['id'], target, '--force', '--delta')
    cli.good('backup', 'restore', made['id'], target, '--force', '--delta', *more)
    assert target.read_bytes() == volume.read_bytes()
    assert target.stat().st_blocks <= max(blocks, volume.stat().st_blocks) + 64
    if shape == 'equal':
        assert target.stat().st_mtime == 0


COUNTED = """
import sys
from backup_framework.cmd import main
code = main.main(sys.argv[2:])
with open('/proc/self/io') as counters, open(sys.argv[1], 'w') as file:
    file.write(counters.read())
sys.exit(code)
"""


def test_a_delta_of_a_few_blocks_writes_a_few(cli, make_volume, version):
    """Counted by the kernel: what the process has handed to write()."""
    volume = make_volume(size=6 << 20)
    made = cli.create(volume)
    target = cli.directory / 'target'
    target.write_bytes(volume.read_bytes())
    change(target, 12_345, b'y')
    change(target, 5 << 20, b'z' * 5000)
    counted = {}
    for more in ([], ['--delta']):
        trace = cli.directory / 'io'
        change(target, 12_345, b'y')
        change(target, 5 << 20, b'z' * 5000)
        subprocess.run([sys.executable, '-c', COUNTED, trace, '--config-file', cli.config, 'backup',
                        'restore', made['id'], target, '--force', *more], check=True,
                       capture_output=True, timeout=60)
        counted[bool(more)] = int(re.search(r'wchar: (\d+)', trace.read_text())[1])
        assert target.read_bytes() == volume.read_bytes()
    assert counted[True] < 400_000 < counted[False]


def test_bandwidth_is_kept(cli, make_volume, version):
    """A coarse bound from below: 1 MiB that cannot be packed, in more than half a second."""
    volume = make_volume(size=3 << 19)
    cli.configure(write_bandwidth='1MiB', read_bandwidth='1MiB')
    began = time.monotonic()
    made = cli.create(volume)
    assert time.monotonic() - began > 0.5
    began = time.monotonic()
    assert restored(cli, made) == volume.read_bytes()
    assert time.monotonic() - began > 0.5


def test_a_stream_goes_behind_what_is_there(cli, volume, version):
    """A shell's >> to a file, which could seek."""
    made = cli.create(volume)
    held = cli.directory / 'held'
    held.write_bytes(b'before')
    with open(held, 'ab') as file:
        done = cli.script('backup', 'restore', made['id'], '-', stdout=file)
    assert done.returncode == 0, done.stderr
    assert held.read_bytes() == b'before' + volume.read_bytes()
