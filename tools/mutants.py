"""How much the tests see: small changes of the code, each of which they should notice.

    python -m tools.mutants --count 300 --seed 7 --only owner

A mutant is the package with one condition turned, one operator exchanged, one number or truth value
changed, or one statement left out. Those that the tests of its module do not notice are printed.
Some are none: they behave as the original does. Each has bounds of CPU and time.
"""

from __future__ import annotations

import argparse
import ast
from collections import Counter
from collections.abc import Iterator, Sequence
import compileall
import contextlib
import dataclasses
import fnmatch
import importlib
import os
from pathlib import Path
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import types
from typing import Any, NoReturn

import pytest

ROOT = Path(__file__).parents[1]
COPIED = ('backup_framework', 'plugins')
PLUGINS = ('plugins/sftp', 'plugins/gcs')
PRELOADED = ('alembic.command', 'blake3', 'cliff.command', 'cryptography.hazmat.primitives.ciphers',
             'hypothesis', 'oslo_config.cfg', 'oslo_log.log', 'rich.progress', 'sqlalchemy',
             'stevedore', 'tenacity', 'zstandard')
CPU_SECONDS = 120
SECONDS = 600

_V2 = [f'tests/unit/formats/v2/test_{name}.py' for name in (
    'layout', 'compaction', 'state', 'writer', 'writer_shared', 'writer_failures', 'writer_index',
    'damage', 'sweep', 'writer_properties')]
_SEALED = ['tests/unit/formats/v2/test_sealing.py', 'tests/trust/sealing/test_rules.py',
           'tests/trust/sealing/test_attacks.py', 'tests/trust/sealing/test_interrupted.py',
           'tests/trust/sealing/test_round_trips.py']
_DELETES = ['tests/functional/test_cli_deletes.py', 'tests/functional/test_cli_owners.py',
            'tests/trust/together/test_schedules.py']
_CATALOG = ['tests/unit/catalog']
AREAS = {
    'formats/plan.py': ['tests/unit/formats/test_plan.py'],
    'formats/v2/chunk_map.py': [*_V2, *_SEALED],
    'formats/v2/chunk_unit.py': [*_V2, 'tests/functional/test_cli_verify_partial.py',
                                 'tests/trust/verify/test_never_unverified.py'],
    'formats/v2/compaction.py': _V2,
    'formats/v2/key_sets.py': [*_SEALED, 'tests/functional/test_cli_keys.py'],
    'formats/v2/layout.py': _V2,
    'formats/v2/manifest.py': [*_V2, *_SEALED],
    'formats/v2/owner.py': ['tests/trust/together/test_owners.py'],
    'formats/v2/parts.py': ['tests/unit/formats/v2/test_parts.py',
                            'tests/unit/driver/test_parts.py'],
    'formats/v2/reader.py': [*_V2, *_SEALED],
    'formats/v2/resumed.py': ['tests/trust/resume/test_changed_meanwhile.py',
                              'tests/trust/resume/test_what_stays.py',
                              'tests/trust/resume/test_killed_anywhere.py'],
    'formats/v2/sealing.py': _SEALED,
    'formats/v2/sweep.py': ['tests/unit/formats/v2/test_sweep.py', *_SEALED],
    'formats/v2/writer.py': [*_V2, *_SEALED, 'tests/functional/test_cli_verify.py',
                             'tests/trust/resume/test_changed_meanwhile.py'],
    'driver/sweeping.py': ['tests/unit/driver/test_sweeping.py', *_DELETES],
    'manager/deleting.py': _DELETES,
    'manager/drift.py': ['tests/trust/together/test_drift.py',
                         'tests/functional/test_cli_checks.py'],
    'manager/freeing.py': _DELETES,
    'manager/retention.py': ['tests/unit/manager/test_retention.py'],
    'manager/sources.py': ['tests/unit/manager/test_sources.py'],
    'volumes/block.py': ['tests/unit/volumes/test_block.py'],
    'volumes/cinder.py': ['tests/unit/volumes/test_cinder.py'],
    'volumes/file.py': ['tests/unit/volumes/test_file.py'],
    'volumes/nbd.py': ['tests/unit/volumes/test_nbd.py'],
    'api/auth.py': ['tests/unit/api/test_auth.py'],
    'api/context.py': ['tests/unit/api/test_policy.py', 'tests/unit/api/test_auth.py'],
    'api/backends.py': ['tests/unit/api/test_extensions.py'],
    'api/extensions.py': ['tests/unit/api/test_extensions.py'],
    'api/metrics.py': ['tests/unit/api/test_extensions.py'],
    'api/summary.py': ['tests/unit/api/test_extensions.py'],
    'api/middleware.py': ['tests/unit/api/test_middleware.py'],
    'api/policy.py': ['tests/unit/api/test_policy.py'],
    'api/rates.py': ['tests/unit/api/test_middleware.py'],
    'api/users.py': ['tests/unit/api/test_auth.py'],
    'api/watching.py': ['tests/unit/api/test_auth.py', 'tests/unit/api/test_policy.py'],
    'catalog/figures.py': ['tests/unit/catalog/test_figures.py'],
    'catalog/operations.py': _CATALOG,
    'catalog/recovery.py': [*_CATALOG, 'tests/functional/test_cli_killed.py'],
    'catalog/waiting.py': [*_CATALOG, 'tests/functional/test_cli_deletes.py'],
    'catalog/parts.py': ['tests/unit/catalog/test_parts.py'],
    'catalog/splitting.py': ['tests/unit/catalog/test_parts.py'],
    'driver/splitting.py': ['tests/unit/driver/test_parts.py'],
    'drivers/files.py': ['tests/unit/drivers/test_local_objects.py', 'tests/unit/drivers',
                         'tests/conformance/test_local.py'],
}
"""Modules, and the tests that have to notice changes of them, the quickest first."""

