"""Volumes of Cinder: the real openstacksdk, a small Cinder over HTTP, and a stub of os-brick."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import os
from pathlib import Path
import sys
from typing import Any

from keystoneauth1.noauth import NoAuth
from openstack.block_storage.v3._proxy import Proxy
import pytest

from backup_framework import conf, exceptions
from backup_framework.manager import CreateJob, Manager
from backup_framework.model import GIB, Backup, Job, Settings, Volume
from backup_framework.testing import sources
from backup_framework.volumes.cinder import CinderVolumes
from tests.unit.manager.test_jobs import killed
from tests.unit.volumes.fake_cinder import Cinder, Connector, install_brick

DATA = os.urandom(1 << 20)
CONFIGURATION = """
[DEFAULT]
enabled_backends = shelf
state_path = {root}/state
[shelf]
driver = local
path = {root}/store
[volumes:cloud]
type = cinder
cloud = small
"""


@pytest.fixture
def cinder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cinder]:
    made = Cinder(tmp_path)
    (tmp_path / 'clouds.yaml').write_text(f"""
        clouds:
          small:
            auth_type: none
            auth: {{endpoint: '{made.url}/v3/'}}
            block_storage_endpoint_override: '{made.url}/v3/'
        """)
    monkeypatch.setenv('OS_CLIENT_CONFIG_FILE', str(tmp_path / 'clouds.yaml'))
    yield made
    made.close()


@pytest.fixture
def brick(monkeypatch: pytest.MonkeyPatch) -> type[Connector]:
    return install_brick(monkeypatch)


@pytest.fixture
def source(cinder: Cinder, brick: type[Connector]) -> Iterator[CinderVolumes]:
    made = of(volume_type='fast')
    yield made
    made.close()
    assert not brick.connected and not cinder.attachments


def of(**options: Any) -> CinderVolumes:
    return CinderVolumes(Settings(CinderVolumes.OPTIONS, {'cloud': 'small', 'timeout': 5} | options)
                         )


class TestCinder(sources.SourceKit):

    @pytest.fixture
    def source(self, source: CinderVolumes, cinder: Cinder) -> CinderVolumes:
        cinder.add('disk', DATA)
        return source

    # The size of a volume of Cinder is in GiB, and the files of this one are smaller.
    test_a_volume_gives_all_its_bytes = test_what_is_written_is_there = None
    test_a_new_volume_is_listed_and_empty = None
    test_a_new_volume_is_none_that_was_there = None
    # The server is in this process, with its ends of the connections.
    test_nothing_is_left_behind = None


def test_what_is_told_of_volumes_and_snapshots(source: CinderVolumes, cinder: Cinder) -> None:
    made = cinder.add('disk', DATA, status='in-use', description='root', metadata={'a': 'b'})
    (volume,) = source.volumes()
    assert volume == Volume(
        id=made, source_id=made, name='disk', size_bytes=GIB, status='in-use', description='root',
        availability_zone='nova', bootable=True, project_id='demo', metadata={'a': 'b'})
    cinder.post_snapshots({'snapshot': {'volume_id': made, 'name': 'mine', 'force': True}})
    assert not list(source.snapshots(volume))
    (volume,) = source.volumes()
    (snapshot,) = source.snapshots(volume)
    assert (snapshot.name, snapshot.volume_id, snapshot.size_bytes) == ('mine', made, GIB)
    assert str(snapshot.created_at) == '2026-01-02 03:04:05+00:00'
    source.make_snapshot(volume)
    (volume,) = source.volumes()
    (mine,) = source.snapshots(volume)
    assert mine.name == 'mine'
    with pytest.raises(exceptions.Refused, match='not made for a backup'):
        source.delete_snapshot(volume, mine)


def test_the_requests_of_a_backup_of_one_in_use(source: CinderVolumes, cinder: Cinder) -> None:
    volume = Volume(source_id=cinder.add('disk', DATA, status='in-use'))
    snapshot = source.make_snapshot(volume)
    (cinder.folder / str(volume.source_id)).write_bytes(b'later')
    with source.open(volume, snapshot) as opened:
        assert opened.file.read() == DATA
        (attachment,) = cinder.attachments.values()
        assert attachment['status'] == 'attached' and attachment['mode'] == 'ro'
        assert attachment['volume_id'] != volume.source_id
        assert [each.source_id for each in source.volumes()] == [volume.source_id]
    source.delete_snapshot(volume, snapshot)
    assert cinder.log == [
        ('POST', 'snapshots'), ('POST', 'volumes'), ('POST', 'attachments'),
        ('POST', 'attachments/ID/action'), ('DELETE', 'attachments/ID'), ('DELETE', 'volumes/ID'),
        ('DELETE', 'snapshots/ID')]
    assert list(cinder.volumes) == [volume.source_id] and not cinder.snapshots


def test_a_snapshot_of_a_volume_that_has_grown_since(source: CinderVolumes, cinder: Cinder
                                                     ) -> None:
    volume = Volume(source_id=cinder.add('disk', DATA, status='in-use'))
    snapshot = source.make_snapshot(volume)
    cinder.volumes[str(volume.source_id)]['size'] = 2
    with source.open(volume, snapshot):
        assert [each['size'] for each in cinder.volumes.values()] == [2, 1]
    source.delete_snapshot(volume, snapshot)


def test_a_snapshot_of_another_volume(source: CinderVolumes, cinder: Cinder) -> None:
    mine, other = (Volume(source_id=cinder.add(name, DATA)) for name in ('mine', 'other'))
    snapshot = source.make_snapshot(other)
    with pytest.raises(exceptions.VolumeNotFound, match='is none of volume'), \
            source.open(mine, snapshot):
        pass


def test_restoring(source: CinderVolumes, cinder: Cinder) -> None:
    made = source.create('new', GIB + 1)
    assert made.size_bytes == 2 * GIB and made.id in cinder.volumes
    with source.open_target(made) as path:
        assert isinstance(path, str)
        with open(path, 'r+b') as file:
            file.write(DATA)
        assert [each['mode'] for each in cinder.attachments.values()] == ['rw']
    with open(cinder.folder / made.id, 'rb') as file:
        assert file.read(len(DATA)) == DATA
    cinder.volumes[made.id]['status'] = 'in-use'
    with pytest.raises(exceptions.InvalidTarget, match='in-use'), source.open_target(made):
        pass


class Service:
    """Jobs of the volumes of the cloud, run by processes that have just begun."""

    def __init__(self, root: Path) -> None:
        (root / 'store').mkdir(0o700)
        (root / 'conf').write_text(CONFIGURATION.format(root=root))
        self.configuration = conf.load([str(root / 'conf')])
        self.manager = Manager(self.configuration)

    def create(self, volume_id: str) -> tuple[Backup, Job]:
        for offer in self.manager.sources.offers():
            self.manager.catalog.offer_volumes(offer.source, offer.volumes, offer.snapshots)
        return self.manager.accept_create(CreateJob(volume_id, force=True))

    def run(self, job: Job) -> str:
        """How it ended."""
        with Manager(self.configuration) as manager:
            manager.run_job(manager.catalog.job(job.id))
        return self.manager.catalog.job(job.id).state


@pytest.fixture
def service(source: CinderVolumes, tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path)
    yield made
    made.manager.close()


def test_a_volume_is_made_for_the_project_of_the_cloud_alone(
        source: CinderVolumes, cinder: Cinder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NoAuth, 'get_project_id', lambda *_, **more: 'demo', raising=False)
    assert source.create('mine', GIB, 'demo').project_id == 'demo'
    with pytest.raises(exceptions.Refused, match='only for project demo, not for other'):
        source.create('theirs', GIB, 'other')
    assert [each['name'] for each in cinder.volumes.values()] == ['mine']


@pytest.mark.parametrize('cancelled', [False, True])
def test_a_backup_that_is_killed_when_its_snapshot_is_made(
        service: Service, cinder: Cinder, cancelled: bool) -> None:
    """The catalog does not know of the snapshot; the next run takes it, and removes it."""
    volume = cinder.add('disk', DATA, status='in-use')
    _, job = service.create(volume)
    assert killed(lambda: service.run(job), CinderVolumes, 'make_snapshot', 0, after=True)
    assert len(cinder.snapshots) == 1
    if cancelled:
        service.manager.cancel(job.id)
    assert service.run(job) == ('cancelled' if cancelled else 'done')
    assert cinder.log.count(('POST', 'snapshots')) == 1
    assert not cinder.snapshots and list(cinder.volumes) == [volume]


def is_clean(cinder: Cinder, volume: str, status: str = 'available') -> bool:
    return not cinder.attachments and not cinder.snapshots and list(cinder.volumes) == [volume] \
        and cinder.volumes[volume]['status'] == status


@pytest.fixture(params=['here', 'there'])
def take_over(request: pytest.FixtureRequest, brick: type[Connector],
              monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """What is called after it runs on the same host, or on another."""
    module = sys.modules['os_brick.initiator.connector']
    known = module.get_connector_properties

    def take_over() -> str:
        monkeypatch.setattr(module, 'get_connector_properties', lambda *args: (
            known(*args) | {'host': request.param}))
        return str(request.param)
    return take_over


@pytest.mark.parametrize('status', ['available', 'in-use'])
def test_a_backup_that_is_killed_while_it_reads(
        service: Service, cinder: Cinder, status: str, take_over: Callable[[], str]) -> None:
    """Cinder attaches no volume twice. The next run on this host has what is attached."""
    volume = cinder.add('disk', DATA, status=status)
    _, job = service.create(volume)
    assert killed(lambda: service.run(job), Connector, 'connect_volume', 0, after=True)
    assert [each['status'] for each in cinder.attachments.values()] == ['attached']
    host = take_over()
    assert service.run(job) == 'done'
    assert is_clean(cinder, volume, status)
    assert cinder.log.count(('POST', 'volumes')) == (status == 'in-use')
    assert cinder.log.count(('POST', 'attachments')) == (1 if host == 'here' else 2)


@pytest.mark.parametrize(('cls', 'method', 'cancelled'), [
    (Connector, 'connect_volume', True), (Proxy, 'complete_attachment', True),
    (Proxy, 'complete_attachment', False)])
def test_what_is_left_of_a_snapshot_goes_with_it(service: Service, cinder: Cinder, cls: type,
                                                 method: str, cancelled: bool) -> None:
    volume = cinder.add('disk', DATA, status='in-use')
    _, job = service.create(volume)
    assert killed(lambda: service.run(job), cls, method, 0, after=cls is Connector)
    assert len(cinder.attachments) == 1
    if cancelled:
        service.manager.cancel(job.id)
    assert service.run(job) == ('cancelled' if cancelled else 'done')
    assert is_clean(cinder, volume, 'in-use')


def test_volumes_of_others_stay_when_a_snapshot_goes(source: CinderVolumes, cinder: Cinder
                                                     ) -> None:
    volume = Volume(source_id=cinder.add('disk', DATA, status='in-use'))
    mine, other = (source.make_snapshot(volume, key=key) for key in ('mine', 'other'))
    with source.open(volume, other, key='other'):
        cinder.add(f'backup of {volume.source_id}', DATA, snapshot_id=mine.source_id)
        before = list(cinder.volumes)
        source.delete_snapshot(volume, mine)
        assert list(cinder.volumes) == before and len(cinder.attachments) == 1
    source.delete_snapshot(volume, other)


def test_a_restore_that_is_killed_while_it_writes(
        service: Service, cinder: Cinder, take_over: Callable[[], str]) -> None:
    volume = cinder.add('disk', DATA)
    backup, job = service.create(volume)
    assert service.run(job) == 'done'
    (cinder.folder / volume).write_bytes(bytes(len(DATA)))
    *_, job = service.manager.accept_restore(backup.id, volume_id=volume)
    assert killed(lambda: service.run(job), Connector, 'connect_volume', 0, after=True)
    take_over()
    assert service.run(job) == 'done'
    assert is_clean(cinder, volume) and (cinder.folder / volume).read_bytes() == DATA


def test_what_others_attached_is_left_alone(source: CinderVolumes, cinder: Cinder) -> None:
    volume = Volume(source_id=cinder.add('disk', DATA))
    with source.open_target(volume, key='k'):
        pass
    (ours,) = cinder.devices.values()
    state = cinder.volumes[str(volume.source_id)]
    of_another = {'attachment_id': 'x', 'device': ours.replace(':k:', ':another:')}
    for attachments in ([of_another], [{'attachment_id': 'y', 'device': ours}, of_another]):
        state |= {'status': 'in-use', 'attachments': attachments}
        with pytest.raises(exceptions.InvalidTarget, match='in-use'), \
                source.open_target(volume, key='k'):
            pass
    with pytest.raises(exceptions.VolumeError, match='cannot attach'), \
            source.open(Volume(source_id=volume.source_id), key='another one'):
        pass


@pytest.mark.parametrize('kind', ['volumes', 'attachments', 'snapshots'])
def test_what_cinder_refuses(source: CinderVolumes, cinder: Cinder, kind: str) -> None:
    volume = Volume(source_id=cinder.add('disk', DATA))
    snapshot = source.make_snapshot(volume)
    cinder.failing = kind
    with pytest.raises(exceptions.VolumeError, match='cannot .*not now'), \
            source.open(volume, snapshot):
        pass
    cinder.failing = None
    assert list(cinder.volumes) == [volume.source_id]


def test_what_os_brick_refuses(source: CinderVolumes, cinder: Cinder, brick: type[Connector]
                               ) -> None:
    volume = Volume(source_id=cinder.add('disk', DATA))
    brick.failing = True
    with pytest.raises(exceptions.VolumeError, match='cannot be connected.*no path'), \
            source.open(volume):
        pass
    brick.failing = False
    with pytest.raises(ZeroDivisionError), source.open(volume):
        raise ZeroDivisionError


def test_a_volume_that_goes_wrong_while_it_is_made(source: CinderVolumes, cinder: Cinder) -> None:
    volume = Volume(source_id=cinder.add('disk', DATA))
    snapshot = source.make_snapshot(volume)
    cinder.snapshots[str(snapshot.source_id)]['status'] = 'creating'
    add = cinder.add
    cinder.add = lambda *args, **more: add(*args, **more | {'status': 'error'})  # type: ignore
    with pytest.raises(exceptions.VolumeError), source.open(volume, snapshot):
        pass
    with pytest.raises(exceptions.VolumeError, match='cannot wait for'):
        source.create('new', GIB)
    assert list(cinder.volumes) == [volume.source_id]


@pytest.mark.parametrize('key', ['k', None])
def test_a_snapshot_that_is_made_still_is_removed_by_its_key(source: CinderVolumes, cinder: Cinder,
                                                            key: str | None) -> None:
    """Cinder refuses to delete it before it is there; others are left alone."""
    volume = Volume(source_id=cinder.add('disk', DATA))
    other = source.make_snapshot(volume, key='other')
    made = source.make_snapshot(volume, key=key)
    state = cinder.snapshots[str(made.source_id)]
    state['status'] = 'creating'
    wait = source._wait

    def ready(found: Any) -> None:
        state['status'] = 'available'
        wait(found)

    source._wait = ready  # type: ignore[method-assign]
    source.drop_snapshot(volume, 'k')
    assert state['status'] == ('available' if key else 'creating')
    assert list(cinder.snapshots) == [other.source_id, *[made.source_id] * (key is None)]


@pytest.mark.parametrize('may_go', [True, False])
def test_a_snapshot_that_goes_wrong_while_it_is_made(source: CinderVolumes, cinder: Cinder,
                                                     may_go: bool) -> None:
    volume = Volume(source_id=cinder.add('disk', DATA))
    make, answer = cinder.post_snapshots, cinder._answer

    def fail(body: dict[str, Any]) -> dict[str, Any]:
        made = make(body)
        made['snapshot']['status'] = 'error'
        return made

    cinder.post_snapshots = fail  # type: ignore[method-assign]
    if not may_go:
        cinder._answer = lambda method, *more: (  # type: ignore[method-assign]
            (400, {'badRequest': {'message': 'not now', 'code': 400}}) if method == 'DELETE'
            else answer(method, *more))
    with pytest.raises(exceptions.VolumeError, match='cannot wait for') as caught:
        source.make_snapshot(volume)
    assert bool(cinder.snapshots) != may_go
    assert ('left behind: cannot delete' in str(caught.value)) != may_go


def test_without_os_brick(cinder: Cinder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'os_brick', None)
    source = of()
    with pytest.raises(exceptions.ConfigurationError,
                       match=r'pip install "backup-framework\[cinder\]"'), \
            source.open(Volume(source_id=cinder.add('disk', DATA))):
        pass
    source.close()


def test_a_cloud_that_is_not_known(cinder: Cinder) -> None:
    with pytest.raises(exceptions.VolumeError, match='cannot connect in the cloud other'):
        of(cloud='other').check()
