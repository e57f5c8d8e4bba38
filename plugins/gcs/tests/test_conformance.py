"""The kit on three servers, because each of them proves what the others cannot.

=========================================  ========  ============  ===========
claim                                      fake-gcs  gcp-emulator  ours
=========================================  ========  ============  ===========
others than we judge what is sent          yes       yes           no
precondition of a single upload            yes       no            yes
precondition of a resumable upload         no        no            yes
checksums that the client sends are held   no        no            yes
listings have pages                        no        no            yes
=========================================  ========  ============  ===========

So these are proven by our own server alone, written from Google's documents: that a resumable
upload never replaces an object, that bytes which change on their way are refused, and that more
than a page is listed. A bucket of Google's proves all: set BF_GCS_BUCKET.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import json
import os
from typing import Any
import urllib.error
import urllib.parse
import urllib.request
import uuid

from backup_framework_gcs.driver import GCSBackupDriver
import pytest

from backup_framework.testing import conformance
from plugins.gcs.tests import misbehaving, raw_listing
from plugins.gcs.tests.conftest import CHUNK, MakeDriver
from plugins.gcs.tests.messages import Request, Response
from tools.servers import gcs, proxy


class GCSKit(conformance.ChunkedDriverConformance):
    """For containers that are prefixes of a bucket. `cannot` names cases, and why they fail."""

    listing_size = 50
    fork_safe = True
    cannot: dict[str, str] = {}

    @pytest.fixture(autouse=True)
    def only_what_can_be_proven(self, request: pytest.FixtureRequest) -> None:
        for case, reason in self.cannot.items():
            if request.node.name.startswith(case):
                pytest.skip(reason)

    def raw_names(self, driver: Any, container: str) -> list[str]:
        settings = driver.settings
        if settings.layout == 'bucket':
            return raw_listing.names(settings.endpoint, container, '')
        prefix = f'{settings.prefix}/{container}/' if settings.prefix else f'{container}/'
        return raw_listing.names(settings.endpoint, settings.bucket, prefix)


class BehindAProxy(GCSKit):
    """For servers that do as they should: a proxy before them does not."""

    @pytest.fixture
    def way(self, real: gcs.Server) -> Iterator[proxy.Proxy]:
        with proxy.before(gcs.HOST, real.port) as between:
            type(self).between = between
            yield between

    between: proxy.Proxy

    @contextlib.contextmanager
    def outage(self, driver: Any) -> Iterator[Callable[[], int]]:
        """Each request finds an open port and then an end. All connections are new ones."""
        self.between.drop()
        self.between.cut(times=None)
        try:
            yield lambda: self.between.connections
        finally:
            self.between.heal()

    def shorten(self, driver: Any, container: str, name: str) -> bool:
        self.between.cut(after=50_000, way='down')
        return True


class TestFakeGCSServer(BehindAProxy):
    """In full."""

    @pytest.fixture
    def real(self, fake_gcs: gcs.Server) -> gcs.Server:
        return fake_gcs

    @pytest.fixture
    def driver(self, way: proxy.Proxy, make_driver: MakeDriver) -> GCSBackupDriver:
        driver = make_driver(f'http://{gcs.HOST}:{way.port}', bucket='kit', prefix='some/where')
        driver.put_container('before')
        return driver


class TestGCPStorageEmulator(BehindAProxy):
    """Preconditions do not exist here. More than two at once, and its queue overflows."""

    threads = 2
    cannot = {
        'test_w9_other_bytes': 'gcp-storage-emulator knows no preconditions: it replaces objects',
    }

    @pytest.fixture
    def real(self, emulator: gcs.Server) -> gcs.Server:
        return emulator

    @pytest.fixture
    def driver(self, way: proxy.Proxy, make_driver: MakeDriver) -> GCSBackupDriver:
        driver = make_driver(f'http://{gcs.HOST}:{way.port}', bucket='kit', connections=2)
        driver.put_container('before')
        return driver


class Ours(GCSKit):

    server: misbehaving.Server

    @contextlib.contextmanager
    def outage(self, driver: Any) -> Iterator[Callable[[], int]]:
        with self.server.failing('.*', misbehaving.status(503)) as requests:
            yield requests

    def shorten(self, driver: Any, container: str, name: str) -> bool:
        self.server.fail('media', misbehaving.cut(50_000))
        return True

    def forbid(self, driver: Any, container: str) -> contextlib.AbstractContextManager[object]:
        return self.server.failing('.*', misbehaving.forbidden)

    def protect(self, driver: Any, container: str, name: str
                ) -> contextlib.AbstractContextManager[object]:
        def held(request: Request, answer: misbehaving.Answer) -> Response:
            is_held = urllib.parse.unquote(request.path).endswith(f'/{name}')
            return misbehaving.held(request, answer) if is_held else answer(request)
        return self.server.failing('delete', held)

    def fill(self, driver: Any, container: str) -> contextlib.AbstractContextManager[object]:
        """Google's service is never full; others that speak its language may be."""
        return self.server.failing('insert|start|chunk', misbehaving.status(507, 'full'))


