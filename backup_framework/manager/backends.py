"""Proving what a backend can do, verb by verb."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import dataclasses
from typing import Any
import uuid

from backup_framework import conf, exceptions, model, store
from backup_framework.driver.chunked import ChunkedBackupDriver
from backup_framework.manager.context import Context

_PATIENCE = 5.0
_BODY = b'backup_framework checks whether this store keeps what it is given\n' * 1000


@dataclasses.dataclass(frozen=True)
class Proof:
    """One verb tried. `level` is 'ok', 'no' (not offered by the store), 'warning' or 'error'."""

    verb: str
    level: str
    detail: str = ''


def check(context: Context, backend: str) -> list[Proof]:
    """Try each verb in a container of its own, which is removed again.

    :raises BackupFrameworkError: the driver cannot be opened or has no access at all.
    """
    driver = context.drivers.get(backend)
    setup = getattr(driver, 'check_for_setup_error', None)
    if setup:
        setup()
    if not isinstance(driver, ChunkedBackupDriver):
        return [Proof('check_for_setup_error', 'ok' if setup else 'warning',
                      '' if setup else 'the driver has no check')]
    driver.before_operation('backup')
    trial = _Trial(driver)
    try:
        return trial.run()
    finally:
        trial.clean_up()


def describe(context: Context, backend: str) -> dict[str, Any]:
    """Name, driver, options with secrets hidden, and declared capabilities."""
    driver = context.drivers.get(backend)
    shown: dict[str, Any] = {
        'name': backend, 'driver': context.configuration.backend(backend).driver}
    settings = getattr(driver, 'settings', None)
    if isinstance(settings, model.Settings):
        known = conf.options_of(type(driver))
        shown |= {name: conf.spelled(known[name], value)
                  for name, value in settings.shown().items()}
    if isinstance(driver, ChunkedBackupDriver):
        shown |= dataclasses.asdict(driver.capabilities())
    return shown


class _Trial:
    """Each verb once; what fails is an error, but no right to delete is only a warning."""

    def __init__(self, driver: ChunkedBackupDriver) -> None:
        self._driver = driver
        self._calls = store.Calls(driver, retry_deadline=_PATIENCE)
        self._container = store.Container(
            driver, f'bf-check-{uuid.uuid4()}', retry_deadline=_PATIENCE)
        self._name = 'probe-00001'
        self._proofs: list[Proof] = []

    def run(self) -> list[Proof]:
        able = self._driver.capabilities()
        self._try('put_container', self._container.create)
        self._try('get_object_writer', self._write)
        self._try('sync', self._container.sync)
        self._try('get_container_entries', self._list)
        self._try('get_object_reader', self._read)
        self._try_offered('seek', able.ranged_read, self._seek)
        self._try_offered('object_size', able.reports_size, self._size)
        self._try_offered('list_containers', able.lists_containers, self._list_containers)
        self._try_offered('free_space', able.reports_free_space, self._free_space)
        self._try('delete_object', self._delete, 'warning')
        self._try_offered('durable', able.durable, lambda: None, 'warning',
                          'a power cut may lose backups that were reported as done')
        return self._proofs

    def _try(self, verb: str, function: Callable[[], str | None], level: str = 'error') -> None:
        try:
            detail = function()
        except exceptions.BackupFrameworkError as error:
            self._proofs.append(Proof(verb, level, str(error)))
        else:
            self._proofs.append(Proof(verb, 'ok', detail or ''))

    def _try_offered(self, verb: str, offered: bool, function: Callable[[], str | None],
                     absent: str = 'no', detail: str = '') -> None:
        if offered:
            self._try(verb, function)
        else:
            self._proofs.append(Proof(verb, absent, detail or 'this store does not offer it'))

    def _write(self) -> None:
        self._container.put(self._name, lambda: [_BODY])

    def _list(self) -> None:
        names = self._container.names('probe-')
        if names != [self._name]:
            raise exceptions.StoreError(f'the listing shows {names} instead of [{self._name!r}]')

    def _read(self) -> None:
        if self._container.get(self._name, len(_BODY)) != _BODY:
            raise exceptions.StoreError('other bytes came back than were written')

    def _seek(self) -> None:
        def tail() -> bytes:
            with self._container.open_once(self._name) as reader:
                reader.seek(len(_BODY) - 10)  # type: ignore[attr-defined]
                return reader.read(100)
        if self._calls.retry(tail) != _BODY[-10:]:
            raise exceptions.StoreError('other bytes came back from the middle than were written')

    def _size(self) -> None:
        size = self._container.size(self._name)
        if size != len(_BODY):
            raise exceptions.StoreError(f'an object of {len(_BODY)} bytes is said to have {size}')

    def _list_containers(self) -> None:
        if self._container.name not in self._calls.retry(
                lambda: list(self._driver.list_containers())):
            raise exceptions.StoreError('the container just made is not listed')

    def _free_space(self) -> str:
        return f'{self._calls.retry(self._driver.free_space)} bytes'

    def _delete(self) -> None:
        self._container.delete(self._name)
        if self._container.names('probe-'):
            raise exceptions.StoreError('the object is still there')

    def clean_up(self) -> None:
        with contextlib.suppress(exceptions.BackupFrameworkError):
            self._container.delete(self._name)