_SWAPPED: dict[type[ast.AST], Any] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE,
    ast.GtE: ast.Gt, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift, ast.And: ast.Or,
    ast.Or: ast.And}
_LEFT_OUT = ('annotation', 'returns', 'decorator_list')
"""What of a function nobody runs."""


@dataclasses.dataclass(frozen=True)
class Mutant:
    """:param start: byte of the module, up to `end`, in whose place `new` stands."""

    module: str
    line: int
    start: int
    end: int
    old: str
    new: str

    @property
    def file(self) -> Path:
        return Path('backup_framework') / self.module

    def __str__(self) -> str:
        return f'{self.module}:{self.line}: {_short(self.old)}  ->  {_short(self.new)}'


def _short(text: str) -> str:
    return ' '.join(text.split())[:110]


def mutants(tree: Path, module: str) -> list[Mutant]:
    """All that are made of a module of the package."""
    source = (tree / 'backup_framework' / module).read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    for node in _nodes(ast.parse(source)):
        for place, new in _changes(node):
            start = starts[place.lineno - 1] + place.col_offset
            end = starts[(place.end_lineno or 0) - 1] + (place.end_col_offset or 0)
            found.append(Mutant(module, place.lineno, start, end, source[start:end].decode(), new))
    return found


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    """What is run; not texts, nor asserts, which tell types, nor what is logged."""
    if isinstance(node, ast.JoinedStr | ast.Assert) or _is_logging(node):
        return
    yield node
    for name, value in ast.iter_fields(node):
        if name not in _LEFT_OUT:
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _nodes(child)


def _is_logging(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and ast.unparse(node).startswith('LOG.')


def _changes(node: Any) -> Iterator[tuple[Any, str]]:
    """Nodes and the texts that stand in their places."""
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in _SWAPPED:
            other = ast.Compare(node.left, [_SWAPPED[type(operator)]()], node.comparators)
            yield node, f'({ast.unparse(other)})'
        case ast.BoolOp(op=operator):
            yield node, f'({ast.unparse(ast.BoolOp(_SWAPPED[type(operator)](), node.values))})'
        case ast.BinOp(op=operator) if type(operator) in _SWAPPED and not _is_text(node):
            swapped = ast.BinOp(node.left, _SWAPPED[type(operator)](), node.right)
            yield node, f'({ast.unparse(swapped)})'
        case ast.UnaryOp(op=ast.Not()):
            yield node, f'({ast.unparse(node.operand)})'
        case ast.Constant(value=bool()):
            yield node, str(not node.value)
        case ast.Constant(value=int() as number):
            yield node, str(number + 1)
        case ast.If() | ast.While() | ast.IfExp() if not isinstance(node.test, ast.Constant):
            yield node.test, f'(not ({ast.unparse(node.test)}))'
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Raise() | ast.Break():
            yield node, 'pass'
        case ast.Continue() | ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield node, 'pass'
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) not in ('None', 'False'):
            yield node, 'return None'


