"""Names: what we make is narrow, what we read stays in its container."""

from __future__ import annotations

import os.path
import posixpath

from hypothesis import example, given
from hypothesis import strategies as st
import pytest

from backup_framework import exceptions, store

hostile = st.text(alphabet=st.sampled_from('a.A/\\\0\n -_~%ö\ud800'), max_size=12)


@given(st.one_of(hostile, st.text(max_size=30)))
@example('../x')
@example('a/../../b')
@example('/etc/passwd')
@example('a/')
@example('a//b')
def test_a_checked_name_stays_below(name: str) -> None:
    try:
        store.check_name(name)
    except exceptions.InvalidName:
        return
    assert posixpath.normpath(posixpath.join('/base', name)) == f'/base/{name}'
    assert '\0' not in name and len(os.fsencode(name)) == len(name.encode())


@given(st.one_of(hostile, st.from_regex(r'[a-z0-9_.-]{1,8}(/[A-Z_.-]{1,4}){0,3}', fullmatch=True)))
@example('-x')
@example('.hidden')
@example('a/.hidden')
@example('a\n')
def test_a_new_name_is_plain(name: str) -> None:
    try:
        store.check_new_name(name)
    except exceptions.InvalidName:
        return
    assert store.check_name(name) == name and name.isascii() and len(name) <= 255
    assert all(part[0] not in '.-' and part.replace('.', '').replace('-', '').replace('_', '')
               .isalnum() or set(part) <= set('._-') for part in name.split('/'))


@pytest.mark.parametrize('name', ['', '.', '..', '/', 'a/..', '../a', 'a/./b', 'a//b', '/a', 'a/',
                                  'a\0', '\0', 'x' * 1025, '\udc80', None, 5, b'bytes', ['a']])
def test_refused(name: object) -> None:
    for check in (store.check_name, store.check_new_name):
        with pytest.raises(exceptions.InvalidName) as caught:
            check(name)
        assert len(str(caught.value)) < 1200 and '\n' not in str(caught.value)


@pytest.mark.parametrize('name', [
    'volume_1/2026/az_nova_backup_7-00001', '_', 'a.b-c_d', 'x' * 255, '0/1/2'])
def test_accepted(name: str) -> None:
    assert store.check_new_name(name) == name


@pytest.mark.parametrize('name', ['with blank', 'ö', '...', '-', '~', 'a\\b', 'a:b', '*'])
def test_read_but_not_made(name: str) -> None:
    assert store.check_name(name) == name
    with pytest.raises(exceptions.InvalidName):
        store.check_new_name(name)


def test_length_counts_bytes() -> None:
    with pytest.raises(exceptions.InvalidName, match='255'):
        store.check_new_name('x' * 256)
