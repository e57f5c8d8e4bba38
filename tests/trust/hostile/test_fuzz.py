"""Parsers take any bytes, or refuse them with an error of ours, soon and in little memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import random
import resource
import time
import zlib

import pytest

from tests.trust.hostile import mutations, parsers

CORPUS = Path(__file__).parent / 'corpus'
INPUTS = 2000
SECONDS = 1.0
LONGER = {'hash_list': 3.0}
"""Cinder may hash blocks of nearly 2 GiB; the digest of one of zeros takes its time, once."""
NEVER_REFUSED = {'name', 'value'}
"""These look at answers themselves."""
MEMORY = 256 << 10
"""What the whole run of a parser may add to the process, in KiB."""


def corpus(name: str) -> list[bytes]:
    """What was found before: inputs that broke something, and those that reach far."""
    return [file.read_bytes() for file in sorted((CORPUS / name).glob('*'))]


def fed(name: str, data: bytes) -> bool:
    """Whether the parser takes it; fails where something undeclared comes out, or too late."""
    started = time.process_time()
    try:
        parsers.FUZZED[name].parse(data)
        return True
    except parsers.DECLARED as error:
        assert len(str(error)) < 3000, 'a message is no copy of the input'
        return False
    finally:
        assert time.process_time() - started < LONGER.get(name, SECONDS), data[:200]


def inputs(name: str, count: int) -> Iterator[bytes]:
    source = random.Random(zlib.crc32(name.encode()))
    samples = [*parsers.FUZZED[name].samples(), *corpus(name)]
    yield from samples
    for _ in range(count):
        yield mutations.mutated(source, samples)


@pytest.mark.parametrize('name', parsers.FUZZED)
def test_nothing_undeclared_comes_out(name: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    taken = [fed(name, data) for data in inputs(name, INPUTS)]
    assert len(taken) > INPUTS
    assert sum(taken) > (0 if name == 'keys' else 10), 'what is near to right is taken'
    assert name in NEVER_REFUSED or sum(taken) < INPUTS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY


@pytest.mark.parametrize('name', parsers.FUZZED)
def test_samples_are_taken(name: str) -> None:
    """A parser that refused everything would pass as well."""
    taken = [fed(name, data) for data in parsers.FUZZED[name].samples()]
    assert any(taken)


def test_the_corpus_is_small() -> None:
    files = [file for file in CORPUS.rglob('*') if file.is_file()]
    assert {file.parent.name for file in files} <= set(parsers.FUZZED)
    bodies = [(file.parent, file.read_bytes()) for file in files]
    assert len(set(bodies)) == len(bodies) and sum(len(body) for _, body in bodies) < 300 << 10


@pytest.mark.long
@pytest.mark.parametrize('name', parsers.FUZZED)
def test_many_more(name: str) -> None:
    until = time.monotonic() + 25
    source = random.Random(1 + zlib.crc32(name.encode()))
    samples = [*parsers.FUZZED[name].samples(), *corpus(name)]
    count = 0
    while time.monotonic() < until:
        fed(name, mutations.mutated(source, samples))
        count += 1
    assert count > 2 * INPUTS
