"""Looking backups up, ordering, paging, chains, changes."""

import contextlib
import datetime

from hypothesis import given, settings, strategies
import pytest

from backup_framework import exceptions
from backup_framework.catalog import Catalog, backups, records, schema
from backup_framework.model import Backup, Status, Volume, utcnow

UTC = datetime.UTC


def test_every_field_comes_back(catalog):
    time = datetime.datetime(2024, 2, 29, 23, 59, 59, 1, tzinfo=UTC)
    kept = Backup(
        id='b1', volume_id='v1', status=Status.ERROR, display_name='ä "name"',
        display_description='two\nlines', container='c/d', service_metadata='prefix',
        parent_id='b0', snapshot_id='s1', size=3, object_count=7, fail_reason='why',
        metadata={'k': 'ü', '': 'empty'}, created_at=time, updated_at=time, data_timestamp=time,
        service='local', host='h', availability_zone='az', user_id='u', project_id='p',
        encryption_key_id='e', backend='offsite', format='1.0.0', size_bytes=2**62,
        stored_bytes=5, owner='other', warnings=['one', 'two'])
    catalog.add_backup(kept)
    found = catalog.get_backup('b1')
    assert found == kept
    assert found.data_timestamp.microsecond == 1
    assert found.data_timestamp.tzinfo is UTC
    assert isinstance(found.status, Status)


def test_times_are_stored_in_utc(catalog):
    east = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
    catalog.add_backup(Backup(id='east', data_timestamp=datetime.datetime(
        2024, 1, 1, 3, 0, tzinfo=east)))
    catalog.add_backup(Backup(id='bare', data_timestamp=datetime.datetime(2024, 1, 1)))
    assert catalog.get_backup('east').data_timestamp == datetime.datetime(
        2023, 12, 31, 21, 30, tzinfo=UTC)
    assert catalog.get_backup('bare').data_timestamp == datetime.datetime(
        2024, 1, 1, tzinfo=UTC)


@settings(deadline=None)
@given(strategies.datetimes(timezones=strategies.just(UTC)),
       strategies.datetimes(timezones=strategies.just(UTC)))
def test_stored_times_sort_as_times_do(one, other):
    texts = records.time_text(one), records.time_text(other)
    assert (texts[0] < texts[1]) == (one < other)
    assert len(texts[0]) == 26
    assert records.text_time(texts[0]) == one


def test_created_at_is_set(catalog):
    before = utcnow()
    assert before <= catalog.add_backup(Backup(id='b1')).created_at <= utcnow()


@pytest.mark.parametrize('field', [
    {'size': 1 << 64}, {'size': 'big'}, {'size': None}, {'display_name': 'x' * 256},
    {'display_name': 'nul\0'}, {'display_name': '\udcff'}, {'id': ''}, {'id': '\udcff'},
    {'status': 'sleeping'}, {'status': Status.RESTORING}, {'display_name': 5}])
def test_what_cannot_be_stored_is_refused(catalog, field):
    with pytest.raises(exceptions.InvalidInput):
        catalog.add_backup(Backup(**field))
    assert catalog.backups() == []


def test_metadata_has_a_bound_in_sum(catalog, add):
    most = {'key': 'x' * ((16 << 10) - len('{"key": ""}'))}
    backup = add(metadata=most)
    assert catalog.get_backup(backup.id).metadata == most
    for more in ({'key': 'x' * (16 << 10)}, {'emoji': '\N{GRINNING FACE}'}):
        with pytest.raises(exceptions.InvalidInput, match='metadata as JSON .* 16384'):
            catalog.update_backup(backup.id, metadata=most | more)
        with pytest.raises(exceptions.InvalidInput):
            catalog.change_metadata(backup.id, more, ())


def test_metadata_that_were_stored_with_more_are_taken_in(catalog, add):
    large = {'key': 'x' * (17 << 10), 'other': 'y' * (17 << 10)}
    backup = add(metadata=large)
    assert catalog.backup_of(backup.id, None).metadata == large
    catalog.change_metadata(backup.id, {}, ('other',))
    assert set(catalog.backup_of(backup.id, None).metadata) == {'key'}


