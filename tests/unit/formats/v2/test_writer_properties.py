"""Whatever volumes become, every state of a chain comes back exactly."""

import random

import hypothesis
from hypothesis import strategies as st

from backup_framework.formats import base
from backup_framework.formats.v2 import frames, gathering, scan, writer
from tests.unit.formats.v2.volumes import Volume, container, restore, take

PIECE = 512


@st.composite
def parameters(draw):
    block = draw(st.sampled_from([512, 1024, 4096]))
    return base.Choices(
        chunk_size=block * draw(st.sampled_from([1, 2, 5, 16])), block_size=block,
        compression=draw(st.sampled_from(['zstd', 'none', 'zlib'])),
        duplicates=draw(st.sampled_from(['volume', 'none'])),
        index_size=draw(st.sampled_from([0, 5000, 1 << 20])))


def content(kind, pieces, seed):
    """Zeros, text, noise, or one of few blocks that come again and again."""
    if kind == 'zeros':
        return bytes(pieces * PIECE)
    if kind == 'text':
        return (b'%d text ' % seed * PIECE)[:pieces * PIECE]
    if kind == 'again':
        return random.Random(seed % 3).randbytes(PIECE) * pieces
    return random.Random(seed).randbytes(pieces * PIECE)


PATCHES = st.lists(st.tuples(
    st.sampled_from(['zeros', 'text', 'noise', 'again']), st.integers(1, 24), st.integers(0, 9),
    st.integers(0, 80 * PIECE)), max_size=6)


def patched(data, patches):
    changed = bytearray(data)
    for kind, pieces, seed, at in patches:
        new = content(kind, pieces, seed)[:max(0, len(data) - at)]
        changed[at:at + len(new)] = new
    return bytes(changed)


@hypothesis.settings(max_examples=120, deadline=None)
@hypothesis.given(
    size=st.integers(0, 80 * PIECE), choices=parameters(), history=st.lists(PATCHES, min_size=1,
                                                                            max_size=4),
    grain=st.sampled_from([None, 100, 512, 4096]), workers=st.sampled_from([0, 0, 2]),
    limits=st.tuples(st.sampled_from([700, 1 << 20]), st.sampled_from([900, 1 << 20]),
                     st.sampled_from([1, 3, 100]), st.sampled_from([1024, 4096]),
                     st.sampled_from([2048, 1 << 20])))
def test_every_state_comes_back(size, choices, history, grain, workers, limits):
    before = (writer.SMALL, gathering.GATHERED, gathering.WAITING, frames.FRAME, scan.UNIT)
    (writer.SMALL, gathering.GATHERED, gathering.WAITING, frames.FRAME, scan.UNIT) = limits
    try:
        box = container()
        data, prefix, states = bytes(size), None, {}
        for number, patches in enumerate(history, 1):
            data = patched(data, patches)
            prefix, totals = take(box, number, Volume(data, grain), choices, prefix,
                                  workers=workers)
            assert totals.size_bytes == size
            states[prefix] = data
        for prefix, data in states.items():
            assert restore(box, prefix) == data
    finally:
        (writer.SMALL, gathering.GATHERED, gathering.WAITING, frames.FRAME, scan.UNIT) = before
