"""What is told of jobs, in which shape, and that telling never stands in the way."""

import datetime
import subprocess
import sys
import threading

import pytest

from backup_framework import exceptions
from backup_framework.model import Backup, Job, JobState
from backup_framework.service import notifications
from tests.patience import soon

CREATED = datetime.datetime(2026, 3, 1, 2, 0, tzinfo=datetime.UTC)
# The keys of `_usage_from_backup` in cinder/volume/volume_utils.py.
CINDERS = {'tenant_id', 'user_id', 'availability_zone', 'backup_id', 'host', 'display_name',
           'created_at', 'status', 'volume_id', 'size', 'service_metadata', 'service',
           'fail_reason', 'parent_id', 'num_dependent_backups', 'snapshot_id'}


@pytest.fixture
def backup():
    return Backup('b1', volume_id='v1', project_id='demo', user_id='me', display_name='first',
                  created_at=CREATED, size=3, service_metadata='prefix')


class Outbox:
    def __init__(self):
        self.messages = []

    def put(self, *message):
        self.messages.append(message)

    @property
    def events(self):
        return [message[1] for message in self.messages]


@pytest.fixture
def outbox():
    return Outbox()


@pytest.fixture
def told(backup, outbox):
    kept = {'b1': backup}

    def look_up(backup_id):
        try:
            return kept[backup_id], 2
        except KeyError:
            raise exceptions.BackupNotFound(backup_id) from None
    notifier = notifications.Notifications(look_up, outbox)
    notifier.kept = kept
    return notifier


def job(kind='create', **more):
    return Job(kind=kind, backup_id='b1', request_id='req-1', project_id='demo', user_id='me',
               **more)


def test_the_payload_is_cinders(backup):
    found = notifications.payload(backup, 2)
    assert set(found) == CINDERS
    assert found['created_at'] == '2026-03-01T02:00:00+00:00'
    assert (found['tenant_id'], found['backup_id'], found['size']) == ('demo', 'b1', 3)
    assert (found['status'], type(found['status'])) == ('creating', str)
    assert found['num_dependent_backups'] == 2


def test_a_create_from_its_start_to_its_end(told, outbox, backup):
    task = job()
    told.started(task)
    told.progressed(task, 1 << 20, 4 << 20)
    told.progressed(task, 4 << 20, 4 << 20)
    backup.status, task.state = 'available', JobState.DONE
    told.ended(task)
    assert outbox.events == ['backup.create.start', 'backup.createprogress',
                             'backup.createprogress', 'backup.create.end']
    contexts, _, payloads, priorities = zip(*outbox.messages, strict=True)
    assert [each.get('backup_percent') for each in payloads] == [None, 25.0, 100.0, None]
    assert payloads[-1]['status'] == 'available' and set(priorities) == {'info'}
    assert contexts[0] == {'request_id': 'req-1', 'project_id': 'demo', 'user_id': 'me'}


@pytest.mark.parametrize('done, total, percent', [
    (0, 3, 0.0), (1, 3, 33.3), (5, 3, 100.0), (-1, 3, 0.0)])
def test_percentages(told, outbox, done, total, percent):
    told.progressed(job(), done, total)
    assert outbox.messages[0][2]['backup_percent'] == percent


@pytest.mark.parametrize('total', [0, None])
def test_no_percentage_of_an_unknown_total(told, outbox, total):
    told.progressed(job(), 1, total)
    assert outbox.messages == []


def test_a_failure_is_an_error(told, outbox):
    task = job('restore')
    told.started(task)
    task.state, task.fail_reason = JobState.FAILED, 'the store is gone'
    told.ended(task)
    assert outbox.events == ['backup.restore.start', 'backup.restore.error']
    assert outbox.messages[1][3] == 'error'
    assert outbox.messages[1][2]['fail_reason'] == 'the store is gone'


def test_the_end_of_a_delete_tells_of_what_is_gone(told, outbox):
    task = job('delete')
    told.started(task)
    del told.kept['b1']
    task.state = JobState.DONE
    told.ended(task)
    assert outbox.events == ['backup.delete.start', 'backup.delete.end']
    assert outbox.messages[1][2]['status'] == 'deleted'
    assert outbox.messages[1][2]['display_name'] == 'first'


def test_what_ends_elsewhere_is_not_kept_for_ever(told, outbox, monkeypatch):
    monkeypatch.setattr(notifications, 'WAITING', 3)
    deleted = None
    for kind in ('create', 'delete', 'restore') * 5:
        begun = job(kind)
        told.started(begun)
        deleted = begun if kind == 'delete' else deleted
    assert len(told._deletes) == 3
    del told.kept['b1']
    told.ended(deleted)
    assert outbox.events[-1] == 'backup.delete.end' and len(told._deletes) == 2