@pytest.mark.parametrize('connection', [
    'postgresql', pytest.param('mariadb', marks=pytest.mark.long)], indirect=True)
def test_what_a_database_cannot_hold_is_no_fault_of_it(catalog):
    """Else a job would try it for ever, and a rebuild would go no further."""
    with pytest.raises(exceptions.InvalidInput, match='cannot hold'):
        catalog._database.change(schema.backups.insert().values(
            records.new_backup(Backup(volume_id='v')) | {'host': 'h' * 256}))


@pytest.mark.parametrize('connection', [
    'sqlite', 'postgresql', pytest.param('mariadb', marks=pytest.mark.long)], indirect=True)
def test_of_many_records_those_that_are_refused_keep_no_other_out(catalog, add, monkeypatch):
    add(id='taken')
    new = records.new_backup
    # What only a database finds out; SQLite holds strings of any length.
    monkeypatch.setattr(records, 'new_backup', lambda each: new(each) | (
        {'host': 'h' * 256} if each.id == 'long' else {}))
    made = [Backup(id=id_, volume_id='v1') for id_ in ('b1', 'taken', 'long', '', 'b2', 'b1')]
    refused = catalog.add_backups(made)
    assert refused.pop('long', 'cannot hold').endswith(
        'too long for type character varying(255)') or catalog.name.startswith(('/', 'mysql'))
    assert {each: why.split()[-1] for each, why in refused.items()} == {
        'taken': 'already', '': 'backup', 'b1': 'already'}
    assert {'b1', 'taken', 'b2'} == catalog.backup_ids() - {'long'}
    assert made[-2].created_at


@pytest.mark.parametrize('accepted', [True, False])
def test_no_child_is_added_to_what_is_being_deleted(catalog, add, accepted):
    """The delete has looked for children already."""
    add(id='parent', status=Status.DELETING if accepted else Status.AVAILABLE)
    child, alone = (Backup(id=id_, volume_id='v1', status=Status.AVAILABLE, parent_id='parent',
                           format=version)
                    for id_, version in (('child', '1.0.0'), ('alone', '2.0.0')))
    with (contextlib.nullcontext() if accepted
          else catalog.operation('delete', backup_id='parent')):
        with pytest.raises(exceptions.InvalidBackup, match='parent, which is being deleted'):
            catalog.add_backup(child)
        assert 'being deleted' in catalog.add_backups([child, alone])['child']
    assert catalog.backup_ids() == {'parent', 'alone'}


def test_no_import_ends_on_what_is_being_deleted(catalog, add):
    add(id='parent')
    add(id='child', status=Status.CREATING)
    with (catalog.operation('import', backup_id='child') as importing,
          catalog.operation('delete', backup_id='parent')):
        with pytest.raises(exceptions.InvalidBackup, match='parent, which is being deleted'):
            catalog.finish(importing, 'child', Status.AVAILABLE, parent_id='parent', format='1.0.0')
        assert catalog.get_backup('child').status == Status.CREATING
        catalog.finish(importing, 'child', Status.AVAILABLE, parent_id='parent', format='2.0.0')


@pytest.mark.parametrize('others', [
    {'status': Status.CREATING}, {'status': Status.AVAILABLE}, {'service': 'local'},
    {'service_metadata': 'prefix'}, None])
def test_only_a_failed_import_is_replaced(catalog, add, others):
    add(**{'id': 'b1', 'status': Status.ERROR} | (others or {}))
    new = Backup(id='b1', volume_id='v2', status=Status.AVAILABLE, display_name='whole')
    refused = catalog.add_backups([new], ['b1'])
    assert bool(refused) == (others is not None)
    assert catalog.get_backup('b1').volume_id == ('v2' if others is None else 'v1')


def test_many_records_are_seen_all_at_once(catalog, open_catalog):
    other, seen = open_catalog(), []

    def one_by_one():
        for id_ in ('child', 'parent'):
            seen.append(other.backup_ids())
            yield Backup(id=id_, volume_id='v1')
    assert not catalog.add_backups(one_by_one())
    assert seen == [set(), set()]
    assert other.backup_ids() == {'child', 'parent'}


def test_an_id_is_taken_once(catalog, add):
    add(id='b1')
    with pytest.raises(exceptions.InvalidInput, match='b1 already'):
        add(id='b1')


