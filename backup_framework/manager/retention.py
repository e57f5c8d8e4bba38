"""Which backups stay: pure rules over records, with a reason for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
import datetime

from backup_framework import exceptions
from backup_framework.model import Backup, Status, newness, time_of

PERIODS: Mapping[str, Callable[[datetime.datetime], object]] = {
    # With the offset from UTC: the hour that a clock shows twice is two.
    'hourly': lambda time: (time.date(), time.hour, time.utcoffset()),
    'daily': lambda time: time.date(),
    'weekly': lambda time: time.isocalendar()[:2],
    'monthly': lambda time: (time.year, time.month),
    'yearly': lambda time: time.year,
}
"""What two backups of the same hour, day (and so on) have in common."""


@dataclasses.dataclass(frozen=True)
class Policy:
    """What to keep. Each rule keeps what it keeps, whatever the others say.

    :param last: the newest ones.
    :param hourly: for so many hours in which there are backups, the newest of each; in the same
        way daily, weekly (from Monday), monthly and yearly.
    :param within: all that are at most so much older than the newest one.
    :param protect: properties, as KEY or KEY=VALUE: whatever has one stays.
    """

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    within: datetime.timedelta | None = None
    protect: Sequence[str] = ()

    @property
    def keeps(self) -> bool:
        """Whether any rule keeps something that is not protected."""
        counts = (self.last, *(getattr(self, period) for period in PERIODS))
        return any(counts) or self.within is not None


@dataclasses.dataclass(frozen=True)
class Verdict:
    """:param reasons: why it stays; none where it goes."""

    backup: Backup
    reasons: Sequence[str]

    @property
    def stays(self) -> bool:
        return bool(self.reasons)


def judge(backups: Iterable[Backup], policy: Policy, zone: datetime.tzinfo | None = None,
          needed: Mapping[str, str] | None = None) -> list[Verdict]:
    """What becomes of the backups of one volume on one backend, newest first.

    Only what can be restored counts towards the rules: else a week of failures would push the last
    good backup out. What is not available, is known to be damaged, or is another installation's
    stays, and says so. So does what a backup that stays needs.

    :param zone: whose days and hours count; None is the machine's.
    :param needed: by id, why others than these need it, whatever becomes of these.
    :raises Refused: no rule keeps anything.
    """
    if not policy.keeps:
        raise exceptions.Refused(
            'nothing says what to keep, so nothing is pruned').advised(
                ': give --keep-last or another rule, or write keep_last or another rule into the '
                'configuration')
    ordered = sorted(backups, key=newness, reverse=True)
    reasons: dict[str, list[str]] = {backup.id: [] for backup in ordered}
    for backup in ordered:
        reasons[backup.id] += _not_counted(backup) + _protected(backup, policy.protect)
    counted = [backup for backup in ordered if not _not_counted(backup)]
    for backup, reason in _kept(counted, policy, zone):
        reasons[backup.id].append(reason)
    for backup_id, reason in (needed or {}).items():
        reasons[backup_id].append(reason)
    _keep_what_is_needed(ordered, reasons)
    return [Verdict(backup, reasons[backup.id]) for backup in ordered]


def _not_counted(backup: Backup) -> list[str]:
    """Why no rule counts it, which is why it stays."""
    found = []
    if backup.status not in (Status.AVAILABLE, Status.RESTORING):
        found.append(f'is {backup.status}')
    if backup.owner is not None:
        found.append('another installation wrote it')
    if backup.damage:
        found.append('is damaged')
    return found


def _protected(backup: Backup, protect: Iterable[str]) -> list[str]:
    return [f'has property {wanted}' for wanted in protect if _has(backup, wanted)]


def _has(backup: Backup, wanted: str) -> bool:
    key, separator, value = wanted.partition('=')
    return key in backup.metadata and (not separator or backup.metadata[key] == value)


def _kept(counted: Sequence[Backup], policy: Policy, zone: datetime.tzinfo | None
          ) -> Iterable[tuple[Backup, str]]:
    """What the rules keep, and the reasons."""
    yield from ((backup, 'last') for backup in counted[:policy.last])
    for period, of in PERIODS.items():
        newest: dict[object, Backup] = {}
        for backup in counted:
            newest.setdefault(of(time_of(backup).astimezone(zone)), backup)
        chosen = list(newest.values())[:getattr(policy, period)]
        yield from ((backup, period) for backup in chosen)
    if policy.within is not None and counted:
        newest_time = time_of(counted[0])
        yield from ((backup, 'within') for backup in counted
                    if newest_time - time_of(backup) <= policy.within)


def _keep_what_is_needed(ordered: Sequence[Backup], reasons: dict[str, list[str]]) -> None:
    by_id = {backup.id: backup for backup in ordered}
    for backup in ordered:
        child = backup
        while reasons[child.id] and child.needs_parent and child.parent_id in by_id:
            parent = by_id[child.parent_id]
            needed = f'{child.id} needs it'
            if needed in reasons[parent.id]:
                break
            reasons[parent.id].append(needed)
            child = parent
