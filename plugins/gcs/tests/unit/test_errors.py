"""Each refusal and each failure becomes the StoreError that says what to do."""

import datetime
import email.utils
import json

from backup_framework_gcs.errors import Refusal, Task
from google.auth import exceptions as auth_errors
import pytest
import requests
import urllib3.exceptions

from backup_framework import exceptions

READING = Task('read name of container box in bucket shelf', 'shelf', 'storage.objects.get',
               'backup@project', exceptions.ObjectNotFound, 'box', 'name')
WRITING = Task('write name of container box in bucket shelf', 'shelf', 'storage.objects.create',
               'backup@project', container='box', name='name')


def refusal(status, reason='', message='said', headers=()):
    body = {'error': {'code': status, 'message': message, 'errors': [{'reason': reason}]}}
    return Refusal(status, 'Phrase', dict(headers), json.dumps(body).encode())


@pytest.mark.parametrize('answer, kind, said', [
    (refusal(401), exceptions.PermissionDenied, 'credentials of backup@project were not accepted'),
    (refusal(403, 'forbidden'), exceptions.PermissionDenied,
     'backup@project needs the permission storage.objects.get'),
    (refusal(403, 'retentionPolicyNotMet'), exceptions.PermissionDenied, 'held by a retention'),
    (refusal(403, 'objectUnderActiveHold'), exceptions.PermissionDenied, 'or a hold'),
    (refusal(403, 'forbidden', 'is under active Temporary hold'), exceptions.PermissionDenied,
     'or a hold'),
    (refusal(403, 'rateLimitExceeded'), exceptions.StoreUnavailable, 'said'),
    (refusal(403, 'quotaExceeded'), exceptions.StoreUnavailable, 'said'),
    (refusal(404), exceptions.ObjectNotFound, 'no such object'),
    (refusal(404, message='The specified bucket does not exist.'), exceptions.ContainerNotFound,
     'buckets create gs://shelf'),
    (refusal(408), exceptions.StoreUnavailable, '408 said'),
    (refusal(412), exceptions.ObjectExists, 'already there'),
    (refusal(429), exceptions.StoreUnavailable, '429 said'),
    (refusal(500), exceptions.StoreUnavailable, '500 said'),
    (refusal(501), exceptions.NotSupported, '501 said'),
    (refusal(503), exceptions.StoreUnavailable, '503 said'),
    (refusal(507), exceptions.StoreFull, 'delete old backups'),
    (refusal(302), exceptions.StoreError, 'endpoint is not the address'),
    (refusal(400), exceptions.StoreError, '400 said'),
])
def test_refusals(answer, kind, said):
    error = READING.refused(answer)
    assert type(error) is kind
    assert said in str(error)
    assert str(error).startswith('cannot read name of container box in bucket shelf: ')
    assert (error.container, error.name) == ('box', 'name')


def test_a_write_misses_only_the_bucket():
    assert type(WRITING.refused(refusal(404))) is exceptions.ContainerNotFound


@pytest.mark.parametrize('body', [
    b'', b'<html>', b'[]', b'null', b'{"error": "text"}', b'{"error": {"message": null}}',
    b'{"error": {"message": "x", "errors": 5}}', b'{"error": {"message": "x", "errors": [5]}}',
    b'\xff\xfe'])
def test_any_body_of_a_refusal_will_do(body):
    error = READING.refused(Refusal(503, 'Service Unavailable', {}, body))
    assert type(error) is exceptions.StoreUnavailable
    assert '503' in str(error)


def test_a_text_from_outside_is_one_short_line():
    error = READING.refused(refusal(400, message='a\n\x1b[31mb' + 'x' * 10_000))
    assert str(error).isprintable()
    assert len(str(error)) < 500


def test_how_long_to_wait():
    assert READING.refused(refusal(503)).retry_after is None
    assert READING.refused(refusal(429, headers={'Retry-After': '7'}.items())).retry_after == 7
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=90)
    date = email.utils.format_datetime(later, usegmt=True)
    assert READING.refused(
        refusal(503, headers={'Retry-After': date}.items())).retry_after == pytest.approx(90, abs=5)
    for nonsense in ('soon', '-3', '1e9', ''):
        error = READING.refused(refusal(503, headers={'Retry-After': nonsense}.items()))
        assert error.retry_after is None


def test_nobody_is_asked_to_wait_for_ever():
    assert READING.refused(
        refusal(503, headers={'Retry-After': '9' * 30}.items())).retry_after == 3600


@pytest.mark.parametrize('error, kind, said', [
    (requests.ConnectTimeout(), exceptions.StoreUnavailable, 'no answer in time'),
    (requests.ReadTimeout(), exceptions.StoreUnavailable, 'no answer in time'),
    (urllib3.exceptions.ReadTimeoutError(None, '', 'x'), exceptions.StoreUnavailable, 'in time'),
    (ConnectionResetError(104, 'Connection reset by peer'), exceptions.StoreUnavailable,
     'ConnectionResetError: Connection reset by peer'),
    (requests.exceptions.InvalidURL('x'), exceptions.StoreError, 'correct endpoint'),
    (requests.exceptions.SSLError('CERTIFICATE_VERIFY_FAILED'), exceptions.StoreError,
     'certificate'),
    (auth_errors.TransportError('x'), exceptions.StoreUnavailable, 'token could not be had'),
    (auth_errors.RefreshError('x', retryable=True), exceptions.StoreUnavailable, 'token'),
    (auth_errors.RefreshError('invalid_grant', {'a': 'b'}), exceptions.PermissionDenied,
     'backup@project cannot sign in (invalid_grant)'),
    (auth_errors.DefaultCredentialsError('none'), exceptions.PermissionDenied,
     'set credentials_file'),
])
def test_failures(error, kind, said):
    with pytest.raises(kind) as raised, READING.guard():
        raise error
    assert type(raised.value) is kind
    assert said in str(raised.value)


def test_an_upload_id_is_not_in_a_message():
    """It lets whoever has it write; urllib3 spells it with the URL."""
    reason = ConnectionResetError(104, 'Connection reset by peer')
    failed = urllib3.exceptions.MaxRetryError(None, '/upload?upload_id=secret', reason)
    with pytest.raises(exceptions.StoreUnavailable) as raised, WRITING.guard():
        raise requests.ConnectionError(failed)
    assert 'secret' not in str(raised.value)
    assert 'Connection reset by peer' in str(raised.value)


def test_what_is_no_failure_of_the_service_is_not_hidden():
    with pytest.raises(ZeroDivisionError), READING.guard():
        raise ZeroDivisionError


def test_an_answer_that_is_nested_too_deeply():
    answer = Refusal(400, 'Bad Request', {}, b'[' * 200_000)
    assert '400 Bad Request' in str(READING.refused(answer))
