"""Exceptions of others become ours."""

import pytest

from backup_framework import exceptions

ROWS = {
    FileNotFoundError: exceptions.ObjectNotFound,
    OSError: exceptions.StoreUnavailable,
    KeyError: exceptions.StoreError,
}


@pytest.mark.parametrize('error, ours', [
    (FileNotFoundError('gone'), exceptions.ObjectNotFound),
    (ConnectionResetError('gone'), exceptions.StoreUnavailable),
    (KeyError('gone'), exceptions.StoreError),
])
def test_the_first_row_that_fits_wins(error, ours):
    with pytest.raises(exceptions.StoreError, match='gone') as caught:
        with exceptions.translate(ROWS, container='box', name='thing'):
            raise error
    assert type(caught.value) is ours and caught.value.__cause__ is error
    assert (caught.value.container, caught.value.name) == ('box', 'thing')


@pytest.mark.parametrize('error', [ValueError('x'), exceptions.StoreFull('x')])
def test_what_no_row_has_passes(error):
    with pytest.raises(type(error)) as caught, exceptions.translate(ROWS):
        raise error
    assert caught.value is error