def test_references(catalog, add):
    add(id='aaaaaaaa-1', display_name='nightly')
    add(id='aaaaaaaa-2', display_name='twice')
    add(id='bbbbbbbb-1', display_name='twice')
    assert catalog.get_backup('aaaaaaaa-1').id == 'aaaaaaaa-1'
    assert catalog.get_backup('nightly', exact=True).id == 'aaaaaaaa-1'
    assert catalog.get_backup('b').id == 'bbbbbbbb-1'
    assert catalog.get_backup('bbbbbbbb', exact=True).id == 'bbbbbbbb-1'
    with pytest.raises(exceptions.InvalidInput, match='8 characters'):
        catalog.get_backup('bbbbbbb', exact=True)
    for ambiguous in ('twice', 'aaaaaaaa'):
        with pytest.raises(exceptions.InvalidInput) as caught:
            catalog.get_backup(ambiguous)
        assert 'aaaaaaaa-2' in str(caught.value)
    for unknown in ('nothing', '', '%', '_', 'AAAAAAAA-1', 'nul\0', '\udcff', "'; --"):
        with pytest.raises(exceptions.BackupNotFound):
            catalog.get_backup(unknown)


def test_an_id_wins_over_a_name_and_a_name_over_a_prefix(catalog, add):
    add(id='first', display_name='second')
    add(id='second', display_name='fir')
    assert catalog.get_backup('second').id == 'second'
    assert catalog.get_backup('fir').id == 'second'


def test_at_most_five_candidates_are_listed(catalog, add):
    for number in range(7):
        add(id=f'abc{number}')
    with pytest.raises(exceptions.InvalidInput, match='and more') as caught:
        catalog.get_backup('abc')
    assert str(caught.value).count('backup abc') == 5


def test_newest_first_and_pages(catalog, add):
    time = datetime.datetime(2024, 1, 1, tzinfo=UTC)
    day = datetime.timedelta(days=1)
    add(id='old', data_timestamp=time, created_at=time + 9 * day)
    add(id='new', data_timestamp=time + day, created_at=time)
    add(id='tie-a', data_timestamp=time, created_at=time)
    add(id='tie-b', data_timestamp=time, created_at=time)
    add(id='undated', data_timestamp=None, created_at=time + 99 * day)
    wanted = ['new', 'old', 'tie-b', 'tie-a', 'undated']
    assert [each.id for each in catalog.backups()] == wanted
    paged, marker = [], None
    while page := catalog.backups(limit=2, marker=marker):
        paged += [each.id for each in page]
        marker = paged[-1]
    assert paged == wanted
    with pytest.raises(exceptions.BackupNotFound):
        catalog.backups(marker='gone')


def test_filters(catalog, add):
    add(id='b1', backend='local')
    add(id='b2', volume_id='v2', backend='offsite', status=Status.ERROR)
    assert [each.id for each in catalog.backups(volume_id='v2')] == ['b2']
    assert [each.id for each in catalog.backups(backend='local')] == ['b1']
    assert [each.id for each in catalog.backups(status='error')] == ['b2']
    assert catalog.backups(status='error', backend='local') == []
    with catalog.operation('restore', backup_id='b1'):
        for status, wanted in (('restoring', ['b1']), ('error', ['b2']), ('available', [])):
            found = catalog.backups(status=status, limit=1)
            assert [(each.id, each.status) for each in found] == [(id, status) for id in wanted]
    assert catalog.backups(limit=0) == []


def test_newest_usable(catalog, add):
    assert catalog.newest_usable('v1', 'local') is None
    time = datetime.datetime(2024, 1, 1, tzinfo=UTC)
    for day, status in enumerate((Status.AVAILABLE, Status.AVAILABLE, Status.ERROR)):
        add(id=f'b{day}', backend='local', status=status,
            data_timestamp=time + datetime.timedelta(days=day))
    assert catalog.newest_usable('v1', 'local').id == 'b1'
    assert catalog.newest_usable('v1', 'offsite') is None
    assert catalog.newest_usable('v1').id == 'b1'


