"""What setup.cfg says of the distribution is what the package needs and has."""

import ast
import configparser
import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = ROOT / 'backup_framework'
DISTRIBUTION = {'microversion_parse': 'microversion-parse', 'openstack': 'openstacksdk',
                'prometheus_client': 'prometheus-client'}
"""Of modules that are not called like their distribution; those of oslo have a dot."""

EXTRAS = ('castellan', 'client', 'encryption', 'etcd', 'keystone', 'messaging', 'redis', 'service',
          'zookeeper')
"""What is imported when it is needed, and missed with a sentence. The clients of databases are not
imported by us, nor is os-brick but by its name.
"""
FOR_CHECKERS = {'_typeshed'}

OPTIONAL = {PACKAGE / 'testing': {'pytest'}}
"""What an extra of its own brings, and where alone it may be imported."""


@pytest.fixture(scope='module')
def setup():
    found = configparser.ConfigParser(interpolation=None)
    found.read(ROOT / 'setup.cfg', encoding='utf-8')
    return found


def required(text):
    """The names of requirements, and of those the ones that have a lower bound."""
    lines = text.strip().splitlines()
    names = [re.split(r'[<>=!~;\[]', line)[0].lower() for line in lines]
    return set(names), {name for name, line in zip(names, lines) if '>=' in line}


def imported():
    known = sys.stdlib_module_names | {'backup_framework'} | FOR_CHECKERS
    for path in PACKAGE.rglob('*.py'):
        optional = set().union(*(names for place, names in OPTIONAL.items()
                                 if place in path.parents))
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                modules = [node.module]
            yield from {module.partition('.')[0] for module in modules} - known - optional


def distribution(module):
    return DISTRIBUTION.get(module, module.replace('oslo_', 'oslo.'))


def test_what_is_imported_is_required(setup):
    extras = setup['options.extras_require']
    names, bounded = required('\n'.join([
        setup['options']['install_requires'], *(extras[name].strip() for name in EXTRAS)]))
    wanted = {distribution(module).lower() for module in imported()}
    assert wanted == names
    assert names == bounded, 'each has a lower bound'


def test_libraries_of_openstack_stay_where_they_belong(setup):
    """Below conf nothing of them is needed; each has a room above."""
    fenced = {module for name in setup.sections() if name.startswith('importlinter:contract:')
              for module in setup[name].get('protected_modules', '').split()}
    assert {module for module in imported() if module.startswith('oslo')} <= fenced


def test_patterns_of_data_match_something(setup):
    for package, patterns in setup['options.package_data'].items():
        folder = ROOT / package.replace('.', '/') if package != '*' else PACKAGE
        for pattern in patterns.split():
            assert list(folder.glob(pattern)), f'{package}: {pattern}'


def test_tests_can_build_a_driver_without_isolation(setup):
    """Since 70.1 setuptools makes wheels by itself."""
    assert 'setuptools>=70.1' in setup['options.extras_require']['test'].split()
