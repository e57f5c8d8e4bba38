"""The map of a partial restore, where only what a file holds can be replaced."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from backup_framework import exceptions
from backup_framework.cmd.bad_map import BadMap
from backup_framework.manager.restoring import Lost
from backup_framework.model import Extent

LOST = [Lost(Extent(4096, 512), 'gone')]
WRITTEN = [{'offset': 4096, 'length': 512, 'reason': 'gone'}]


@pytest.mark.parametrize('number', [errno.EBUSY, errno.EPERM])
def test_a_file_that_cannot_be_exchanged_is_written_into(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A mount of one file into a container is such; no restore is repeated for it."""
    place = tmp_path / 'bad.json'
    place.write_text(json.dumps(WRITTEN * 9))
    inode = place.stat().st_ino

    def refuse(*names: str) -> None:
        raise OSError(number, os.strerror(number))
    with BadMap(str(place), 'target') as bad:
        monkeypatch.setattr(os, 'replace', refuse)
        bad.write(LOST)
    assert json.loads(place.read_text()) == WRITTEN and place.stat().st_ino == inode
    assert [*tmp_path.iterdir()] == [place]


def test_what_cannot_be_exchanged_for_another_reason_is_told(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with BadMap(str(tmp_path / 'bad.json'), 'target') as bad:
        (tmp_path / 'bad.json').mkdir()
        with pytest.raises(exceptions.VolumeError, match='the restore is done, but its map'):
            bad.write(LOST)
    assert not [*tmp_path.glob('.*')]


def test_a_path_that_is_empty_names_no_file() -> None:
    with pytest.raises(exceptions.InvalidInput, match='names no file'):
        BadMap('', 'target')
