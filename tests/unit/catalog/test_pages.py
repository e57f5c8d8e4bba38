"""Lists in pages, what of them a project sees, and what workers offer."""

from __future__ import annotations

import datetime
import itertools
import random

import pytest

from backup_framework import exceptions
from backup_framework.model import Backup, Job, JobState, Page, Snapshot, Status, Volume, utcnow

START = datetime.datetime(2024, 5, 6, tzinfo=datetime.UTC)


@pytest.fixture
def fill(catalog):
    """Adds backups with these values of fields, a second apart."""
    def fills(*each: dict) -> list[Backup]:
        return [catalog.add_backup(Backup(**{
            'id': f'b{number}', 'volume_id': 'v', 'status': Status.AVAILABLE, 'project_id': 'p',
            'created_at': START + datetime.timedelta(seconds=number), **fields}))
            for number, fields in enumerate(each)]
    return fills


def ids(page: Page) -> list[str]:
    return [item.id for item in page.items]


def test_a_project_sees_its_own(catalog, fill):
    """What the command line made has no project: only who may see all sees it."""
    fill({}, {'project_id': 'q'}, {'project_id': None})
    assert ids(catalog.backup_page('p')) == ['b0']
    assert ids(catalog.backup_page('q')) == ['b1']
    assert ids(catalog.backup_page('')) == []
    assert ids(catalog.backup_page(None)) == ['b2', 'b1', 'b0']
    assert catalog.backup_of('b0', 'p').id == 'b0' and catalog.backup_of('b2', None).id == 'b2'
    for backup_id in ('b1', 'b2', 'nosuch', '\0', '\ud800'):
        with pytest.raises(exceptions.BackupNotFound):
            catalog.backup_of(backup_id, 'p')
    for call in (lambda: catalog.backup_page('p', marker='b1'),
                 lambda: catalog.backup_page('p', marker='\0')):
        with pytest.raises(exceptions.BackupNotFound):
            call()
    # A filter does not widen what is seen.
    assert ids(catalog.backup_page('p', filters={'project_id': 'q'})) == []
    assert catalog.backup_page('p', with_count=True).total == 1


@pytest.mark.parametrize('filters, found', [
    ({'status': 'available'}, ['b3', 'b1', 'b0']), ({'status': ['error', 'creating']}, ['b2']),
    ({'name': 'one'}, ['b0']), ({'name': None}, ['b3', 'b2']), ({'name': ['one', None]},
                                                              ['b3', 'b2', 'b0']),
    ({'size': '7'}, ['b1']), ({'size': 7}, ['b1']), ({'size': 'seven'}, []), ({'size': '-7'}, []),
    ({'size': '9' * 40}, []), ({'name': '\0'}, []), ({'name': '\ud800'}, []), ({'name': []}, []),
    ({'volume_id': 'v', 'name': 'One'}, ['b1']), ({'volume_id': 'w'}, [])])
def test_filters(catalog, fill, filters, found):
    fill({'display_name': 'one'}, {'display_name': 'One', 'size': 7}, {'status': Status.ERROR}, {})
    page = catalog.backup_page('p', filters=filters, with_count=True)
    assert ids(page) == found and page.total == len(found)


def test_parts_of_values(catalog, fill):
    fill({'display_name': 'a_b'}, {'display_name': 'axb'}, {'display_name': '100%'},
         {'display_description': 'a_b'})
    assert ids(catalog.backup_page('p', like={'name': 'a_'})) == ['b0']
    assert ids(catalog.backup_page('p', like={'name': '%'})) == ['b2']
    assert ids(catalog.backup_page('p', like={'description': '_b'})) == ['b3']
    assert ids(catalog.backup_page('p', like={'size': '0'})) == []
    assert ids(catalog.backup_page('p', like={'name': '\0'})) == []


def test_a_part_is_as_long_as_a_name_at_most(catalog, fill):
    fill({'display_name': 'x' * 255}, {'display_description': 'x' * 256})
    assert ids(catalog.backup_page('p', like={'name': 'x' * 255})) == ['b0']
    assert ids(catalog.backup_page('p', like={'description': 'x' * 256})) == []


def test_what_lists_do_not_have(catalog):
    for wanted in ({'filters': {'waits_for': 'x'}}, {'like': {'metadata': 'x'}},
                   {'sort': [('nosuch', 'asc')]}, {'sort': [('id', 'sideways')]}):
        with pytest.raises(exceptions.InvalidInput):
            catalog.backup_page('p', **wanted)


