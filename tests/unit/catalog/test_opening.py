"""Making, opening and refusing the file; what works when it cannot be written; migrations."""

import contextlib
import os
from pathlib import Path
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading

import pytest
import sqlalchemy as sa

from backup_framework import exceptions
from backup_framework.catalog import Catalog, backups, database, schema
from backup_framework.model import Backup, Status

CURRENT = schema.REVISION
NEXT = f'{int(CURRENT) + 1:04}'


@pytest.fixture
def file(state_path):
    return Path(state_path, 'catalog.sqlite')


@pytest.fixture
def fresh(sqlite_connection, state_path):
    """Opens the SQLite catalog as a new command would."""
    return lambda: Catalog(sqlite_connection, state_path)


def test_a_new_catalog_is_for_its_owner_only(tmp_path):
    old = os.umask(0)
    try:
        deep = tmp_path / 'a' / 'b'
        catalog = Catalog(f'sqlite:///{deep}/c.sqlite', str(tmp_path / 'state' / 'x'))
        assert not deep.exists()
        assert catalog.backups() == []
        assert catalog.installation
    finally:
        os.umask(old)
    for directory in (deep, deep.parent, tmp_path / 'state', tmp_path / 'state' / 'x'):
        assert directory.stat().st_mode & 0o777 == 0o700
    assert (deep / 'c.sqlite').stat().st_mode & 0o777 == 0o600
    assert catalog.writable
    assert catalog.name == str(deep / 'c.sqlite')


def test_the_installation_id_stays(fresh, state_path):
    first = fresh().installation
    assert fresh().installation == first
    Path(state_path, 'installation').write_text('nonsense')
    with pytest.raises(exceptions.CatalogError, match='does not hold the id'):
        fresh().installation  # noqa: B018


@pytest.mark.parametrize('connection', ['nonsense', 'sqlite://', 'sqlite:///:memory:', '',
                                        'nosuchdb://u:geheim@h/d', 'mysql+nosuch://u:geheim@h/d'])
def test_a_connection_that_makes_no_sense(connection, tmp_path):
    with pytest.raises(exceptions.ConfigurationError) as caught:
        Catalog(connection, str(tmp_path)).backups()
    assert 'geheim' not in str(caught.value)


def test_no_password_in_messages(tmp_path):
    pytest.importorskip('psycopg2')
    catalog = Catalog('postgresql+psycopg2://u:geheim@/d?host=/nonexistent', str(tmp_path))
    with pytest.raises(exceptions.CatalogError) as caught:
        catalog.backups()
    assert 'geheim' not in str(caught.value) + catalog.name


def test_a_file_of_another_user_is_refused(fresh, file):
    if os.geteuid() != 0:
        pytest.skip('giving a file away needs root')
    fresh().backups()
    os.chown(file, 65534, 65534)
    with pytest.raises(exceptions.CatalogError, match='belongs to user nobody, and this is user'):
        fresh().backups()
    os.chown(file, 65533, 65533)
    with pytest.raises(exceptions.CatalogError, match='belongs to user 65533'):
        fresh().backups()


@pytest.mark.parametrize('content', [
    b'no database at all' * 100, b'SQLite format 3\0' + b'x' * 4096])
def test_what_is_no_database_is_corrupt(fresh, file, content):
    file.parent.mkdir()
    file.write_bytes(content)
    with pytest.raises(exceptions.CatalogCorrupt) as caught:
        fresh().backups()
    assert f'{file}.damaged' in str(caught.value)
    assert 'catalog rebuild' in str(caught.value)
    assert file.read_bytes() == content


