"""Deleting one after the other."""

from __future__ import annotations

import pytest

from backup_framework import exceptions
from backup_framework.driver import objects


def test_each_is_deleted() -> None:
    deleted: list[str] = []
    objects.delete_each(deleted.append, iter('abc'))
    assert deleted == ['a', 'b', 'c']


def test_one_that_stays_keeps_no_other_and_is_told_before_one_that_may_pass() -> None:
    tried: list[str] = []
    errors = {'a': exceptions.StoreUnavailable('a'), 'b': exceptions.PermissionDenied('b'),
              'c': exceptions.StoreError('c')}

    def delete(name: str) -> None:
        tried.append(name)
        if name in errors:
            raise errors[name]

    with pytest.raises(exceptions.PermissionDenied, match='b'):
        objects.delete_each(delete, 'abcd')
    assert tried == ['a', 'b', 'c', 'd']
    with pytest.raises(exceptions.StoreUnavailable):
        objects.delete_each(delete, 'da')


def test_what_is_no_store_error_ends_it() -> None:
    def delete(name: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        objects.delete_each(delete, 'ab')