KEYS = ('display_name', 'size', 'created_at', 'status', 'data_timestamp', 'id')


def order(backup: Backup, key: str):
    """Nothing comes first; times as text, as they are kept."""
    value = getattr(backup, key)
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    return '' if value is None and key != 'size' else value


def sorted_by(backups: list[Backup], sort: list[tuple[str, str]]) -> list[str]:
    found = sorted(backups, key=lambda each: each.id, reverse=sort[-1][1] == 'desc')
    for key, direction in reversed(sort):
        found.sort(key=lambda each: order(each, key), reverse=direction == 'desc')
    return [each.id for each in found]


def test_order_and_pages(catalog, fill):
    """Whatever the order, pages by marker and by offset have each backup once."""
    chance = random.Random(1)
    made = fill(*({'display_name': chance.choice([None, 'a', 'b', 'c']),
                   'size': chance.choice([0, 1, 2]),
                   'status': chance.choice([Status.ERROR, Status.AVAILABLE]),
                   'data_timestamp': chance.choice([None, START, utcnow()])} for _ in range(20)))
    sorts = [[(key, direction)] for key in KEYS for direction in ('asc', 'desc')]
    sorts += [[('size', one), ('display_name', other)]
              for one, other in itertools.product(('asc', 'desc'), repeat=2)]
    for sort in sorts:
        expected = sorted_by(made, sort)
        found = catalog.backup_page('p', sort=sort, with_count=True)
        assert ids(found) == expected and found.total == 20, sort
        by_marker: list[str] = []
        while page := ids(catalog.backup_page('p', sort=sort, limit=7, with_count=True,
                                              marker=by_marker[-1] if by_marker else None)):
            by_marker += page
        assert by_marker == expected, sort
        assert ids(catalog.backup_page('p', sort=sort, limit=5, offset=3)) == expected[3:8]
        assert ids(catalog.backup_page('p', sort=sort, offset=18)) == expected[18:]
        assert ids(catalog.backup_page('p', sort=sort, limit=3, offset=2,
                                       marker=expected[4])) == expected[7:10]
    assert catalog.backup_page('p', limit=0).items == []


# Offers

def offered(catalog, project=None, **wanted) -> dict[str, Volume]:
    return {str(each.name): each for each in catalog.volume_page(project, **wanted).items}


def test_offers(catalog):
    catalog.offer_volumes('s', [Volume(source_id='a', name='A', size_bytes=1),
                                Volume(source_id='b', name='B', project_id='q')])
    first = offered(catalog)
    assert set(first) == {'A', 'B'}
    assert set(offered(catalog, 'p')) == {'A'} and set(offered(catalog, 'q')) == {'A', 'B'}
    catalog.offer_volumes('s', [Volume(source_id='a', name='A2', size_bytes=2, status='in-use',
                                       bootable=True, metadata={'k': 'v'})])
    second = offered(catalog)
    assert set(second) == {'A2'}
    changed = second['A2']
    assert changed.id == first['A'].id and changed.created_at == first['A'].created_at
    assert (changed.size_bytes, changed.status, changed.bootable, changed.metadata) == (
        2, 'in-use', True, {'k': 'v'})
    assert changed.offered_at > first['A'].offered_at
    gone = first['B'].id
    with pytest.raises(exceptions.VolumeNotFound):
        catalog.volume_of(gone, None)
    assert catalog.get_volume(gone).offered_at is None
    catalog.offer_volumes('s', [Volume(source_id='b', name='B')])
    assert offered(catalog)['B'].id == gone and set(offered(catalog, 'p')) == set()
    catalog.offer_volumes('s', [Volume(source_id='b', name='B', project_id='p')])
    assert set(offered(catalog, 'p')) == {'B'} and offered(catalog, 'q') == {}


def test_offers_of_several_sources(catalog):
    """The same names; none takes the other's away."""
    catalog.add_volume(Volume(name='A', path='/dev/a'))
    for source in ('s', 't'):
        catalog.offer_volumes(source, [Volume(source_id='a', name='A')])
    catalog.offer_volumes('s', [])
    assert [each.source for each in catalog.volume_page(None).items] == ['t']
    assert catalog.get_volume('A').path == '/dev/a'
    catalog.offer_volumes('s', [Volume(source_id='a', name='X')])
    assert catalog.get_volume('X').source == 's'
    catalog.offer_volumes('t', [Volume(source_id='a', name='X')])
    with pytest.raises(exceptions.InvalidInput, match='several volumes'):
        catalog.get_volume('X')


