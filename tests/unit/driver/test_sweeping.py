"""Who else is at work is asked before anything is deleted; an answer that never comes to rest."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from backup_framework.engine.monitor import Operation, Sweep
from tests.unit.driver import chains


@pytest.mark.parametrize('answers, times, goes', [
    ([Sweep.NOW], 1, True),
    ([Sweep.LATER], 1, False),
    ([Sweep.LOOK_AGAIN, Sweep.LOOK_AGAIN, Sweep.NOW], 3, True),
    ([Sweep.LOOK_AGAIN, Sweep.LATER], 2, False),
    ([Sweep.LOOK_AGAIN] * 9, 5, False),
])
def test_objects_go_when_the_answer_is_now(answers: list[Sweep], times: int, goes: bool) -> None:
    """Backups that end all the time are waited for, and not looked for without an end."""
    driver = chains.make_driver(format='2.0.0')
    backup = chains.take(driver, chains.make_bytes(200_000))
    asked = []

    def ask(listed: Collection[str]) -> Sweep:
        asked.append(set(listed))
        return answers[len(asked) - 1]

    driver.delete_backup(backup, operation=Operation(may_sweep=ask))
    assert asked == [set()] * times, 'its own manifest has to be gone'
    assert (chains.names(driver) == []) == goes
