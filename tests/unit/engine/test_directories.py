"""Directories that nobody else may look into, from the call that makes them."""

import os

import pytest

from backup_framework.engine import directories


@pytest.fixture
def open_umask():
    old = os.umask(0)
    yield
    os.umask(old)


@pytest.mark.parametrize('relative', [True, False])
def test_each_that_is_made_is_private(tmp_path, monkeypatch, open_umask, relative):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'there').mkdir(0o755)
    for _ in range(2):
        directories.make_private('there/a/b' if relative else str(tmp_path / 'there/a/b/'))
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ('there', 'there/a', 'there/a/b')]
    assert modes == [0o755, 0o700, 0o700]


def test_what_is_in_the_way_is_said(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(NotADirectoryError):
        directories.make_private(str(tmp_path / 'file' / 'a'))
