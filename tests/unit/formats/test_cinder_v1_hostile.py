"""Manifests that nobody wrote in good faith: one sentence each, and nothing is written."""

from __future__ import annotations

import io
import json
import resource
import time
from typing import Any

import pytest

from backup_framework import exceptions, model
from backup_framework.testing import memory
from tests.unit.driver import chains

NAMED = '{prefix}-00001'
GONE = object()


@pytest.fixture
def driver() -> memory.MemoryBackupDriver:
    return chains.make_driver()


@pytest.fixture
def backup(driver: memory.MemoryBackupDriver) -> model.Backup:
    return chains.take(driver, b'words' * 1000)


def refused(driver: memory.MemoryBackupDriver, backup: model.Backup) -> str:
    """The sentence that restore and verify both answer with; the target stays as it was."""
    target = io.BytesIO(b'kept' * 2000)
    started = time.process_time()
    with pytest.raises((exceptions.CorruptManifest, exceptions.UnsupportedVersion)) as caught:
        driver.restore(backup, '', target)
    assert time.process_time() - started < 8
    sentence = str(caught.value)
    assert target.getvalue() == b'kept' * 2000
    assert sentence.isprintable() and len(sentence) < 1500, sentence
    assert driver.verify(backup).problems == [sentence]
    return sentence


DOCUMENTS = {
    'empty': b'', 'no JSON': b'not json', 'truncated': b'{"version": "1.0.0", "objects": [',
    'null': b'null', 'number': b'5', 'list': b'[]', 'text': b'"1.0.0"',
    'invalid UTF-8': b'{"version": "1.0.0\xff\xfe"}', 'lone NUL': b'\0', 'NULs': bytes(5000),
    'UTF-16': '{"version": "2.0.0"}'.encode('utf-16'),
    'deep list': b'[' * 100_000, 'deep object': b'{"a":' * 100_000,
    'deep inside': b'{"version": "1.0.0", "objects": ' + b'[' * 100_000,
    'many digits': b'{"version": ' + b'7' * 100_000 + b'}',
    'huge exponent': b'{"version": 1e999999999}',
    'many keys': b'{' + b','.join(b'"k%d": 1' % n for n in range(200_000)) + b'}',
    'two documents': b'{"version": "1.0.0", "objects": []}{}',
}


@pytest.mark.parametrize('document', DOCUMENTS.values(), ids=DOCUMENTS)
def test_what_is_no_manifest(driver: memory.MemoryBackupDriver, backup: model.Backup,
                             document: bytes) -> None:
    chains.overwrite(driver, f'{backup.service_metadata}_metadata', document)
    assert 'manifest' in refused(driver, backup)


@pytest.mark.parametrize('wrap', ['{"version": %s}', '{"version": "1.0.0", "parent_id": %s}',
                                  '{"version": "1.0.0", "backup_framework": {"size": %s}}',
                                  '{"version": "1.0.0", "objects": [{"a": {"offset": %s}}]}'])
def test_nesting_as_deep_as_the_parser_goes(driver: memory.MemoryBackupDriver,
                                            backup: model.Backup, wrap: str) -> None:
    """How deep it goes depends on the caller, and so may the sentence."""
    for depth in range(700, 1100, 10):
        text = wrap % ('[' * depth + ']' * depth)
        chains.overwrite(driver, f'{backup.service_metadata}_metadata', text.encode())
        with pytest.raises(exceptions.FormatError):
            driver.restore(backup, '', io.BytesIO())
        assert not driver.verify(backup).ok


@pytest.mark.parametrize('version', ['3.0.0', '1.0.1', '1.0', '', None, 1, 1.0, ['1.0.0'], {},
                                     '1.0.0 ', '\x1b[2J', 'x' * 10_000, True])
def test_versions(driver: memory.MemoryBackupDriver, backup: model.Backup,
                  version: object) -> None:
    chains.rewrite(driver, backup, chains.manifest(driver, backup) | {'version': version})
    with pytest.raises(exceptions.UnsupportedVersion):
        driver.restore(backup, '', io.BytesIO())
    assert '1.0.0' in refused(driver, backup)


@pytest.mark.parametrize('key', ['backup_id', 'volume_id', 'backup_name', 'backup_description',
                                 'parent_id', 'volume_meta'])