def test_ids_of_a_source(catalog):
    """Its own are kept, unless somebody else has them; a record of a backup's volume is taken."""
    catalog.add_volume(Volume(id='u1', name='of a backup'))
    catalog.offer_volumes('s', [Volume(id='u1', source_id='u1', name='one'),
                                Volume(id='u2', source_id='u2', name='two')])
    found = offered(catalog)
    assert (found['one'].id, found['two'].id) == ('u1', 'u2')
    catalog.offer_volumes('t', [Volume(id='u2', source_id='u2', name='three')])
    assert offered(catalog)['three'].id not in ('u1', 'u2')
    assert offered(catalog)['two'].id == 'u2'


def test_a_volume_that_a_restore_makes(catalog, add):
    """It is there from the beginning, though no list of a worker has it."""
    backup = add()
    new = Volume(name='new', source='s', status='creating', project_id='p', offered_at=utcnow())
    job = catalog.accept(Job(kind='restore', backup_id=backup.id, volume_id=new.id), volume=new)
    catalog.offer_volumes('s', [])
    assert offered(catalog, 'p')['new'].status == 'creating'
    assert offered(catalog, 'q') == {}
    # Another worker has told of it before the one that made it could.
    catalog.offer_volumes('s', [Volume(source_id='x', name='new')])
    catalog.volume_made(new.id, Volume(source_id='x', name='new', size_bytes=5))
    found, = catalog.volume_page('p').items
    assert (found.id, found.source_id, found.size_bytes, found.status, found.project_id) == (
        new.id, 'x', 5, 'restoring-backup', 'p')
    # A list that was begun before that.
    catalog.offer_volumes('s', [])
    assert catalog.volume_of(new.id, 'p').id == new.id
    catalog.end_job(job.id, JobState.DONE)
    catalog.offer_volumes('s', [])
    assert catalog.volume_of(new.id, 'p').status == 'available'
    # Nor does a source that knows no projects give it to all of them.
    catalog.offer_volumes('s', [Volume(source_id='x', name='new')])
    assert catalog.volume_of(new.id, 'p').project_id == 'p' and offered(catalog, 'q') == {}
    with pytest.raises(exceptions.VolumeNotFound):
        catalog.volume_made('nosuch', Volume(source_id='y'))


def test_snapshots(catalog):
    volume = Volume(source_id='a', name='A')
    snapshots = [Snapshot(volume_id=volume.id, source_id='s1', name='one', size_bytes=3,
                          created_at=START),
                 Snapshot(volume_id='a', source_id='s2', name='two')]
    catalog.offer_volumes('s', [volume], snapshots)
    page = catalog.snapshot_page('p', sort=[('name', 'asc')], with_count=True)
    assert [each.name for each in page.items] == ['one', 'two'] and page.total == 2
    one = page.items[0]
    assert one.volume_id == volume.id and one.created_at == START
    assert catalog.snapshot_of(one.id, 'p') == one
    again = Volume(source_id='a', name='A', project_id='q')
    catalog.offer_volumes('s', [again], [Snapshot(volume_id=again.id, source_id='s1', name='1')])
    assert [(each.id, each.name) for each in catalog.snapshot_page('q').items] == [(one.id, '1')]
    for call in (lambda: catalog.snapshot_of(one.id, 'p'),
                 lambda: catalog.snapshot_of(page.items[1].id, None)):
        with pytest.raises(exceptions.SnapshotNotFound):
            call()
    catalog.offer_volumes('s', [])
    assert catalog.snapshot_page(None).items == []


def test_volume_filters(catalog):
    catalog.offer_volumes('s', [
        Volume(source_id='a', name='A', bootable=True, availability_zone='z'),
        Volume(source_id='b', name='B', status='in-use')])
    assert set(offered(catalog, filters={'bootable': True})) == {'A'}
    assert set(offered(catalog, filters={'bootable': 'true'})) == set()
    assert set(offered(catalog, filters={'status': 'in-use'})) == {'B'}
    assert set(offered(catalog, filters={'availability_zone': 'z', 'source': 's'})) == {'A'}
    assert list(offered(catalog, sort=[('bootable', 'desc')])) == ['A', 'B']
