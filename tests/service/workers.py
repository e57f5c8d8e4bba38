"""Workers whose jobs are scripts, for tests of claims, bounds and restarts.

Run as a program it is a worker until it is told to end: CONFIG-FILE LOG-FILE. Each step that it
does is a line in the log, written when the step begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
import contextlib
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from oslo_config import cfg

from backup_framework import conf, exceptions
from backup_framework.catalog import Catalog
from backup_framework.engine.monitor import Monitor
from backup_framework.model import Job, JobState
from backup_framework.service.flows import Work
from backup_framework.service.running import Operations
from backup_framework.service.worker import Worker

SECONDS = 40.0
FAST = {'report_interval': 0.3, 'check_interval': 0.5, 'drain_timeout': 0.5}


def configure(folder: Path, *, board: str | None = None, claim_ttl: int = 15,
              sources: Mapping[str, Mapping[str, Any]] = {}, **service: Any) -> conf.Configuration:
    """A configuration on a catalog in the folder; `host` makes it another one's."""
    host = service.setdefault('host', 'here')
    state = folder / host
    state.mkdir(exist_ok=True)
    sections = {'DEFAULT': {'state_path': state},
                'database': {'connection': f'sqlite:///{folder}/catalog.sqlite'},
                'service': FAST | service}
    sections |= {f'volumes:{name}': dict(options) for name, options in sources.items()}
    if board is not None:
        sections['jobboard'] = {'connection': board, 'claim_ttl': claim_ttl,
                                'name': folder.name}
    path = folder / f'{host}.conf'
    path.write_text(''.join(
        f'[{name}]\n' + ''.join(f'{key} = {value}\n' for key, value in options.items())
        for name, options in sections.items()))
    return conf.load([str(path)], oslo=cfg.ConfigOpts())


class Script:
    """Does jobs by what their arguments say, and remembers what it did.

    `seconds` is what a step takes, `fails` what one raises; both by step. `together` is how many
    have to run at once before any goes on.
    """

    def __init__(self, catalog: Catalog, tell: Callable[[str], object] = lambda line: None) -> None:
        self._catalog = catalog
        self._tell = tell
        self._lock = threading.Lock()
        self.steps: list[tuple[str, str]] = []
        self.failures: dict[str, str | None] = {}
        self.now = self.most = 0

    @contextlib.contextmanager
    def __call__(self, job: Job, monitor: Monitor) -> Iterator[Work]:
        def work(step: str, failure: str | None) -> str | None:
            self._catalog.start_job(job.id, 'anybody')
            with self._counted(job, step):
                while self.most < job.arguments.get('together', 0):
                    monitor.sleep(0.02)
                monitor.sleep(job.arguments.get('seconds', {}).get(step, 0.0))
                if step in job.arguments.get('fails', {}):
                    raise getattr(exceptions, job.arguments['fails'][step])(f'{step} fails')
                if step in ('finish', 'run'):
                    self.failures[job.id] = failure
                    state = JobState.FAILED if failure else JobState.DONE
                    self._catalog.end_job(job.id, state, failure)
                return None
        yield work

    @contextlib.contextmanager
    def _counted(self, job: Job, step: str) -> Iterator[None]:
        with self._lock:
            self.steps.append((job.id, step))
            self.now += 1
            self.most = max(self.most, self.now)
        self._tell(f'{job.id} {step}')
        try:
            yield
        finally:
            with self._lock:
                self.now -= 1

    def of(self, job: Job) -> list[str]:
        return [step for job_id, step in list(self.steps) if job_id == job.id]


@contextlib.contextmanager
def working(configuration: conf.Configuration) -> Iterator[tuple[Worker, Script]]:
    """A worker in this process."""
    script = Script(catalog_of(configuration))
    operations: Operations = script
    worker = Worker(configuration, operations)
    worker.start()
    try:
        yield worker, script
    finally:
        worker.stop()


class Process:
    """A worker in a process of its own."""

    def __init__(self, configuration: conf.Configuration) -> None:
        self._log = Path(configuration.state_path) / 'steps'
        self._output = Path(configuration.state_path) / 'output'
        with open(self._output, 'ab') as output:
            self._process = subprocess.Popen(
                [sys.executable, '-m', __name__, configuration.files[0], str(self._log)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def steps(self, job: Job) -> list[str]:
        text = self._log.read_text() if self._log.exists() else ''
        return [step for job_id, step in map(str.split, text.splitlines()) if job_id == job.id]

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(SECONDS)

    def stop(self) -> int:
        self._process.terminate()
        return self._process.wait(SECONDS)

    def output(self) -> str:
        return self._output.read_text()


@contextlib.contextmanager
def processes() -> Iterator[Callable[[conf.Configuration], Process]]:
    """Starts some, and sees that none stays."""
    with contextlib.ExitStack() as end:
        def start(configuration: conf.Configuration) -> Process:
            made = Process(configuration)
            end.callback(made.kill)
            return made
        yield start


def until(condition: Callable[[], object], seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, 'this did not come true in time'
        time.sleep(0.05)


def catalog_of(configuration: conf.Configuration) -> Catalog:
    return Catalog(configuration.connection, configuration.state_path)


def accept(configuration: conf.Configuration, kind: str = 'create', *, backend: str = 'local',
           source: str | None = None, **arguments: Any) -> Job:
    """A job in the catalog, not posted anywhere."""
    return catalog_of(configuration).accept(
        Job(kind=kind, backend=backend, source=source, arguments=arguments))


def state(configuration: conf.Configuration, job: Job) -> str:
    return catalog_of(configuration).job(job.id).state


def shorten(configuration: conf.Configuration, job: Job) -> None:
    """Its steps take no time any more."""
    catalog_of(configuration).change_job(job.id, seconds={})


def main(config_file: str, log: str) -> None:
    configuration = conf.load([config_file])
    conf.setup_logging(configuration, debug=False)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    worker = Worker(configuration, Script(
        catalog_of(configuration), lambda line: os.write(descriptor, f'{line}\n'.encode())))
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=worker.stop).start())
    worker.run()


if __name__ == '__main__':
    main(*sys.argv[1:])
