"""Drivers are found, loaded one at a time, and judged."""

import contextlib
import importlib
from importlib import metadata
import os
import subprocess
import sys
import textwrap

import pytest
from stevedore import extension

from backup_framework import loader
from backup_framework.driver.chunked import ChunkedBackupDriver
from backup_framework.drivers.local import LocalBackupDriver
from backup_framework.drivers.nfs import NFSBackupDriver
from backup_framework.exceptions import DriverLoadError, DriverNotFound
from backup_framework.interface.backup_driver import BackupDriver
from backup_framework.model import Option, OptionType

GOOD = """
class Driver:
    def __init__(self, settings, context=None): pass
    def backup(self, backup, volume_file, backup_metadata=False): pass
    def restore(self, backup, volume_id, volume_file): pass
    def delete(self, backup): pass
    def export_record(self, backup): pass
    def import_record(self, backup, driver_info): pass
    def get_metadata(self, volume_id): pass
    def put_metadata(self, volume_id, json_metadata): pass
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a distribution on the path: its metadata, its entry points and one module."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def put(distribution, entry_points, module='', code='', version='1.2'):
        folder = tmp_path / f'{distribution.replace("-", "_")}-{version}.dist-info'
        folder.mkdir()
        (folder / 'METADATA').write_text(
            f'Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n')
        (folder / 'entry_points.txt').write_text(
            f'[{loader.NAMESPACE}]\n{textwrap.dedent(entry_points)}\n')
        if module:
            (tmp_path / f'{module}.py').write_text(code)
            (folder / 'RECORD').write_text(f'{module}.py,,\n')
        importlib.invalidate_caches()
    yield put
    for name in set(sys.modules) - before:
        if name.startswith('fake_'):
            del sys.modules[name]
    extension.ExtensionManager.ENTRY_POINT_CACHE.clear()


def test_drivers_are_listed_and_none_is_imported(install):
    install('acme-backup', 'acme = fake_acme:Driver', 'fake_acme', GOOD)
    install('broken-backup', 'broken = fake_broken:Driver', 'fake_broken', 'raise OSError()')
    found = loader.drivers()
    assert found['acme'] == loader.DriverInfo('acme', 'fake_acme:Driver', 'acme-backup', '1.2')
    assert found['broken'].distribution == 'broken-backup'
    assert 'fake_acme' not in sys.modules and 'fake_broken' not in sys.modules


def test_only_the_driver_asked_for_is_imported(install):
    install('acme-backup', 'acme = fake_acme:Driver\nother = fake_other:Driver', 'fake_acme', GOOD)
    install('broken-backup', 'broken = fake_broken:Driver', 'fake_broken', 'raise OSError()')
    assert loader.load('acme').__module__ == 'fake_acme'
    assert 'fake_broken' not in sys.modules


@pytest.mark.parametrize('path', ['fake_acme:Driver', 'fake_acme.Driver'])
def test_the_path_of_a_class(install, path):
    install('acme-backup', '', 'fake_acme', GOOD)
    assert loader.load(path).__name__ == 'Driver'


@pytest.mark.parametrize('code, words', [
    ('import fake_nothing', "ModuleNotFoundError: No module named 'fake_nothing'"),
    ('raise ValueError("no luck")', 'ValueError: no luck'),
    ('assert False, "never"', 'AssertionError: never'),
    ('raise SystemExit(3)', 'SystemExit: 3'),
    ('def f(:', 'SyntaxError'),
    ('', 'Driver')])
@pytest.mark.parametrize('name', ['acme', 'fake_acme:Driver'])
def test_a_driver_that_does_not_import_names_its_distribution(install, code, words, name):
    install('acme-backup', 'acme = fake_acme:Driver', 'fake_acme', code)
    with pytest.raises(DriverLoadError, match='acme-backup 1.2 cannot be imported') as caught:
        loader.load(name)
    assert words in str(caught.value)


def test_two_distributions_with_one_name(install):
    install('acme-backup', 'acme = fake_acme:Driver', 'fake_acme', GOOD)
    install('other-backup', 'acme = fake_other:Driver', 'fake_other', GOOD, version='3')
    found = loader.drivers()['acme']
    assert {found.distribution, *found.rivals} in ({'acme-backup', 'other-backup 3'},
                                                   {'other-backup', 'acme-backup 1.2'})
    with pytest.raises(DriverLoadError, match='acme-backup 1.2') as caught:
        loader.load('acme')
    assert 'other-backup 3' in str(caught.value)
    assert 'fake_acme' not in sys.modules and 'fake_other' not in sys.modules


def test_a_distribution_that_is_there_twice_counts_once(install, tmp_path, monkeypatch):
    install('acme-backup', 'acme = fake_acme:Driver', 'fake_acme', GOOD)
    folder = tmp_path / 'second' / 'Acme_Backup-1.1.dist-info'
    folder.mkdir(parents=True)
    (folder / 'METADATA').write_text('Metadata-Version: 2.1\nName: Acme_Backup\nVersion: 1.1\n')
    (folder / 'entry_points.txt').write_text('[backup_framework.drivers]\nacme = x:Y\n')
    monkeypatch.setattr(sys, 'path', [*sys.path, str(tmp_path / 'second')])
    assert loader.drivers()['acme'] == loader.DriverInfo(
        'acme', 'fake_acme:Driver', 'acme-backup', '1.2')


def test_a_damaged_distribution_hides_no_other(install, tmp_path):
    install('acme-backup', 'acme = fake_acme:Driver', 'fake_acme', GOOD)
    install('bad-backup', 'what is this')
    folder = tmp_path / 'worse-1.dist-info'
    folder.mkdir()
    (folder / 'entry_points.txt').write_bytes(b'\xff\xfe[\n')
    assert 'acme' in loader.drivers()
    assert loader.load('acme')


def test_one_whose_name_cannot_be_read_hides_no_other(install, tmp_path):
    install('acme-backup', 'acme = fake_acme:Driver', 'fake_acme', GOOD)
    install('bad-backup', 'bad = fake_bad:Driver')
    (tmp_path / 'bad_backup-1.2.dist-info' / 'METADATA').write_bytes(b'Name: \xff\xfe\n')
    assert 'acme' in loader.drivers() and 'bad' not in loader.drivers()


def test_what_is_installed_is_looked_at_once_and_again_when_it_changes(install, monkeypatch):
    looks = []
    distributions = metadata.distributions
    monkeypatch.setattr(metadata, 'distributions', lambda: looks.append(1) or distributions())
    install('acme-backup', 'acme = fake_acme:Driver', 'fake_acme', GOOD)
    assert 'acme' in loader.drivers() and 'other' not in loader.drivers()
    loader.bypass_cache('cliff.formatter.list')
    assert len(looks) == 1
    install('other-backup', 'other = fake_other:Driver')
    assert {'acme', 'other'} <= set(loader.drivers()) and len(looks) == 2


def test_an_unknown_driver_names_the_nearest(install):
    install('acme-backup', 'acme = fake_acme:Driver', 'fake_acme', GOOD)
    with pytest.raises(DriverNotFound, match='offers a driver acne; did you mean acme?'):
        loader.load('acne')
    with pytest.raises(DriverNotFound, match='installed: .*acme'):
        loader.load('zzzzzzz')


def test_what_is_no_driver(install):
    install('acme-backup', 'f = fake_acme:f\nd = fake_acme:D', 'fake_acme',
            'def f(): pass\nclass D:\n  def backup(self): pass')
    with pytest.raises(DriverLoadError, match='driver f of acme-backup 1.2 is not a class'):
        loader.load('f')
    with pytest.raises(DriverLoadError, match='acme-backup 1.2 lacks delete, export_record') as e:
        loader.load('d')
    assert 'driver check d' in str(e.value)


def test_delete_under_its_later_name_is_enough(install):
    install('acme-backup', 'acme = fake_acme:Driver', 'fake_acme',
            GOOD.replace('def delete(', 'def delete_backup('))
    assert loader.load('acme')


def test_a_driver_of_cinder_itself():
    with pytest.raises(DriverLoadError, match='drivers written for Cinder itself do not run here'):
        loader.load('cinder.backup.drivers.nothing.Driver')


def test_nothing_is_written_to_the_home_of_the_user(install, tmp_path):
    install('acme-backup', 'acme = fake_acme:Driver', 'fake_acme', GOOD)
    home = tmp_path / 'home'
    home.mkdir()
    # stevedore writes no cache for an interpreter below /tmp, so that switch is turned off.
    code = ('import stevedore._cache as c; c._c._disable_caching = False\n'
            'from backup_framework import loader; loader.drivers(); loader.load("acme")\n')
    environment = {'HOME': str(home), 'XDG_CACHE_HOME': str(home / 'cache'),
                   'PYTHONPATH': os.pathsep.join([str(tmp_path), *sys.path])}
    subprocess.run([sys.executable, '-c', code], check=True, env=environment)
    assert list(home.iterdir()) == []


# check

def findings(driver_class, level='error'):
    return [finding.text for finding in loader.check(driver_class) if finding.level == level]


def good():
    space = {}
    exec(GOOD, space)
    return space['Driver']


class Chunked(ChunkedBackupDriver):
    OPTIONS = (Option('path', OptionType.PATH, required=True, help='Where.'),)

    def put_container(self, container): pass

    def get_container_entries(self, container, prefix):
        yield from ()

    @contextlib.contextmanager
    def get_object_writer(self, container, object_name, extra_metadata=None):
        yield

    @contextlib.contextmanager
    def get_object_reader(self, container, object_name, extra_metadata=None):
        yield

    def delete_object(self, container, object_name): pass


def test_good_classes_have_no_errors():
    assert findings(good()) == []
    assert findings(Chunked) == []
    assert findings(Chunked, 'warning') == []


def test_ours_have_no_errors():
    names = [info for info in loader.drivers().values() if info.distribution == 'backup-framework']
    for info in names:
        assert findings(loader.load(info.name)) == []


def test_what_a_plain_driver_lacks_is_noted():
    notes = ' '.join(findings(good(), 'note'))
    assert 'check_for_setup_error(self) is missing' in notes
    assert 'OPTIONS is missing' in notes
    assert 'verify is missing' in notes
    assert 'free_space' not in notes


def test_what_a_driver_of_verbs_lacks_is_noted():
    driver_class = type('Verbs', (good(),), {'get_object_writer': None})
    notes = findings(driver_class, 'note')
    for name, price in {
            'list_containers': 'wants --container',
            'object_size': 'a quick verify does not notice uncompressed objects that were cut',
            'free_space': 'shows no free space',
            'clock': 'does not compare the clocks',
            'remarks': 'does not tell what this server lacks',
            'delete_objects': 'objects are deleted one by one',
            'sync': 'a writer itself must make its object durable',
            'remove_temporary': 'what a killed writer left stays'}.items():
        assert any(note.startswith(f'def {name}(self') and price in note for note in notes), name


def test_by_name(install):
    install('acme-backup', 'acme = fake_acme:Driver', 'fake_acme', 'class Driver: pass')
    texts = [finding.text for finding in loader.check('acme')]
    assert ('backup is missing: write def backup(self, backup, volume_file, backup_metadata=False)'
            in texts)


def test_what_is_no_class():
    assert [finding.level for finding in loader.check(findings)] == ['error']


@pytest.mark.parametrize('definition, words', [
    ('def backup(self, backup): pass',
     'backup(self, backup) does not take the calls it gets: write def backup(self, backup, '
     'volume_file, backup_metadata=False)'),
    ('def backup(self, backup, volume_file): pass', 'write def backup('),
    ('def backup(self, backup, volume_file, metadata=False): pass', 'write def backup('),
    ('async def backup(self, backup, volume_file, backup_metadata=False): pass',
     'backup is a coroutine'),
    ('def restore(self, backup, volume_file): pass',
     'write def restore(self, backup, volume_id, volume_file, volume_is_new=False)'),
    ('def restore(self, a, b, c, d, e): pass', 'write def restore('),
    ('async def restore(self, a, b, c): pass', 'restore is a coroutine'),
    ('def delete(self): pass', 'write def delete(self, backup)'),
    ('def delete_backup(self): pass', 'delete_backup(self) does not take'),
    ('def import_record(self, backup): pass',
     'write def import_record(self, backup, driver_info)'),
    ('get_metadata = "x"', 'get_metadata is not a method but str'),
    ('def get_metadata(volume_id): pass', 'write def get_metadata(self, volume_id)'),
    ('def put_metadata(self, volume_id, json_metadata, must): pass', 'write def put_metadata'),
    ('def delete(self, backup): yield', 'delete is a generator'),
    ('def __init__(self): pass', 'write def __init__(self, settings, context=None)'),
    ('def __init__(self, context): pass', 'write def __init__('),
    ('def capabilities(self, what): pass', 'write def capabilities(self)'),
    ('def clock(self, zone): pass', 'clock(self, zone) does not take the calls it gets'),
    ('def delete_objects(self, names): pass', 'delete_objects(self, names) does not take'),
    ('def delete_objects(self, container, names): yield', 'delete_objects is a generator'),
    ('def remarks(self, server): pass', 'remarks(self, server) does not take'),
    ('def get_object_writer(self, container, object_name): pass',
     'write def get_object_writer(self, container, object_name, extra_metadata=None)'),
    ('def get_object_writer(self, c, o, extra_metadata=None): yield',
     'put @contextlib.contextmanager above it'),
    ('def get_object_writer(self, c, o, extra_metadata=None): pass',
     'put_container is missing: write def put_container(self, container)'),
])
def test_bad_definitions(definition, words):
    space = {}
    exec(f'{GOOD}\n    {definition}\n', space)
    texts = findings(space['Driver'])
    assert any(words in text for text in texts), texts


@pytest.mark.parametrize('definition', [
    'def restore(self, backup, volume_id, volume_file, volume_is_new): pass',
    'def restore(self, backup, volume_id, volume_file, volume_is_new=False): pass',
    'def restore(self, *args, **kwargs): pass',
    '@staticmethod\n    def get_metadata(volume_id): pass',
    '@classmethod\n    def get_metadata(cls, volume_id): pass',
    'def backup(self, backup, volume_file, backup_metadata=True, *, operation=None): pass',
    'def __init__(self, settings, context=None, db=None): pass',
    'def remarks(self): yield "it is slow"',
])
def test_other_good_definitions(definition):
    space = {}
    exec(f'{GOOD}\n    {definition}\n', space)
    assert findings(space['Driver']) == []


def test_abstract_methods_that_are_left():
    class Unfinished(BackupDriver):
        def __init__(self, settings, context=None): pass

    texts = findings(Unfinished)
    assert ('restore is still abstract: write def restore(self, backup, volume_id, volume_file)'
            in texts)


class Reaching(LocalBackupDriver):
    def _io(self, *args): pass

    def _own(self): pass


def test_private_names_of_ours_are_not_to_be_overridden(monkeypatch):
    [text] = findings(Reaching, 'warning')
    assert text == ('_io is a private name of LocalBackupDriver, which may change at any time: '
                    'call it differently in Reaching')
    assert findings(LocalBackupDriver, 'warning') == findings(NFSBackupDriver, 'warning') == []
    monkeypatch.setattr(ChunkedBackupDriver, '_work', None, raising=False)
    driver_class = type('Below', (type('D', (Chunked,), {'_work': 1}),), {})
    assert [text.partition(',')[0] for text in findings(driver_class, 'warning')] == [
        '_work is a private name of ChunkedBackupDriver']


@pytest.mark.parametrize('options, level, words', [
    ('path', 'error', 'OPTIONS must be a tuple'),
    (('path',), 'error', "holds 'path', which is not"),
    ((Option('workers', help='x'),), 'error', 'the option workers is there already'),
    ((Option('driver', help='x'),), 'error', 'the option driver is there already'),
    ((Option('a', help='x'), Option('a', help='x')), 'error', 'the option a is there already'),
    ((Option('a', help='x', secret=True), Option('a_file', help='x')), 'error', 'a_file is there'),
    ((Option('A-b', help='x'),), 'error', 'needs a name of small letters'),
    ((Option('a', OptionType.SIZE, '1MiB', help='x'),), 'error', 'write the ready value'),
    ((Option('a', default='z', choices=('x', 'y'), help='x'),), 'error', 'none of its choices'),
    ((Option('a'),), 'warning', 'the option a has no help'),
    ((Option('a', default='x', required=True, help='x'),), 'warning', 'is required and has'),
    ((Option('a', default='x', secret=True, help='x'),), 'warning', 'everybody can read'),
])
def test_options(options, level, words):
    texts = findings(type('D', (Chunked,), {'OPTIONS': options}), level)
    assert any(words in text for text in texts), texts
