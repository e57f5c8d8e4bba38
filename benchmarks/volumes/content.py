"""Bytes as volumes hold them: log text, binary records, noise. A seed says which.

Everything is made a column or a whole page at a time, by calls that loop in C.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import itertools
import random
import struct

MIB = 1 << 20
KINDS = ('text', 'records', 'noise', 'zeros')

LEVELS = ('INFO', 'INFO', 'WARN', 'DEBUG')
PROGRAMS = ('compute', 'network-agent', 'volume', 'identity', 'image-api', 'systemd', 'sshd',
            'kernel', 'postgres', 'rabbitmq', 'nginx', 'cron', 'scheduler')
EVENTS = ('accepted', 'rejected', 'started', 'finished', 'timed out', 'retried', 'connected',
          'closed', 'allocated', 'released', 'updated', 'created', 'deleted', 'queued')
SAID_BY = [f'{LEVELS[n % 4]} {PROGRAMS[n % 13]}' for n in range(256)]
SAID = [f'{EVENTS[n % 14]} after {EVENTS[n * 5 // 14 % 14]}' for n in range(256)]
LINE = ('2026-11-%02d %02d:%02d:%02d.%03d %s[%d] req-%04x%04x-%04x %s '
        'for 10.%d.%d.%d in %d.%03d s\n')
LINE_BYTES = 80  # at least

RECORD = 32
RECORD_CODES = bytes(min(n // 16, n % 5) for n in range(256))


def stream(kind: str, seed: str, size: int) -> Iterator[bytes]:
    """So many bytes in pieces of at most a MiB; the same ones for the same seed."""
    chance = random.Random(seed)
    for start in range(0, size, MIB):
        yield _MAKERS[kind](chance, min(MIB, size - start))


def _text(chance: random.Random, size: int) -> bytes:
    count = size // LINE_BYTES + 1

    def small(below: int) -> bytes:
        return chance.randbytes(count).translate(bytes(n % below for n in range(256)))

    def words() -> tuple[int, ...]:
        return struct.unpack(f'<{count}H', chance.randbytes(2 * count))

    columns = zip([chance.randint(1, 30)] * count, [chance.randrange(24)] * count,
                  sorted(small(60)), small(60), (number % 1000 for number in words()),
                  map(SAID_BY.__getitem__, small(64)), small(100), words(), words(), words(),
                  map(SAID.__getitem__, small(128)), small(4), small(8), small(255),
                  small(2), (number % 1000 for number in words()))
    return (LINE * count % tuple(itertools.chain.from_iterable(columns))).encode()[:size]


def _records(chance: random.Random, size: int) -> bytes:
    """A number that counts, six random bytes, six codes of few values, zeros."""
    count = size // RECORD + 1
    page = bytearray(RECORD * count)
    page[0::RECORD] = (bytes(range(256)) * (count // 256 + 1))[:count]
    page[1::RECORD] = bytes(number >> 8 & 255 for number in range(count))
    page[2::RECORD] = chance.randbytes(1) * count
    for column in (8, 9, 10, 16, 17):
        page[column::RECORD] = chance.randbytes(count)
    for column in (4, 12, 13, 20, 24, 25):
        page[column::RECORD] = chance.randbytes(count).translate(RECORD_CODES)
    return bytes(page[:size])


_MAKERS: dict[str, Callable[[random.Random, int], bytes]] = {
    'text': _text,
    'records': _records,
    'noise': lambda chance, size: chance.randbytes(size),
    'zeros': lambda _, size: bytes(size),
}
