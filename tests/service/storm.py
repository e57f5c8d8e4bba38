"""Backups are queued, and while workers make them, what they stand on is killed again and again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import concurrent.futures
import dataclasses
import json
from pathlib import Path
import random
import subprocess
import sys
import time

from oslo_config import cfg

from backup_framework import conf
from backup_framework.manager import Manager, restoring
from tools.servers.installation import Installation, NotInTime
from tools.servers.parts import Part
from tools.servers.rest import Refused

SMALL = 150_001


@dataclasses.dataclass
class Storm:
    """What happens, evenly between the first backup that is available and the last.

    :ivar kills: of workers, with -9 and all their children.
    :ivar crashes: of each engine.
    :ivar happened: what did, each with the number of backups that had ended by then.
    """

    service: Installation
    engines: Mapping[str, Part]
    backups: int
    kills: int
    crashes: int
    seed: int
    happened: list[tuple[int, str]] = dataclasses.field(default_factory=list)
    made: dict[str, Path] = dataclasses.field(default_factory=dict)

    def queue(self) -> None:
        """Ask for a backup of each volume."""
        names = [f'disk{number:03}' for number in range(self.backups)]
        for number, name in enumerate(names):
            (self.service.volumes / name).write_bytes(random.Random(number).randbytes(SMALL))
        self.service.start()
        ids = self.service.until(lambda: self._offered(len(names)), 'all volumes are offered')

        def ask(name: str) -> str:
            rest = self.service.client()
            try:
                return self.service.create(ids[name], rest, name=name)
            finally:
                rest.close()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            made = pool.map(ask, names)
        self.made = {backup: self.service.volumes / name
                     for backup, name in zip(made, names, strict=True)}

    def _offered(self, count: int) -> dict[str, str] | None:
        found = self.service.rest.get('/volumes', limit=1000)['volumes']
        return {each['name']: each['id'] for each in found} if len(found) == count else None

    def rage(self, seconds: float) -> None:
        """Until all has happened and every backup has ended; nobody is left dead."""
        deadline = time.monotonic() + seconds
        chance = random.Random(self.seed)
        events: list[tuple[str, Callable[[random.Random], str]]] = [
            ('worker', self._kill_a_worker)] * self.kills
        for name, part in self.engines.items():
            events += [(name, lambda _, part=part: self._crash(part))] * self.crashes
        chance.shuffle(events)
        for number, (name, event) in enumerate(events):
            self._wait_for(number * self.backups // (len(events) + 1), deadline)
            ended = self._ended()
            self.happened.append((ended, f'{name} {event(chance)}'.strip()))
        for part in self.engines.values():
            part.start()
        self._wait_for(self.backups, deadline)

    @property
    def met_work(self) -> list[str]:
        """What happened while backups were made."""
        return [what for ended, what in self.happened if ended < self.backups]

    def _kill_a_worker(self, chance: random.Random) -> str:
        worker = chance.choice(self.service.workers)
        time.sleep(chance.random() / 2)
        worker.kill()
        # Sometimes it is back before anybody misses it.
        time.sleep(chance.choice([0, 0, 2]))
        worker.start()
        return worker.name

    def _crash(self, part: Part) -> str:
        """The storm goes on while it comes back: a broker takes longer than half of the backups."""
        part.kill()
        time.sleep(0.5)
        part.begin()
        return ''

    def _wait_for(self, count: int, deadline: float) -> None:
        while (ended := self._ended()) < count:
            if time.monotonic() > deadline:
                raise NotInTime(f'{ended} of {count} backups have ended; {self.happened}\n'
                                f'{json.dumps(self.service.rest.get("/backup-framework/jobs"))}\n'
                                f'{self.service.logs()}')
            time.sleep(0.2)

    def _ended(self) -> int:
        """Backups that are not being made any more; what cannot be asked has not ended."""
        def count(status: str) -> int:
            return int(self.service.rest.get('/backups', status=status, limit=1, all_tenants=1,
                                             with_count=True)['count'])
        while True:
            try:
                return self.backups - count('creating')
            except (OSError, Refused):
                time.sleep(0.2)

    # What has to be true afterwards.

    def check(self, folder: Path) -> None:
        """Every job ended well, none was done twice, nothing is lost."""
        rest = self.service.rest
        records = {record['id']: record for record in rest.get(
            '/backups/detail', all_tenants=1, limit=1000)['backups']}
        wrong = {record['id']: record['fail_reason'] for record in records.values()
                 if record['status'] != 'available'}
        assert not wrong, (wrong, self.happened)
        assert set(records) == set(self.made)
        manifests = list(self.service.store.rglob('*_metadata'))
        assert len(manifests) == len(self.made)
        jobs = rest.get('/backup-framework/jobs', limit=1000)['jobs']
        assert sorted(job['backup_id'] for job in jobs) == sorted(self.made)
        assert {job['state'] for job in jobs} == {'done'}
        self._restore_all(folder)
        assert self._run('catalog', 'check', '-f', 'json') == []

    def _restore_all(self, folder: Path) -> None:
        configuration = conf.load([self.service.workers[0].config_file], oslo=cfg.ConfigOpts())
        with Manager(configuration) as manager:
            for backup, volume in self.made.items():
                target = folder / 'restored'
                manager.restore(backup, restoring.Request(str(target), force=target.exists()))
                assert target.read_bytes() == volume.read_bytes()
                assert not manager.verify(backup).problems

    def _run(self, *arguments: str) -> object:
        done = subprocess.run(
            [str(Path(sys.executable).with_name('backup-framework')), '--config-file',
             self.service.workers[0].config_file, *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout or '[]')
