"""Our answers against those that Cinder's own tests expect: the same members of the same kinds.

The package of Cinder has them as samples. Where its environment is not there, what they say of
backups is taken from the facts below, which a test compares with the samples where it is.
"""

from __future__ import annotations

import json
from pathlib import Path
import re
from typing import Any

import pytest

from tests.unit.api.world import ALPHA

LINKS = [{'href': 'text', 'rel': 'text'}]
SUMMARY = {'id': 'text', 'links': LINKS, 'name': 'text'}
DETAIL = SUMMARY | dict.fromkeys(('created_at', 'data_timestamp', 'description', 'status',
                                  'updated_at', 'volume_id'), 'text') | {
    'availability_zone': None, 'container': None, 'fail_reason': None, 'snapshot_id': None,
    'object_count': 'number', 'size': 'number', 'is_incremental': 'boolean',
    'has_dependent_backups': 'boolean'}
PROJECT = DETAIL | {'os-backup-project-attr:project_id': 'text'}
METADATA = PROJECT | {'metadata': {}}
USER = METADATA | {'user_id': 'text'}

# Sample, microversion, what it says.
FACTS = {
    'backups/backup-create-response': ('3.0', {'backup': SUMMARY}),
    'backups/v3.9/backup-update-response': ('3.9', {'backup': SUMMARY}),
    'backups/backups-list-response': ('3.0', {'backups': [SUMMARY]}),
    'backups/v3.45/backups-list-response': ('3.45', {'backups': [SUMMARY], 'count': 'number'}),
    'backups/backup-show-response': ('3.0', {'backup': DETAIL}),
    'backups/backups-list-detailed-response': ('3.0', {'backups': [DETAIL]}),
    'backups/v3.18/backup-show-response': ('3.18', {'backup': PROJECT}),
    'backups/v3.43/backup-show-response': ('3.43', {'backup': METADATA}),
    'backups/v3.45/backups-list-detailed-response': (
        '3.45', {'backups': [METADATA], 'count': 'number'}),
    'backups/v3.56/backup-show-response': ('3.56', {'backup': USER}),
    'backups/v3.56/backups-list-detailed-response': (
        '3.56', {'backups': [USER], 'count': 'number'}),
    'backups/v3.47/backup-restore-response': ('3.47', {'restore': dict.fromkeys(
        ('backup_id', 'volume_id', 'volume_name'), 'text')}),
}
# Compared with the samples alone.
OTHERS = {
    'volumes/volumes-list-response': ('3.0', '/volumes'),
    'volumes/volume-show-response': ('3.0', '/volumes/{volume}'),
    'volumes/v3.13/volume-show-response': ('3.13', '/volumes/{volume}'),
    'volumes/v3.21/volume-show-response': ('3.21', '/volumes/{volume}'),
    'volumes/v3.48/volume-show-response': ('3.48', '/volumes/{volume}'),
    'volumes/v3.61/volume-show-response': ('3.61', '/volumes/{volume}'),
    'volumes/v3.63/volume-show-response': ('3.63', '/volumes/{volume}'),
    'volumes/v3.65/volume-show-response': ('3.65', '/volumes/{volume}'),
    'volumes/v3.65/volumes-list-detailed-response': ('3.65', '/volumes/detail'),
    'snapshots/snapshots-list-response': ('3.0', '/snapshots'),
    'snapshots/snapshot-show-response': ('3.0', '/snapshots/{snapshot}'),
    'snapshots/v3.14/snapshot-show-response': ('3.14', '/snapshots/{snapshot}'),
    'snapshots/v3.41/snapshot-show-response': ('3.41', '/snapshots/{snapshot}'),
    'snapshots/v3.65/snapshots-list-detailed-response': ('3.65', '/snapshots/detail'),
    'limits/limits-show-response': ('3.0', '/limits'),
    'extensions/extensions-list-response': ('3.0', '/extensions'),
    'os-services/v3.49/services-list-response': ('3.49', '/os-services'),
}