def test_children_count_in_every_state(catalog, add):
    add(id='root')
    for status in (Status.CREATING, Status.ERROR, Status.AVAILABLE):
        add(id=f'child-{status}', parent_id='root', status=status)
    assert len(catalog.children('root')) == 3
    assert catalog.children('child-error') == []


def test_chain(catalog, add):
    add(id='root')
    add(id='middle', parent_id='root')
    tip = add(id='tip', parent_id='middle')
    assert [each.id for each in catalog.chain(tip)] == ['root', 'middle', 'tip']
    assert tip.parent.parent.id == 'root'


def test_a_chain_begins_with_what_restores_by_itself(catalog, add):
    add(id='middle', parent_id='deleted', format='2.0.0')
    tip = add(id='tip', parent_id='middle', format='2.0.0')
    assert [each.id for each in catalog.chain(tip)] == ['tip'] and tip.parent is None


def test_a_broken_chain_is_refused(catalog, add):
    with pytest.raises(exceptions.InvalidBackup, match='needs backup gone'):
        catalog.chain(add(id='orphan', parent_id='gone'))
    add(id='one', parent_id='two')
    with pytest.raises(exceptions.InvalidBackup, match='comes back to two'):
        catalog.chain(add(id='two', parent_id='one'))


def test_a_child_needs_a_parent_that_stays(catalog, add):
    def add_child():
        catalog.add_backup(Backup(id='child', volume_id='v1', parent_id='root'))
    with pytest.raises(exceptions.InvalidBackup, match='not in the catalog'):
        add_child()
    add(id='root')
    with catalog.operation('delete', backup_id='root'):
        with pytest.raises(exceptions.InvalidBackup, match='being deleted'):
            add_child()
    catalog.transition('root', [Status.AVAILABLE], Status.ERROR)
    with pytest.raises(exceptions.InvalidBackup, match='is error'):
        add_child()
    catalog.update_backup('root', status=Status.AVAILABLE)
    with catalog.operation('restore', backup_id='root'):
        add_child()


def test_update(catalog, add):
    add(id='b1')
    catalog.update_backup('b1', display_name='new', metadata={'a': 'b'}, warnings=['w'])
    found = catalog.get_backup('b1')
    assert (found.display_name, found.metadata, found.warnings) == ('new', {'a': 'b'}, ['w'])
    assert found.updated_at is not None
    with pytest.raises(exceptions.BackupNotFound):
        catalog.update_backup('gone', display_name='x')
    with pytest.raises(exceptions.InvalidInput, match='never stored'):
        catalog.update_backup('b1', status=Status.RESTORING)
    for wrong in ({'id': 'b2'}, {'parent': None}, {'nonsense': 1}):
        with pytest.raises(TypeError):
            catalog.update_backup('b1', **wrong)


def test_transition(catalog, add):
    add(id='b1', display_name='nightly')
    catalog.transition('b1', {Status.AVAILABLE, Status.ERROR}, Status.DELETING, fail_reason='x')
    found = catalog.get_backup('b1')
    assert (found.status, found.fail_reason) == (Status.DELETING, 'x')
    with pytest.raises(exceptions.InvalidBackup, match='nightly.* is deleting, not available'):
        catalog.transition('b1', {Status.AVAILABLE}, Status.DELETING)
    with pytest.raises(exceptions.BackupNotFound):
        catalog.transition('gone', {Status.AVAILABLE}, Status.DELETING)


def test_forget(catalog, add):
    add(id='root')
    add(id='child', parent_id='root')
    with pytest.raises(exceptions.BackupInUse, match='needed by backup child'):
        catalog.forget('root')
    with catalog.operation('verify', backup_id='child'):
        with pytest.raises(exceptions.BackupInUse, match='a verify of backup child'):
            catalog.forget('child')
    catalog.forget('child')
    with catalog.operation('delete', backup_id='root') as operation:
        catalog.forget('root', operation=operation)
    assert catalog.backups() == []
    with pytest.raises(exceptions.BackupNotFound):
        catalog.forget('root')


def test_forget_a_parent_that_is_only_history(catalog, add):
    add(id='root', format='2.0.0')
    add(id='child', parent_id='root', format='2.0.0')
    with catalog.operation('delete', backup_id='root') as operation:
        catalog.forget('root', operation=operation)
    assert catalog.get_backup('child').parent_id == 'root'
    assert catalog.check() == []


