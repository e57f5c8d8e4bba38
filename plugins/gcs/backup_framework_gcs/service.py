"""The service behind a driver: one connection pool, and what is asked in one request each.

It is the documented JSON API over the session of google-auth, without google-cloud-storage. That
library has a thread of its own ask for each bucket it sees, again and again where this is refused;
its loops over streams are several times slower, hold objects whose size is not known in memory as a
whole, and check less. Nothing here is repeated: the framework does that, for a whole object.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
import dataclasses
import email.utils
import http.cookiejar
import json
import os
from typing import Any
import urllib.parse

import google.auth
from google.auth import credentials as auth_credentials
from google.auth import exceptions as auth_errors
from google.auth import identity_pool
from google.auth.transport.requests import AuthorizedSession
from google.oauth2 import service_account
import requests
import requests.adapters

from backup_framework import exceptions, model
from backup_framework_gcs import batch
from backup_framework_gcs.errors import Refusal, Task
from backup_framework_gcs.layout import Place

SCOPES = ('https://www.googleapis.com/auth/devstorage.read_write',)
KINDS: dict[str, Callable[..., Any]] = {
    'service_account': service_account.Credentials.from_service_account_info,
    'external_account': identity_pool.Credentials.from_info}
"""The credentials that a file may hold; none of them runs a program that the file names."""

EMULATOR = 'STORAGE_EMULATOR_HOST'
DELETED = (200, 204, 404)
NO_BATCH = (400, 404, 405, 501)


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the service says of an object: bytes, and where known CRC32C and generation."""

    size: int
    crc32c: str | None
    generation: str | None

    @classmethod
    def of(cls, task: Task, answer: dict[str, Any]) -> Facts:
        """From an object's JSON."""
        try:
            size = int(str(answer['size']))
        except (KeyError, ValueError):
            raise task.error(exceptions.StoreUnavailable,
                             'the answer does not tell the size of the object') from None
        crc32c, generation = answer.get('crc32c'), answer.get('generation')
        return cls(size, str(crc32c) if crc32c else None, str(generation) if generation else None)


class Service:
    """A client of the service. Any thread may call any method.

    All threads share one session. requests keeps nothing of a request in it but cookies, which are
    refused here; urllib3's pool is made for threads; and when two threads renew the credentials at
    once, each stores a good token in one assignment.
    """

    def __init__(self, settings: model.Settings) -> None:
        """Load the credentials; asks no server, unless the credentials themselves need one."""
        self.settings = settings
        self._timeout = (settings.connect_timeout, settings.timeout)
        doing = (f'read {settings.credentials_file}' if settings.credentials_file
                 else 'find credentials on this host')
        task = Task(doing, settings.bucket, '', 'the account')
        with task.loading():
            credentials, project = _credentials(settings)
            self.account = _account(credentials)
            self._session = _session(credentials, settings.connections)
            self._project = settings.project or project
            self._address = _address(settings, credentials)
        self._batches = True

    def close(self) -> None:
        self._session.close()

    def task(self, doing: str, bucket: str, needs: str, container: str | None = None,
             name: str | None = None) -> Task:
        return Task(doing, bucket, needs, self.account, container=container, name=name)

    def request(self, task: Task, method: str, url: str, expected: Collection[int],
                **arguments: Any) -> requests.Response:
        """An answer with one of the statuses `expected`; any other one is raised.

        :param url: whole, or a path below the address of the service.
        :param arguments: of `requests.Session.request`.
        """
        if url.startswith('/'):
            url = self._address + url
        with task.guard():
            response = self._session.request(
                method, url, timeout=self._timeout, allow_redirects=False, **arguments)
            if response.status_code in expected:
                return response
            with response:
                raise task.refused(Refusal.of(response))

    def object_path(self, place: Place) -> str:
        return f'{self.bucket_path(place.bucket)}/{urllib.parse.quote(place.name, safe="")}'

    def bucket_path(self, bucket: str) -> str:
        return f'/storage/v1/b/{urllib.parse.quote(bucket, safe="")}/o'

    def upload_path(self, bucket: str) -> str:
        return f'/upload{self.bucket_path(bucket)}'

    def names(self, task: Task, folder: Place) -> Iterator[str]:
        """The names of all objects in a bucket that begin with a folder's, page by page.

        :raises StoreUnavailable: also for pages that come round in a circle.
        """
        query = {'prefix': folder.name, 'fields': 'items(name),nextPageToken'}
        tokens = set()
        while True:
            page = task.parsed(self.request(
                task, 'GET', self.bucket_path(folder.bucket), (200,), params=query))
            try:
                names = [_text(item['name']) for item in page.get('items', ())]
                token = _text(page.get('nextPageToken', ''))
            except (LookupError, TypeError):
                raise task.nonsense() from None
            yield from names
            if not token:
                return
            if token in tokens:
                raise task.error(exceptions.StoreUnavailable,
                                 'the listing goes round in a circle')
            tokens.add(token)
            query['pageToken'] = token

    def prove(self, task: Task, bucket: str) -> requests.Response:
        """An answer from a bucket that is there and may be listed."""
        answer = self.request(task, 'GET', self.bucket_path(bucket), (200,),
                              params={'maxResults': '1', 'fields': 'items(name)'})
        task.parsed(answer)  # other programs answer with 200 as well
        return answer

    def time(self, task: Task, bucket: str) -> float:
        """When the service answers, in seconds since the epoch."""
        date = self.prove(task, bucket).headers.get('Date', '')
        try:
            return email.utils.parsedate_to_datetime(date).timestamp()
        except ValueError:
            raise task.error(exceptions.StoreUnavailable, 'the answer has no date') from None

    def make_bucket(self, task: Task, bucket: str) -> None:
        """Make a bucket that can never be public; one that exists by now is fine if it is ours."""
        if self._project is None and self._address.endswith('googleapis.com'):
            raise task.error(
                exceptions.ContainerNotFound,
                'no project is known to make it in; set project, or make the bucket yourself')
        wanted = {'name': bucket, 'location': self.settings.location,
                  'storageClass': self.settings.storage_class,
                  'iamConfiguration': {'uniformBucketLevelAccess': {'enabled': True},
                                       'publicAccessPrevention': 'enforced'}}
        answer = self.request(
            task, 'POST', '/storage/v1/b', (200, 409),
            params={'project': self._project} if self._project else {},
            json={key: value for key, value in wanted.items() if value})
        if answer.status_code == 409:
            self.prove(task, bucket)

    def facts(self, task: Task, place: Place, generation: str | None = None) -> Facts:
        """What the service says of an object."""
        response = self.request(
            task, 'GET', self.object_path(place), (200,),
            params={'fields': 'size,crc32c,generation'} | pinned(generation))
        return Facts.of(task, task.parsed(response))

    def delete(self, task: Task, place: Place, generation: str | None = None) -> None:
        """Remove an object, or that generation of it; a missing one is fine."""
        self.request(task, 'DELETE', self.object_path(place), DELETED,
                     params=pinned(generation))

    def delete_many(self, task: Task, places: Sequence[Place]) -> None:
        """Remove objects in one request; one by one where batches are not known."""
        left = self._delete_batch(task, places) if len(places) > 1 and self._batches else places
        for place in left:
            self.delete(task, place)

    def _delete_batch(self, task: Task, places: Sequence[Place]) -> Sequence[Place]:
        """Ask for all at once; gives those for which there was no answer."""
        asked = batch.request([self.object_path(place) for place in places])
        response = self.request(
            task, 'POST', batch.PATH, (200, *NO_BATCH), data=asked.body,
            headers={'Content-Type': asked.kind})
        self._batches = response.status_code == 200
        answers = batch.answers(response.headers.get('Content-Type', ''), response.content)
        refused = [task.refused(answer) for answer in answers.values()
                   if answer.status not in DELETED]
        if refused:
            raise min(refused, key=lambda refusal: refusal.retryable)
        return [place for number, place in enumerate(places) if number not in answers]


