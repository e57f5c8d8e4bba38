"""What has to hold after any fault: see `check`."""

from __future__ import annotations

from backup_framework import exceptions
from tests.trust.faults.scenes import Outcome, Scene, Taken
from tests.trust.faults.striking import StrikingDriver
from tests.unit.driver import chains


def check(scene: Scene, outcome: Outcome) -> None:
    """Raise AssertionError where a promise is broken; the store is whole again by now.

    - Every backup that was there restores exactly, unless it was deleted.
    - A new one that was reported as done, or that is visible all the same, restores exactly and
      verifies; or, where the store kept other bytes than it was given, both say so.
    - The next ordinary command works.
    - Deleting what was made, and again what was to be deleted, leaves nothing of it.
    """
    kept = [taken for taken in scene.kept if taken is not outcome.gone]
    if outcome.new is None and outcome.gone is None:
        assert contents(scene) == scene.saved, 'reading changed the store'
        check_answer(scene, outcome)
        return
    if outcome.gone is None:
        present = contents(scene)
        assert present == present | scene.saved, 'an object of another backup is not as it was'
    else:
        check_exact(scene, kept)
    if outcome.new is not None:
        check_new(scene, outcome, outcome.new)
    parent = kept[2] if len(kept) == 4 else scene.middle
    data = parent.data[:-700] + bytes(range(100)) * 7
    following = scene.take(data, parent)
    assert scene.restored(following.backup) == data, 'the next backup is wrong'
    for taken in filter(None, (outcome.new, following, outcome.gone)):
        driver = outcome.where if taken is outcome.new and outcome.where else scene.driver
        driver.delete_backup(taken.backup, operation=scene.operation())
    check_clean(scene, outcome)
    if outcome.new is None or outcome.where is scene.driver:
        check_exact(scene, kept)


def contents(scene: Scene) -> dict[str, bytes]:
    return {name: body.data for name, body in
            scene.inner.store.containers.get(chains.CONTAINER, {}).items()}


def check_answer(scene: Scene, outcome: Outcome) -> None:
    """What a restore, a verification or a search said, where it said that all is well."""
    if outcome.error is not None:
        return
    if isinstance(outcome.value, bytes):
        assert outcome.value == scene.newest.data, 'a restore gave wrong bytes'


def check_exact(scene: Scene, kept: list[Taken]) -> None:
    for taken in kept:
        assert scene.restored(taken.backup) == taken.data, f'{taken.backup.id} is damaged'


def check_new(scene: Scene, outcome: Outcome, new: Taken) -> None:
    driver = outcome.where or scene.driver
    if not scene.is_visible(new.backup, driver):
        assert outcome.error is not None, 'it is done, and not in the store'
        return
    report = driver.verify(new.backup, operation=scene.operation())
    try:
        restored = scene.restored(new.backup, driver)
    except exceptions.FormatError as error:
        assert not report.ok, f'verify did not find: {error}'
        assert outcome.lies, f'what was stored cannot be restored: {error}'
        return
    assert restored == new.data, 'a restore gave wrong bytes and said nothing'
    # A verification reads more than a restore needs.
    assert report.ok or outcome.lies, report.problems


def check_clean(scene: Scene, outcome: Outcome) -> None:
    """Only what the other backups use is left, and no part of an object."""
    present = set(contents(scene))
    assert present <= set(scene.names), sorted(present - set(scene.names))
    if outcome.gone is None:
        assert present == set(scene.names), sorted(set(scene.names) - present)
    for driver in (scene.driver, scene.elsewhere):
        _check_no_parts(driver)
    assert not chains.names(scene.elsewhere.driver), 'a copy was not deleted'


def _check_no_parts(driver: StrikingDriver) -> None:
    assert not driver.driver.store.temporary
