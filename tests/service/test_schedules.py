"""A schedule of a running service: what was missed is made up for once, and old backups go."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import datetime
import sqlite3
import time

from tools.servers.installation import Installation

# Not within a day of now: what fires is what was missed.
_HOUR = (datetime.datetime.now(datetime.UTC).hour + 12) % 24
OPTIONS = {'schedule:nightly': {
    'cron': f'0 {_HOUR} * * *', 'volumes': '*', 'project_id': 'demo', 'keep_last': 1,
    'name': '{schedule} {volume}'}}


def times(service: Installation) -> list[str]:
    with contextlib.closing(sqlite3.connect(f'{service.folder}/state/all/catalog.sqlite')) as found:
        return [row[0] for row in found.execute(
            "SELECT next_at FROM schedules WHERE name = 'schedule:nightly'")]


def let_it_be_missed(service: Installation) -> None:
    """As if all workers had been down for three days."""
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=3)
    with contextlib.closing(sqlite3.connect(f'{service.folder}/state/all/catalog.sqlite')) as found:
        (known,) = found.execute(
            "SELECT next_at FROM schedules WHERE name = 'schedule:nightly'").fetchone()
        text = past.strftime('%Y-%m-%d') + known[10:]
        found.execute("UPDATE schedules SET next_at = ? WHERE name = 'schedule:nightly'", [text])
        found.commit()


def backups(service: Installation) -> list[dict[str, str]]:
    return list(service.rest.get('/backups/detail')['backups'])


def test_missed_times_are_one_run_and_old_backups_are_pruned(
        install: Callable[..., Installation]) -> None:
    service = install(options=OPTIONS)
    volumes = {service.make_volume('web'), service.make_volume('db', seed=2)}
    service.until(lambda: times(service), 'the schedule is known')
    time.sleep(1)
    assert backups(service) == []
    for number in (1, 2):
        service.workers[0].stop()
        let_it_be_missed(service)
        old = {each['id'] for each in backups(service)}
        service.workers[0].start()

        def both_are_new_and_alone(old: set[str] = old) -> bool:
            found = [each for each in backups(service) if each['status'] == 'available']
            return (not old & {each['id'] for each in backups(service)}
                    and {each['volume_id'] for each in found} == volumes)
        service.until(both_are_new_and_alone, f'run {number}: a backup of each volume')
    found = backups(service)
    assert sorted(each['name'] for each in found) == ['nightly db', 'nightly web']
    assert all(each['is_incremental'] for each in found)
    assert service.workers[0].log().count('Schedule nightly begins') == 2
    assert times(service)[0] > datetime.datetime.now(datetime.UTC).isoformat()
