"""What the service refused, and what failed on the way to it, as StoreErrors with a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import contextlib
import dataclasses
import datetime
import email.utils
import http.client
import json
import re
from typing import Any, NamedTuple

from google.auth import exceptions as auth_errors
import requests
import urllib3.exceptions

from backup_framework import exceptions

FAILURES = (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException,
            OSError)
"""What fails below the service: names, connections, encryption, answers that end too early."""

WRONG_ADDRESS = (requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL,
                 requests.exceptions.MissingSchema, urllib3.exceptions.LocationParseError)

TOO_MUCH = {'rateLimitExceeded', 'userRateLimitExceeded', 'quotaExceeded', 'dailyLimitExceeded'}
"""Reasons of a 403 that pass: requests and traffic have quotas, stored bytes have none."""

CHANGED = "doesn't match calculated"
"""What a 400 says of bytes whose checksum is not the one that was sent with them."""

HELD = re.compile(r'retention|\bhold\b|activehold', re.IGNORECASE)

LONGEST_REASON = 300
LONGEST_WAIT = 3600.0


class Refusal(NamedTuple):
    """An answer of the service, on its own or in a batch."""

    status: int
    phrase: str
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def of(cls, response: requests.Response) -> Refusal:
        return cls(response.status_code, response.reason or '', response.headers, response.content)


@dataclasses.dataclass(frozen=True)
class Task:
    """What a verb is doing, for the sentence of its error.

    :param doing: as in 'cannot read name of container box in bucket shelf'.
    :param needs: the permission that this takes.
    :param account: who asks, as in 'backup@project needs the permission …'.
    :param missing: what a 404 means here.
    """

    doing: str
    bucket: str
    needs: str
    account: str
    missing: type[exceptions.StoreError] = exceptions.ContainerNotFound
    container: str | None = None
    name: str | None = None

    def error(self, kind: type[exceptions.StoreError], reason: str,
              retry_after: float | None = None) -> exceptions.StoreError:
        return kind(f'cannot {self.doing}: {reason}',
                    container=self.container, name=self.name, retry_after=retry_after)

    def refused(self, answer: Refusal) -> exceptions.StoreError:
        """The error for an answer with a status that is none of success."""
        status = answer.status
        reason, said = _details(answer)
        if reason in TOO_MUCH or status in (408, 429) or status >= 500 and status not in (501, 507):
            return self.error(exceptions.StoreUnavailable, f'the service answered {said}',
                              _retry_after(answer.headers))
        kind, why = self._judge(status, reason, said)
        return self.error(kind, why)

    def _judge(self, status: int, reason: str, said: str
               ) -> tuple[type[exceptions.StoreError], str]:
        if status == 400 and CHANGED in said:
            return exceptions.StoreUnavailable, f'the bytes changed on their way ({said})'
        if status == 401:
            return exceptions.PermissionDenied, (
                f'the credentials of {self.account} were not accepted ({said}); check '
                'credentials_file and whether its key was disabled')
        if status == 403 and (HELD.search(reason) or HELD.search(said)):
            return exceptions.PermissionDenied, (
                f'it is held by a retention policy or a hold and cannot be deleted before that '
                f'ends ({said})')
        if status == 403:
            return exceptions.PermissionDenied, (
                f'{self.account} needs the permission {self.needs} ({said}); grant a role that '
                'has it')
        if status == 404:
            return self._missing(said)
        if status == 412:
            return exceptions.ObjectExists, 'another object of this name is already there'
        if status == 501:
            return exceptions.NotSupported, f'the service answered {said}'
        if status == 507:
            return exceptions.StoreFull, f'the service answered {said}; delete old backups'
        if 300 <= status < 400:
            return exceptions.StoreError, (
                f'the service answered {said}; endpoint is not the address of such a service')
        return exceptions.StoreError, f'the service answered {said}'

    def _missing(self, said: str) -> tuple[type[exceptions.StoreError], str]:
        """The service says of a bucket that it was 'specified', of an object 'No such object'."""
        if self.missing is exceptions.ObjectNotFound and 'specified bucket' not in said:
            return self.missing, 'there is no such object'
        return exceptions.ContainerNotFound, (
            f'the bucket does not exist; correct the name, or make it with "gcloud storage '
            f'buckets create gs://{self.bucket}"')

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """Around every piece of a verb that talks to the service: only StoreErrors come out."""
        try:
            yield
        except exceptions.StoreError:
            raise
        except auth_errors.GoogleAuthError as error:
            raise self._from_credentials(error) from error
        except FAILURES as error:
            raise self._from_below(error) from error

    @contextlib.contextmanager
    def loading(self) -> Iterator[None]:
        """Around what reads credentials from files, and takes them for what they should be."""
        with self.guard():
            try:
                yield
            except auth_errors.GoogleAuthError:
                raise  # some are a ValueError as well
            except (AttributeError, LookupError, OSError, RecursionError, TypeError,
                    ValueError) as error:
                raise self.error(
                    exceptions.PermissionDenied,
                    f'{type(error).__name__}: {getattr(error, "strerror", None) or _short(error)}; '
                    'correct credentials_file') from error

    def parsed(self, response: requests.Response) -> dict[str, Any]:
        """The JSON object of an answer."""
        try:
            parsed = response.json()
        except (ValueError, RecursionError) as error:
            raise self.error(exceptions.StoreUnavailable, 'the answer is no JSON') from error
        if not isinstance(parsed, dict):
            raise self.nonsense()
        return parsed

    def nonsense(self) -> exceptions.StoreError:
        return self.error(exceptions.StoreUnavailable, 'the answer makes no sense')

    def _from_credentials(self, error: auth_errors.GoogleAuthError) -> exceptions.StoreError:
        said = _short(error.args[0] if error.args else type(error).__name__)
        passing = (auth_errors.TransportError, auth_errors.TimeoutError, auth_errors.ResponseError)
        if isinstance(error, passing) or error.retryable:
            return self.error(exceptions.StoreUnavailable,
                              f'a token could not be had for {self.account} ({said})')
        return self.error(
            exceptions.PermissionDenied,
            f'{self.account} cannot sign in ({said}); set credentials_file, or give this host '
            'application default credentials')

    def _from_below(self, error: BaseException) -> exceptions.StoreError:
        cause = _cause(error)
        said = f'{type(cause).__name__}: {getattr(cause, "strerror", None) or _short(cause)}'
        if isinstance(error, WRONG_ADDRESS):
            return self.error(exceptions.StoreError, f'{said}; correct endpoint')
        if 'CERTIFICATE_VERIFY_FAILED' in str(cause):
            return self.error(
                exceptions.StoreError,
                f'{said}; the certificate of the service is not one that this host trusts')
        if isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)):
            return self.error(exceptions.StoreUnavailable, 'no answer in time')
        return self.error(exceptions.StoreUnavailable, said)


def _details(answer: Refusal) -> tuple[str, str]:
    """The reason that the service has a word for, and a text with the status."""
    try:
        error = json.loads(answer.body)['error']
        reasons = [str(item['reason']) for item in error.get('errors', ()) if 'reason' in item]
        return next(iter(reasons), ''), f'{answer.status} {_short(error["message"])}'
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return '', f'{answer.status} {_short(answer.phrase)}'.strip()


def _short(what: object) -> str:
    """One line of bounded length of a text from outside."""
    text = ' '.join(''.join(c if c.isprintable() else ' ' for c in str(what)).split())
    return text if len(text) <= LONGEST_REASON else f'{text[:LONGEST_REASON]}…'


def _cause(error: BaseException) -> BaseException:
    """The innermost error: those around it spell the URL, and with it upload ids."""
    inner = [getattr(error, 'reason', None), *reversed(error.args)]
    for candidate in inner:
        if isinstance(candidate, BaseException):
            return _cause(candidate)
    return error


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the service asked to wait, written as a number or as a date."""
    text = headers.get('Retry-After', '').strip()
    if text.isdecimal():
        return min(float(text), LONGEST_WAIT)
    try:
        until = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=datetime.UTC)
    wait = (until - datetime.datetime.now(datetime.UTC)).total_seconds()
    return min(max(wait, 0.0), LONGEST_WAIT)
