"""Objects that are missing, cut, longer, swapped, foreign or older: found wherever they count."""

from __future__ import annotations

from collections.abc import Iterator
import random

import pytest

from tests.trust.integrity import rig
from tests.unit.driver import chains

FORMS = ['2.0.0 none', '2.0.0 zstd', '2.0.0 sealed', '1.0.0 none', '1.0.0 zlib']
SMALL = 8 << 10
LENGTHS = 64
STEP = 101
"""One length in so many in `make test`."""

each_form = pytest.mark.parametrize('form', FORMS)


def make_store(form: str) -> rig.Chain:
    """The chain, one on it in which nothing changed, and a backup of another volume beside it."""
    chain = rig.make_chain(form)
    chain.take(chain.volumes[1], chain.backups[1], id=f'{3:08x}-0000-4000-8000-000000000000')
    chain.take(random.Random(6).randbytes(5 * rig.CHUNK), volume_id='volume-2',
               id=f'{4:08x}-0000-4000-8000-000000000000')
    return chain


def lengths(size: int, step: int) -> Iterator[int]:
    """To which an object of this size is cut."""
    if size <= SMALL:
        yield from range(0, size, step)
    else:
        yield from (size * number // LENGTHS for number in range(LENGTHS))
    yield size - 1


Changed = dict[str, bytes | None]
"""Objects with other bytes, or None where they are gone."""


def damages(chain: rig.Chain, name: str, step: int) -> Iterator[tuple[str, Changed]]:
    """What was done, and the objects that it changes."""
    body = chain.sound[name]
    yield 'missing', {name: None}
    for length in lengths(len(body), step):
        yield f'cut to {length}', {name: body[:length]}
    for tail in (b'\0', b'}', random.Random(1).randbytes(4096), bytes(4096)):
        yield f'with {len(tail)} bytes more', {name: body + tail}
    for other, theirs in chain.sound.items():
        if other != name:
            yield f'with the bytes of {other}', {name: theirs}
        if other > name:
            yield f'swapped with {other}', {name: theirs, other: body}


def counts_for(chain: rig.Chain, number: int, changed: Changed) -> bool:
    """Whether bytes that the backup uses are others now."""
    for name, body in changed.items():
        sound = chain.sound[name]
        for each in chain.covered[number].get(name, ()):
            # What stands at the end is found from there.
            moved = each.end == len(sound) and body is not None and len(body) != len(sound)
            if body is None or moved or body[each.start:each.end] != sound[each.start:each.end]:
                return True
    return False


def may_be_missing(chain: rig.Chain, number: int, changed: Changed) -> bool:
    """The hash list of format 1.0.0: without one a wrong parent would not be found, as is said."""
    return changed == {f'{chain.backups[number].service_metadata}_sha256file': None}


def judge(chain: rig.Chain, number: int, changed: Changed, what: str) -> bool:
    counts = counts_for(chain, number, changed) and not may_be_missing(chain, number, changed)
    # A restore that ends well is exact, which the rig asserts; one that fails wrote nothing wrong.
    found, refused = chain.found(chain.backups[number]), chain.restored(number)
    assert bool(found) == counts, (what, number, found)
    assert not refused or counts, (what, number, refused)
    return counts


def damage_all(form: str, step: int) -> tuple[int, int]:
    """How many cases there were, and how many of them counted for a backup."""
    chain = make_store(form)
    assert [chain.found(backup) for backup in chain.backups] == [[]] * 4
    cases = found = 0
    for name in chain.sound:
        for what, changed in damages(chain, name, step):
            for each, body in changed.items():
                chain.put(each, body)
            users = [number for number, used in enumerate(chain.covered)
                     if any(each in used for each in changed)]
            numbers = range(4) if cases % 16 == 0 else users[-2:]
            counted = [judge(chain, number, changed, f'{name} {what}') for number in numbers]
            found += any(counted)
            cases += 1
            chain.again()
    return cases, found


@each_form
def test_some_lengths_and_all_else(form: str) -> None:
    cases, found = damage_all(form, STEP)
    assert cases >= 400 and found > 0.8 * cases


@pytest.mark.long
@pytest.mark.timeout(900)
@each_form
def test_every_length(form: str) -> None:
    cases, found = damage_all(form, 1)
    assert cases >= 9000 and found > 0.8 * cases


@each_form
def test_a_copy_under_another_name_does_not_matter(form: str) -> None:
    chain = make_store(form)
    prefix = str(chain.backups[1].service_metadata)
    visited = 0
    for name, body in chain.sound.items():
        for other in (f'{prefix}-00077', f'{prefix}_map-7', 'volume_x_backup-00001',
                      name + '.old', f'{prefix}_keys-0'):
            chain.put(other, body)
            for number in (0, 1):
                assert not chain.found(chain.backups[number]) and not chain.restored(number)
            chain.put(other, None)
            visited += 1
    assert visited >= 55




@each_form
def test_an_object_of_an_older_backup_with_the_same_place(form: str) -> None:
    """The same number or kind, of the backup before and of the other volume: all at once."""
    chain = make_store(form)
    ours, *others = (str(chain.backups[number].service_metadata) for number in (1, 0, 3))
    for other in others:
        for name in chains.names(chain.driver):
            theirs = name.replace(other, ours)
            if name.startswith(other) and theirs in chain.sound:
                chain.put(theirs, chain.sound[name])
        assert chain.found(chain.backups[1]) and chain.restored(1)
        chain.again()
