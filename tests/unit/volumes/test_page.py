"""The page of the sources: its configurations load, its source passes the kit."""

from __future__ import annotations

from pathlib import Path
import re
import subprocess
import sys
import textwrap

import pytest

from backup_framework import conf, loader
from backup_framework.interface.volume_source import VolumeSource

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / 'doc/source/volume-sources.rst').read_text()


def blocks(language: str) -> list[str]:
    found = re.findall(rf'^\.\. code-block:: {language}\n\n((?:(?:   .*)?\n)+)', PAGE, re.M)
    return [textwrap.dedent(block) for block in found]


@pytest.mark.parametrize('block', blocks('ini'))
def test_configurations_are_valid(block: str, tmp_path: Path) -> None:
    (tmp_path / 'conf').write_text(block)
    configuration = conf.load([str(tmp_path / 'conf')], state_path=str(tmp_path))
    for section in configuration.sources():
        cls = loader.load_heir(section.type, loader.VOLUME_SOURCES, VolumeSource)
        cls(configuration.source_settings(section, cls)).close()
    assert configuration.sources() and not configuration.warnings


def test_every_option_is_named() -> None:
    for name in ('file', 'block', 'nbd', 'cinder'):
        options = loader.load_heir(name, loader.VOLUME_SOURCES, VolumeSource).OPTIONS
        assert {option.name for option in options} <= set(re.findall(r'\w+', PAGE))


def test_the_source_of_the_page_passes_the_kit(tmp_path: Path) -> None:
    source, test = blocks('python')
    (tmp_path / 'shelf_volumes.py').write_text(source)
    (tmp_path / 'test_shelf.py').write_text(test)
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '-c', '/dev/null',
         '--rootdir', str(tmp_path), str(tmp_path)], cwd=tmp_path, capture_output=True, text=True,
        env={'PYTHONPATH': f'{tmp_path}:{ROOT}', 'PATH': '/usr/bin:/bin'}, timeout=100, check=False)
    assert done.returncode == 0, done.stdout
    assert re.search(r'\n11 passed', done.stdout), done.stdout
