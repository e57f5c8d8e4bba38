"""Every call to a store fails, in every way, once and from then on, in both formats."""

from __future__ import annotations

from collections.abc import Iterator
import itertools

import pytest

from tests.trust.faults import oracle, scenes
from tests.trust.faults.scenes import Clock, Scene
from tests.trust.faults.striking import KINDS, Kind, Striker

DAMAGE = frozenset({'CorruptManifest', 'CorruptObject', 'MissingObject'})
"""How an operation ends that was given wrong bytes, and saw it."""

OUTCOMES: dict[str, tuple[set[str], set[str]]] = {
    # kind: (how an operation may end when it happens once, and when it happens from then on)
    'unavailable': ({'done'}, {'StoreUnavailable'}),
    'lost answer': ({'done'}, {'StoreUnavailable'}),
    'come later': ({'done'}, {'StoreUnavailable'}),
    'denied': ({'PermissionDenied'}, {'PermissionDenied'}),
    'full': ({'StoreFull'}, {'StoreFull'}),
    'full afterwards': ({'StoreFull'}, {'StoreFull'}),
    'exists': ({'ObjectExists'}, {'ObjectExists'}),
    'not found': ({'ObjectNotFound', 'MissingObject'}, {'ObjectNotFound', 'MissingObject'}),
    'foreign': ({'DriverBug'}, {'DriverBug'}),
    'foreign afterwards': ({'DriverBug'}, {'DriverBug'}),
    # Found by verify and restore, which the oracle asks.
    'stores half': ({'done'}, {'done'}),
    'stores other bits': ({'done'}, {'done'}),
    'reads half': ({'done', *DAMAGE}, {'done', *DAMAGE}),
    'reads other bits': ({'done', *DAMAGE}, {'done', *DAMAGE}),
    'reads nothing': ({'done', *DAMAGE}, {'done', *DAMAGE}),
    'old listing': ({'done', 'StoreError'}, {'done', 'StoreError'}),
    'twice in a listing': ({'done'}, {'done'}),
    'wrong size': ({'done'}, {'done'}),
}
assert OUTCOMES.keys() == KINDS.keys()

LENIENT = {
    'incremental': 'a parent that cannot be read makes it a full backup, with a warning',
    'full with duplicates': 'what cannot be learnt costs savings only',
    'verify': 'what is missing is a problem that it reports',
    'quick verify': 'what is missing is a problem that it reports',
    'restore': 'format 1.0.0 reads without the digests of blocks where it has to',
    'copy': 'as a restore',
    'delete': 'a manifest of another backup that is gone by now uses nothing',
    'delete of a parent': 'as a delete',
}
"""Operations that may also be done although a call failed for good, and why."""

Way = tuple[str, bool]
"""A kind, and whether it happens from then on."""

TELLING: frozenset[Way] = frozenset({
    ('unavailable', False), ('unavailable', True), ('lost answer', False), ('lost answer', True),
    ('full', False), ('exists', False), ('not found', True), ('foreign', True),
    ('stores other bits', False), ('reads other bits', True), ('old listing', True)})
"""Of every run of the tests."""

ALL = frozenset(itertools.product(KINDS, (False, True)))
FEWER: frozenset[Way] = frozenset({
    ('unavailable', True), ('lost answer', False), ('foreign', True),
    ('stores other bits', False)})


def telling(name: str) -> frozenset[Way]:
    """Fewer where much is what another operation does as well."""
    return FEWER if name in ('full with duplicates', 'copy') else TELLING

Case = tuple[str, int, str, bool]


@pytest.fixture(scope='module')
def clock() -> Iterator[Clock]:
    with scenes.no_waiting() as made:
        yield made


@pytest.fixture(scope='module', params=scenes.VERSIONS)
def scene(request: pytest.FixtureRequest, clock: Clock) -> Scene:
    return Scene(request.param, clock)


