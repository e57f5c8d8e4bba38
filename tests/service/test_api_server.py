"""The embedded server against clients that are slow, rude or many, and how it stops."""

import contextlib
import http.client
import json
import logging
import socket
import threading
import time

from oslo_config import cfg
import pytest
import webob

from backup_framework import conf
from backup_framework.api import server
from backup_framework.exceptions import ConfigurationError
from tests.patience import soon

PATIENCE = 1
"""Of a server whose patience is tried."""


class Waiting:
    """An application that says what it got; `/wait` answers when it is let."""

    def __init__(self):
        self.arrived, self.released = threading.Event(), threading.Event()

    def __call__(self, environ, start_response):
        request = webob.Request(environ)
        if request.path == '/wait':
            self.arrived.set()
            assert self.released.wait(20)
        if request.path == '/silent':
            return webob.Response()(environ, start_response)
        said = {'length': len(request.body), 'project': request.headers.get('X-Project-Id')}
        return webob.Response(json=said)(environ, start_response)


@pytest.fixture
def patience():
    return 30


@pytest.fixture
def options(tmp_path, patience):
    file = tmp_path / 'backup_framework.conf'
    file.write_text(f'[DEFAULT]\nstate_path = {tmp_path}\n[api]\nthreads = 2\n'
                    f'request_timeout = {patience}\nmax_request_body_size = 2048\n')
    return conf.load([str(file)], oslo=cfg.ConfigOpts()).api


@pytest.fixture
def application():
    return Waiting()


@pytest.fixture
def started(options, application):
    made = server.serve(application, options, server.listen('127.0.0.1', 0))
    thread = threading.Thread(target=made.start)
    thread.start()
    yield made
    application.released.set()
    made.stop()
    thread.join(20)
    assert not thread.is_alive()


def ask(port, method='GET', path='/', body=None, headers=()):
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=20)
    connection.request(method, path, body, dict(headers), encode_chunked=False)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer, data


def talk(port, *parts, pause=0.0):
    """Bytes sent in parts; all that comes back until the server hangs up."""
    with socket.create_connection(('127.0.0.1', port), timeout=20) as client:
        received = b''
        try:
            for part in parts:
                client.sendall(part)
                time.sleep(pause)
            while data := client.recv(4096):
                received += data
        except (ConnectionResetError, BrokenPipeError):
            pass
        return received


def test_bodies_with_a_length_and_in_chunks(started):
    answer, data = ask(started.port, 'POST', body=b'x' * 1500)
    assert (answer.status, json.loads(data)['length']) == (200, 1500)
    raw = talk(started.port, b'POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n'
               b'Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n')
    assert raw.startswith(b'HTTP/1.1 200') and b'"length":7' in raw.replace(b' ', b'')


@pytest.mark.parametrize('header', [
    b'Transfer-Encoding: chunked', b'Transfer-Encoding: chunked\r\nContent-Length: 0',
    b'Content-Length: -4', b'Content-Length: 1_0', b'Content-Length: +0',
    b'Content-Length: 500\r\nContent-Length: 0'])
def test_what_stands_in_a_body_is_no_other_request(started, header):
    """A proxy would give its answer to the next client."""
    hidden = b'7d;A /x HTTP/1.1\r\nHost: x\r\n\r\nGET /hidden HTTP/1.1\r\nHost: x\r\n\r\n'
    raw = talk(started.port, b'GET /silent HTTP/1.1\r\nHost: x\r\n' + header + b'\r\n\r\n' + hidden)
    assert raw.count(b'HTTP/1.1 ') == 1, raw


def test_what_is_far_too_large_never_reaches_the_application(started):
    answer, _ = ask(started.port, 'POST', body=b'x' * 100_000)
    assert answer.status == 413
    assert talk(started.port, b'GET / HTTP/1.1\r\nX-Long: ' + b'x' * 40_000 + b'\r\n\r\n'
                ).startswith(b'HTTP/1.1 413')


def test_a_header_with_an_underscore_is_not_one_with_a_dash(started):
    _, data = ask(started.port, headers=[('X_Project_Id', 'forged')])
    assert json.loads(data)['project'] is None
    _, data = ask(started.port, headers=[('X-Project-Id', 'mine')])
    assert json.loads(data)['project'] == 'mine'


@pytest.mark.parametrize('patience', [PATIENCE])
def test_silent_clients_hold_no_thread(started):
    silent = []

    def ask_among_them():
        silent.extend(socket.create_connection(('127.0.0.1', started.port)) for _ in range(10))
        return ask(started.port)
    answer, _ = soon(ask_among_them, PATIENCE / 2)
    assert answer.status == 200
    for client in silent:
        client.settimeout(10)
        assert client.recv(1) == b'', 'the server hangs up'
        client.close()


@pytest.mark.parametrize('patience', [PATIENCE])
@pytest.mark.parametrize('begin', [
    b'GET / HTTP/1.1\r\nHost: x\r\n',
    b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n'], ids=['header', 'body'])
def test_a_client_that_drips_is_sent_away(started, begin, caplog):
    soon(lambda: talk(started.port, begin, *[b'x'] * 40, pause=PATIENCE / 10), 3 * PATIENCE + 1)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize('patience', [2])
def test_a_client_that_falls_silent_gets_no_more_time(started):
    def fall_silent():
        with socket.create_connection(('127.0.0.1', started.port), timeout=20) as client:
            client.sendall(b'GET / HTTP/1.1\r\n')
            time.sleep(1.5)
            # After a pause of this process the server may be gone.
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                client.sendall(b'Host: x\r\n')
                client.recv(1)
    soon(fall_silent, 3.2)


def test_requests_in_flight_end_and_no_others_begin(options, application):
    made = server.serve(application, options, server.listen('127.0.0.1', 0))
    serving = threading.Thread(target=made.start)
    serving.start()
    answers = []
    asking = threading.Thread(target=lambda: answers.append(ask(made.port, path='/wait')))
    asking.start()
    assert application.arrived.wait(10)
    port = made.port
    stopping = threading.Thread(target=made.stop)
    stopping.start()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection(('127.0.0.1', port), timeout=1).close()
        except OSError:
            break
        time.sleep(0.05)
    with pytest.raises(OSError):
        socket.create_connection(('127.0.0.1', port), timeout=1)
    assert not answers
    application.released.set()
    for thread in (asking, stopping, serving):
        thread.join(20)
        assert not thread.is_alive()
    assert answers[0][0].status == 200


def test_a_port_that_is_taken(started):
    with pytest.raises(ConfigurationError, match='cannot listen on 127.0.0.1 port'):
        server.listen('127.0.0.1', started.port)


def test_several_servers_may_share_a_listener(options, application):
    listener = server.listen('127.0.0.1', 0)
    both = [server.serve(application, options, listener.dup()) for _ in range(2)]
    threads = [threading.Thread(target=each.start) for each in both]
    for thread in threads:
        thread.start()
    listener.close()
    statuses = [ask(both[0].port)[0].status for _ in range(20)]
    both[0].stop()
    statuses += [ask(both[1].port)[0].status for _ in range(20)]
    both[1].stop()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert statuses == [200] * 40
