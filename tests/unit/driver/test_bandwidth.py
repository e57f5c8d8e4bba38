"""Limits on bytes a second, on a clock that only sleeping moves."""

import contextlib
import io

import pytest

from backup_framework.driver import bandwidth


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Store:
    """Verbs on one object."""

    def __init__(self) -> None:
        self.object = io.BytesIO()

    def get_object_writer(self, container, name):
        return contextlib.nullcontext(self.object)

    get_object_reader = get_object_writer


@pytest.fixture
def clock():
    return Clock()


@pytest.mark.parametrize('rate, pieces, least', [
    (100, [100] * 10, 9.0), (100, [1] * 1000, 9.9), (1000, [100] * 10, 0.9), (10, [500], 0.0),
    (None, [500] * 9, 0.0), (0, [500] * 9, 0.0)])
def test_a_rate_is_kept(clock, rate, pieces, least):
    limit = bandwidth.Limit(rate, clock.sleep, clock)
    for length in pieces:
        limit.take(length)
    assert clock.now - 100.0 == pytest.approx(least, abs=0.11)


def test_what_was_not_used_is_not_saved_up(clock):
    limit = bandwidth.Limit(100, clock.sleep, clock)
    limit.take(100)
    clock.now += 1000
    before = clock.now
    for _ in range(3):
        limit.take(100)
    assert clock.now - before == pytest.approx(2.0)


def test_without_limits_the_verbs_are_the_drivers():
    store = Store()
    assert bandwidth.limited(store, None, 0, lambda seconds: None) is store


def test_writing_and_reading_wait_each_for_their_own():
    slept = []
    verbs = bandwidth.limited(Store(), 50, 100, slept.append)
    with verbs.get_object_writer('c', 'n') as writer:
        for _ in range(3):
            writer.write(bytes(100))
    assert slept == [pytest.approx(1.0, abs=0.2), pytest.approx(2.0, abs=0.2)]
    slept.clear()
    with verbs.get_object_reader('c', 'n') as reader:
        reader.seek(0)
        assert len(reader.read(100)) == 100
        reader.read(100)
    assert slept == [pytest.approx(2.0, abs=0.2)]
