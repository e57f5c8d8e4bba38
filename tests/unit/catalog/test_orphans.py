"""Backups that wait for a parent which is in no record: somebody can always go."""

import datetime
import itertools

import pytest

from backup_framework.catalog import orphans
from backup_framework.model import Backup

NOON = datetime.datetime(2026, 3, 10, 12, tzinfo=datetime.UTC)


@pytest.mark.parametrize('hours', list(itertools.product((1, 2), repeat=3)))
@pytest.mark.parametrize('ids', list(itertools.permutations('abc')))
def test_no_two_wait_for_one_another(hours, ids):
    """Two that lack parents, and a child of one, whatever their ids and their clocks."""
    one, other, child = (NOON + datetime.timedelta(hours=each) for each in hours)
    first, second, third = ids
    left = [Backup(id=first, parent_id='x', format='1.0.0', data_timestamp=one),
            Backup(id=second, parent_id='y', format='1.0.0', data_timestamp=other),
            Backup(id=third, parent_id=second, format='1.0.0', data_timestamp=child)]
    for each in left:
        each.service_metadata = 'prefix'
    while left:
        waiting = {*orphans.find(left)[1], *(each.parent_id for each in left)}
        free = [each for each in left if each.id not in waiting]
        assert free, left
        left.remove(free[0])