class TestOurServer(Ours):
    """In full, and strict: what is said above of resumable uploads and of pages is proven here."""

    listing_size = 2500
    large_object_bytes = 3 * CHUNK + 1

    @pytest.fixture
    def driver(self, server: misbehaving.Server, make_driver: MakeDriver) -> GCSBackupDriver:
        type(self).server = server
        return make_driver(server.url)


class TestBuckets(Ours):
    """layout = bucket: a container is a bucket, or a prefix in one, as in Cinder's driver."""

    cannot = {'test_g2_odd_names_of_containers': 'buckets may not be called so',
              'test_g3_containers_do_not_share_objects[-]': 'buckets may not be called so'}

    @pytest.fixture
    def driver(self, server: misbehaving.Server, make_driver: MakeDriver) -> GCSBackupDriver:
        type(self).server = server
        return make_driver(server.url, layout='bucket')


REAL_BUCKET = os.environ.get('BF_GCS_BUCKET')


def test_a_real_bucket_is_named() -> None:
    """The kit on Google's own service, on request only: it costs time, and cents for requests.

    BF_GCS_BUCKET names a bucket that exists. Credentials are those that Google's libraries find by
    themselves, such as the file in GOOGLE_APPLICATION_CREDENTIALS; they need
    storage.objects.create, get, list and delete. Objects are made below `bf-kit-…` and removed.
    """
    if not REAL_BUCKET:
        pytest.skip('BF_GCS_BUCKET names no bucket: the kit did not run on the real service')


class TestARealBucket(GCSKit):
    """See above."""

    __test__ = bool(REAL_BUCKET)
    listing_size = 2500
    store_is_ours = False
    fork_safe = False

    @pytest.fixture(autouse=True)
    def no_credentials(self) -> None:
        """Here they are wanted."""

    @pytest.fixture
    def driver(self) -> Iterator[GCSBackupDriver]:
        driver = GCSBackupDriver.make(
            bucket=REAL_BUCKET, prefix=f'bf-kit-{uuid.uuid4().hex}', resumable_chunk_size=CHUNK)
        yield driver
        driver.close()

    def raw_names(self, driver: Any, container: str) -> None:
        """Would need credentials."""


# --- that the table above is true

@pytest.mark.parametrize('name, single, resumable, checksum, pages', [
    ('fake_gcs', 412, 200, 200, False), ('emulator', 200, 200, 200, False),
    ('server', 412, 412, 400, True)])
def test_what_each_server_can_prove(request, name, single, resumable, checksum, pages):
    """If an emulator has learned more by now, the table and `cannot` are to be mended."""
    url = request.getfixturevalue(name).url
    post(url, '/storage/v1/b?project=p', b'{"name": "facts"}', 'application/json')
    upload = '/upload/storage/v1/b/facts/o?name=name&ifGenerationMatch=0&uploadType='
    body = (b'--b\r\nContent-Type: application/json\r\n\r\n{"name": "name"}\r\n'
            b'--b\r\nContent-Type: x/y\r\n\r\ndata\r\n--b--')
    multipart = 'multipart/related; boundary=b'
    assert post(url, upload + 'multipart', body, multipart)[0] == 200
    assert post(url, upload + 'multipart', body, multipart)[0] == single
    status, headers = post(url, upload + 'resumable', b'{}', 'application/json')
    assert status == 200
    assert post(url, headers['Location'].removeprefix(url), b'new', 'x/y', method='PUT',
                Content_Range='bytes 0-2/3')[0] == resumable
    assert post(url, upload.replace('=name&', '=sum&') + 'media', b'data', 'x/y',
                X_Goog_Hash='crc32c=AAAAAA==')[0] == checksum
    # fake-gcs-server makes pages only where they are asked for, and the emulator, which is slow,
    # not even then.
    count, query = (2, 'maxResults=1') if name == 'emulator' else (1001, '')
    for number in range(count):
        post(url, f'/upload/storage/v1/b/facts/o?name={number}&uploadType=media', b'x', 'x/y')
    with urllib.request.urlopen(f'{url}/storage/v1/b/facts/o?{query}', timeout=20) as answer:
        assert ('nextPageToken' in json.load(answer)) == pages


def post(url: str, target: str, body: bytes, kind: str, method: str = 'POST', **headers: str
         ) -> tuple[int, Any]:
    """Status and headers of an answer."""
    request = urllib.request.Request(url + target, body, {
        'Content-Type': kind,
        **{key.replace('_', '-'): value for key, value in headers.items()}}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers
    except urllib.error.HTTPError as error:
        error.close()
        return error.code, error.headers
