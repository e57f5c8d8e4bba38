"""Deletes in one request: what is sent, and what is understood of the answer."""

import email

from backup_framework_gcs import batch
import pytest

ANSWER = (b'--x\r\nContent-Type: application/http\r\nContent-ID: <response-1>\r\n\r\n'
          b'HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nRetry-After: 7\r\n\r\n'
          b'{"error": {"message": "no"}}\r\n'
          b'--x\r\nContent-Type: application/http\r\nContent-ID: <response-0>\r\n\r\n'
          b'HTTP/1.1 204 No Content\r\n\r\n\r\n--x--\r\n')


def test_each_delete_is_a_part():
    asked = batch.request(['/storage/v1/b/shelf/o/a%2Fb', '/storage/v1/b/shelf/o/c'])
    message = email.message_from_bytes(
        f'Content-Type: {asked.kind}\r\n\r\n'.encode() + asked.body)
    parts = message.get_payload()
    assert [part['Content-ID'] for part in parts] == ['<0>', '<1>']
    assert parts[0].get_payload().rstrip('\r\n').splitlines() == [
        'DELETE /storage/v1/b/shelf/o/a%2Fb HTTP/1.1', 'Content-Length: 0']
    assert not message.defects


def test_answers_are_found_by_their_numbers():
    answers = batch.answers('multipart/mixed; boundary=x', ANSWER)
    assert {number: answer.status for number, answer in answers.items()} == {0: 204, 1: 403}
    assert answers[1].phrase == 'Forbidden'
    assert answers[1].headers['Retry-After'] == '7'
    assert answers[1].body.strip() == b'{"error": {"message": "no"}}'


def test_what_is_no_batch_answers_nothing():
    assert batch.answers('', b'') == {}
    assert batch.answers('text/html', b'<html>') == {}
    assert batch.answers('multipart/mixed; boundary=x', b'\xff\xfe--x--') == {}
    no_status = ANSWER.replace(b'HTTP/1.1 403 Forbidden', b'teapot')
    assert batch.answers('multipart/mixed; boundary=x', no_status).keys() == {0}


@pytest.mark.parametrize('header', [b'Message-ID: <@x@y>', b'From: a <'])
def test_headers_that_cannot_be_understood(header):
    body = ANSWER.replace(b'Retry-After: 7', header)
    assert batch.answers('multipart/mixed; boundary=x', body)[1].status == 403
