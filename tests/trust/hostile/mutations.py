"""Inputs near those that are taken: bytes changed blindly, and JSON changed as what it is."""

from __future__ import annotations

from collections.abc import Sequence
import copy
import json
import random
from typing import Any

NUMBERS = [0, 1, 127, 255, 256, 65535, 65536, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 62,
           2 ** 63 - 1, 2 ** 64 - 1]
TOKENS = [
    b'', b'\0', b'\xff', b'\xed\xa0\x80', b'"', b'\\', b'\\ud800', b'\\u0000', b'[', b']', b'{',
    b'}', b',', b':', b'null', b'true', b'NaN', b'Infinity', b'-Infinity', b'1e999', b'-1',
    b'9' * 5000, b'[' * 2000, b'{"a":' * 1500, b'"x":1,' * 50, b'..', b'../', b'/', b'%2e%2e%2f',
    b'\n', b'\r\n', b'\x1b[2J', b'2.0.0', b'1.0.0', b'bf2t', b'bf2.map.', b'x' * 300,
    '٣'.encode(), 'İ'.encode(), b'KiB', b'T', b'$x', b'${x}', b'~root']
HOSTILE: list[Any] = [
    None, True, False, 0, -1, 1, 1.5, 1e308, float('nan'), 2 ** 31, 2 ** 62, 2 ** 63, 10 ** 30, '',
    '0', 'x' * 300, '\ud800', '\0', '\x1b[2J', '../../etc/passwd', '/etc/passwd', 'a\nb', [], {},
    [[]], [0], [None] * 40, {'': ''}, {'a': {'b': []}}, {'\ud800': 1}, 'None', '1.0.0', '2.0.0',
    '0001-01-01T00:00:00+23:59', '9999-12-31T23:59:59-23:59', '2026-02-30', '٣' * 32]


def mutated(source: random.Random, samples: Sequence[bytes]) -> bytes:
    """One input, a few changes away from a sample."""
    data = source.choice(samples)
    if source.random() < .6 and (changed := _changed_json(source, data)) is not None:
        data = changed
        if source.random() < .8:
            return data
    for _ in range(source.choice((1, 1, 1, 2, 3, 8))):
        data = source.choice(_STEPS)(source, data, samples)
    return data


def _changed_json(source: random.Random, data: bytes) -> bytes | None:
    """The document with some of its values replaced, dropped or doubled; None if it is none."""
    try:
        members = json.loads(data)
    except ValueError:
        return None
    for _ in range(source.choice((1, 1, 2))):
        places = list(_places(members))
        if not places:
            break
        holder, key = source.choice(places)
        what = source.random()
        if what < .75:
            holder[key] = copy.deepcopy(source.choice(HOSTILE))
        elif what < .9:
            del holder[key]
        elif isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        else:
            name = source.choice(('', 'x', '\ud800', '../x', 'new-00009'))
            holder[name] = copy.deepcopy(holder[key])
    return json.dumps(members, indent=source.choice((None, 2))).encode()


def _places(value: Any) -> Any:
    """Every (holder, key) of a document."""
    items = (value.items() if isinstance(value, dict) else enumerate(value)
             if isinstance(value, list) else ())
    for key, item in items:
        yield value, key
        yield from _places(item)


def _flip(source: random.Random, data: bytes, samples: Sequence[bytes]) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    changed[source.randrange(len(data))] ^= source.choice((1, 2, 4, 8, 16, 32, 64, 128, 255))
    return bytes(changed)


def _number(source: random.Random, data: bytes, samples: Sequence[bytes]) -> bytes:
    size = source.choice((1, 2, 4, 8))
    at = source.randrange(len(data) + 1)
    number = source.choice(NUMBERS) % (1 << 8 * size)
    return data[:at] + number.to_bytes(size, 'little') + data[at + size:]


def _token(source: random.Random, data: bytes, samples: Sequence[bytes]) -> bytes:
    at = source.randrange(len(data) + 1)
    return data[:at] + source.choice(TOKENS) + data[at + source.choice((0, 0, 1, 4)):]


def _cut(source: random.Random, data: bytes, samples: Sequence[bytes]) -> bytes:
    first, last = sorted(source.randrange(len(data) + 1) for _ in range(2))
    return data[:first] + data[last:] if source.random() < .6 else data[:first]


def _double(source: random.Random, data: bytes, samples: Sequence[bytes]) -> bytes:
    first, last = sorted(source.randrange(len(data) + 1) for _ in range(2))
    return data[:last] + data[first:]


def _splice(source: random.Random, data: bytes, samples: Sequence[bytes]) -> bytes:
    other = source.choice(samples)
    return data[:source.randrange(len(data) + 1)] + other[source.randrange(len(other) + 1):]


_STEPS = (_flip, _flip, _number, _token, _token, _cut, _double, _splice)
