"""Runs real Cinder 29.0.0 backup code for tests: JSON requests on stdin, JSON answers on stdout.

Started by the Python of an environment that holds Cinder (see cinder_client.py). It imports
nothing of the framework. Drivers, record encoding, import checks and volume metadata are Cinder's
own code; only the database is not: its rows are dicts in this process.

A request is one line, {"do": VERB, ...}; VERB is a function of VERBS below. The answer is one
line, an object, or {"error": "ClassName: message"}.
"""

import contextlib
import datetime
import functools
import json
import os
import pickle
import sys
import tempfile
import traceback
import uuid
import warnings

warnings.simplefilter('ignore')

from cinder import context as cinder_context  # noqa: E402
from cinder import db, exception, monkey_patch, objects, version  # noqa: E402

objects.register_all()

from cinder.backup import api as backup_api  # noqa: E402
from cinder.backup import manager as backup_manager  # noqa: E402
from cinder.backup.drivers import posix, swift  # noqa: E402
from cinder.db import models  # noqa: E402
from oslo_config import cfg  # noqa: E402
import oslo_messaging  # noqa: E402
from oslo_utils import timeutils  # noqa: E402

CONF = cfg.CONF
SERVICE = 'cinder.backup.drivers.posix.PosixBackupDriver'
PROJECT = '5b1f4f0c6b6e4c0f9d5c7c0f3a2e1d00'
USER = '8c2d5e1f7a3b4c6d9e0f1a2b3c4d5e6f'

backups = {}  # id: row of the table of backups
volumes = {}  # id: {'row': columns, 'metadata': {}, 'glance': {}}


# The database: the functions of cinder.db.api that backups need.

def get_by_id(context, model, id, *args, **kwargs):
    if id not in backups:
        raise exception.BackupNotFound(backup_id=id)
    return backups[id]


def backup_create(context, values):
    row = {key: value for key, value in values.items() if key != 'metadata'}
    row['backup_metadata'] = metadata_refs(values.get('metadata'))
    backups[row['id']] = row
    return row


def backup_update(context, backup_id, values):
    backups[backup_id].update(values)


def backup_destroy(context, backup_id):
    values = {'status': 'deleted', 'deleted': True, 'deleted_at': timeutils.utcnow()}
    backups[backup_id].update(values)
    return values


def backup_metadata_update(context, backup_id, metadata, delete):
    backups[backup_id]['backup_metadata'] = metadata_refs(metadata)
    return metadata


def metadata_refs(metadata):
    return [{'key': key, 'value': value} for key, value in (metadata or {}).items()]


def volume_get(context, volume_id):
    return models.Volume(**volumes[volume_id]['row'])


def volume_update(context, volume_id, values):
    volumes[volume_id]['row'].update(values)


def volume_metadata_get(context, volume_id):
    return volumes[volume_id]['metadata']


def volume_metadata_update(context, volume_id, metadata, delete):
    volumes[volume_id]['metadata'] = dict(metadata)


def volume_glance_metadata_get(context, volume_id):
    glance = volumes[volume_id]['glance']
    if not glance:
        raise exception.GlanceMetadataNotFound(id=volume_id)
    return [models.VolumeGlanceMetadata(key=key, value=glance[key]) for key in glance]


def volume_glance_metadata_delete_by_volume(context, volume_id):
    volumes[volume_id]['glance'] = {}


def volume_glance_metadata_create(context, volume_id, key, value):
    volumes[volume_id]['glance'][key] = value


def volume_type_get(context, id, *args, **kwargs):
    return {'id': id}


def dispose_engine():
    pass


class NoQuotas:
    def reserve(self, context, **kwargs):
        return []

    def commit(self, context, reservations):
        pass

    def rollback(self, context, reservations):
        pass


def replace_database():
    functions = (get_by_id, backup_create, backup_update, backup_destroy, backup_metadata_update,
                 volume_get, volume_update, volume_metadata_get, volume_metadata_update,
                 volume_glance_metadata_get, volume_glance_metadata_delete_by_volume,
                 volume_glance_metadata_create, volume_type_get, dispose_engine)
    for function in functions:
        for module in (db, db.api):
            setattr(module, function.__name__, function)
    backup_api.QUOTAS = NoQuotas()


# The drivers: Cinder's posix driver, and its stores in the shapes of other drivers and times.