class _NoCookies(http.cookiejar.DefaultCookiePolicy):
    """Takes no cookie and gives none."""

    def __init__(self) -> None:
        super().__init__(allowed_domains=())


def pinned(generation: str | None) -> dict[str, str]:
    """The parameter that keeps a request to one generation of an object."""
    return {'generation': generation} if generation else {}


def _credentials(settings: model.Settings) -> tuple[Any, str | None]:
    """The credentials, and the project that they belong to where they tell."""
    if settings.credentials_file:
        return _from_file(settings.credentials_file)
    emulated = not settings.endpoint and os.environ.get(EMULATOR)
    if settings.anonymous or emulated:
        return auth_credentials.AnonymousCredentials(), None
    return google.auth.default(scopes=SCOPES)


def _from_file(path: str) -> tuple[Any, str | None]:
    with open(path, encoding='utf-8') as file:
        info = json.load(file)
    kind = str(info.get('type')) if isinstance(info, dict) else 'none'
    if kind not in KINDS:
        raise ValueError(
            f'its type is {kind!a}, not {" or ".join(KINDS)}; for others name the file in '
            'GOOGLE_APPLICATION_CREDENTIALS')
    try:
        return KINDS[kind](info, scopes=SCOPES), info.get('project_id')
    except auth_errors.GoogleAuthError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        # Without the library's words, which are about parts of the key.
        raise ValueError(f'it holds no key that can be used ({type(error).__name__})') from None


def _address(settings: model.Settings, credentials: Any) -> str:
    """Where the service is; credentials know the domain of their cloud."""
    chosen = settings.endpoint or os.environ.get(EMULATOR)
    return str(chosen or f'https://storage.{credentials.universe_domain}').rstrip('/')


def _account(credentials: Any) -> str:
    if isinstance(credentials, auth_credentials.AnonymousCredentials):
        return 'an anonymous caller'
    return str(getattr(credentials, 'service_account_email', None) or 'the account')


def _session(credentials: Any, connections: int) -> requests.Session:
    """A session whose pool repeats nothing. Where credentials can be renewed, a 401 does so."""
    anonymous = isinstance(credentials, auth_credentials.AnonymousCredentials)
    session = AuthorizedSession(credentials, refresh_status_codes=() if anonymous else (401,))
    session.cookies.set_policy(_NoCookies())
    session.auth = _as_it_is
    adapter = requests.adapters.HTTPAdapter(pool_maxsize=connections, max_retries=0)
    session.mount('https://', adapter)
    session.mount('http://', adapter)
    return session


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Without it, requests puts what ~/.netrc has for the host in the place of our token."""
    return request


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f'{value!r} is no text')
    return value
