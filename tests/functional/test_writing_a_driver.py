"""The driver on the page "Writing a driver": installed, found, checked and run through the kit."""

from __future__ import annotations

from collections.abc import Iterator
import configparser
from importlib import metadata
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / 'doc' / 'source' / 'writing-a-driver.rst'
BLOCK = re.compile(r'^\.\. code-block:: \w+\n   :caption: (\S+)\n\n((?:   .*\n|\n)+)', re.MULTILINE)


def files_of(page: str) -> dict[str, str]:
    """The code blocks that have a file's name for a caption."""
    return {name: textwrap.dedent(text).rstrip() + '\n' for name, text in BLOCK.findall(page)}


@pytest.fixture(scope='module')
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the page in a directory, as an author has them."""
    directory = tmp_path_factory.mktemp('shelf')
    for name, text in files_of(PAGE.read_text(encoding='utf-8')).items():
        (directory / name).write_text(text, encoding='utf-8')
    return directory


@pytest.fixture(scope='module')
def site(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the distribution installed in it."""
    target = tmp_path_factory.mktemp('site')
    if can_build():
        install(sources, target)
    else:
        install_by_hand(sources, target)
    return target


def can_build() -> bool:
    """Whether pip can build here without fetching anything."""
    installed = {name: version_of(name) for name in ('pip', 'setuptools', 'wheel')}
    # Since 70.1 setuptools makes wheels by itself.
    return bool(installed['pip'] and (installed['setuptools'] >= (70, 1) or
                                      installed['setuptools'] and installed['wheel']))


def version_of(distribution: str) -> tuple[int, ...]:
    """Major and minor version of what is installed, or nothing."""
    try:
        return tuple(map(int, metadata.version(distribution).split('.')[:2]))
    except metadata.PackageNotFoundError:
        return ()


def install(sources: Path, target: Path) -> None:
    # A copy, because a build leaves its own files beside the sources.
    copied = shutil.copytree(sources, target.with_name(f'{target.name}-sources'))
    run([sys.executable, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check',
         '--no-index', '--no-deps', '--no-build-isolation', '--target', str(target), str(copied)])


def install_by_hand(sources: Path, target: Path) -> None:
    """What an installer leaves, where this environment cannot build."""
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(sources / 'setup.cfg', encoding='utf-8')
    name, version = setup['metadata']['name'], setup['metadata']['version']
    shutil.copy(sources / f'{setup["options"]["py_modules"]}.py', target)
    described = target / f'{name.replace("-", "_")}-{version}.dist-info'
    described.mkdir()
    (described / 'METADATA').write_text(
        f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n', encoding='utf-8')
    (described / 'entry_points.txt').write_text(''.join(
        f'[{group}]\n{textwrap.dedent(entries).strip()}\n'
        for group, entries in setup['options.entry_points'].items()), encoding='utf-8')


def run(command: list[str], *path: Path, cwd: Path | None = None) -> str:
    """A command's output; its failure shows all that it said."""
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith('PYTEST_')}
    environment['PYTHONPATH'] = os.pathsep.join(map(str, [*path, ROOT]))
    done = subprocess.run(command, cwd=cwd, env=environment, text=True, timeout=120,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    return done.stdout


def python(code: str, site: Path) -> str:
    return run([sys.executable, '-c', textwrap.dedent(code)], site, cwd=site)


def test_the_page_has_all_files(sources: Path) -> None:
    assert {path.name for path in sources.iterdir()} == {
        'shelf_backup.py', 'setup.cfg', 'setup.py', 'test_shelf.py', 'backup_framework.conf'}


def test_the_loader_finds_and_accepts_it(site: Path) -> None:
    told = python("""
        from backup_framework import loader
        print(loader.drivers()['shelf'], loader.load('shelf').__name__)
        print([found.text for found in loader.check('shelf') if found.level != 'note'])
        """, site)
    assert told == 'backup-framework-shelf 1.0 ShelfBackupDriver\n[]\n'


@pytest.fixture
def quick_directory(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a place: the driver waits for the disk at each transaction."""
    memory = Path('/dev/shm')
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as directory:
        yield Path(directory)


def test_its_test_passes(sources: Path, site: Path, quick_directory: Path) -> None:
    told = run([sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider',
                '--basetemp', str(quick_directory / 'pytest'), 'test_shelf.py'],
               site, cwd=sources)
    assert re.search(r'[1-9]\d\d passed', told), told


def test_a_build_by_hand_is_as_good(sources: Path, tmp_path: Path) -> None:
    install_by_hand(sources, tmp_path)
    told = python("""
        from backup_framework import loader
        print(loader.drivers()['shelf'], loader.load('shelf').__name__)
        """, tmp_path)
    assert told == 'backup-framework-shelf 1.0 ShelfBackupDriver\n'


def test_the_command_line_backs_up_to_it(sources: Path, site: Path, tmp_path: Path) -> None:
    state = tmp_path / 'state'
    state.mkdir()
    section = (sources / 'backup_framework.conf').read_text(encoding='utf-8')
    configuration = tmp_path / 'backup_framework.conf'
    configuration.write_text(
        section.replace('[DEFAULT]', f'[DEFAULT]\nstate_path = {state}'), encoding='utf-8')
    volume = tmp_path / 'volume'
    volume.write_bytes(os.urandom(100_001))

    def command(*arguments: str) -> str:
        return run([sys.executable, '-m', 'backup_framework.cmd.main',
                    '--config-file', str(configuration), *arguments], site, cwd=tmp_path)

    assert 'shelf_backup:ShelfBackupDriver' in command('driver', 'list')
    assert 'error' not in command('driver', 'check', 'shelf')
    command('backend', 'check', 'shelf')
    command('backup', 'create', 'volume', '--name', 'first')
    command('backup', 'verify', 'first')
    command('backup', 'restore', 'first', 'restored')
    assert (tmp_path / 'restored').read_bytes() == volume.read_bytes()
    assert (state / 'shelf.db').stat().st_size > 100_000
