"""Where containers and objects are, in both layouts."""

from backup_framework_gcs.layout import Layout, Place, is_name
import pytest

from backup_framework import exceptions

PLAIN = Layout('shelf', None, by_bucket=False)
BELOW = Layout('shelf', '/some/where/', by_bucket=False)
BUCKETS = Layout('shelf', None, by_bucket=True)


@pytest.mark.parametrize('layout, container, folder', [
    (PLAIN, 'ab/cd', Place('shelf', 'ab/cd/')),
    (BELOW, 'ab/cd', Place('shelf', 'some/where/ab/cd/')),
    (BUCKETS, 'box', Place('box', '')),
    (BUCKETS, 'box/ab/cd', Place('box', 'ab/cd/')),
])
def test_folders(layout, container, folder):
    assert layout.folder(container) == folder
    assert layout.place(container, 'x/y') == Place(folder.bucket, folder.name + 'x/y')


def test_the_prefix_is_a_part_of_the_longest_name():
    assert PLAIN.longest_name == 1024
    assert BELOW.longest_name == 1024 - len('some/where/')
    assert Layout('shelf', 'ö', by_bucket=False).longest_name == 1021


@pytest.mark.parametrize('name', ['a\nb', 'a\rb'])
def test_a_name_with_a_line_break_is_refused(name):
    with pytest.raises(exceptions.StoreError, match='line break'):
        PLAIN.place('box', name)


def test_containers_are_the_folders_that_hold_objects():
    names = ['some/where/a/x', 'some/where/a/b/y', 'some/where/c/d/z', 'some/where/loose']
    assert BELOW.containers(names) == {'a', 'a/b', 'c/d'}


def test_the_container_of_cinders_names_is_above_them():
    names = ['box/volume_1/20260102030405/az_nova_backup_2-00001',
             'box/volume_1/2026/az_nova_backup_2-00001']
    assert PLAIN.containers(names) == {'box', 'box/volume_1/2026'}


def test_folders_that_consoles_make_are_no_objects():
    assert PLAIN.containers(['box/', 'box//x', '/x', 'a/./x']) == set()
    assert not is_name('sub/')
    assert not is_name('')
    assert is_name('.dot/a..b')
