"""The README's and the pages' examples are run, and the pages build."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import re
import shlex
import subprocess
import sys

import pytest

from backup_framework import conf

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / 'README.rst', *sorted((ROOT / 'doc/source').rglob('*.rst'))]


def blocks(page: Path, language: str) -> Iterator[str]:
    """The code blocks of one language, without their indentation."""
    pattern = rf'^\.\. code-block:: {language}\n((?: +:.*\n)*)\n((?:   .*\n|\n)+)'
    for match in re.finditer(pattern, page.read_text() + '\n', re.M):
        yield re.sub(r'^   ', '', match[2], flags=re.M)


def commands(page: Path) -> list[str]:
    return [line[2:] for block in blocks(page, 'console') for line in block.splitlines()
            if line.startswith('$ ')]


@pytest.fixture
def place(tmp_path: Path) -> dict[str, str]:
    """A directory with a disk image, and the environment of a new user there."""
    with open(tmp_path / 'disk.img', 'wb') as file:
        file.truncate(3 << 20)
        file.seek(1 << 20)
        file.write(os.urandom(70_001))
    return os.environ | {
        'XDG_STATE_HOME': str(tmp_path / 'state'), 'OS_DEFAULT__STATE_PATH': str(tmp_path / 'bf'),
        'PATH': f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'}


def test_the_readme_commands_run(place: dict[str, str], tmp_path: Path) -> None:
    readme = commands(ROOT / 'README.rst')
    assert any(line.startswith('backup-framework backup restore') for line in readme)
    for line in readme:
        done = subprocess.run(shlex.split(line), cwd=tmp_path, env=place, text=True,
                              capture_output=True, timeout=60)
        assert done.returncode == 0, f'{line}\n{done.stdout}\n{done.stderr}'
    image = (tmp_path / 'disk.img').read_bytes()
    assert (tmp_path / 'restored.img').read_bytes() == image
    assert (tmp_path / 'newest.img').read_bytes() == image


def test_the_readme_configuration_is_valid(tmp_path: Path) -> None:
    from backup_framework import loader
    for number, block in enumerate(blocks(ROOT / 'README.rst', 'ini')):
        file = tmp_path / f'{number}.conf'
        file.write_text(block)
        configuration = conf.load([str(file)])
        assert not configuration.warnings
        for name in configuration.enabled_backends:
            driver_class = loader.load(configuration.backend(name).driver)
            assert configuration.settings(name, driver_class)
        assert configuration.volumes()


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_commands_in_the_pages_exist(page: Path) -> None:
    """Every `backup-framework NOUN VERB` that a page names is a command."""
    from importlib import metadata
    known = {entry.name.replace('_', ' ')
             for entry in metadata.entry_points(group='backup_framework.commands')}
    nouns = {name.split()[0] for name in known}
    named = set(re.findall(r'backup-framework\s+([a-z]+\s+[a-z]+)', page.read_text()))
    unknown = {name for name in named
               if name.split()[0] in nouns and ' '.join(name.split()) not in known}
    assert not unknown


def test_the_pages_build(tmp_path: Path) -> None:
    pytest.importorskip('sphinx', reason='sphinx is not installed')
    for builder in ('html', 'man'):
        done = subprocess.run(
            [sys.executable, '-m', 'sphinx', '-W', '--keep-going', '-q', '-b', builder,
             '-d', str(tmp_path / 'doctrees'), str(ROOT / 'doc/source'), str(tmp_path / builder)],
            capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
    manual = (tmp_path / 'man' / 'backup-framework.1').read_text()
    assert 'backup create' in manual and '--incremental' in manual.replace('\\', '')