def test_a_reset(told, outbox, backup):
    told.reset(backup, 'start')
    told.reset(backup, 'end')
    assert outbox.events == ['backup.reset_status.start', 'backup.reset_status.end']


def test_nothing_is_told_of_other_jobs_or_of_unknown_backups(told, outbox):
    told.started(job('verify'))
    told.ended(job('prune'))
    told.started(Job(kind='create', backup_id='gone'))
    told.ended(Job(kind='create', backup_id='gone'))
    assert outbox.messages == []


# Where it goes

class Broker:
    """Takes notifications while `up` is set; until then senders wait, as they do for a real one."""

    def __init__(self):
        self.up = threading.Event()
        self.taken = []

    def connect(self):
        return self.send

    def send(self, *message):
        assert self.up.wait(30)
        self.taken.append(message[1])


@pytest.fixture
def broker():
    broker = Broker()
    yield broker
    broker.up.set()


def test_a_broker_that_is_down_holds_nobody_up(broker, caplog):
    def put_and_close():
        caplog.clear()
        outbox = notifications.Outbox(broker.connect, waiting=10)
        for number in range(100):
            outbox.put({}, f'event{number}', {}, 'info')
        # The thread may have taken one out before the others came.
        assert outbox.dropped in (89, 90)
        assert caplog.text.count('was dropped') == 1
        outbox.close(timeout=0.2)
        assert 'are lost' in caplog.text
    soon(put_and_close, 2)


def test_what_waited_for_the_broker_comes_in_order(broker):
    outbox = notifications.Outbox(broker.connect)
    for number in range(50):
        outbox.put({}, number, {}, 'info')
    broker.up.set()
    outbox.close(timeout=30)
    assert broker.taken == list(range(50)) and outbox.dropped == 0


def test_an_error_of_one_stops_no_other(caplog):
    taken = []

    def send(context, event, told, priority):
        if event == 'bad':
            raise RuntimeError('cannot be said')
        taken.append(event)
    outbox = notifications.Outbox(lambda: send)
    for event in ('one', 'bad', 'two'):
        outbox.put({}, event, {}, 'info')
    outbox.close(timeout=30)
    assert taken == ['one', 'two'] and 'bad could not be sent: cannot be said' in caplog.text


def test_who_cannot_connect_says_so_once(caplog):
    def connect():
        raise exceptions.ConfigurationError('no such driver')
    outbox = notifications.Outbox(connect)
    for _ in range(5):
        outbox.put({}, 'event', {}, 'info')
    outbox.close(timeout=30)
    assert caplog.text.count('Notifications cannot be sent') == 1


def test_one_that_was_never_used_closes():
    notifications.Outbox(lambda: pytest.fail('nothing is to be sent')).close()


# The library

SCRIPT = """
import sys
from backup_framework import conf
from backup_framework.model import Backup, Job, JobState
from backup_framework.service import notifications

configuration = conf.load([sys.argv[1]], state_path=sys.argv[2])
if sys.argv[3] == 'log':
    conf.setup_logging(configuration, debug=True)

class Catalog:
    def get_backup(self, ref):
        return Backup(ref, project_id='p')
    def dependents(self, ref):
        return []
told = notifications.open(configuration, Catalog())
notifications.check(configuration)
told.started(Job(kind='create', backup_id='b1'))
told.ended(Job(kind='create', backup_id='b1', state=JobState.DONE))
told.close()
print(sorted(name for name in ('eventlet', 'oslo_messaging') if name in sys.modules))
"""


def run_script(tmp_path, text, mode=''):
    file = tmp_path / 'test.conf'
    file.write_text(text)
    return subprocess.run([sys.executable, '-c', SCRIPT, str(file), str(tmp_path), mode],
                          capture_output=True, text=True, timeout=60)


def test_the_library_is_not_imported_where_nothing_is_configured(tmp_path):
    done = run_script(tmp_path, '')
    assert (done.returncode, done.stdout) == (0, '[]\n'), done.stderr


def test_the_real_library_writes_what_it_is_given(tmp_path):
    """Its driver `log`: as the broker would get it."""
    pytest.importorskip('oslo_messaging')
    done = run_script(tmp_path, '[service]\nhost = host1\n'
                                '[oslo_messaging_notifications]\ndriver = log\n', 'log')
    assert done.returncode == 0, done.stderr
    assert '"publisher_id": "backup.host1"' in done.stderr
    for event in ('backup.create.start', 'backup.create.end'):
        assert f'"event_type": "{event}"' in done.stderr
    assert 'DeprecationWarning' not in done.stderr
