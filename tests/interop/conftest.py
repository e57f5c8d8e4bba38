"""Fixtures of real foreign programs.

`cinder` is Cinder 29.0.0 in a process of its own, one for the session (class Cinder in
cinder_client.py has the signatures)::

    def test_cinder_restores_ours(cinder, tmp_path):
        ...                       # our backup below tmp_path/store, export records root first
        cinder.restore(tmp_path / 'store', [full_export, incremental_export], tmp_path / 'target')

    def test_we_restore_cinders(cinder, tmp_path):
        made = cinder.backup(tmp_path / 'store', volume, {'display_name': 'nightly'},
                             {'backup_compression_algorithm': 'zstd',
                              'backup_file_size': 65536, 'backup_sha_block_size_bytes': 4096})
        made['export']            # {'backup_service': ..., 'backup_url': ...}
        made['record']            # every field of Cinder's record

An incremental names its parent: cinder.backup(..., {'parent_id': made['record']['id'],
'volume_id': made['record']['volume_id']}). What Cinder raises is raised as CinderError, which
`cinder.Error` names too. The environment is found or built on first use, at BF_CINDER_VENV or
in the user's cache; without it the tests are skipped, unless BF_REQUIRE names `cinder`.

`ours` is an installation of ours whose store is tmp_path/store, `install(store, **options)` makes
others (class Installation in installation.py), all closed when the test ends. `open_folder` is a
folder that other users may enter; they may write to `targets` in it.
"""

import contextlib
import os
import pathlib
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.dirname(__file__))

import cinder_client
import installation

from tests import environments


@pytest.fixture(scope='session')
def cinder(tmp_path_factory, require_part):
    try:
        python = cinder_client.find_or_build()
    except (environments.Missing, OSError) as error:
        require_part('cinder', str(error))
    host = cinder_client.Cinder(python, tmp_path_factory.mktemp('cinder') / 'log')
    yield host
    host.close()


@pytest.fixture
def install(tmp_path):
    with contextlib.ExitStack() as stack:
        def make(store, **options):
            return stack.enter_context(installation.installed(tmp_path, store, **options))
        yield make


@pytest.fixture
def store(tmp_path):
    return tmp_path / 'store'


@pytest.fixture
def ours(install, store):
    return install(store)


@pytest.fixture
def open_folder():
    """A folder that other users may enter, which pytest's own may not be."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        folder = pathlib.Path(name)
        (folder / 'targets').mkdir()
        os.chmod(folder / 'targets', 0o777)
        yield folder
