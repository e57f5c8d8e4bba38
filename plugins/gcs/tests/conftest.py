"""Servers, drivers on them, and a machine without credentials, for the tests of the gcs plugin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
from pathlib import Path
from typing import Any

from backup_framework_gcs.driver import GCSBackupDriver
import pytest

from plugins.gcs.tests import misbehaving
from tools.servers import gcs

Require = Callable[[str, str], None]
MakeDriver = Callable[..., GCSBackupDriver]

BUCKET = 'bucket'
CHUNK = 256 << 10
"""The smallest resumable chunk size, so that little data makes many chunks."""


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No default credentials can be found, and nobody is asked for them beyond loopback."""
    for name in ('GOOGLE_APPLICATION_CREDENTIALS', 'GOOGLE_CLOUD_PROJECT',
                 'STORAGE_EMULATOR_HOST', 'GCLOUD_PROJECT', 'HTTP_PROXY', 'HTTPS_PROXY',
                 'http_proxy', 'https_proxy', 'ALL_PROXY', 'all_proxy'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('CLOUDSDK_CONFIG', str(tmp_path / 'no-gcloud'))
    monkeypatch.setenv('NO_GCE_CHECK', 'true')
    monkeypatch.setenv('GCE_METADATA_HOST', '127.0.0.1:9')
    monkeypatch.setenv('GCE_METADATA_IP', '127.0.0.1:9')


@pytest.fixture(scope='module')
def fake_gcs(require_part: Require) -> Iterator[gcs.Server]:
    """fake-gcs-server, as tools/servers starts it."""
    yield from _server(gcs.fake_gcs_server, require_part)


@pytest.fixture(scope='module')
def emulator(require_part: Require) -> Iterator[gcs.Server]:
    """gcp-storage-emulator."""
    yield from _server(gcs.gcp_storage_emulator, require_part)


def _server(start: Callable[[], contextlib.AbstractContextManager[gcs.Server]],
            require_part: Require) -> Iterator[gcs.Server]:
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(start())
        except gcs.Missing as missing:
            require_part('gcs', str(missing))
            raise
        yield server


@pytest.fixture
def server() -> Iterator[misbehaving.Server]:
    """A server of ours that misbehaves on request, with one bucket."""
    with misbehaving.server(BUCKET) as running:
        yield running


@pytest.fixture
def make_driver() -> Iterator[MakeDriver]:
    """Makes drivers for a server's URL, which are closed when the test is over."""
    with contextlib.ExitStack() as stack:
        def make(url: str, **options: Any) -> GCSBackupDriver:
            driver = GCSBackupDriver.make(**{
                'bucket': BUCKET, 'endpoint': url, 'anonymous': True, 'timeout': 20.0,
                'resumable_chunk_size': CHUNK, 'retry_deadline': 20.0} | options)
            stack.callback(driver.close)
            return driver
        yield make


@pytest.fixture
def driver(server: misbehaving.Server, make_driver: MakeDriver) -> GCSBackupDriver:
    """A driver on the server that misbehaves."""
    return make_driver(server.url)
