"""What a backend can do: declared by its driver, and proven."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

from backup_framework import conf, exceptions, model
from backup_framework.driver.chunked import ChunkedBackupDriver
from backup_framework.manager import checking
from backup_framework.manager.checking import Proof
from backup_framework.manager.context import Context, reason_of


class Unknown(enum.Enum):
    """Stands for what a store that does not answer would have told."""

    UNKNOWN = 'unknown'


def check(context: Context, backend: str, *, measure: bool = True) -> list[Proof]:
    """Try what the store of a backend can do; see Manager.check_backend.

    :raises BackupFrameworkError: the driver cannot be opened or has no access at all.
    """
    driver = context.drivers.get(backend)
    setup = getattr(driver, 'check_for_setup_error', None)
    if setup:
        checking.calls_of(driver, context.monitor).retry(setup)
    if not isinstance(driver, ChunkedBackupDriver):
        return [Proof('check_for_setup_error', 'ok' if setup else 'warning',
                      '' if setup else 'the driver has no check')]
    driver.before_operation('backup')
    try:
        return checking.Trial(driver, context.monitor).run(measure=measure)
    finally:
        context.monitor.end()


def health(context: Context, backend: str) -> dict[str, Any]:
    """Whether a backend works now: ok, error and free_bytes. Asked once, without trying again."""
    try:
        driver = context.drivers.get(backend)
        check = getattr(driver, 'check_for_setup_error', None)
        if check:
            check()
        free = (driver.free_space() if isinstance(driver, ChunkedBackupDriver)
                and driver.capabilities().reports_free_space else None)
    except Exception as error:
        return {'ok': False, 'error': reason_of(error), 'free_bytes': None}
    return {'ok': True, 'error': None, 'free_bytes': free}


def describe(context: Context, backend: str) -> dict[str, Any]:
    """Name, driver, options with secrets hidden, and capabilities, which may be Unknown."""
    driver = context.drivers.get(backend)
    shown: dict[str, Any] = {
        'name': backend, 'driver': context.configuration.backend(backend).driver}
    settings = getattr(driver, 'settings', None)
    if isinstance(settings, model.Settings):
        known = conf.options_of(type(driver))
        shown |= {name: conf.spelled(known[name], value)
                  for name, value in settings.shown().items()}
    if isinstance(driver, ChunkedBackupDriver):
        for name, value in _capabilities(context, backend, driver).items():
            # An option may have the same name, such as connections: that is known all the same.
            if value is not Unknown.UNKNOWN or name not in shown:
                shown[name] = value
    return shown


def _capabilities(context: Context, backend: str, driver: ChunkedBackupDriver) -> dict[str, Any]:
    try:
        able = checking.calls_of(driver, context.monitor).retry(driver.capabilities)
    except exceptions.StoreError as error:
        context.warn(f'what the store of backend {backend} can do is not known: {error}')
        return dict.fromkeys((field.name for field in dataclasses.fields(model.Capabilities)),
                             Unknown.UNKNOWN)
    return dataclasses.asdict(able)
