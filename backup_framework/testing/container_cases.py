"""The cases of the kit about containers and what is in them: sentences P, L and D."""

from __future__ import annotations

import pytest

from backup_framework import exceptions
from backup_framework.testing import hooks
from backup_framework.testing.bench import Bench, pattern, refused
from backup_framework.testing.sentences import sentence

KIB = 1 << 10


class ContainerCases(hooks.Hooks):
    """One method a case; each needs a bench and nothing that another case left."""

    # --- P: put_container

    @sentence('P1')
    def test_p1_a_container_is_made(self, bench: Bench) -> None:
        box = bench.container()
        assert bench.names(box) == [], f'a new container lists {bench.names(box)}'
        bench.put(box, 'name', b'data')
        assert bench.visible(box, 'name'), 'an object in a new container is not listed'

    @sentence('P1')
    def test_p1_a_nested_container_is_made(self, bench: Bench) -> None:
        box = bench.container(f'{bench.name_container()}/ab/cd')
        bench.put(box, 'name', b'data')
        assert bench.visible(box, 'name'), 'an object in a nested container is not listed'

    @sentence('P2')
    def test_p2_an_existing_container_keeps_its_objects(self, bench: Bench) -> None:
        box = bench.container()
        bench.driver.put_container(box)
        bench.put(box, 'name', b'data')
        bench.put(box, 'sub/name', b'more')
        bench.driver.put_container(box)
        assert bench.visible(box, 'name'), 'a second put_container lost an object'
        assert bench.visible(box, 'sub/name'), 'a second put_container lost an object'

    # --- L: get_container_entries

    @sentence('L1')
    def test_l1_each_name_once_and_as_written(self, bench: Bench) -> None:
        box = bench.container()
        names = ['b', 'a', 'sub/b', 'sub/a', 'a-00001', 'a-00002', 'a_metadata']
        for name in names:
            bench.put(box, name, b'data')
        listed = bench.names(box)
        assert sorted(listed) == sorted(names), f'{sorted(names)} are listed as {sorted(listed)}'

    @sentence('L2')
    def test_l2_every_page_is_listed(self, bench: Bench) -> None:
        box = bench.container()
        names = {f'page-{number:05}' for number in range(self.listing_size)}
        bench.side_by_side(lambda name: bench.put(box, name, b'x'), sorted(names))
        last = f'page-{self.listing_size - 1:05}'
        for prefix in ('', 'page-', 'page-00', 'page-01', last[:-2], last):
            wanted = {name for name in names if name.startswith(prefix)}
            listed = set(bench.names(box, prefix))
            assert listed == wanted, (
                f'{len(wanted & listed)} of {len(wanted)} objects are listed for {prefix!r}, and '
                f'{len(listed - wanted)} others')

    @sentence('L3')
    @pytest.mark.parametrize(('prefix', 'wanted', 'unwanted'), [
        ('a_b', 'a_b-1', 'axb-1'),
        ('a%b', 'a%b-1', 'axxb-1'),
        ('a*', 'a*-1', 'ab-1'),
        ('a?', 'a?-1', 'ab-1'),
        ('[a]', '[a]-1', 'a-1'),
        ('a.b', 'a.b-1', 'axb-1'),
        ('name', 'name-1', 'NAME-1'),
        ('name-1', 'name-10', 'name-2'),
        ('name', 'name', 'a-name'),
        ('sub/na', 'sub/name', 'sub/other'),
        ('sub', 'sub/name', 'so/sub'),
        ('sub/', 'sub/name', 'sub-name'),
        ('ö', 'öl', 'o'),
    ])
    def test_l3_only_what_begins_with_the_prefix(
            self, bench: Bench, prefix: str, wanted: str, unwanted: str) -> None:
        box = bench.container()
        bench.put(box, wanted, b'data')
        bench.put(box, unwanted, b'data')
        listed = set(bench.names(box, prefix))
        assert unwanted not in listed, f'{unwanted!r} is listed for the prefix {prefix!r}'
        assert wanted in listed, f'{wanted!r} is not listed for the prefix {prefix!r}'

    @sentence('L3')
    def test_l3_a_prefix_of_nothing(self, bench: Bench) -> None:
        box = bench.container()
        bench.put(box, 'name', b'data')
        assert bench.names(box, 'names') == [], 'a longer prefix than any name lists something'
        assert bench.names(box, 'x/y/z') == [], 'a prefix of nothing lists something'

    @sentence('L4')
    def test_l4_writes_and_deletes_are_seen_at_once(self, bench: Bench) -> None:
        box = bench.container()
        seen: set[str] = set()
        for number in range(5):
            assert set(bench.names(box)) == seen, f'after {number} writes the listing is old'
            bench.put(box, f'name-{number}', b'data')
            seen.add(f'name-{number}')
        assert set(bench.names(box)) == seen, 'the last write is not listed'
        for name in sorted(seen):
            bench.driver.delete_object(box, name)
            seen.remove(name)
            assert set(bench.names(box)) == seen, f'the listing is old after {name} was deleted'

    @sentence('L5')
    def test_l5_a_missing_container_has_no_entries(self, bench: Bench) -> None:
        missing = bench.name_container()
        try:
            listed = list(bench.driver.get_container_entries(missing, ''))
        except exceptions.ContainerNotFound:
            return
        except Exception as error:
            raise AssertionError(f'listing a missing container raised {error!r}') from error
        assert listed == [], f'a missing container lists {listed}'

    @sentence('L6')
    def test_l6_an_open_writer_shows_no_temporary_name(self, bench: Bench) -> None:
        box = bench.container()
        with bench.driver.get_object_writer(box, 'sub/name') as writer:
            writer.write(pattern(100 * KIB))
            listed = {*bench.names(box), *bench.names(box, '.'), *bench.names(box, 'sub/.')}
        listed.discard('sub/name')
        assert not listed, f'while an object is written, the container lists {listed}'

    @sentence('L7')
    def test_l7_others_are_deleted_meanwhile(self, bench: Bench) -> None:
        """Where there is one connection, nothing else is done while a listing is open."""
        box = bench.container()
        going = [f'going-{number:05}' for number in range(self.listing_size // 2)]
        staying = [f'staying-{number:05}' for number in range(self.listing_size // 2)]
        bench.side_by_side(lambda name: bench.put(box, name, b'x'), [*going, *staying])
        quiet = set(bench.names(box))
        listing = iter(bench.driver.get_container_entries(box, ''))
        listed = {next(listing)}
        if bench.capabilities.connections > 1:
            bench.side_by_side(lambda name: bench.driver.delete_object(box, name), going, spare=1)
        listed.update(listing)
        missed = quiet.intersection(staying) - listed
        assert not missed, f'{len(missed)} objects are not listed while others are deleted'

    # --- D: delete_object

    @sentence('D1')
    def test_d1_only_that_object_goes(self, bench: Bench) -> None:
        box = bench.container()
        others = ['name-1', 'name2', 'nam', 'NAME', 'name.txt', 'sub/name', 'other']
        for name in ('name', *others):
            bench.put(box, name, b'data')
        bench.driver.delete_object(box, 'name')
        assert not bench.visible(box, 'name'), 'a deleted object is listed'
        for name in others:
            assert bench.visible(box, name), f'delete of "name" removed {name!r}'

    @sentence('D2')
    def test_d2_a_missing_object_is_fine(self, bench: Bench) -> None:
        box = bench.container()
        bench.put(box, 'name', b'data')
        for name in ('missing', 'sub/missing', 'name/sub'):
            bench.driver.delete_object(box, name)
        bench.driver.delete_object(box, 'name')
        bench.driver.delete_object(box, 'name')

    @sentence('D3')
    def test_d3_a_missing_container_is_fine(self, bench: Bench) -> None:
        bench.driver.delete_object(bench.name_container(), 'name')

    @sentence('D4')
    @pytest.mark.parametrize('whole', [False, True], ids=['one', 'whole'])
    def test_d4_a_batch_goes(self, bench: Bench, whole: bool) -> None:
        box = bench.container()
        batch = [f'name-{number}' for number in range(self._batch(bench) if whole else 1)]
        bench.side_by_side(lambda name: bench.put(box, name, b'x'), ['name', 'name-', *batch])
        bench.driver.delete_objects(box, batch)
        left = sorted(bench.names(box))
        assert left == ['name', 'name-'], f'a batch of {len(batch)} was deleted and left {left}'

    @sentence('D4')
    def test_d4_odd_names_go(self, bench: Bench) -> None:
        box, step = bench.container(), self._batch(bench)
        bench.side_by_side(lambda name: bench.put(box, name, b'x'), hooks.ODD_NAMES)
        for start in range(0, len(hooks.ODD_NAMES), step):
            bench.driver.delete_objects(box, hooks.ODD_NAMES[start:start + step])
        assert not bench.names(box), f'{bench.names(box)} were deleted and are still there'

    @sentence('D4')
    def test_d4_what_is_missing_is_fine(self, bench: Bench) -> None:
        box = bench.container()
        bench.put(box, 'name', b'x')
        batch = ['missing', 'sub/missing', 'name'][-self._batch(bench):]
        bench.driver.delete_objects(box, batch)
        assert not bench.visible(box, 'name'), 'a missing object kept another one of its batch'
        bench.driver.delete_objects(box, batch)
        bench.driver.delete_objects(bench.name_container(), batch)

    @sentence('D4')
    def test_d4_one_that_stays_keeps_no_other(self, bench: Bench) -> None:
        box, size = bench.container(), self._batch(bench)
        batch = [f'name-{number}' for number in range(min(size, 5))]
        stays = batch[len(batch) // 2]
        for name in batch:
            bench.put(box, name, b'x')
        with self._protected(bench, box, stays):
            with refused(exceptions.StoreError, what='deleting an object that has to stay'):
                bench.driver.delete_objects(box, batch)
        left = set(bench.names(box)) - {stays}
        assert not left, f'an object that could not be deleted kept {left} of its batch'

    def _batch(self, bench: Bench) -> int:
        return min(bench.capabilities.delete_batch, self.listing_size)
