"""The README's and the pages' examples are run or loaded, and the pages build."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import re
import shlex
import shutil
import subprocess
import sys
import textwrap

import pytest

from backup_framework import conf, loader
from backup_framework.api import policies, users
from backup_framework.api.policy import Rules
from backup_framework.driver import options
from backup_framework.engine import hints
from backup_framework.model import Extent

ROOT = Path(__file__).parents[2]
PLUGIN_PAGES = sorted((ROOT / 'doc/source/drivers').glob('*.rst'))
PAGES = [ROOT / 'README.rst', *sorted((ROOT / 'doc/source').rglob('*.rst'))]


def blocks(page: Path, language: str) -> Iterator[str]:
    """The code blocks of one language, without their indentation."""
    pattern = rf'^\.\. code-block:: {language}\n((?: +:.*\n)*)\n((?:   .*\n|\n)+)'
    for match in re.finditer(pattern, page.read_text() + '\n', re.M):
        yield textwrap.dedent(match[2])


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
    assert (tmp_path / 'part.img').read_bytes() == image[1 << 20:(1 << 20) + (64 << 10)]


RECIPES = {
    'nbdinfo': '[{"offset": 0, "length": 65536, "type": 0, "description": "clean"},'
               ' {"offset": 65536, "length": 131072, "type": 1, "description": "dirty"}]',
    'rbd': '[{"offset": 65536, "length": 131072, "exists": "true"}]',
    'thin_delta': '<superblock data_block_size="128">\n <diff left="17" right="18">\n'
                  '  <same begin="0" length="1"/>\n  <different begin="1" length="1"/>\n'
                  '  <right_only begin="2" length="1"/>\n </diff>\n</superblock>\n'}
"""What tools print of changes in the same bytes."""


@pytest.mark.parametrize('tool', RECIPES)
@pytest.mark.parametrize('page', ['README.rst', 'doc/source/operating.rst'])
def test_recipes_make_lists_of_changes(page: str, tool: str, tmp_path: Path) -> None:
    """Each pipe of a page, with the tool at its beginning replaced by what that prints."""
    if shutil.which('jq') is None:
        pytest.skip('no jq')
    found = re.search(rf'^    {tool} (?:.*\n)+?.*> changed\.json$', (ROOT / page).read_text(), re.M)
    if page == 'README.rst' and tool != 'nbdinfo':
        assert found is None
        return
    assert found
    _, bar, pipe = textwrap.dedent(found[0]).partition('|')
    assert bar
    subprocess.run(['bash', '-ec', f'set -o pipefail; parent=p1; cat |{pipe}'], cwd=tmp_path,
                   input=RECIPES[tool], text=True, check=True, timeout=60)
    assert hints.load(str(tmp_path / 'changed.json')) == ('p1', [Extent(65536, 131072)])


def test_a_backup_is_salvaged_by_the_pages_reader(place: dict[str, str], tmp_path: Path) -> None:
    page = (ROOT / 'doc/source/operating.rst').read_text()
    found = re.search(r"^    (python3 -c 'import pathlib, sys, v2_reader\n(?:.*\n)+?.*> disk\.img)",
                      page, re.M)
    assert found
    made = subprocess.run(['backup-framework', 'backup', 'create', 'disk.img'], cwd=tmp_path,
                          env=place, capture_output=True, timeout=60)
    assert made.returncode == 0
    [manifest] = (tmp_path / 'bf' / 'backups').rglob('*_metadata')
    image = (tmp_path / 'disk.img').read_bytes()
    command = textwrap.dedent('    ' + found[1]).replace('DIRECTORY', str(manifest.parent)).replace(
        'PREFIX', manifest.name.removesuffix('_metadata')).replace('python3', sys.executable)
    subprocess.run(['bash', '-ec', command], cwd=tmp_path, check=True, timeout=60,
                   env=place | {'PYTHONPATH': str(ROOT / 'tests' / 'formats')})
    assert (tmp_path / 'disk.img').read_bytes() == image


def load(block: str, place: Path) -> conf.Configuration:
    """A configuration from a page, its drivers made; nothing is connected by that."""
    file = place / f'{len(list(place.iterdir()))}.conf'
    file.write_text(block)
    configuration = conf.load([str(file)])
    assert not configuration.warnings
    for name in configuration.enabled_backends:
        driver_class = loader.load(configuration.backend(name).driver)
        driver_class(configuration.settings(name, driver_class))
    return configuration


def test_the_readme_configurations_are_valid(tmp_path: Path) -> None:
    volumes = [load(block, tmp_path).volumes() for block in blocks(ROOT / 'README.rst', 'ini')]
    assert any(volumes)


def test_the_page_of_the_configuration_is_valid(tmp_path: Path) -> None:
    page = ROOT / 'doc/source/configuration.rst'
    loaded = [load(block, tmp_path) for block in blocks(page, 'ini')]
    assert any(configuration.volumes() for configuration in loaded)
    table = set(re.findall(r'^``(\w+)``  ', page.read_text(), re.M))
    assert table == {option.name for option in options.SHARED}


def test_the_configurations_for_operators_are_valid(tmp_path: Path) -> None:
    rules, commands = set(), []
    for block in blocks(ROOT / 'doc/source/operating.rst', 'ini'):
        configuration = load(block, tmp_path)
        rules |= set(configuration.retention('db'))
        commands += configuration.failure_command
    assert {'hourly', 'monthly', 'within', 'protect'} <= rules and commands


def test_the_page_on_access_to_the_api_is_valid(tmp_path: Path) -> None:
    page = ROOT / 'doc/source/api-access.rst'
    strategies = {load(block, tmp_path).api.auth_strategy for block in blocks(page, 'ini')}
    assert strategies == {'none', 'http_basic', 'keystone'}
    [projects] = blocks(page, 'text')
    (tmp_path / 'users').write_text(projects)
    assert users.read_projects(str(tmp_path / 'users'))['operator'] == {'admin': ['admin']}
    changed, _ = blocks(page, 'yaml')
    (tmp_path / 'policy.yaml').write_text(changed)
    made = Rules(load('', tmp_path).oslo)
    assert not made.allow('backup:restore', {'project_id': 'p'}, {
        'project_id': 'p', 'roles': ['member', 'reader']})
    rules = set(re.findall(r'"([\w-]+:[\w-]+)"', changed))
    assert rules <= {rule.name for rule in policies.list_rules()} and rules


def test_the_configuration_for_production_is_valid(tmp_path: Path) -> None:
    secret = tmp_path / 'database.url'
    secret.touch(0o600)
    secret.write_text('postgresql+psycopg2://backup:secret@10.0.0.11/backup')
    [block] = blocks(ROOT / 'doc/source/production.rst', 'ini')
    configuration = load(block.replace('/etc/backup_framework', str(tmp_path)), tmp_path)
    assert configuration.connection.startswith('postgresql')
    assert configuration.jobboard().connection and configuration.service().max_operations
    assert configuration.api.auth_strategy == 'keystone' and configuration.quota.backups == 100
    [source] = configuration.sources()
    assert source.name == 'images' and source.project_id, 'not for every project to read'


@pytest.mark.parametrize('page', PLUGIN_PAGES, ids=lambda page: page.stem)
def test_configurations_of_plugins_are_valid(page: Path, tmp_path: Path) -> None:
    """The first is the least that the driver needs; the page has every option of its own."""
    driver_class = installed(page.stem)
    first, *others = blocks(page, 'ini')
    required = {option.name for option in driver_class.OPTIONS if option.required}
    assert set(re.findall(r'^(\w+) =', first, re.M)) == required | {'driver', 'enabled_backends'}
    for block in (first, *others):
        load(block, tmp_path)
    named = ' '.join([*re.findall(r'``(.*?)``', page.read_text(), re.S), first, *others])
    assert {option.name for option in driver_class.OPTIONS} <= set(re.findall(r'\w+', named))


@pytest.mark.parametrize('page', PLUGIN_PAGES, ids=lambda page: page.stem)
def test_options_that_the_pages_of_plugins_set_exist(page: Path) -> None:
    known = set(conf.options_of(installed(page.stem))) | {'driver'}
    set_in_text = set(re.findall(r'``(\w+) = [^`]+``', page.read_text()))
    assert set_in_text and set_in_text <= known


@pytest.mark.parametrize('plugin', sorted((ROOT / 'plugins').iterdir()), ids=lambda path: path.name)
def test_the_readmes_of_plugins_are_valid(plugin: Path, tmp_path: Path) -> None:
    installed(plugin.name)
    found = list(blocks(plugin / 'README.rst', 'ini'))
    assert found and all(load(block, tmp_path).enabled_backends for block in found)


def installed(name: str) -> type:
    """A plugin's driver; the test is skipped where the plugin is not installed."""
    pytest.importorskip(f'backup_framework_{name}', reason=f'the plugin {name} is not installed')
    return loader.load(name)


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_commands_in_the_pages_exist(page: Path) -> None:
    """Every `backup-framework NOUN VERB` that a page names is a command."""
    from importlib import metadata
    known = {entry.name.replace('_', ' ')
             for entry in metadata.entry_points(group='backup_framework.commands')}
    nouns = {name.split()[0] for name in known}
    named = set(re.findall(r'backup-framework\s+([a-z]+\s+[a-z-]+)', page.read_text()))
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