def _is_text(node: ast.AST) -> bool:
    return any(isinstance(each, ast.JoinedStr) or isinstance(each, ast.Constant)
               and isinstance(each.value, str | bytes) for each in ast.iter_child_nodes(node))


def run(tree: Path, tests: Sequence[str]) -> int:
    """What pytest ends with in the tree; something else where a bound was met."""
    child = os.fork()
    if not child:
        _become_pytest(tree, tests)
    deadline = time.monotonic() + SECONDS
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if not ended:
        os.waitpid(child, 0)
        return -1
    return os.waitstatus_to_exitcode(status)


def _become_pytest(tree: Path, tests: Sequence[str]) -> NoReturn:
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    with open(tree / 'output', 'wb') as output, open(os.devnull, 'rb') as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.chdir(tree)
    # What tests start with multiprocessing would import this module otherwise.
    sys.modules['__main__'] = types.ModuleType('__main__')
    paths = [str(tree / each) for each in ('.', *PLUGINS)]
    sys.path[:0] = paths
    os.environ['PYTHONPATH'] = os.pathsep.join(paths)
    code = pytest.main(['-q', '-x', '-p', 'no:cacheprovider', f'--rootdir={tree}',
                        f'--basetemp={tree / "run"}', *tests])
    sys.stdout.flush()
    os._exit(code)


def planted(mutant: Mutant, tree: Path) -> int:
    """What pytest ends with while the mutant is in the tree."""
    file = tree / mutant.file
    source = file.read_bytes()
    # Else one of the same second and length is taken for it.
    for compiled in (file.parent / '__pycache__').glob(f'{file.stem}.*'):
        compiled.unlink()
    file.write_bytes(source[:mutant.start] + mutant.new.encode() + source[mutant.end:])
    try:
        return run(tree, AREAS[mutant.module])
    finally:
        file.write_bytes(source)


def copied(tree: Path) -> None:
    """The tree, of which the package is a copy, and the rest links."""
    for thing in ROOT.iterdir():
        if thing.name in COPIED:
            shutil.copytree(thing, tree / thing.name, ignore=shutil.ignore_patterns('*.egg-info'))
        elif not thing.name.startswith('.'):
            (tree / thing.name).symlink_to(thing)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--count', type=int, default=60, help='at most')
    parser.add_argument('--seed', type=int, default=random.randrange(10**6))
    parser.add_argument('--minutes', type=float, default=60, help='after which no other is tried')
    parser.add_argument('--only', default='*', help='a pattern of modules')
    options = parser.parse_args()
    for module in PRELOADED:
        importlib.import_module(module)
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory)
        copied(tree)
        everything = [mutant for module in AREAS if fnmatch.fnmatch(module, options.only)
                      for mutant in mutants(tree, module)]
        chosen = random.Random(options.seed).sample(
            everything, min(options.count, len(everything)))
        print(f'{len(chosen)} of {len(everything)} mutants, seed {options.seed}', flush=True)
        tried, caught = _try_all(chosen, tree, time.monotonic() + options.minutes * 60)
    for module, count in sorted(tried.items()):
        print(f'{module:28} {caught[module]:4} of {count:4}')
    print(f'{"all":28} {caught.total():4} of {tried.total():4}')
    return 0


def _try_all(chosen: Sequence[Mutant], tree: Path, until: float
             ) -> tuple[Counter[str], Counter[str]]:
    """How many were tried and caught, by module. Tests must pass before mutants are made."""
    tried, caught = Counter[str](), Counter[str]()
    passed: dict[str, bool] = {}
    compileall.compile_dir(tree / 'backup_framework', quiet=1)
    for mutant in chosen:
        if time.monotonic() > until:
            break
        tests = AREAS[mutant.module]
        called = ' '.join(tests)
        if called not in passed:
            passed[called] = run(tree, tests) == 0
            if not passed[called]:
                print(f'{mutant.module} is left out, its tests fail without a mutant:\n'
                      + (tree / 'output').read_text()[-2000:], flush=True)
        if not passed[called]:
            continue
        tried[mutant.module] += 1
        if planted(mutant, tree) != 0:
            caught[mutant.module] += 1
        else:
            print(mutant, flush=True)
    return tried, caught


if __name__ == '__main__':
    # Otherwise what is compiled while a mutant is there might stay.
    sys.dont_write_bytecode = True
    os.environ['PYTHONDONTWRITEBYTECODE'] = '1'
    sys.exit(main())
