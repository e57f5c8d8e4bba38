"""What answers look like, as JSON schemas: for the description of the API and its tests."""

from __future__ import annotations

from backup_framework.api.schemas import Schema
from backup_framework.model import JobState

ID: Schema = {'type': 'string', 'maxLength': 255}
TEXT: Schema = {'type': 'string'}
TEXT_OR_NULL: Schema = {'type': ['string', 'null']}
NUMBER: Schema = {'type': 'integer'}
NUMBER_OR_NULL: Schema = {'type': ['integer', 'null']}
YES_NO: Schema = {'type': 'boolean'}
NULL: Schema = {'type': 'null'}
TIME: Schema = {'type': ['string', 'null'],
                'pattern': r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$'}
PAIRS: Schema = {'type': 'object', 'additionalProperties': TEXT}


def each(schema: Schema) -> Schema:
    return {'type': 'array', 'items': schema}


def closed(members: Schema, optional: Schema | None = None) -> Schema:
    """An object with all of these members, perhaps those, and no others."""
    return {'type': 'object', 'properties': members | (optional or {}),
            'required': sorted(members), 'additionalProperties': False}


LINKS = each(closed({'rel': TEXT, 'href': TEXT}))


def listed(name: str, item: Schema) -> Schema:
    """A page of a collection."""
    return closed({name: each(item)}, {f'{name}_links': LINKS, 'count': NUMBER})


def one(name: str, item: Schema) -> Schema:
    return closed({name: item})


FAULT: Schema = {
    'type': 'object', 'minProperties': 1, 'maxProperties': 1,
    'additionalProperties': closed({'code': NUMBER, 'message': TEXT}, {'retryAfter': TEXT})}

VERSIONS = closed({'versions': each(closed({
    'id': TEXT, 'status': TEXT, 'version': TEXT, 'min_version': TEXT, 'updated': TEXT,
    'links': LINKS, 'media-types': each(PAIRS)}))})
EXTENSIONS = closed({'extensions': each(closed({
    'alias': TEXT, 'name': TEXT, 'description': TEXT, 'links': LINKS, 'updated': TEXT}))})
_PROJECT = closed({'id': TEXT, 'name': TEXT})
PROJECT, PROJECTS = one('project', _PROJECT), one('projects', each(_PROJECT))
LIMITS = one('limits', closed({
    'rate': each({}), 'absolute': {'type': 'object', 'additionalProperties': NUMBER}}))

_NAMED = {'id': ID, 'name': TEXT_OR_NULL, 'links': LINKS}
_BACKUP = closed(_NAMED | {
    'status': TEXT, 'size': NUMBER, 'object_count': NUMBER, 'availability_zone': TEXT_OR_NULL,
    'container': TEXT_OR_NULL, 'created_at': TIME, 'updated_at': TIME,
    'description': TEXT_OR_NULL, 'fail_reason': TEXT_OR_NULL, 'volume_id': ID,
    'is_incremental': YES_NO, 'has_dependent_backups': YES_NO, 'snapshot_id': TEXT_OR_NULL,
    'data_timestamp': TIME},
    {'os-backup-project-attr:project_id': TEXT_OR_NULL, 'user_id': TEXT_OR_NULL,
     'metadata': PAIRS, 'encryption_key_id': TEXT_OR_NULL})
BACKUP, BACKUP_SUMMARY = one('backup', _BACKUP), one('backup', closed(_NAMED))
BACKUPS, BACKUP_SUMMARIES = listed('backups', _BACKUP), listed('backups', closed(_NAMED))
RESTORE = one('restore', closed({'backup_id': ID, 'volume_id': ID, 'volume_name': TEXT_OR_NULL}))
RECORD = one('backup-record', closed({'backup_service': TEXT, 'backup_url': TEXT}))

# What Cinder has beside these is empty here.
_VOLUME: Schema = {'type': 'object', 'required': [
    'attachments', 'availability_zone', 'bootable', 'created_at', 'description', 'id', 'links',
    'metadata', 'name', 'size', 'status', 'updated_at'],
    'properties': _NAMED | {
        'status': TEXT, 'size': NUMBER, 'availability_zone': TEXT_OR_NULL, 'created_at': TIME,
        'updated_at': TIME, 'description': TEXT_OR_NULL, 'metadata': PAIRS,
        'bootable': {'enum': ['true', 'false']}, 'attachments': each({})}}
VOLUME = one('volume', _VOLUME)
VOLUMES, VOLUME_SUMMARIES = listed('volumes', _VOLUME), listed('volumes', closed(_NAMED))
_SNAPSHOT: Schema = {'type': 'object', 'required': [
    'created_at', 'description', 'id', 'metadata', 'name', 'size', 'status', 'volume_id'],
    'properties': {
        'id': ID, 'name': TEXT_OR_NULL, 'description': TEXT_OR_NULL, 'created_at': TIME,
        'volume_id': ID, 'status': TEXT, 'size': NUMBER, 'metadata': PAIRS}}
SNAPSHOT, SNAPSHOTS = one('snapshot', _SNAPSHOT), listed('snapshots', _SNAPSHOT)

SERVICES = closed({'services': each(closed(
    {'binary': TEXT, 'host': TEXT, 'zone': TEXT_OR_NULL, 'status': TEXT, 'state': TEXT,
     'updated_at': TIME, 'disabled_reason': TEXT_OR_NULL}, {'cluster': NULL}))})
SWITCHED = closed({'host': TEXT, 'service': TEXT, 'binary': TEXT, 'disabled': YES_NO,
                   'status': TEXT}, {'disabled_reason': TEXT})

_BACKEND = {'name': TEXT, 'driver': TEXT_OR_NULL, 'ok': {'type': ['boolean', 'null']},
            'is_default': YES_NO, 'checked_at': TIME}
_OF_BACKENDS = {
    'error': TEXT_OR_NULL, 'free_bytes': NUMBER_OR_NULL,
    'workers': each(closed({
        'host': TEXT, 'ok': {'type': ['boolean', 'null']}, 'error': TEXT_OR_NULL,
        'free_bytes': NUMBER_OR_NULL, 'checked_at': TIME}))}
BACKENDS = closed({'backends': each(closed(_BACKEND, _OF_BACKENDS))})

_JOB = {
    'id': ID, 'kind': TEXT, 'state': {'enum': [str(state) for state in JobState]},
    'backup_id': TEXT_OR_NULL, 'volume_id': TEXT_OR_NULL, 'backend': TEXT_OR_NULL,
    'phase': TEXT_OR_NULL, 'done': NUMBER, 'total': NUMBER_OR_NULL,
    'percent': {'type': ['integer', 'null'], 'minimum': 0, 'maximum': 100}, 'created_at': TIME,
    'started_at': TIME, 'ended_at': TIME, 'fail_reason': TEXT_OR_NULL, 'request_id': TEXT_OR_NULL,
    'project_id': TEXT_OR_NULL}
_OF_JOBS = {'user_id': TEXT_OR_NULL, 'host': TEXT_OR_NULL, 'source': TEXT_OR_NULL}
JOB, JOBS = one('job', closed(_JOB, _OF_JOBS)), one('jobs', each(closed(_JOB, _OF_JOBS)))
ACTED = JOBS

SCHEDULES = closed({'schedules': each(closed({
    'name': TEXT, 'cron': TEXT, 'timezone': TEXT, 'volumes': each(TEXT), 'source': TEXT_OR_NULL,
    'backend': TEXT_OR_NULL, 'incremental': YES_NO, 'project_id': TEXT_OR_NULL,
    'keep': {'type': 'object'}, 'next_at': TIME}))})

_COUNTS: Schema = {'type': 'object', 'additionalProperties': NUMBER}
_OF_VOLUME = {'volume_id': TEXT_OR_NULL, 'volume_name': TEXT_OR_NULL}
SUMMARY = one('summary', closed({
    'totals': closed({'backups': NUMBER, 'stored_bytes': NUMBER, 'gigabytes': NUMBER,
                      'by_status': _COUNTS, 'jobs_by_state': _COUNTS, 'damaged': NUMBER}),
    'backends': each(closed(_BACKEND | {'backups': NUMBER, 'stored_bytes': NUMBER},
                            _OF_BACKENDS)),
    'jobs': each(closed(_JOB | _OF_VOLUME, _OF_JOBS)),
    'recent': each(closed(_OF_VOLUME | {
        'id': ID, 'name': TEXT_OR_NULL, 'status': TEXT, 'size_bytes': NUMBER_OR_NULL,
        'stored_bytes': NUMBER_OR_NULL, 'is_incremental': YES_NO, 'backend': TEXT_OR_NULL,
        'created_at': TIME})),
    'failures': each(closed(_OF_VOLUME | {
        'kind': TEXT, 'id': ID, 'name': TEXT_OR_NULL, 'job_id': TEXT_OR_NULL,
        'fail_reason': TEXT_OR_NULL, 'created_at': TIME})),
    'verification': each(closed({'age': TEXT, 'backups': NUMBER})),
    'oldest_verification': TIME,
    'growth': each(closed({'day': TEXT, 'made': NUMBER, 'backups': NUMBER,
                           'stored_bytes': NUMBER})),
    'services': each(closed({
        'host': TEXT_OR_NULL, 'binary': TEXT, 'up': YES_NO, 'disabled': YES_NO,
        'zone': TEXT_OR_NULL, 'seen_at': TIME, 'sources': each(TEXT), 'backends': each(TEXT)}))}))

PRUNED = closed({'count': NUMBER, 'going': NUMBER, 'backups': each(closed({
    'id': ID, 'name': TEXT_OR_NULL, 'volume_id': ID, 'backend': TEXT_OR_NULL, 'created_at': TIME,
    'stays': YES_NO, 'reasons': each(TEXT)})), 'jobs': each(closed(_JOB, _OF_JOBS))})
DESCRIPTION: Schema = {'type': 'object', 'required': ['openapi', 'info', 'paths']}