def cases(scene: Scene, name: str, ways: frozenset[Way]) -> Iterator[Case]:
    """Every position of the operation, with every kind that makes sense there."""
    counting = Striker()
    assert scenes.run(scene, name, counting).error is None
    for call, (kind, forever) in itertools.product(counting.calls, sorted(ways)):
        if KINDS[kind].fits(call.verb):
            yield name, call.position, kind, forever


def strike(scene: Scene, case: Case) -> None:
    name, position, kind, forever = case
    striker = Striker(position, KINDS[kind], forever=forever)
    outcome = scenes.run(scene, name, striker)
    assert striker.struck
    allowed = OUTCOMES[kind][forever] | ({'done'} if name in LENIENT else set())
    assert outcome.said in allowed, f'{outcome.said}: {outcome.error}'
    oracle.check(scene, outcome)


def visit(scene: Scene, name: str, ways: frozenset[Way]) -> int:
    found = list(cases(scene, name, ways))
    for case in found:
        try:
            strike(scene, case)
        except Exception as error:
            raise AssertionError(f'{scene.version} {case}: {error}') from error
    return len(found)


LEAST = {'full': 200, 'full with duplicates': 100, 'incremental': 200, 'restore': 190,
         'verify': 240, 'quick verify': 90, 'delete': 32, 'delete of a parent': 38, 'copy': 200,
         'search': 95}
"""Cases in one format, at least: fewer are a hole in the enumeration."""


@pytest.mark.parametrize('name', scenes.OPERATIONS)
def test_a_call_that_fails(scene: Scene, name: str) -> None:
    if name == 'full with duplicates' and scene.version == '1.0.0':
        pytest.skip('this format finds no duplicates: it is the full backup again')
    assert visit(scene, name, telling(name)) >= LEAST[name]


@pytest.mark.long
@pytest.mark.parametrize('name', scenes.OPERATIONS)
def test_a_call_that_fails_in_the_other_ways(scene: Scene, name: str) -> None:
    assert visit(scene, name, ALL - telling(name)) >= LEAST[name]


# --- two faults in one operation

PAIRED = {'full': 'unavailable', 'delete': 'lost answer', 'delete of a parent': 'unavailable'}
THEN = ('lost answer', 'unavailable', 'denied')


def pairs(scene: Scene, name: str, step: int) -> Iterator[tuple[int, int, str]]:
    counting = Striker()
    scenes.run(scene, name, counting)
    last = len(counting.calls)
    every = itertools.product(itertools.combinations(range(1, last + 1), 2), THEN)
    for (first, second), kind in itertools.islice(every, 0, None, step):
        yield first, second, kind


def strike_twice(scene: Scene, name: str, first: int, second: int, kind: str) -> None:
    """The second fault meets what the first one led to: a repetition, or the cleaning up."""
    then: dict[int, Kind] = {second: KINDS[kind]}
    striker = Striker(first, KINDS[PAIRED[name]], more=then)
    outcome = scenes.run(scene, name, striker)
    assert striker.struck == 2
    wanted = {'done'} if kind != 'denied' else {'PermissionDenied'}
    assert outcome.said in wanted, f'{outcome.said}: {outcome.error}'
    oracle.check(scene, outcome)


def visit_pairs(scene: Scene, name: str, step: int) -> int:
    found = list(pairs(scene, name, step))
    for case in found:
        try:
            strike_twice(scene, name, *case)
        except Exception as error:
            raise AssertionError(f'{scene.version} {name} {case}: {error}') from error
    return len(found)


@pytest.mark.parametrize('name', PAIRED)
def test_some_pairs_of_faults(scene: Scene, name: str) -> None:
    assert visit_pairs(scene, name, 29) >= 2


@pytest.mark.long
@pytest.mark.parametrize('name', PAIRED)
def test_all_pairs_of_faults(scene: Scene, name: str) -> None:
    least = {'full': 1200, 'delete': 45, 'delete of a parent': 60}
    assert visit_pairs(scene, name, 1) >= least[name]