def test_volumes(catalog):
    volume = Volume(id='v1', name='db', path='/dev/vg/db', size_bytes=2**40, base={'a': [1]},
                    metadata={'k': 'v'}, image_metadata={'os': 'x'})
    assert catalog.add_volume(volume).created_at is not None
    for ref in ('v1', 'db', '/dev/vg/db'):
        assert catalog.get_volume(ref) == volume
    assert catalog.find_volume_by_path('/nowhere') is None
    assert catalog.volumes() == [volume]
    for unknown in ('nothing', '/nowhere', 'dev/vg/db', '', '\udcff', 'nul\0'):
        with pytest.raises(exceptions.VolumeNotFound):
            catalog.get_volume(unknown)
    with pytest.raises(exceptions.InvalidInput, match='v1 already'):
        catalog.add_volume(Volume(id='v1'))


@pytest.mark.parametrize('others', [0, 1, 1000])
def test_volumes_by_their_ids(catalog, others):
    for volume_id in ('v1', 'v2', 'v3'):
        catalog.add_volume(Volume(id=volume_id))
    unknown = set(map(str, range(others)))
    assert [each.id for each in catalog.volumes({'v3', 'v1'} | unknown)] == ['v1', 'v3']
    assert catalog.volumes(unknown) == []


def test_volume_names_are_unique_when_set(catalog):
    catalog.add_volume(Volume(id='v1', name='db'))
    catalog.add_volume(Volume(id='v2'))
    catalog.add_volume(Volume(id='v3'))
    with pytest.raises(exceptions.InvalidInput, match='v1 is called db already'):
        catalog.add_volume(Volume(id='v4', name='db'))
    with pytest.raises(exceptions.InvalidInput, match='v1 is called db already'):
        catalog.update_volume('v2', name='db')
    catalog.update_volume('v1', name='db', metadata={'a': 'b'})
    assert catalog.get_volume('db').metadata == {'a': 'b'}
    with pytest.raises(exceptions.VolumeNotFound):
        catalog.update_volume('v9', path='/x')


def test_a_path_of_several_volumes_must_be_told_apart(catalog):
    catalog.add_volume(Volume(id='v1', path='/dev/vg/snap'))
    catalog.add_volume(Volume(id='v2', path='/dev/vg/snap'))
    with pytest.raises(exceptions.InvalidInput, match='v1, v2'):
        catalog.get_volume('/dev/vg/snap')


def test_has_backup_takes_whole_ids_only(catalog, add):
    """A name or the beginning of an id must not stand for a record that would be overwritten."""
    add(id='b1-and-more', display_name='nightly')
    assert catalog.has_backup('b1-and-more')
    for ref in ('b1', 'b1-and-mor', 'nightly', 'B1-AND-MORE', '', 'b\udcff'):
        assert not catalog.has_backup(ref)


def test_volume_at_path_makes_one(catalog):
    made = catalog.volume_at_path('/a', 5)
    assert catalog.volume_at_path('/a', 5) == made
    assert catalog.volumes() == [made]
    with pytest.raises(exceptions.InvalidInput):
        catalog.volume_at_path('/not\udcff text')


@settings(deadline=None, max_examples=50)
@given(strategies.lists(strategies.tuples(
    strategies.sampled_from('abc'), strategies.sampled_from(['x', 'y', None])), max_size=8))
def test_a_reference_means_one_backup_or_none(tmp_path_factory, drawn):
    directory = tmp_path_factory.mktemp('refs')
    catalog = Catalog(f'sqlite:///{directory}/c.sqlite', str(directory))
    catalog._database.write(lambda link: [
        backups.add(link, Backup(id=f'{letter}{number}', display_name=name))
        for number, (letter, name) in enumerate(drawn)])
    for ref in ('a', 'b', 'x', 'y'):
        fits = [each for each in catalog.backups()
                if each.display_name == ref or each.id.startswith(ref)]
        try:
            assert catalog.get_backup(ref) in fits
        except exceptions.BackupNotFound:
            assert fits == []
        except exceptions.InvalidInput:
            assert len(fits) > 1
