"""When sessions are made, kept, given up and ended."""

from __future__ import annotations

import contextlib
import os
import threading

from backup_framework_sftp import pool
import pytest


class Session:
    """Counts; usable until it is closed or told otherwise."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.usable = True
        self.closed = 0

    def is_usable(self) -> bool:
        return self.usable and not self.closed

    def close(self) -> None:
        self.closed += 1


class Maker:
    """Makes them, and has them all."""

    def __init__(self) -> None:
        self.made: list[Session] = []
        self._lock = threading.Lock()

    def __call__(self) -> Session:
        with self._lock:
            self.made.append(Session(len(self.made)))
            return self.made[-1]

    @property
    def open(self) -> list[int]:
        return [session.number for session in self.made if not session.closed]


@pytest.fixture
def maker() -> Maker:
    return Maker()


@pytest.fixture
def sessions(maker: Maker) -> pool.Pool[Session]:
    return pool.Pool(maker, keep=3)


def borrow(sessions: pool.Pool[Session], count: int) -> None:
    """So many at once; all come back."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(sessions.lend())


def test_a_session_is_used_again(sessions: pool.Pool[Session], maker: Maker) -> None:
    for _ in range(3):
        with sessions.lend() as session:
            assert session.number == 0
    assert maker.open == [0]


def test_each_block_has_its_own(sessions: pool.Pool[Session], maker: Maker) -> None:
    with sessions.lend() as one, sessions.lend() as other:
        assert one is not other


def test_no_more_are_kept_than_wanted(sessions: pool.Pool[Session], maker: Maker) -> None:
    borrow(sessions, 7)
    assert len(maker.made) == 7
    assert len(maker.open) == 3


def test_an_idle_one_that_ended_is_replaced(sessions: pool.Pool[Session], maker: Maker) -> None:
    borrow(sessions, 3)
    for session in maker.made:
        session.usable = False
    with sessions.lend() as session:
        assert session.number == 3
    assert maker.open == [3]


def test_one_that_breaks_takes_the_idle_ones_along(sessions: pool.Pool[Session], maker: Maker
                                                   ) -> None:
    borrow(sessions, 3)
    with pytest.raises(OSError), sessions.lend() as session:
        session.usable = False
        raise OSError
    assert maker.open == []
    with sessions.lend() as session:
        assert session.number == 3


def test_an_error_alone_does_not_end_a_session(sessions: pool.Pool[Session], maker: Maker
                                               ) -> None:
    with pytest.raises(ValueError), sessions.lend():
        raise ValueError
    assert maker.open == [0]


def test_a_failure_to_make_one_is_told(maker: Maker) -> None:
    def fail() -> Session:
        raise OSError('no')
    with pytest.raises(OSError, match='no'), pool.Pool(fail, 1).lend():
        pass


def test_after_close_what_comes_back_is_ended(sessions: pool.Pool[Session], maker: Maker) -> None:
    borrow(sessions, 2)
    with sessions.lend() as session:
        sessions.close()
        sessions.close()
        assert maker.open == [session.number], 'one that is lent is left alone'
    assert maker.open == []
    assert all(session.closed == 1 for session in maker.made)


def test_a_closed_pool_opens_again(sessions: pool.Pool[Session], maker: Maker) -> None:
    sessions.close()
    borrow(sessions, 1)
    borrow(sessions, 1)
    assert maker.open == [0]


def in_child(check: object) -> int:
    """The exit code of a forked child: 0 where the check holds there."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if check() else 1)  # type: ignore[operator]
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_a_fork_inherits_no_session(sessions: pool.Pool[Session], maker: Maker) -> None:
    borrow(sessions, 2)

    def check() -> bool:
        with sessions.lend() as session:
            fresh = session.number == 2
        sessions.close()
        return fresh and [s.closed for s in maker.made] == [0, 0, 1]

    assert in_child(check) == 0
    with sessions.lend() as session:
        assert session.number in (0, 1), 'those of the parent go on'


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_a_fork_in_a_block_leaves_the_session_alone(sessions: pool.Pool[Session], maker: Maker
                                                    ) -> None:
    borrow(sessions, 2)

    def check() -> bool:
        block.__exit__(None, None, None)
        return [session.closed for session in maker.made] == [0, 0]

    block = sessions.lend()
    session = block.__enter__()
    session.usable = False
    assert in_child(check) == 0
    block.__exit__(None, None, None)
    assert maker.open == []


def test_many_threads(maker: Maker) -> None:
    sessions = pool.Pool(maker, keep=4)
    busy: set[int] = set()
    faults: list[object] = []

    def work(seed: int) -> None:
        for turn in range(300):
            with sessions.lend() as session:
                if session.number in busy or session.closed:
                    faults.append(session.number)
                busy.add(session.number)
                if (turn + seed) % 50 == 0:
                    session.usable = False
                busy.discard(session.number)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert len(maker.open) <= 4
    sessions.close()
    assert not maker.open
    assert all(session.closed == 1 for session in maker.made)
