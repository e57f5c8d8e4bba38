"""Which backups stay."""

import datetime

from hypothesis import given, strategies
import pytest

from backup_framework import exceptions
from backup_framework.manager import retention
from backup_framework.manager.retention import Policy
from backup_framework.model import Backup, Status

UTC = datetime.UTC
NOON = datetime.datetime(2026, 3, 10, 12, tzinfo=UTC)
BERLIN = datetime.timezone(datetime.timedelta(hours=1))


def at(time, **fields):
    return Backup(**{'data_timestamp': time, 'created_at': time,
                     'status': Status.AVAILABLE, 'format': '2.0.0'} | fields)


def every(step, count):
    """Backups as old as a multiple of `step`, the newest first."""
    return [at(NOON - number * step) for number in range(count)]


def kept(backups, policy, zone=UTC):
    verdicts = retention.judge(backups, policy, zone)
    assert {verdict.backup.id for verdict in verdicts} == {backup.id for backup in backups}
    return [verdict.backup for verdict in verdicts if verdict.stays]


def hours(count):
    return datetime.timedelta(hours=count)


@pytest.mark.parametrize('policy, ages', [
    (Policy(last=3), [0, 6, 12]),
    (Policy(hourly=2), [0, 6]),
    (Policy(daily=1), [0]),
    (Policy(daily=3), [0, 18, 42]),
    (Policy(weekly=2), [0, 42]),
    (Policy(within=hours(13)), [0, 6, 12]),
    (Policy(last=1, daily=2, within=hours(6)), [0, 6, 18]),
    (Policy(monthly=12), [0, 234]),
    (Policy(yearly=5), [0]),
])
def test_each_rule(policy, ages):
    backups = every(hours(6), 60)
    assert kept(backups, policy) == [backups[age // 6] for age in ages]


def test_the_newest_of_a_period_is_kept_and_periods_without_backups_do_not_count():
    days = [at(NOON - datetime.timedelta(days=number)) for number in (0, 1, 5, 5, 9)]
    assert kept(days, Policy(daily=4)) == [
        days[0], days[1], max(days[2:4], key=lambda backup: backup.id), days[4]]


def test_a_year_of_weeks_changes_with_the_iso_year():
    """2024-12-30 is of week 1 of 2025, as 2025-01-05 is."""
    dates = [datetime.datetime(2025, 1, 5, tzinfo=UTC), datetime.datetime(2024, 12, 30, tzinfo=UTC),
             datetime.datetime(2024, 12, 29, tzinfo=UTC)]
    backups = [at(date) for date in dates]
    assert kept(backups, Policy(weekly=2)) == [backups[0], backups[2]]


def test_days_are_those_of_the_machine():
    """23:30 UTC is the next day in Berlin."""
    late, early = (at(datetime.datetime(2026, 3, 10, 23, 30, tzinfo=UTC)),
                   at(datetime.datetime(2026, 3, 10, 22, 30, tzinfo=UTC)))
    assert kept([late, early], Policy(daily=2)) == [late]
    assert kept([late, early], Policy(daily=2), BERLIN) == [late, early]


def test_within_counts_from_the_newest_backup():
    """A machine that was off for a year does not lose all at its first prune."""
    backups = [at(NOON - datetime.timedelta(days=400 + number)) for number in range(3)]
    assert kept(backups, Policy(within=datetime.timedelta(days=1))) == backups[:2]


@pytest.mark.parametrize('fields, reason', [
    ({'status': Status.ERROR}, 'is error'), ({'status': Status.CREATING}, 'is creating'),
    ({'owner': 'somebody'}, 'another installation wrote it'),
    ({'damage': ['object x is gone']}, 'is damaged')])
def test_what_cannot_be_relied_on_does_not_count_and_stays(fields, reason):
    bad, good, old = at(NOON, **fields), at(NOON - hours(1)), at(NOON - hours(2))
    verdicts = retention.judge([old, bad, good], Policy(last=1), UTC)
    assert [(verdict.backup, list(verdict.reasons)) for verdict in verdicts] == [
        (bad, [reason]), (good, ['last']), (old, [])]


def test_protected_backups_stay():
    backups = every(hours(1), 4)
    backups[1].metadata = {'case': '7'}
    backups[2].metadata = {'case': '8'}
    assert kept(backups, Policy(last=1, protect=['case'])) == backups[:3]
    assert kept(backups, Policy(last=1, protect=['case=8'])) == [backups[0], backups[2]]


def test_protection_alone_is_no_rule():
    with pytest.raises(exceptions.Refused, match='nothing says what to keep'):
        retention.judge([], Policy(protect=['case']))


def test_a_chain_that_needs_its_parents_keeps_them():
    """Format 1.0.0; the reasons name the child."""
    full = at(NOON - hours(3), format='1.0.0')
    first = at(NOON - hours(2), format='1.0.0', parent_id=full.id)
    second = at(NOON - hours(1), format='1.0.0', parent_id=first.id)
    other = at(NOON - hours(2), format='1.0.0', parent_id=full.id)
    verdicts = retention.judge([full, first, second, other], Policy(last=1), UTC)
    reasons = {verdict.backup.id: list(verdict.reasons) for verdict in verdicts}
    assert reasons == {second.id: ['last'], first.id: [f'{second.id} needs it'],
                       full.id: [f'{first.id} needs it'], other.id: []}


def test_a_parent_that_nobody_needs_goes():
    full = at(NOON - hours(1))
    assert kept([full, child := at(NOON, parent_id=full.id)], Policy(last=1)) == [child]


@given(strategies.lists(strategies.integers(0, 100_000), max_size=40),
       strategies.builds(Policy, **{name: strategies.integers(0, 5) for name in (
           'last', 'hourly', 'daily', 'weekly', 'monthly', 'yearly')}))
def test_the_newest_always_stays_and_a_second_time_changes_nothing(minutes, policy):
    backups = [at(NOON - datetime.timedelta(minutes=age)) for age in minutes]
    if not policy.keeps:
        return
    first = kept(backups, policy)
    assert not backups or first[0].data_timestamp == max(
        backup.data_timestamp for backup in backups)
    assert kept(first, policy) == first


def test_the_time_of_the_data_counts_then_that_of_the_backup():
    """A snapshot may be backed up late, and a record may tell one of the two times, or neither."""
    late = at(NOON - hours(5), created_at=NOON)
    early = at(NOON - hours(1), created_at=NOON - hours(1))
    first = at(NOON - hours(5), created_at=NOON - hours(4))
    made = at(None, created_at=NOON - hours(3))
    taken = at(NOON - hours(2), created_at=None)
    neither = at(None)
    found = retention.judge([neither, first, taken, late, made, early], Policy(last=9), UTC)
    assert [verdict.backup for verdict in found] == [early, taken, made, late, first, neither]
