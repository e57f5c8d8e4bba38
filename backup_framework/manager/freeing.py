"""Whether what no manifest of a container refers to may be deleted: who else is at work there."""

from __future__ import annotations

from collections.abc import Callable, Collection

from backup_framework.engine.monitor import Sweep
from backup_framework.manager.context import Context
from backup_framework.model import Backup, Status

_GOING = (Status.DELETING, Status.ERROR_DELETING)


class Freeing:
    """Answers what `driver.sweeping` asks between listing manifests and deleting objects.

    Backups are those in a container of this name, on whichever backend: two sections may name one
    store.

    :param backup: the one that is deleted or made; None where it is about a container as a whole.
    :param awaited: of a delete that waited, those it waits for still; None where it did not wait.
    :ivar awaited: the backups that are running and may refer to what is to be deleted.
    :ivar answer: the last one; None before the first.
    """

    def __init__(self, context: Context, container: str, backup: Backup | None = None,
                 awaited: Collection[str] | None = None) -> None:
        self._catalog = context.catalog
        self._container = container
        self._own = backup.id if backup else None
        self._waited_for = awaited
        self._ended = self._prefixes(self._others(), ())
        self.awaited: list[str] = []
        self.answer: Sweep | None = None

    def __call__(self, listed: Collection[str]) -> Sweep:
        """:param listed: the prefixes of the manifests that were there."""
        # In this order: a backup that ends between the two is found by the second.
        running = [each for each in self._catalog.writers(self._container) if each != self._own]
        others = self._others()
        new = self._prefixes(others, running, unfinished=True) - self._ended - set(listed)
        self._ended = self._prefixes(others, ())
        self.awaited = self._referring(running, others)
        if self.awaited:
            self.answer = Sweep.LATER
        else:
            self.answer = Sweep.LOOK_AGAIN if new else Sweep.NOW
        return self.answer

    def _others(self) -> list[Backup]:
        return [each for each in self._catalog.backups(container=self._container)
                if each.id != self._own]

    def _prefixes(self, others: list[Backup], running: Collection[str], *,
                  unfinished: bool = False) -> set[str]:
        """Of those that are not being deleted.

        :param unfinished: also of those whose end is not recorded: a manifest may be there.
        """
        return {each.service_metadata for each in others
                if each.service_metadata and each.status not in _GOING
                and each.id not in running
                and (unfinished or each.status != Status.CREATING)}

    def _referring(self, running: list[str], others: list[Backup]) -> list[str]:
        """Those of the running ones that may refer to what is to be deleted.

        For a delete that waited these are not only those that it waits for: one that began later
        may be built on another backup that used the same objects, and whose manifest, which told
        so, has been deleted since.
        """
        if self._waited_for is None:
            return running
        postponed = self._catalog.postponed()
        if any(each.status in _GOING and each.id not in postponed for each in others):
            # Of these it is not known, or not recorded yet, who was running when they went.
            return running
        among = set(self._waited_for).union(*postponed.values())
        return [each for each in running if each in among]


def after_failure(context: Context, backup: Backup) -> Callable[[Collection[str]], Sweep]:
    """For a backup that fails, which says only on its way in which container it is made."""
    asked: list[Freeing] = []

    def ask(listed: Collection[str]) -> Sweep:
        if asked:
            return asked[0](listed)
        asked.append(Freeing(context, str(backup.container), backup))
        return Sweep.LOOK_AGAIN

    return ask
