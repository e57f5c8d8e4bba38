"""House rules that no linter knows (CONTRIBUTING.rst). A failure lists the places at fault."""

from __future__ import annotations

import ast
from collections.abc import Iterator
import pathlib
import re
import sys

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'backup_framework'
PLUGINS = sorted(path.parent for path in (ROOT / 'plugins').glob('*/*/__init__.py'))
SHIPPED = [path for package in (PACKAGE, *PLUGINS) for path in sorted(package.rglob('*.py'))]
WRITTEN = SHIPPED + [path for place in ('benchmarks', 'plugins/*/tests', 'tests', 'tools')
                     for path in sorted(ROOT.glob(f'{place}/**/*.py'))]

FUNCTION_LINES = 60  # the aim is 40
FILE_LINES = 450

# Who may catch everything: those who record and report it, the loader, to which any installed
# distribution may do anything, and the kit, which judges what escapes a driver. A handler that ends
# by raising hides nothing.
MAY_CATCH_ALL = ('api/', 'cmd/', 'loader.py', 'manager/', 'service/', 'testing/')

THREADS = {'_thread', 'asyncio', 'concurrent', 'multiprocessing', 'queue', 'threading'}
MAY_USE_THREADS = ('drivers/', 'engine/parallel.py', 'service/', 'testing/', 'plugins/')

STANDARD_LIBRARY_ONLY = ('exceptions.py', 'interface/', 'model.py')

# Put together here so that this file does not break its own rules.
UNFINISHED = re.compile(r'\b(' + '|'.join(['TO' 'DO', 'FIX' 'ME', 'XX' 'X']) + r')\b')
OF_A_MACHINE = re.compile(r'(?<![\w.$~<>{}-])/(home|root|work|opt|tmp)/\w')
NOTE = re.compile(r'[a-z0-9-]+-[0-9a-f]{16}\.yaml')
NOTE_SECTIONS = {'critical', 'deprecations', 'features', 'fixes', 'issues', 'other', 'prelude',
                 'security', 'upgrade'}
VAGUE = ('common', 'helpers', 'misc', 'util', 'utils')


def tree_of(path: pathlib.Path) -> ast.Module:
    return ast.parse(path.read_text(encoding='utf-8'))


def allowed(path: pathlib.Path, places: tuple[str, ...]) -> bool:
    """Whether the module is one of `places`, or in one that ends with a slash."""
    name = str(path.relative_to(PACKAGE if path.is_relative_to(PACKAGE) else ROOT))
    return any(name == place or place.endswith('/') and name.startswith(place)
               for place in places)


def at(path: pathlib.Path, line: int = 1, what: object = '') -> str:
    return f'{path.relative_to(ROOT)}:{line} {what}'.strip()


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and top-level name of all that is imported, at any depth."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split('.')[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.lineno, (node.module or '').split('.')[0]


def functions(tree: ast.Module) -> Iterator[tuple[int, str, int]]:
    """First line, name and lines of the body of each function, docstrings not counted."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        body = node.body[1:] if ast.get_docstring(node) is not None else node.body
        if body:
            yield node.lineno, node.name, (body[-1].end_lineno or 0) - body[0].lineno + 1


def broad_handlers(tree: ast.Module) -> Iterator[int]:
    """The lines of handlers that take any exception and may go on as if nothing had been."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            names = {kind.id for kind in kinds if isinstance(kind, ast.Name)}
            broad = node.type is None or names & {'Exception', 'BaseException'}
            if broad and not isinstance(node.body[-1], ast.Raise):
                yield node.lineno


def lines_with(pattern: re.Pattern[str], path: pathlib.Path) -> list[str]:
    lines = path.read_text(encoding='utf-8').splitlines()
    return [at(path, number, line.strip()) for number, line in enumerate(lines, 1)
            if pattern.search(line)]


def test_modules_say_what_lives_there():
    trees = {path: tree_of(path) for path in WRITTEN}
    assert not [at(path) for path, tree in trees.items()
                if tree.body and not ast.get_docstring(tree)], 'begin them with a docstring'


def test_modules_are_named_after_what_they_are_about():
    assert not [at(path) for path in WRITTEN if path.stem in VAGUE]


def test_files_are_short():
    lengths = {path: len(path.read_text(encoding='utf-8').splitlines()) for path in SHIPPED}
    assert not [at(path, length) for path, length in lengths.items() if length > FILE_LINES]


def test_functions_are_short():
    assert not [at(path, line, f'{name}: {length} lines') for path in SHIPPED
                for line, name, length in functions(tree_of(path)) if length > FUNCTION_LINES]


def test_only_the_top_catches_everything():
    assert not [at(path, line) for path in SHIPPED if not allowed(path, MAY_CATCH_ALL)
                for line in broad_handlers(tree_of(path))], \
        'name the exceptions, or end by raising'


def test_threads_live_in_few_places():
    assert not [at(path, line, name) for path in SHIPPED if not allowed(path, MAY_USE_THREADS)
                for line, name in imports(tree_of(path)) if name in THREADS]


def test_the_bottom_needs_the_standard_library_alone():
    known = sys.stdlib_module_names | {'backup_framework'}
    assert not [at(path, line, name) for path in SHIPPED if allowed(path, STANDARD_LIBRARY_ONLY)
                for line, name in imports(tree_of(path)) if name not in known]


def test_no_path_of_a_machine():
    assert not [line for path in SHIPPED for line in lines_with(OF_A_MACHINE, path)], \
        'ask tempfile, the options or the caller'


def test_nothing_is_left_for_later():
    assert not [line for path in WRITTEN for line in lines_with(UNFINISHED, path)]


def test_release_notes_are_well_formed():
    """What `reno lint` checks, which needs a git repository."""
    for path in (ROOT / 'releasenotes' / 'notes').iterdir():
        assert NOTE.fullmatch(path.name), f'{path.name}: make it with "reno new"'
        note = yaml.safe_load(path.read_text(encoding='utf-8'))
        assert not note.keys() - NOTE_SECTIONS, path.name


# The rules can fail.

def test_broad_handlers_are_found():
    source = '\n'.join(f'try: pass\nexcept{kind}' for kind in (
        ': pass',
        ' (OSError, Exception) as error: print(error)',
        ' BaseException: raise',
        ' Exception as error: raise ValueError from error',
        ' OSError: pass'))
    assert list(broad_handlers(ast.parse(source))) == [2, 4]


def test_imports_are_found_at_any_depth():
    source = 'import a.b, c\ndef f():\n    from d.e import g\n    from . import h\n'
    assert sorted(imports(ast.parse(source))) == [(1, 'a'), (1, 'c'), (3, 'd')]


def test_docstrings_are_not_counted():
    source = 'def f():\n    """One.\n\n    Two."""\n    a = 1\n    return a\n'
    assert list(functions(ast.parse(source))) == [(1, 'f', 2)]


@pytest.mark.parametrize('text, found', [
    ("open('/tmp/x')", True), ('/home/me', True), ('${path}/tmp/x', False),
    ('~/work/x', False), ('http://host/opt/x', False), ('/var/lib/backup_framework', False),
])
def test_paths_of_a_machine_are_found(text, found):
    assert bool(OF_A_MACHINE.search(text)) == found