def test_damage_inside(fresh, file):
    catalog = fresh()
    catalog._database.write(lambda link: [
        backups.add(link, Backup(display_description='x' * 200)) for _ in range(200)])
    with file.open('r+b') as stream:
        for page in range(8, file.stat().st_size // 4096):
            stream.seek(page * 4096)
            stream.write(b'\xee' * 2048)
    with pytest.raises(exceptions.CatalogCorrupt):
        fresh().backups()


def test_a_truncated_file_is_corrupt(fresh, file):
    fresh().add_backup(Backup())
    os.truncate(file, 10000)
    with pytest.raises(exceptions.CatalogCorrupt):
        fresh().backups()


def test_somebody_elses_database_is_left_alone(fresh, file):
    file.parent.mkdir()
    with sqlite3.connect(file) as link:
        link.execute('CREATE TABLE photos (id INTEGER)')
    before = file.read_bytes()
    with pytest.raises(exceptions.CatalogError, match='is not a catalog .* photos'):
        fresh().backups()
    assert file.read_bytes() == before


@pytest.mark.parametrize('make', [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_refused(fresh, file, make):
    file.parent.mkdir()
    make(file)
    with pytest.raises(exceptions.CatalogError, match='not a plain file'):
        fresh().backups()


def test_a_catalog_of_a_newer_release(catalog, open_catalog, connection):
    catalog.backups()
    engine = sa.create_engine(connection)
    with engine.begin() as link:
        link.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    with pytest.raises(exceptions.CatalogError, match='newer release .revision 9999'):
        open_catalog().backups()


def test_a_catalog_held_too_long(fresh, file, monkeypatch):
    monkeypatch.setattr('backup_framework.catalog.sqlite.BUSY_SECONDS', 0.1)
    catalog = fresh()
    catalog.add_backup(Backup(id='b1'))
    with sqlite3.connect(file) as holder:
        holder.execute('BEGIN IMMEDIATE')
        with pytest.raises(exceptions.CatalogError, match='held by another process'):
            catalog.add_backup(Backup())
        assert catalog.get_backup('b1').id == 'b1'
        holder.rollback()
    holder.close()


# What cannot be written


def _filled(directory):
    catalog = Catalog(f'sqlite:///{directory}/catalog.sqlite', str(directory))
    catalog.add_backup(Backup(id='b1', volume_id='v1', status=Status.AVAILABLE))
    catalog.add_backup(Backup(id='dead', volume_id='v1'))
    assert catalog.installation
    return catalog


def _without_writing(catalog, refusal):
    """Everything that must work when nothing can be written, and what must not."""
    assert len(catalog.backups()) == 2
    assert catalog.recover() == []
    dead = catalog.get_backup('dead')
    assert (dead.status, dead.fail_reason[:11]) == (Status.ERROR, 'interrupted')
    assert not catalog.writable
    for kind in ('restore', 'verify', 'export'):
        with catalog.operation(kind, backup_id='b1') as operation:
            assert not operation.recorded
            catalog.renew(operation)
    for kind in ('create', 'delete'):
        with pytest.raises(refusal), catalog.operation(kind, backup_id='b1', volume_id='v1'):
            pytest.fail('went on')
    with pytest.raises(refusal):
        catalog.update_backup('b1', display_description='x' * 50000)
    return 'checked'


@pytest.mark.parametrize('modes', [(0o500, 0o600), (0o700, 0o400), (0o500, 0o400)])
def test_without_permission_to_write(unprivileged, modes):
    directory, call = unprivileged

    def work():
        _filled(directory).close()
        os.chmod(directory / 'catalog.sqlite', modes[1])
        os.chmod(directory, modes[0])
        catalog = Catalog(f'sqlite:///{directory}/catalog.sqlite', str(directory))
        if modes[0] == 0o700:
            with pytest.raises(exceptions.CatalogReadOnly):
                catalog.add_backup(Backup())
        return _without_writing(catalog, exceptions.CatalogReadOnly)
    assert call(work) == 'checked'


def test_no_directory_can_be_made(unprivileged):
    directory, call = unprivileged

    def work():
        os.chmod(directory, 0o500)
        with pytest.raises(exceptions.CatalogError, match='cannot make the catalog'):
            Catalog(f'sqlite:///{directory}/a/c.sqlite', str(directory / 'a')).backups()
        return 'checked'
    assert call(work) == 'checked'


def test_a_file_that_may_not_be_read(unprivileged):
    directory, call = unprivileged

    def work():
        _filled(directory).close()
        os.chmod(directory / 'catalog.sqlite', 0)
        with pytest.raises(exceptions.CatalogError, match='may not be read'):
            Catalog(f'sqlite:///{directory}/catalog.sqlite', str(directory)).backups()
        return 'checked'
    assert call(work) == 'checked'


@pytest.fixture
def small_disk():
    """A file system of 512 KiB."""
    if os.geteuid() != 0:
        pytest.skip('mounting needs root')
    directory = tempfile.mkdtemp(prefix='bf-small-', dir='/tmp')
    mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=512k,mode=700', 'tmpfs',
                              directory], capture_output=True, text=True)
    try:
        if mounted.returncode:
            pytest.skip(f'no tmpfs here: {mounted.stderr.strip()}')
        yield Path(directory)
    finally:
        subprocess.run(['umount', '-l', directory], capture_output=True)
        shutil.rmtree(directory, ignore_errors=True)


def test_a_full_disk(small_disk):
    catalog = _filled(small_disk)
    with catalog.operation('verify', backup_id='other') as running, \
            open(small_disk / 'filler', 'wb', buffering=0) as filler:
        with pytest.raises(OSError, match='No space'):
            while True:
                filler.write(b'x' * 4096)
        assert _without_writing(catalog, exceptions.NoSpace) == 'checked'
        catalog.renew(running)
    (small_disk / 'filler').unlink()
    assert len(catalog.recover()) == 1
    assert catalog.get_backup('dead').status == Status.ERROR
    assert catalog.writable
    assert catalog.check() == []


def test_a_read_only_file_system(small_disk):
    _filled(small_disk).close()
    subprocess.run(['mount', '-o', 'remount,ro', small_disk], check=True)
    catalog = Catalog(f'sqlite:///{small_disk}/catalog.sqlite', str(small_disk))
    assert _without_writing(catalog, exceptions.CatalogReadOnly) == 'checked'
    with pytest.raises(exceptions.CatalogReadOnly):
        Catalog(f'sqlite:///{small_disk}/other.sqlite', str(small_disk)).backups()


# The check


def test_check_finds_what_should_not_be(catalog, add, connection, state_path):
    add(id='fine')
    assert catalog.check() == []
    add(id='orphan', parent_id='gone')
    add(id='one', parent_id='two')
    add(id='two', parent_id='one')
    add(id='odd')
    add(id='garbled')
    engine = sa.create_engine(connection)
    with engine.begin() as link:
        link.exec_driver_sql("UPDATE backups SET status = 'asleep' WHERE id = 'odd'")
        link.exec_driver_sql("UPDATE backups SET warnings = '{' WHERE id = 'garbled'")
    engine.dispose()
    with catalog.operation('verify', backup_id='nothing') as operation:
        found = catalog.check()
        assert len(found) == 4
        os.unlink(f'{state_path}/locks/{operation.id}')
        found = catalog.check()
    for wanted in ('backup orphan needs backup gone', 'ancestor of itself', 'unknown status asleep',
                   'backup garbled cannot be read', 'verify is recorded of backup nothing'):
        assert len([text for text in found if wanted in text]) == 1
    assert len(found) == 5
    with pytest.raises(exceptions.CatalogCorrupt, match='garbled'):
        catalog.get_backup('garbled')
    assert catalog.get_backup('odd').status == 'asleep'


# Migrations


def _described(engine):
    """The schema as the database tells it."""
    found = sa.inspect(engine)
    return {table: {
        'columns': [(c['name'], str(c['type']), c['nullable'], c['default'])
                    for c in found.get_columns(table)],
        'primary key': found.get_pk_constraint(table),
        'unique': sorted(map(str, found.get_unique_constraints(table))),
        'indexes': sorted(map(str, found.get_indexes(table))),
        'foreign': found.get_foreign_keys(table),
    } for table in found.get_table_names()}


@pytest.fixture
def engine(connection, state_path):
    os.makedirs(state_path, exist_ok=True)
    engine = sa.create_engine(connection)
    yield engine
    engine.dispose()


def test_migrations_make_what_create_makes(engine):
    from alembic import autogenerate, migration
    with engine.begin() as link:
        schema.create(link)
    created = _described(engine)
    with engine.begin() as link:
        schema.metadata.drop_all(link)
        link.exec_driver_sql('DELETE FROM alembic_version')
    with engine.begin() as link:
        database._upgrade(link, '', 'the test')
    assert _described(engine) == created
    with engine.connect() as link:
        assert database._revision(link) == schema.REVISION
        context = migration.MigrationContext.configure(link)
        assert autogenerate.compare_metadata(context, schema.metadata) == []


def test_the_revision_is_the_newest_migration():
    from alembic import config, script
    settings = config.Config()
    settings.set_main_option('script_location', 'backup_framework.catalog:migrations')
    assert script.ScriptDirectory.from_config(settings).get_heads() == [schema.REVISION]


def test_an_older_catalog_is_upgraded(engine, catalog, connection):
    """The oldest of all: a version table and nothing else."""
    with engine.begin() as link:
        schema._version_metadata.create_all(link)
    assert catalog.add_backup(Backup(id='b1'))
    assert catalog.get_backup('b1').id == 'b1'


def test_an_upgrade_keeps_the_records(fresh, file, tmp_path, monkeypatch):
    """With another migration, as a later release would bring."""
    fresh().add_backup(Backup(id='b1', display_name='kept'))
    migrations = tmp_path / 'migrations'
    shutil.copytree(Path(schema.__file__).parent / 'migrations', migrations)
    (migrations / 'versions' / 'next_more.py').write_text(
        "from alembic import op\nimport sqlalchemy as sa\n"
        f"revision = '{NEXT}'\ndown_revision = '{CURRENT}'\n"
        "def upgrade():\n    op.add_column('backups', sa.Column('more', sa.Text()))\n")
    monkeypatch.setattr(database, '_MIGRATIONS', str(migrations))
    monkeypatch.setattr(schema, 'REVISION', NEXT)
    assert fresh().get_backup('b1').display_name == 'kept'
    with sqlite3.connect(file) as link:
        assert link.execute('SELECT more FROM backups').fetchall() == [(None,)]
        assert link.execute('SELECT version_num FROM alembic_version').fetchall() == [(NEXT,)]


def test_a_failed_upgrade_changes_nothing(fresh, file, tmp_path, monkeypatch):
    fresh().add_backup(Backup(id='b1'))
    before = file.read_bytes()
    migrations = tmp_path / 'migrations'
    shutil.copytree(Path(schema.__file__).parent / 'migrations', migrations)
    (migrations / 'versions' / 'next_fails.py').write_text(
        "from alembic import op\nimport sqlalchemy as sa\n"
        f"revision = '{NEXT}'\ndown_revision = '{CURRENT}'\n"
        "def upgrade():\n    op.add_column('backups', sa.Column('more', sa.Text()))\n"
        "    op.execute('SELECT nonsense')\n")
    monkeypatch.setattr(database, '_MIGRATIONS', str(migrations))
    monkeypatch.setattr(schema, 'REVISION', NEXT)
    with pytest.raises(exceptions.CatalogError, match='nonsense'):
        fresh().backups()
    assert file.read_bytes() == before


@pytest.mark.parametrize('dialect', ['mysql', 'postgresql', 'sqlite'])
def test_every_database_understands_the_tables(dialect):
    import importlib
    module = importlib.import_module(f'sqlalchemy.dialects.{dialect}')
    for table in schema.metadata.sorted_tables:
        assert table.name in str(sa.schema.CreateTable(table).compile(dialect=module.dialect()))


def test_alembic_is_not_imported_for_a_current_schema(tmp_path):
    code = (
        'import sys\n'
        'from backup_framework.catalog import Catalog\n'
        'from backup_framework.model import Backup\n'
        'Catalog(sys.argv[1], sys.argv[2]).add_backup(Backup())\n'
        'assert len(Catalog(sys.argv[1], sys.argv[2]).backups()) == 1\n'
        'wrong = [n for n in ("alembic", "sqlalchemy.orm", "oslo_config") if n in sys.modules]\n'
        'assert not wrong, wrong\n')
    subprocess.run([sys.executable, '-c', code, f'sqlite:///{tmp_path}/s/c.sqlite',
                    str(tmp_path / 's')], check=True, timeout=60)


@pytest.mark.parametrize('connection', ['postgresql', 'mariadb'], indirect=True)
def test_two_that_make_the_tables_at_once(connection, state_path, monkeypatch):
    """The second begins when the first has seen that there are none."""
    refuse_foreign = database.Database._refuse_foreign
    opened = []

    def open_another():
        with contextlib.closing(Catalog(connection, state_path)) as other:
            opened.append(other.backups())

    def seen(self, link):
        if not threads:
            threads.append(threading.Thread(target=open_another))
            threads[0].start()
            threads[0].join(0.5)
        refuse_foreign(self, link)

    threads = []
    monkeypatch.setattr(database.Database, '_refuse_foreign', seen)
    with contextlib.closing(Catalog(connection, state_path)) as catalog:
        assert catalog.backups() == []
    threads[0].join(30)
    assert opened == [[]]
