"""The checks are checked: defects are planted one by one, and a test has to fail at each.

A defect is an entry of a `.toml` file here: what is wrong, where, and the tests that must see it.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
import shutil
import subprocess
import sys
import tomllib

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
FEWEST = 25
COPIED = ('backup_framework', 'plugins')
"""What a defect may be planted in. Everything else of the tree is linked."""
FAILED = 1
"""What pytest ends with where tests ran and failed."""


@dataclasses.dataclass(frozen=True)
class Defect:
    """:param tests: node ids, of which one at least must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: list[str]


def defects() -> list[Defect]:
    return [Defect(**each) for file in sorted(HERE.glob('*.toml'))
            for each in tomllib.loads(file.read_text())['defect']]


each_defect = pytest.mark.parametrize('defect', defects(), ids=lambda defect: defect.name)


def test_there_are_enough():
    found = defects()
    assert len(found) >= FEWEST
    assert len({defect.name for defect in found}) == len(found)


@each_defect
def test_it_can_be_planted(defect):
    """Its place is still there, and so are the tests; `make test-long` plants it."""
    assert defect.file.split('/')[0] in COPIED
    assert (ROOT / defect.file).read_text().count(defect.old) == 1
    assert defect.old != defect.new and defect.tests
    for node in defect.tests:
        file, _, name = node.partition('::')
        text = (ROOT / file).read_text()
        assert not name or f'def {name.rpartition("::")[2].partition("[")[0]}(' in text


@pytest.mark.long
@each_defect
def test_it_is_caught(defect, tmp_path):
    tree = planted(defect, tmp_path / 'tree')
    paths = [tree, tree / 'plugins' / 'sftp', tree / 'plugins' / 'gcs']
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-x', '-p', 'no:cacheprovider', '-m', '',
         f'--rootdir={tree}', f'--basetemp={tmp_path / "run"}', *defect.tests],
        cwd=tree, env=os.environ | {'PYTHONPATH': os.pathsep.join(map(str, paths))},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240, check=False)
    assert done.returncode == FAILED, done.stdout[-3000:]


def planted(defect: Defect, tree: Path) -> Path:
    """The tree with the defect in it."""
    tree.mkdir()
    for thing in ROOT.iterdir():
        if thing.name in COPIED:
            shutil.copytree(thing, tree / thing.name,
                            ignore=shutil.ignore_patterns('__pycache__', '*.egg-info'))
        elif not thing.name.startswith('.'):
            (tree / thing.name).symlink_to(thing)
    file = tree / defect.file
    file.write_text(file.read_text().replace(defect.old, defect.new))
    return tree
