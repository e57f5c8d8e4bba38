"""With a board: TaskFlow's conductor claims jobs, and the claims are kept while they run."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
import contextlib
import logging
import math
import threading
from typing import Any

from taskflow.conductors.backends.impl_nonblocking import NonBlockingConductor
from taskflow.exceptions import JobFailure, NotFound
from taskflow.types.timing import Timeout

from backup_framework.service.boards import Board, now
from backup_framework.service.local import MOST, POLL_SECONDS
from backup_framework.service.running import Run, Runner

LOG = logging.getLogger(__name__)


class Held:
    """The claim of a job. When it is lost the job stops here: another worker may have it.

    :param until: when it ends by itself, on our clock.
    """

    def __init__(self, board: Board, posting: Any, who: str, until: float, run: Run) -> None:
        self._board = board
        self._posting = posting
        self._who = who
        self._until = until
        self._run = run
        self._lock = threading.Lock()

    def is_ours(self) -> bool:
        """Ask the board, and make the claim last; while that does not answer, until it ends."""
        with self._lock:
            if not self.check_time():
                return False
            if self._until == math.inf:
                return True
            asked = now()
            try:
                ours = self._board.extend(self._posting, self._who)
            except JobFailure as error:
                LOG.info('The claim of job %s cannot be extended: %s', self._run.job.id, error)
                return self.check_time()
            self._until = asked + self._board.ttl if ours else 0.0
            return self.check_time()

    def release(self) -> None:
        """The posting is to be consumed or abandoned: that the claim is gone then is no loss."""
        with self._lock:
            if self.check_time():
                self._until = math.inf

    def check_time(self) -> bool:
        """Whether it has not ended; else the job is interrupted."""
        if now() < self._until:
            return True
        if not self._run.interrupted:
            LOG.warning('The claim of job %s is lost: it stops here', self._run.job.id)
            self._run.interrupt()
        return False


class Pause(Timeout):  # type: ignore[misc]
    """How long a conductor that has nothing to do waits: until a job ends, at most."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self._over = threading.Event()

    def end(self) -> None:
        self._over.set()

    def interrupt(self) -> None:
        super().interrupt()
        self.end()

    def wait(self) -> None:
        self._over.wait(self.value)
        self._over.clear()


class Conductor(NonBlockingConductor):  # type: ignore[misc]
    """Claims as many jobs as it may run, and consumes those that have ended.

    What it lacks for long jobs is here: claims are extended while they run.
    """

    def __init__(self, name: str, board: Board, runner: Runner, limit: int) -> None:
        self._pause = Pause(POLL_SECONDS)
        super().__init__(name, board, max_simultaneous_jobs=limit, log=LOG,
                         wait_timeout=self._pause,
                         executor_factory=lambda: ThreadPoolExecutor(MOST, 'job'))
        self._board = board
        # It would ask the board for what it cannot claim.
        board.has_room = lambda: self._can_claim_more_jobs(None)
        self._runner = runner
        self._held: set[Held] = set()
        # The ends that the board does not know yet; None while it is being told one.
        self._untold: dict[str, tuple[Any, bool] | None] = {}
        # Else an end that is told late would be that of a new claim, whose job runs.
        board.untold = self._untold
        self._ended = threading.Event()

    def run(self, max_dispatches: int | None = None) -> None:
        """Until `stop` is called and what runs has ended."""
        self._ended.clear()
        keeper = threading.Thread(target=self._keep, name='claims', daemon=True)
        keeper.start()
        try:
            super().run(max_dispatches)
        finally:
            self._ended.set()
            keeper.join()

    def limit(self, number: int) -> None:
        self._max_simultaneous_jobs = number

    def _dispatch_job(self, posting: Any) -> bool:
        """Whether the job has ended, so that its posting can go."""
        run = Run(str(posting.details.get('job')))
        with self._holding(Held(self._board, posting, self._name, posting.claimed_until, run)
                           ) as held:
            return self._runner.run(run, held)

    @contextlib.contextmanager
    def _holding(self, held: Held) -> Iterator[Held]:
        self._held.add(held)
        try:
            yield held
        finally:
            self._held.discard(held)
            held.release()

    def _on_job_done(self, posting: Any, future: Any) -> None:
        super()._on_job_done(posting, future)
        self._pause.end()

    def _try_finish_job(self, posting: Any, consume: bool, trash: bool = False) -> None:
        """Where the board is away this is tried again: some keep a claim while its worker lives."""
        self._untold[posting.uuid] = None
        told = False
        try:
            if consume:
                self._board.consume(posting, self._name)
            else:
                self._board.abandon(posting, self._name)
            told = True
        except (JobFailure, NotFound) as error:
            # Who has the job next sees what became of it.
            LOG.info('The board was not told the end of %s: %s', posting.details, error)
        finally:
            if told:
                del self._untold[posting.uuid]
            else:
                self._untold[posting.uuid] = posting, consume

    def _keep(self) -> None:
        """Often enough that two failures in a row lose nothing."""
        while not self._ended.wait(self._board.ttl / 3):
            for held in list(self._held):
                for each in list(self._held):
                    each.check_time()
                held.is_ours()
            self._tell_again()

    def _tell_again(self) -> None:
        """Of the ends that the board was not told, those whose claims are ours still."""
        for uuid, end in list(self._untold.items()):
            if end is None:
                continue
            with contextlib.suppress(JobFailure):
                posting, consume = end
                if self._board.extend(posting, self._name):
                    self._try_finish_job(posting, consume)
                else:
                    del self._untold[uuid]
