"""Who can open backups is changed by wrapping their keys anew: no data is read or written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
import contextlib
import dataclasses
from typing import NamedTuple, TypeVar

from backup_framework import exceptions, store
from backup_framework.driver.chunked import ChunkedBackupDriver
from backup_framework.engine import parallel
from backup_framework.formats.v2 import key_sets, owner
from backup_framework.interface.key_manager import KeyManager
from backup_framework.manager.context import Context, refuse_foreign
from backup_framework.model import Backup, Status

_TRIAL = bytes(range(32))
_TRIAL_CONTEXT = b'backup_framework trial of a key manager'


class Key(NamedTuple):
    """A [key:NAME] section.

    :param backends: those whose new backups are sealed for it.
    :param problem: why it cannot be used now, or ''.
    """

    name: str
    type: str
    backends: Sequence[str]
    problem: str


@dataclasses.dataclass
class Rewrapped:
    """What was done for the sealed backups of a backend.

    :ivar changed: how many are sealed anew; the others were as they should be.
    :ivar failures: those that could not be changed, as messages call them, and why.
    """

    backend: str
    sealed: int = 0
    changed: int = 0
    failures: list[tuple[str, exceptions.BackupFrameworkError]] = dataclasses.field(
        default_factory=list)


@dataclasses.dataclass(frozen=True)
class _Sealed:
    """A backup that is sealed.

    :ivar generations: of its keys; more than one are what an interruption left.
    :ivar wanted: for whom it is to be sealed.
    """

    container: store.Container
    prefix: str
    generations: Sequence[int]
    backup: Backup | None
    wanted: Sequence[str] = ()

    def __str__(self) -> str:
        if self.backup is not None:
            return f'backup {self.backup.id}'
        return f'the backup with prefix {self.prefix} of container {self.container.name}'

    def recipients(self) -> list[str]:
        return [each.name for each in key_sets.recipients(self.container, self.prefix)]

_Wish = Callable[[_Sealed], Sequence[str] | None]
"""For whom a backup is to be sealed; None where it is already."""

R = TypeVar('R')


def known(context: Context) -> Iterator[Key]:
    """The sections of all keys, each tried."""
    users: dict[str, list[str]] = {}
    for backend in context.configuration.enabled_backends:
        try:
            settings = context.drivers.settings(backend)
        except exceptions.ConfigurationError as error:
            context.warn(f'which keys backend {backend} uses is not known: {error}')
            continue
        for name in settings.keys if settings.encryption != 'none' else ():
            users.setdefault(name, []).append(backend)
    for each in context.drivers.keyrings.recipients.values():
        context.monitor.check()
        yield Key(each.name, each.type, users.get(each.name, []), _problem(each.manager))


def _problem(manager: KeyManager) -> str:
    try:
        _prove(manager)
    except (exceptions.KeyUnavailable, exceptions.ConfigurationError) as error:
        return str(error)
    return ''


def _prove(manager: KeyManager) -> None:
    """:raises KeyUnavailable: it does not unwrap what it wraps."""
    if manager.unwrap(manager.wrap(_TRIAL, _TRIAL_CONTEXT), _TRIAL_CONTEXT) != _TRIAL:
        raise exceptions.KeyUnavailable('its key manager unwraps another key than it wrapped')


def recipients(context: Context, backup: Backup) -> list[str]:
    """For whom a backup is sealed, as its store says; nobody where it is not sealed."""
    driver = context.drivers.chunked(str(backup.backend), 'seal backups')
    container = _container(context, driver, str(backup.container))
    try:
        found = key_sets.recipients(container, str(backup.service_metadata))
    except exceptions.MissingObject:
        return []
    return [f'{each.name} ({each.type})' for each in found]


def add(context: Context, name: str, backend: str) -> Rewrapped:
    """Let one more key open the sealed backups of a backend."""
    if name not in context.drivers.keyrings.recipients:
        raise exceptions.ConfigurationError(f'there is no section [key:{name}]; '
                                            f'"backup-framework key list" shows those there are')

    def wish(each: _Sealed) -> Sequence[str] | None:
        now = each.recipients()
        return [*now, name] if name not in now else _again(each, now)

    done = _rewrap(context, backend, wish)
    if name not in context.drivers.settings(backend).keys:
        context.warn(f'new backups are not sealed for {name}: write it into keys of section '
                     f'[{backend}] as well')
    return done


def remove(context: Context, name: str, backend: str) -> Rewrapped:
    """Let a key open the sealed backups of a backend no more.

    :raises Refused: one would be sealed for nobody; nothing was changed.
    """
    def wish(each: _Sealed) -> Sequence[str] | None:
        now = each.recipients()
        return [other for other in now if other != name] if name in now else _again(each, now)

    done = _rewrap(context, backend, wish)
    if name in context.drivers.settings(backend).keys:
        context.warn(f'new backups are still sealed for {name}: take it out of keys of section '
                     f'[{backend}] as well')
    return done


def _again(each: _Sealed, now: Sequence[str]) -> Sequence[str] | None:
    """An older generation may be for somebody who is no more to open the backup."""
    return now if len(each.generations) > 1 else None


def rotate(context: Context, backend: str) -> Rewrapped:
    """Wrap the keys of all sealed backups of a backend anew, for exactly the configured keys.

    :raises Refused: it has none.
    """
    names = context.drivers.settings(backend).keys
    if not names:
        raise exceptions.Refused(f'section [{backend}] names no keys, and nobody could open its '
                                 f'backups any more; write keys = NAME there')
    return _rewrap(context, backend, lambda each: names)


def _rewrap(context: Context, backend: str, wish: _Wish) -> Rewrapped:
    driver = context.drivers.chunked(backend, 'seal backups')
    driver.before_operation('backup')
    with context.running('rekey', detail=backend):
        done = Rewrapped(backend)
        found = list(_sealed(context, driver, done))
        done.sealed = len(found)
        workers = max(1, min(driver.settings.workers, driver.capabilities().connections))
        context.monitor.start('keys', len(found))
        planned = [each for each in _side_by_side(context, _planner(context, wish), found,
                                                  workers, done) if each is not None]
        context.monitor.advance(len(found) - len(planned))
        _check(context, planned)
        done.changed = sum(_side_by_side(context, _wrapper(context), planned, workers, done))
        missed = _missed(context, driver, found, backend)
    if missed:
        context.warn(f'{", ".join(missed)} is running, or has ended meanwhile, sealed for whom the '
                     f'configuration named when it began: repeat this when it has ended')
    return done


def _missed(context: Context, driver: ChunkedBackupDriver, found: Sequence[_Sealed], backend: str
            ) -> list[str]:
    """The backups that were not there to be found, as messages call them."""
    known = {(each.container.name, each.prefix) for each in found}
    # Before the store is listed: one that ends between the two is there then.
    running = context.catalog.backups(backend=backend, status=Status.CREATING)
    missed = {f'backup {each.id}' for each in running
              if (each.container, each.service_metadata) not in known}
    try:
        for each in _sealed(context, driver, Rewrapped(backend)):
            if (each.container.name, each.prefix) not in known:
                missed.add(str(each))
    except exceptions.StoreError as error:
        # All was changed by now, and what failed has to be told.
        context.warn(f'backups of backend {backend} that have ended meanwhile could not be looked '
                     f'for, and may be sealed for whom the configuration named when they began: '
                     f'{error}; repeat this')
    return sorted(missed)


def _sealed(context: Context, driver: ChunkedBackupDriver, done: Rewrapped) -> Iterator[_Sealed]:
    """The committed backups that are sealed, of all containers that the catalog knows."""
    records = {(backup.container, backup.service_metadata): backup
               for backup in context.catalog.backups(backend=done.backend)}
    for name in sorted({container for container, _ in records if container}):
        container = _container(context, driver, name)
        try:
            owner.check(container, context.catalog.owner)
        except exceptions.ForeignContainer as error:
            done.failures.append((f'container {name}', error))
            continue
        for prefix, generations in key_sets.generations(container).items():
            context.monitor.tick()
            yield _Sealed(container, prefix, generations, records.get((name, prefix)))


def _container(context: Context, driver: ChunkedBackupDriver, name: str) -> store.Container:
    return store.Container(driver, name, retry_deadline=driver.settings.retry_deadline,
                           sleep=context.monitor.sleep)


def _side_by_side(context: Context, function: Callable[[_Sealed], R], backups: Iterable[_Sealed],
                  workers: int, done: Rewrapped) -> Iterator[R]:
    """What `function` returns for each; where it fails, that is noted and the others go on."""
    def attempt(each: _Sealed) -> R | exceptions.BackupFrameworkError:
        context.monitor.check()
        try:
            return function(each)
        except exceptions.OperationCancelled:
            raise
        except exceptions.BackupFrameworkError as error:
            done.failures.append((str(each), error))
            return error

    results = parallel.ordered_map(attempt, backups, workers=workers, budget=1,
                                   cost=lambda each: 0)
    with contextlib.closing(results):
        for result in results:
            context.monitor.tick()
            if not isinstance(result, exceptions.BackupFrameworkError):
                yield result


def _planner(context: Context, wish: _Wish) -> Callable[[_Sealed], _Sealed | None]:
    sections = context.drivers.keyrings.recipients

    def plan(each: _Sealed) -> _Sealed | None:
        if each.backup is not None:
            refuse_foreign(each.backup, 'sealed for others')
        names = wish(each)
        strange = [name for name in names or () if name not in sections]
        if strange:
            raise exceptions.ConfigurationError(
                f'it is sealed for {strange[0]} too, and there is no section [key:{strange[0]}] to '
                f'do so again; "key remove {strange[0]}" and "key rotate" leave it out')
        return None if names is None else dataclasses.replace(each, wanted=names)

    return plan


def _check(context: Context, planned: Sequence[_Sealed]) -> None:
    """Before anything is changed: somebody can open each backup afterwards."""
    for each in planned:
        if not each.wanted:
            raise exceptions.Refused(f'nothing was changed, because nobody could open {each} any '
                                     f'more: "key add" another key first')
    for name in sorted({name for each in planned for name in each.wanted}):
        try:
            _prove(context.drivers.keyrings.recipients[name].manager)
        except (exceptions.KeyUnavailable, exceptions.ConfigurationError) as error:
            raise type(error)(f'nothing was changed, because the key {name} cannot be used: '
                              f'{error}') from error


def _wrapper(context: Context) -> Callable[[_Sealed], int]:
    def wrap(each: _Sealed) -> int:
        try:
            keyring = context.drivers.keyrings.keyring(each.wanted)
            key_sets.rewrap(each.container, each.prefix, keyring, each.generations)
            return 1
        finally:
            context.monitor.advance(1)

    return wrap