class SlashPrefixDriver(posix.PosixBackupDriver):
    """The posix store with the object names of the swift, s3 and gcs drivers."""

    _generate_object_name_prefix = swift.SwiftBackupDriver._generate_object_name_prefix

    def get_container_entries(self, container, prefix):
        top = os.path.join(self.backup_path, container)
        paths = [os.path.join(folder, name) for folder, _, names in os.walk(top) for name in names]
        found = [os.path.relpath(path, top) for path in paths]
        return [name for name in found if name.startswith(prefix)]

    def get_object_writer(self, container, object_name, extra_metadata=None):
        path = os.path.join(self.backup_path, container, object_name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return super().get_object_writer(container, object_name, extra_metadata)


class ConstantPrefixDriver(posix.PosixBackupDriver):
    """The posix driver before Pike: one container for each backup, objects named backup-NNNNN."""

    def _generate_object_name_prefix(self, backup):
        return 'backup'


DRIVERS = {'posix': posix.PosixBackupDriver, 'slash': SlashPrefixDriver,
           'constant': ConstantPrefixDriver}


def make_driver(request):
    driver_class = DRIVERS[request.get('prefix_style', 'posix')]
    driver = driver_class(admin(), backup_path=request['root'])
    extra = request.get('extra_metadata')
    driver.get_extra_metadata = lambda backup, volume: extra
    return driver


def make_manager(driver):
    """A BackupManager without its service: only what export and import of records use."""
    manager = backup_manager.BackupManager.__new__(backup_manager.BackupManager)
    manager.driver_name = SERVICE
    manager.service = lambda context: driver
    manager.az = CONF.storage_availability_zone
    manager.host = CONF.host
    return manager


def admin():
    return cinder_context.RequestContext(USER, PROJECT, is_admin=True, overwrite=False)


@contextlib.contextmanager
def configured(request):
    """Applies the options and the time that a request asks for."""
    options = request.get('options') or {}
    if request.get('now'):
        timeutils.set_time_override(parse_time(request['now']))
    try:
        for name, value in options.items():
            CONF.set_override(name, value)
        yield
    finally:
        for name in options:
            CONF.clear_override(name)
        timeutils.clear_time_override()
        set_base_options()


def set_base_options():
    CONF.set_override('backup_enable_progress_timer', False)
    CONF.set_override('host', 'cinder-host')


def parse_time(text):
    """Naive UTC, as rows of the database have it."""
    time = datetime.datetime.fromisoformat(text)
    if time.tzinfo is None:
        return time
    return time.astimezone(datetime.UTC).replace(tzinfo=None)


# Rows

def new_backup(fields):
    """The row that Cinder's API makes before the driver is called."""
    row = {'id': str(uuid.uuid4()), 'user_id': USER, 'project_id': PROJECT, 'size': 1,
           'host': CONF.host, 'availability_zone': CONF.storage_availability_zone,
           'service': SERVICE, 'status': 'creating', 'num_dependent_backups': 0,
           'object_count': 0, 'created_at': timeutils.utcnow(), 'deleted': False,
           'volume_id': str(uuid.uuid4())}
    row.update(fields)
    row['backup_metadata'] = metadata_refs(row.pop('metadata', None))
    row['created_at'] = as_time(row['created_at'])
    row['data_timestamp'] = as_time(row.get('data_timestamp') or row['created_at'])
    backups[row['id']] = row
    return load(row['id'])


def as_time(value):
    return parse_time(value) if isinstance(value, str) else value


def new_volume(volume_id, size, metadata):
    row = {'id': volume_id, 'size': size, 'user_id': USER, 'project_id': PROJECT,
           'display_name': None, 'status': 'backing-up', 'attach_status': 'detached',
           'availability_zone': CONF.storage_availability_zone, 'bootable': False,
           'host': 'cinder-host@lvm#lvm', 'created_at': timeutils.utcnow(), 'deleted': False}
    row.update(metadata.get('volume', {}))
    for name in ('created_at', 'launched_at', 'scheduled_at', 'updated_at'):
        row[name] = as_time(row.get(name))
    volumes[volume_id] = {'row': row, 'metadata': dict(metadata.get('metadata', {})),
                          'glance': dict(metadata.get('glance', {}))}


def load(backup_id):
    return objects.Backup.get_by_id(admin(), backup_id)


def describe(backup_id):
    """Every field of a record, and its export as Cinder's manager makes it."""
    export = make_manager(posix.PosixBackupDriver(admin(), '/')).export_record(
        admin(), load(backup_id))
    return {'record': objects.Backup.decode_record(export['backup_url']), 'export': export}


def import_one(item, driver):
    """A record from an export (through Cinder's API and manager), or from its fields."""
    if isinstance(item, dict) and 'backup_url' not in item:
        return new_backup({'status': 'available', **item})
    url = item if isinstance(item, str) else item['backup_url']
    service = SERVICE if isinstance(item, str) else item.get('backup_service', SERVICE)
    backups.pop(objects.Backup.decode_record(url).get('id'), None)
    api = backup_api.API.__new__(backup_api.API)
    backup = api._get_import_backup(admin(), url)
    make_manager(driver).import_record(admin(), backup, service, url, [])
    return load(backup.id)


def select(request, driver):
    """The backup that a request is about: the last of a chain, one of an export, or a known id."""
    chain = request.get('chain') or ([request['backup_url']] if 'backup_url' in request else [])
    imported = [import_one(item, driver) for item in chain]
    if 'backup_id' in request:
        return load(request['backup_id'])
    return load(imported[-1].id)


# Verbs

def do_backup(request):
    driver = make_driver(request)
    backup = new_backup(request.get('backup', {}))
    metadata = request.get('metadata', {})
    new_volume(backup.volume_id, backup.size, metadata or {})
    with open(request['volume'], 'rb') as volume_file:
        driver.backup(backup, volume_file, backup_metadata=metadata is not False)
    backup.status = 'available'
    backup.save()
    if backup.parent_id:
        parent = load(backup.parent_id)
        parent.num_dependent_backups += 1
        parent.save()
    return describe(backup.id)


def do_restore(request):
    driver = make_driver(request)
    backup = select(request, driver)
    backup.status = request.get('status', 'restoring')
    backup.save()
    volume_id = request.get('volume_id') or str(uuid.uuid4())
    new_volume(volume_id, backup.size, request.get('metadata') or
               {'volume': {'display_name': 'restore_backup_' + backup.id}})
    with open_target(request) as volume_file:
        driver.restore(backup, volume_id, volume_file, request.get('volume_is_new', True))
    backup.status = 'available'
    backup.save()
    volume = volumes[volume_id]
    return {'id': backup.id, 'volume_id': volume_id, 'size': os.path.getsize(request['target']),
            'volume': {key: value for key, value in volume['row'].items() if is_plain(value)},
            'metadata': volume['metadata'], 'glance': volume['glance']}


def open_target(request):
    """Keeps what a target holds unless a mode says otherwise; Cinder's manager opens with wb."""
    target = request['target']
    mode = request.get('open_mode') or ('r+b' if os.path.exists(target) else 'w+b')
    volume_file = open(target, mode)
    if request.get('target_size') is not None:
        volume_file.truncate(request['target_size'])
    return volume_file


def is_plain(value):
    return value is None or isinstance(value, (str, int, bool))


def do_import(request):
    backup = import_one(request, make_driver({'root': '/'}))
    return describe(backup.id)


def do_export(request):
    if 'backup_id' in request:
        return describe(request['backup_id'])
    backup = new_backup({'status': 'available', **request['backup']})
    return describe(backup.id)


def do_delete(request):
    driver = make_driver(request)
    backup = select(request, driver)
    driver.delete_backup(backup)
    backup.destroy()
    return {'id': backup.id, 'status': backup.status}


def do_forget(request):
    backups.clear()
    volumes.clear()
    return {}


def do_version(request):
    return {'cinder': version.version_string(), 'python': sys.version.split()[0],
            'threading': not monkey_patch.is_patched()}


VERBS = {'backup': do_backup, 'restore': do_restore, 'import': do_import, 'export': do_export,
         'delete': do_delete, 'forget': do_forget, 'version': do_version}


# The process

def answer(request):
    """What a verb says; with uid, gid or groups it runs in a child that has only these."""
    if {'uid', 'gid', 'groups'} & set(request):
        return answer_as(request)
    try:
        with configured(request):
            return VERBS[request['do']](request)
    except Exception as error:
        traceback.print_exc()
        return {'error': '%s: %s' % (type(error).__name__, error)}


def answer_as(request):
    warm_up()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        run_child(request, writer)
    os.close(writer)
    with os.fdopen(reader, 'rb') as pipe:
        state = pipe.read()
    os.waitpid(child, 0)
    if not state:
        return {'error': 'ChildDied: no answer from the child; see the log'}
    result, new_backups, new_volumes = pickle.loads(state)
    backups.update(new_backups)
    volumes.update(new_volumes)
    return result


def run_child(request, writer):
    """Drops to the ids, answers, and hands back the rows; never returns."""
    ids = {name: request.pop(name) for name in ('uid', 'gid', 'groups') if name in request}
    status = 1
    try:
        os.setgroups(ids.get('groups', []))
        if 'gid' in ids:
            os.setgid(ids['gid'])
        if 'uid' in ids:
            os.setuid(ids['uid'])
        result = answer(request)
        with os.fdopen(writer, 'wb') as pipe:
            pipe.write(pickle.dumps((result, backups, volumes)))
        status = 0
    except BaseException:
        traceback.print_exc()
    os._exit(status)


@functools.cache
def warm_up():
    """Has every late import happen before a child that may not read the environment needs it."""
    with tempfile.TemporaryDirectory() as root:
        for algorithm in ('zlib', 'bz2', 'zstd'):
            warm_up_codec(root, algorithm)


def warm_up_codec(root, algorithm):
    volume = os.path.join(root, 'volume')
    with open(volume, 'wb') as volume_file:
        volume_file.write(bytes(65536))
    made = answer({'do': 'backup', 'root': root, 'volume': volume,
                   'options': {'backup_compression_algorithm': algorithm}})
    made_id = made['record']['id']
    answer({'do': 'restore', 'root': root, 'chain': [made['export']],
            'target': os.path.join(root, 'target')})
    answer({'do': 'delete', 'root': root, 'backup_id': made_id})
    volumes.pop(backups.pop(made_id)['volume_id'])


def main():
    answers = os.fdopen(os.dup(1), 'w', encoding='utf-8')
    os.dup2(2, 1)
    CONF(args=[], project='cinder', default_config_files=[], default_config_dirs=[])
    set_base_options()
    oslo_messaging.get_notification_transport(CONF, url='fake://')  # declares options, no more
    replace_database()
    for line in sys.stdin:
        request = json.loads(line)
        if request['do'] == 'quit':
            return
        answers.write(json.dumps(answer(request)) + '\n')
        answers.flush()


if __name__ == '__main__':
    main()
