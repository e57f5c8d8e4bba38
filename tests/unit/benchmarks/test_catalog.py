"""The benchmark of a full catalog."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import catalog, processes


def test_a_catalog_is_filled_with_records_that_commands_can_read(tmp_path: Path) -> None:
    made = catalog.installation(tmp_path / 'one', 25)
    _, printed = processes.run([catalog.COMMAND, '--config-file', str(made.place / 'conf'),
                                'backup', 'list', '-f', 'json'])
    listed = json.loads(printed)
    assert len(listed) == len({backup['id'] for backup in listed}) == 25
    for words in made.commands(0).values():
        made.run(*words)


def test_ten_percent_more_is_too_much() -> None:
    def taken(cpu: float) -> list[processes.Taken]:
        return [processes.Taken(cpu, cpu, 0)]

    told = catalog.lines({'show': {10: taken(1.0), 99: taken(1.09)},
                          'list': {10: taken(1.0), 99: taken(1.12)}}, 10, 99)
    assert [line.split()[-1] for line in told[1:]] == ['met', 'missed']
