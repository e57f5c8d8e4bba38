"""What bodies may say, as JSON schemas: by the microversion from which each holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
import unicodedata
import uuid

import jsonschema
from microversion_parse import Version

from backup_framework.api.microversions import (
    BACKUP_METADATA,
    BACKUP_UPDATE,
    BACKUP_ZONE,
    MIN,
    VOLUME_FROM_BACKUP,
)

Schema = dict[str, Any]
Versions = Mapping[Version, Schema]

TRUE = ('1', 't', 'true', 'on', 'y', 'yes')
FALSE = ('0', 'f', 'false', 'off', 'n', 'no')

UUID: Schema = {'type': 'string', 'format': 'uuid'}
UUID_OR_NULL: Schema = {'type': ['string', 'null'], 'format': 'uuid'}
TEXT_OR_NULL: Schema = {'type': ['string', 'null'], 'maxLength': 255}
DESCRIPTION: Schema = {**TEXT_OR_NULL, 'format': 'printable'}
# In Python `$` also stands before a newline at the end.
METADATA: Schema = {
    'type': 'object',
    'patternProperties': {
        r'^[a-zA-Z0-9\-_:. /]{1,255}$(?!\n)': {'type': 'string', 'maxLength': 255}},
    'additionalProperties': False}
BOOLEAN: Schema = {
    'type': ['boolean', 'string'],
    'enum': [True, False, *dict.fromkeys(spelled for word in (*TRUE, *FALSE) for spelled in (
        word, word.capitalize(), word.upper()))]}

formats = jsonschema.FormatChecker(formats=())


def closed(properties: Schema, *required: str, null: bool = False) -> Schema:
    """The schema of an object that has these members and no others."""
    made: Schema = {'type': ['object', 'null'] if null else 'object', 'properties': properties,
                    'additionalProperties': False}
    return made | {'required': list(required)} if required else made


def within(name: str, schema: Schema) -> Schema:
    """The schema of a body whose only member is this."""
    return closed({name: schema}, name)


_CREATE = {'volume_id': UUID, 'container': TEXT_OR_NULL, 'description': DESCRIPTION,
           'incremental': BOOLEAN, 'force': BOOLEAN, 'name': TEXT_OR_NULL,
           'snapshot_id': UUID_OR_NULL}
_METADATA = {'metadata': {**METADATA, 'type': ['object', 'null']}}
_NAMES = {'name': TEXT_OR_NULL, 'description': DESCRIPTION}

CREATE_BACKUP: Versions = {
    MIN: within('backup', closed(_CREATE, 'volume_id')),
    BACKUP_METADATA: within('backup', closed(_CREATE | _METADATA, 'volume_id')),
    BACKUP_ZONE: within('backup', closed(
        _CREATE | _METADATA | {'availability_zone': TEXT_OR_NULL}, 'volume_id'))}
UPDATE_BACKUP: Versions = {
    BACKUP_UPDATE: within('backup', closed(_NAMES)),
    BACKUP_METADATA: within('backup', closed(_NAMES | {'metadata': METADATA}))}
RESTORE_BACKUP: Versions = {
    MIN: within('restore', closed({'name': TEXT_OR_NULL, 'volume_id': UUID_OR_NULL}, null=True))}
IMPORT_RECORD: Versions = {
    MIN: within('backup-record', closed(
        {'backup_service': {'type': 'string', 'maxLength': 255},
         'backup_url': {'type': 'string', 'minLength': 1}}, 'backup_service', 'backup_url'))}
RESET_STATUS: Schema = closed(
    {'status': {'type': 'string', 'pattern': r'^(?i:available|error)$(?!\n)'}}, 'status')
ANYTHING: Schema = {}
ACTION: Versions = {MIN: {'type': 'object', 'minProperties': 1, 'maxProperties': 1}}

# Other volumes than those that come from a backup are made elsewhere.
CREATE_VOLUME: Versions = {
    VOLUME_FROM_BACKUP: within('volume', {
        'type': 'object',
        'properties': {
            'backup_id': UUID, 'name': TEXT_OR_NULL, 'description': DESCRIPTION,
            'size': {'type': ['integer', 'null'], 'minimum': 1, 'maximum': (1 << 31) - 1},
            'availability_zone': TEXT_OR_NULL, 'metadata': {**METADATA, 'maxProperties': 0},
            **{name: {'enum': [None, False]} for name in (
                'consistencygroup_id', 'display_description', 'display_name', 'group_id',
                'image_id', 'imageRef', 'multiattach', 'snapshot_id', 'source_volid',
                'volume_type')}},
        'required': ['backup_id'], 'additionalProperties': False})}

_SERVICE: Schema = {
    'binary': {'type': 'string', 'minLength': 1, 'maxLength': 255},
    'service': {'type': 'string', 'minLength': 1, 'maxLength': 255},
    'host': {'type': 'string', 'minLength': 1, 'maxLength': 255}}
_ANY_BINARY = {'anyOf': [{'required': ['binary']}, {'required': ['service']}]}
SWITCH_SERVICE: Versions = {MIN: {**closed(_SERVICE, 'host'), **_ANY_BINARY}}
DISABLE_WITH_REASON: Versions = {MIN: {**closed(
    _SERVICE | {'disabled_reason': {'type': 'string', 'minLength': 1, 'maxLength': 255}},
    'host'), **_ANY_BINARY}}


def at(versions: Versions, version: Version) -> Schema:
    """The schema that holds for a microversion; the first one also for those before."""
    fitting = [since for since in sorted(versions) if since <= version]
    return versions[fitting[-1] if fitting else min(versions)]


def problem(schema: Schema, document: object) -> str | None:
    """A sentence about what a body has that it must not have, or None."""
    error = jsonschema.exceptions.best_match(_validator(id(schema), schema).iter_errors(document))
    if error is None:
        return None
    place = '.'.join(str(part) for part in error.absolute_path)
    said = str(error.message)
    said = said if len(said) <= 300 else f'{said[:200]} ... {said[-80:]}'
    return f'Invalid input for field/attribute {place[:300]}. {said}' if place else said


_validators: dict[int, jsonschema.Draft202012Validator] = {}


def _validator(key: int, schema: Schema) -> jsonschema.Draft202012Validator:
    if key not in _validators:
        _validators[key] = jsonschema.Draft202012Validator(schema, format_checker=formats)
    return _validators[key]


@formats.checks('uuid')  # type: ignore[untyped-decorator]
def is_uuid(value: object) -> bool:
    """Whether text is an id, with or without dashes, in any case; other types are not asked."""
    return not isinstance(value, str) or as_uuid(value) is not None


def as_uuid(text: str) -> str | None:
    """An id as it is kept: in small letters, with dashes."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None


@formats.checks('printable')  # type: ignore[untyped-decorator]
def is_printable(value: object) -> bool:
    """Whether text has no control characters and no line breaks."""
    return not isinstance(value, str) or not any(
        unicodedata.category(character) in ('Cc', 'Cf', 'Cs', 'Zl', 'Zp') for character in value)
