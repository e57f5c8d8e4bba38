"""The servers of tools/servers/gcs.py as processes: killed, silenced, begun again."""

from __future__ import annotations

import contextlib
import importlib.util
import os

import pytest

from backup_framework import exceptions
from plugins.gcs.tests.objects import BOX, container, put, read, write
from tests.patience import soon
from tools.servers import gcs

STARTS = {'fake-gcs-server': gcs.fake_gcs_server, 'gcp-storage-emulator': gcs.gcp_storage_emulator}


@pytest.fixture(params=STARTS)
def real(request, require_part):
    """A server of this test's own."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(STARTS[request.param]())
        except gcs.Missing as missing:
            require_part('gcs', str(missing))
        yield server


def test_many_requests_do_not_hang_it(real, make_driver):
    """Output that nobody reads did so, after some 380 of them."""
    driver = make_driver(real.url)
    driver.put_container(BOX)
    for number in range(500):
        with pytest.raises(exceptions.ObjectNotFound):
            read(driver, f'missing-{number}')
    assert isinstance(real.log(), str)


def test_killed_and_begun_again(real, make_driver):
    """The driver goes on with new connections; the objects are gone, and that is told."""
    driver = make_driver(real.url)
    driver.put_container(BOX)
    put(driver, 'name', b'data')
    with pytest.raises(exceptions.StoreUnavailable):
        with driver.get_object_writer(BOX, 'other') as writer:
            writer.write(bytes(600_000))
            real.kill()
    with pytest.raises(exceptions.StoreUnavailable):
        read(driver, 'name')
    with pytest.raises(exceptions.StoreUnavailable):
        container(driver, deadline=0.5).put('other', lambda: [b'data'])
    real.start()
    with pytest.raises(exceptions.StoreError) as caught:
        read(driver, 'name')
    assert not caught.value.retryable
    driver.close()
    driver.put_container(BOX)
    put(driver, 'name', b'data')
    url = real.url
    real.restart()
    assert real.url == url and container(driver).names('') == []


def test_silent_in_the_middle(real, make_driver):
    patient = make_driver(real.url)
    patient.put_container(BOX)
    put(patient, 'name', b'data')
    driver = make_driver(real.url, timeout=0.3, connect_timeout=0.3)

    def fail_thrice():
        for verb in (lambda: read(driver, 'name'), lambda: write(driver, 'other', bytes(600_000)),
                     lambda: list(driver.get_container_entries(BOX, ''))):
            with pytest.raises(exceptions.StoreUnavailable):
                verb()

    with real.paused():
        soon(fail_thrice, 10)
    driver._connected._timeout = (20.0, 20.0)
    assert read(driver, 'name') == b'data'


@pytest.mark.parametrize('start', STARTS.values(), ids=STARTS)
def test_no_process_is_left(start, require_part):
    try:
        with start() as server:
            pid = server.pid
    except gcs.Missing as missing:
        require_part('gcs', str(missing))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize('start', STARTS.values(), ids=STARTS)
def test_a_wheel_that_is_not_there(start, monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(gcs.Missing, match='is not installed'):
        with start():
            pass


def test_a_server_that_does_not_start(tmp_path):
    server = gcs.Server(lambda port: ['sh', '-c', 'echo out of luck; exit 3'], '/',
                        tmp_path / 'log')
    with pytest.raises(gcs.NotStarted, match='with 3.*out of luck'):
        server.start()
