"""Threads that the kit starts: whether they are at work at once, and whose error is told."""

from __future__ import annotations

import threading
import time

import pytest

from backup_framework.testing import bench, memory


class Kit:
    threads = 8
    patience_seconds = 20.0


@pytest.fixture
def table() -> bench.Bench:
    return bench.Bench(Kit(), memory.MemoryBackupDriver())


def test_all_are_inside_at_once(table: bench.Bench) -> None:
    inside: list[int] = []
    seen: list[int] = []

    def work(number: int, meet: bench.Meet) -> None:
        inside.append(number)
        meet()
        seen.append(len(inside))

    table.all_inside(work, 12)
    assert seen == [12] * 12


def test_a_thread_that_does_not_come_is_missed(table: bench.Bench,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kit, 'patience_seconds', 0.2)
    with pytest.raises(AssertionError, match='3 verbs are not open at once'):
        table.all_inside(lambda number, meet: meet() if number else None, 3)


def test_the_error_is_told_and_not_that_the_others_waited(table: bench.Bench) -> None:
    def work(number: int, meet: bench.Meet) -> None:
        if number == 2:
            raise KeyError('two')
        meet()

    started = time.monotonic()
    with pytest.raises(KeyError, match='two'):
        table.all_inside(work, 3)
    assert time.monotonic() - started < 10


def test_a_thread_is_spared(table: bench.Bench) -> None:
    used = set(table.side_by_side(lambda _: threading.get_ident(), range(100), spare=7))
    assert len(used) == 1