@pytest.mark.parametrize('value', [5, 1.5, True, [], {}, ['x']])
def test_texts_of_a_wrong_type(driver: memory.MemoryBackupDriver, backup: model.Backup,
                               key: str, value: object) -> None:
    chains.rewrite(driver, backup, chains.manifest(driver, backup) | {key: value})
    assert key in refused(driver, backup)


@pytest.mark.parametrize('objects', [
    None, {}, {'a': {}}, 'text', 5, [None], [5], ['text'], [[]], [{}], [{'a': 1}], [{'a': None}],
    [{'a': []}], [{'a': {}, 'b': {}}], [[{'a': {}}]], [{NAMED: {}}], [{NAMED: []}],
    [{'version': '1.0.0'}]], ids=str)
def test_objects_that_are_no_list_of_objects(driver: memory.MemoryBackupDriver,
                                             backup: model.Backup, objects: Any) -> None:
    text = json.dumps(objects).replace('{prefix}', str(backup.service_metadata))
    chains.rewrite(driver, backup,
                   chains.manifest(driver, backup) | {'objects': json.loads(text)})
    refused(driver, backup)


VALUES: list[tuple[str, Any]] = [
    *[(key, value) for key in ('offset', 'length') for value in (
        -1, 10 ** 30, 1 << 63, -(1 << 63), '0', 0.0, 1.5, None, True, False, [], {}, GONE,
        float('nan'), float('inf'), float('-inf'), '\u0660')],
    ('length', 1 << 41), ('length', 0), ('length', 1), ('offset', 1), ('offset', 1 << 62),
    *[('compression', value) for value in (
        'lz4', '', None, 5, [], GONE, 'none\n', 'x' * 100_000, '\x1b[2J', '\ud800', ['zlib'])],
    *[('md5', value) for value in (
        None, 5, '', 'x' * 32, 'a' * 31, 'a' * 33, 'a' * 32 + '\n', GONE, ['a' * 32],
        '\u0663' * 32, b'\xc3\xbf'.decode() * 32)],
]


@pytest.mark.parametrize('key, value', VALUES, ids=lambda value: ascii(value)[:20])
def test_impossible_values(driver: memory.MemoryBackupDriver, backup: model.Backup, key: str,
                           value: Any) -> None:
    document = chains.manifest(driver, backup)
    values, = document['objects'][1].values()
    values.pop(key) if value is GONE else values.update({key: value})
    chains.rewrite(driver, backup, document)
    refused(driver, backup)


@pytest.mark.parametrize('name', [
    '', '..', '../{prefix}-00001', '/etc/passwd', '{prefix}', '{prefix}-', '{prefix}_metadata',
    '{prefix}_sha256file', '{prefix}-00001/../../../etc/passwd', '{prefix}-/../x', 'other-00001',
    '{prefix}-\0', '{prefix}-00001\n', '{prefix}-\x1b[2J', '{prefix}-\ud800', '{prefix}-/',
    '{prefix}-' + '1' * 2000, ' {prefix}-00001', '{prefix}-00001-00001', '{prefix}-x',
    '{prefix}-\u0661\u0661\u0661\u0661\u0661', './{prefix}-00001', '{prefix}2-00001'], ids=ascii)
def test_names_of_other_objects(driver: memory.MemoryBackupDriver, backup: model.Backup,
                                name: str) -> None:
    name = name.replace('{prefix}', str(backup.service_metadata))
    document = chains.manifest(driver, backup)
    values, = document['objects'][1].values()
    document['objects'][1] = {name: values}
    chains.rewrite(driver, backup, document)
    asked: list[str] = []
    original = driver.body
    driver.body = lambda container, name: (asked.append(name), original(container, name))[1]
    refused(driver, backup)
    assert set(asked) <= {f'{backup.service_metadata}_metadata'}


def test_a_name_twice(driver: memory.MemoryBackupDriver, backup: model.Backup) -> None:
    document = chains.manifest(driver, backup)
    document['objects'].append(document['objects'][0])
    chains.rewrite(driver, backup, document)
    refused(driver, backup)


def test_objects_that_overlap(driver: memory.MemoryBackupDriver, backup: model.Backup) -> None:
    document = chains.manifest(driver, backup)
    values, = document['objects'][1].values()
    values['offset'] -= 1
    chains.rewrite(driver, backup, document)
    assert 'overlap' in refused(driver, backup)


