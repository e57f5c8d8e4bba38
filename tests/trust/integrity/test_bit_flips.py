"""Each bit of every object of a chain is changed: a verification finds it, or it means the same.

In format 2.0.0 the page says which bytes those are, bit by bit. In 1.0.0 it is what MD5s, lengths
and the hash list can show: what a codec does not use may change, and so may the spelling of the
manifest's own digest.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.trust.integrity import rig

STEP = 331
"""One bit in so many in `make test`, others each time that one is added to what is stored."""
BOTH = 8
"""One in so many is looked at by both backups, the others by the newest one that uses the object.
"""
ZEROS = 4
"""Bits of the object of zeros that its codec does not use: zeros are stored with zstd always."""
MOST_THE_SAME = {'1.0.0 none': ZEROS, '1.0.0 zlib': 60 + ZEROS, '1.0.0 bz2': 60 + ZEROS,
                 '1.0.0 zstd': 60 + ZEROS}
"""Bits of objects of format 1.0.0 that may mean the same, of all those that are stored."""
SPELLING = 8 * len('backup_framework' 'sha256')
"""Without either word in its place the manifest of format 1.0.0 is as good as one of Cinder's."""

each_form = pytest.mark.parametrize('form', rig.FORMS)


def flip_all(form: str, step: int) -> Counter[str]:
    chain = rig.make_chain(form)
    assert [chain.found(backup) for backup in chain.backups] == [[], []]
    counts: Counter[str] = Counter()
    passed = 0
    for name, body in chain.sound.items():
        changed = bytearray(body)
        for bit in range(-passed % step, 8 * len(body), step):
            changed[bit // 8] ^= 1 << bit % 8
            chain.put(name, bytes(changed))
            for number in judges(chain, name, bit):
                counts[judge(chain, number, name, bit // 8)] += 1
            changed[bit // 8] ^= 1 << bit % 8
            counts['flips'] += 1
        chain.put(name, body)
        passed += 8 * len(body)
    assert counts['flips'] >= passed // step
    return counts


def judges(chain: rig.Chain, name: str, bit: int) -> list[int]:
    users = [number for number, used in enumerate(chain.covered) if name in used]
    return [0, 1] if bit % BOTH == 0 or not users else users[-1:]


def judge(chain: rig.Chain, number: int, name: str, at: int) -> str:
    found, refused = chain.found(chain.backups[number]), chain.restored(number)
    used = [each for each in chain.covered[number].get(name, ()) if each.start <= at < each.end]
    needs = {each.needed for each in used if each.is_covered}
    what = (name, at, number, found, refused)
    if not needs:
        assert used or (not found and not refused), what
        return 'not used'
    if chain.version == rig.OURS:
        assert found and (None in needs or bool(refused) == (True in needs)), what
        return 'found'
    assert found or not refused, what
    assert not refused or None in needs, what
    if found:
        return 'found'
    assert not name.endswith('_sha256file'), what
    return 'spelling' if name.endswith('_metadata') else 'same bytes'


def check(form: str, counts: Counter[str]) -> None:
    """What is not found is little, and of the two known kinds."""
    assert counts['found'] > 0.6 * counts['flips'], counts
    assert counts['same bytes'] <= MOST_THE_SAME.get(form, 0), counts
    assert counts['spelling'] <= (0 if form.startswith(rig.OURS) else 3 * SPELLING), counts


@each_form
def test_some_bits(form: str) -> None:
    counts = flip_all(form, STEP)
    assert counts['flips'] >= 200
    check(form, counts)


@pytest.mark.long
@pytest.mark.timeout(900)
@each_form
def test_all_bits(form: str) -> None:
    counts = flip_all(form, 1)
    assert counts['flips'] >= 70_000
    assert counts['not used'] > 1000
    check(form, counts)
    print(form, dict(counts))