@pytest.fixture(scope='session')
def samples(require_part) -> Path:
    """The directory of Cinder's samples."""
    from tests import environments
    from tests.interop import cinder_client
    try:
        python = Path(cinder_client.find_or_build())
    except (environments.Missing, OSError) as error:
        require_part('cinder', str(error))
    found = list(python.parents[1].glob(
        'lib/python3*/site-packages/cinder/tests/functional/api_sample_tests/samples'))
    assert len(found) == 1
    return found[0]


def read(samples: Path, name: str) -> Any:
    """A sample, with a 0 or an x for what its test fills in."""
    text = (samples / f'{name}.json.tpl').read_text()
    return json.loads(re.sub(r'%\(\w+\)s', 'x', text.replace('%(int)s', '0')))


def kind(value: Any) -> Any:
    """A value without what is different each time: text, number, or boolean; one item of a list."""
    if isinstance(value, dict):
        return {name: kind(each) for name, each in value.items()}
    if isinstance(value, list):
        return [kind(each) for each in value[:1]]
    if isinstance(value, bool):
        return 'boolean'
    return {str: 'text', int: 'number'}.get(type(value))


def compare(ours: Any, theirs: Any, place: str) -> None:
    """Two kinds, which must have the same members; nothing in one may be something in the other."""
    if not ours or not theirs or place.endswith('.metadata'):
        return
    if isinstance(ours, dict) and isinstance(theirs, dict):
        assert sorted(ours) == sorted(theirs), place
        for name in theirs:
            compare(ours[name], theirs[name], f'{place}.{name}')
    elif isinstance(ours, list) and isinstance(theirs, list):
        compare(ours[0], theirs[0], f'{place}[]')
    else:
        assert ours == theirs, place


def answers(world) -> dict[str, Any]:
    """What we say, by the samples that it is to be compared with."""
    path, backup = f'/v3/{ALPHA}/backups', world.ids['backup']
    calls = {
        'create': ('POST', path, {'backup': {
            'container': None, 'description': 'Test backup', 'name': 'backup001',
            'volume_id': world.ids['idle'], 'incremental': False, 'snapshot_id': None,
            'force': False}}),
        'update': ('PUT', f'{path}/{backup}', {'backup': {
            'name': 'backup001', 'description': 'this is a backup'}}),
        'restore': ('POST', f'{path}/{backup}/restore', {'restore': {'name': 'volume01'}}),
        'show': ('GET', f'{path}/{backup}', None)}
    made = {}
    for name, (version, _) in FACTS.items():
        word = re.search(r'create|update|restore|show|list-detailed|list', name)[0]
        count = '?with_count=True' if 'list' in word and '/v3.' in name else ''
        detail = '/detail' if 'detailed' in word else ''
        method, url, body = calls.get(word, ('GET', f'{path}{detail}{count}', None))
        made[name] = world.ask('ada', url, method, body,
                               OpenStack_API_Version=f'volume {version}')
    assert {answer.status_int for answer in made.values()} == {200, 202}
    return {name: answer.json for name, answer in made.items()}


def test_what_we_say_of_backups_is_as_the_facts_have_it(world):
    made = answers(world)
    for name, (_, fact) in FACTS.items():
        compare(kind(made[name]), fact, name)


def test_the_facts_are_those_of_cinder(samples):
    for name, (_, fact) in FACTS.items():
        assert kind(read(samples, name)) == fact, name


@pytest.mark.parametrize('name', OTHERS)
def test_what_we_say_of_the_rest_is_as_cinder_does(samples, world, name):
    version, path = OTHERS[name]
    path = re.sub(r'\{(\w+)\}', lambda match: world.ids[match[1]], path)
    answer = world.ask('ada', f'/v3/{ALPHA}{path}', OpenStack_API_Version=f'volume {version}')
    assert answer.status_int == 200
    compare(kind(answer.json), kind(read(samples, name)), name)


def test_a_difference_is_seen():
    compare(kind({'a': [{'b': 1}]}), {'a': [{'b': 'number'}]}, '')
    for ours in ({'a': [{'b': 'x'}]}, {'a': [{'c': 1}]}, {'a': [{'b': 1}], 'b': 1}):
        with pytest.raises(AssertionError):
            compare(kind(ours), {'a': [{'b': 'number'}]}, '')