@pytest.mark.parametrize('number', [0, 1, -1])
def test_a_gap(driver: memory.MemoryBackupDriver, backup: model.Backup, number: int) -> None:
    document = chains.manifest(driver, backup)
    del document['objects'][number]
    chains.rewrite(driver, backup, document)
    assert 'in no object' in refused(driver, backup)


@pytest.mark.parametrize('ours', [
    {'size': -1}, {'size': '5000'}, {'size': 10 ** 40}, {'size': None}, {'size': 4999},
    {'size': 5001}, {'size': 1 << 62}, {'size': 5000.0}, {'size': float('nan')},
    {'stored_bytes': -1}, {'stored_bytes': []}, {'snapshot_id': 5}])
def test_our_own_member(driver: memory.MemoryBackupDriver, backup: model.Backup,
                        ours: dict[str, object]) -> None:
    document = chains.manifest(driver, backup)
    document['backup_framework'].update(ours)
    chains.rewrite(driver, backup, document)
    refused(driver, backup)


@pytest.mark.parametrize('ours', [None, 5, [], 'text'])
@pytest.mark.parametrize('created_at', [None, 5, 'None', 'yesterday', '9999-99-99', [],
                                        '0001-01-01T00:00:00+23:59', '9999-12-31 23:59:59-23:59',
                                        'x' * 100_000])
def test_what_others_may_have_under_our_keys_does_no_harm(
        driver: memory.MemoryBackupDriver, backup: model.Backup, ours: object,
        created_at: object) -> None:
    document = chains.manifest(driver, backup)
    chains.rewrite(driver, backup, document | {'backup_framework': ours,
                                               'created_at': created_at})
    assert chains.bring_back(driver, backup) == b'words' * 1000
    header, _ = driver.describe(str(backup.container), str(backup.service_metadata))
    if header.created_at is not None:
        assert header.created_at.utcoffset().total_seconds() == 0


def test_another_backup_under_the_name(driver: memory.MemoryBackupDriver,
                                       backup: model.Backup) -> None:
    chains.rewrite(driver, backup,
                   chains.manifest(driver, backup) | {'backup_id': '\x1b[2J another'})
    assert 'another' in refused(driver, backup)


def test_an_object_larger_than_memory_that_is_none(driver: memory.MemoryBackupDriver,
                                                   backup: model.Backup) -> None:
    """A bomb: one object of 1 TiB, and 5000 bytes in the store."""
    document = chains.manifest(driver, backup)
    document['objects'] = document['objects'][:1]
    values, = document['objects'][0].values()
    values['length'] = 1 << 40
    del document['backup_framework']
    chains.rewrite(driver, backup, document)
    target = io.BytesIO(b'kept')
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(exceptions.CorruptObject):
        driver.restore(backup, '', target)
    assert target.getvalue() == b'kept'
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 96 << 10


def test_many_lengths_cost_little_time(driver: memory.MemoryBackupDriver,
                                       backup: model.Backup) -> None:
    """Whether an object is all zeros is seen by its MD5: that must not be computed for ever."""
    prefix, length = backup.service_metadata, 255 << 20
    document = chains.manifest(driver, backup)
    document['objects'] = [
        {f'{prefix}-{n:05d}': {'offset': n << 30, 'length': length + n, 'compression': 'none',
                               'md5': 'a' * 32}} for n in range(1, 100)]
    del document['backup_framework']
    chains.rewrite(driver, backup, document)
    assert 'in no object' in refused(driver, backup)


def test_a_large_manifest_is_read_at_once(driver: memory.MemoryBackupDriver,
                                          backup: model.Backup) -> None:
    """Thirty thousand objects: validation is linear."""
    prefix = backup.service_metadata
    document = chains.manifest(driver, backup)
    document['objects'] = [
        {f'{prefix}-{n + 1:05d}': {'offset': 512 * n, 'length': 512, 'compression': 'none',
                                   'md5': '0' * 32}} for n in range(30_000)]
    document['backup_framework'] = {'size': 512 * 30_000 + 1}
    chains.rewrite(driver, backup, document)
    assert 'in no object' in refused(driver, backup)
