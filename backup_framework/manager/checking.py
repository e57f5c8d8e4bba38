"""The trial of a store: each verb and each promise once, and how fast it is."""

from __future__ import annotations

from collections.abc import Callable
import time
from typing import NamedTuple
import uuid

from backup_framework import conf, exceptions, model, store
from backup_framework.driver.chunked import ChunkedBackupDriver
from backup_framework.engine.monitor import Monitor
from backup_framework.manager import speed

PATIENCE = 5.0
"""Seconds for which an unavailable store is asked again, where the section does not say fewer."""

CLOCK_TOLERANCE = 5.0
SPACE_FACTOR = 4
"""How many times the probe's size must be free before the speed is measured."""

_BODY = b'backup_framework checks whether this store keeps what it is given\n' * 1000
_OTHER = _BODY[::-1]
_NAMES_SHOWN = 5


class Proof(NamedTuple):
    """One verb or promise, tried.

    :ivar level: 'ok'; 'no' (not offered by the store); 'skipped' (not tried); 'note' (what the
        driver remarks); 'warning'; 'error'.
    :ivar value: bytes of 'free_space', seconds that the store is ahead of 'clock', names in one
        call of 'delete_objects', bytes a second of 'write_speed' and 'read_speed'.
    """

    verb: str
    level: str
    detail: str = ''
    value: float | None = None


class Outcome(NamedTuple):
    """What trying something came to: a Proof without its verb."""

    level: str = 'ok'
    detail: str = ''
    value: float | None = None


def patience(driver: object) -> float:
    """Seconds for which a command that looks at a store waits for it."""
    settings = getattr(driver, 'settings', None)
    return min(PATIENCE, getattr(settings, 'retry_deadline', PATIENCE))


def calls_of(driver: object, monitor: Monitor) -> store.Calls:
    return store.Calls(driver, retry_deadline=patience(driver), sleep=monitor.sleep)


class Trial:
    """Tries a store in a container of its own, and removes what it wrote.

    Where the driver decides which container backups go to, it is tried there, with names that
    nothing else has: a new container may be a bucket, which would stay. What fails is an error;
    that objects cannot be removed or replaced is a warning, because a backup can do without.
    """

    def __init__(self, driver: ChunkedBackupDriver, monitor: Monitor) -> None:
        self._driver = driver
        self._monitor = monitor
        self._calls = calls_of(driver, monitor)
        self._able = self._calls.retry(driver.capabilities)
        name, self._prefix = self._place()
        self._container = store.Container(driver, name, retry_deadline=patience(driver),
                                          sleep=monitor.sleep)
        self._name = f'{self._prefix}probe-00001'
        self._written: list[str] = []
        self._found: dict[str, Outcome] = {}

    def _place(self) -> tuple[str, str]:
        """The container to try, and what the names of all objects in it begin with."""
        own = f'bf-check-{uuid.uuid4()}'
        probe = model.Backup(volume_id=own)
        named = self._calls.retry(lambda: self._driver.update_container_name(probe, None))
        if not named:
            return own, ''
        wanted = self._driver.settings.container
        if wanted:
            named = self._calls.retry(lambda: self._driver.update_container_name(probe, wanted))
        return named or wanted, f'{own}-'

    def run(self, *, measure: bool) -> list[Proof]:
        """All proofs; :param measure: the speed too."""
        try:
            self._run_verbs()
            self._run_promises()
            if measure:
                self._run_speed()
        except BaseException as error:
            left = self._clean_up()
            if left:
                error.add_note(left)
            raise
        left = self._clean_up()
        self._found['clean_up'] = Outcome('warning', left) if left else Outcome()
        remarks = self._remarks()
        return [Proof(verb, *outcome) for verb, outcome in self._found.items()] + remarks

    def _run_verbs(self) -> None:
        able = self._able
        self._try('put_container', self._container.create)
        self._try('get_object_writer', self._write)
        self._try('sync', self._container.sync)
        self._try('get_container_entries', self._list)
        self._try('get_object_reader', self._read)
        self._try('seek', self._seek, able.ranged_read)
        self._try('object_size', self._size, able.reports_size)
        self._try('list_containers', self._list_containers, able.lists_containers)
        self._try('free_space', self._free_space, able.reports_free_space)
        self._try('clock', self._clock, able.reports_clock)

    def _run_promises(self) -> None:
        able = self._able
        if able.conditional_create:
            self._try('conditional_create', self._refuse_other_bytes)
            refused = self._found['conditional_create']
            self._found['atomic_replace'] = refused if refused.level != 'ok' else Outcome(
                detail='other bytes under an existing name are refused: nothing is ever replaced')
        else:
            self._found['conditional_create'] = Outcome(
                'no', 'other bytes under an existing name replace those that are there')
            self._try('atomic_replace', self._replace, denied='warning')
        self._try('delete_object', self._delete, denied='warning')
        self._try('delete_objects', self._delete_several, able.delete_batch > 1, denied='warning')
        self._found['durable'] = Outcome() if able.durable else Outcome(
            'warning', 'a power cut may lose backups that were reported as done')

    def _try(self, verb: str, function: Callable[[], Outcome | None], offered: bool = True,
             denied: str = 'error') -> None:
        """:param denied: the level where the store does not let us."""
        self._monitor.check()
        if not offered:
            self._found[verb] = Outcome('no', 'this store does not offer it')
            return
        try:
            self._found[verb] = function() or Outcome()
        except exceptions.OperationCancelled:
            raise
        except exceptions.BackupFrameworkError as error:
            refused = isinstance(error, exceptions.PermissionDenied)
            self._found[verb] = Outcome(denied if refused else 'error',
                                         conf.mask(str(error)))

    def _put(self, name: str, body: bytes) -> None:
        self._written.append(name)
        self._container.put(name, lambda: [body])

    def _expect(self, body: bytes) -> None:
        if self._container.get(self._name, len(body)) != body:
            raise exceptions.StoreError('other bytes came back than were written')

    def _write(self) -> None:
        self._put(self._name, _BODY)

    def _list(self) -> None:
        names = self._container.names(f'{self._prefix}probe-')
        if names != [self._name]:
            raise exceptions.StoreError(f'the listing shows {names} instead of [{self._name!r}]')

    def _read(self) -> None:
        self._expect(_BODY)

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

    def _free_space(self) -> Outcome:
        return Outcome(value=self._calls.retry(self._driver.free_space))

    def _clock(self) -> Outcome:
        """The difference, as exact as the time that asking took allows."""
        def compare() -> tuple[float, float]:
            before = time.time()
            there = self._driver.clock()
            after = time.time()
            return there - (before + after) / 2, (after - before) / 2
        ahead, doubt = self._calls.retry(compare)
        if abs(ahead) - doubt <= CLOCK_TOLERANCE:
            return Outcome(value=round(ahead, 3))
        way = 'ahead of' if ahead > 0 else 'behind'
        return Outcome('warning', (
            f"the store's clock is {abs(ahead):.0f} s {way} this host's: the age of what a killed "
            'backup left is judged by both, and logins that expire may fail; let both follow a '
            'time server'), round(ahead, 3))

    def _refuse_other_bytes(self) -> None:
        """Equal bytes are fine, because a writer is repeated whose answer was lost."""
        self._put(self._name, _BODY)
        try:
            self._put(self._name, _OTHER)
        except exceptions.ObjectExists:
            self._expect(_BODY)
        else:
            raise exceptions.StoreError('other bytes under an existing name were not refused')

    def _replace(self) -> Outcome:
        self._put(self._name, _BODY)
        self._put(self._name, _OTHER)
        self._expect(_OTHER)
        if self._able.atomic_replace:
            return Outcome()
        return Outcome('no', 'an object that is replaced may be missing for a moment')

    def _delete(self) -> None:
        self._container.delete(self._name)
        self._expect_gone(f'{self._prefix}probe-')
        self._written.clear()

    def _delete_several(self) -> Outcome:
        if self._found['delete_object'].level != 'ok':
            return Outcome('skipped', 'what it wrote could not be removed again')
        several = f'{self._prefix}several-'
        names = [f'{several}{number:05}' for number in range(min(3, self._able.delete_batch))]
        for name in names:
            self._put(name, _BODY)
        self._container.delete_many(names)
        self._expect_gone(several)
        self._written.clear()
        return Outcome(value=self._able.delete_batch)

    def _expect_gone(self, prefix: str) -> None:
        left = self._container.names(prefix)
        if left:
            raise exceptions.StoreError(f'deleted objects are still listed: {", ".join(left)}')

    def _run_speed(self) -> None:
        reason = self._reason_not_to_measure()
        if reason:
            self._found |= dict.fromkeys(('write_speed', 'read_speed'),
                                         Outcome('skipped', reason))
            return
        probe = speed.Probe(
            self._container, self._monitor, prefix=self._prefix, note=self._written.append,
            workers=max(1, min(self._driver.settings.workers, self._able.connections)),
            largest=min(speed.LARGEST, self._able.max_object_size or speed.LARGEST))
        self._try('write_speed', lambda: Outcome(value=round(probe.write()), detail=str(probe)))
        if self._found['write_speed'].level == 'ok':
            self._try('read_speed', lambda: Outcome(value=round(probe.read()), detail=str(probe)))
        else:
            self._found['read_speed'] = Outcome('skipped', 'there is nothing to read')

    def _reason_not_to_measure(self) -> str:
        if any(outcome.level == 'error' for outcome in self._found.values()):
            return 'the store does not work'
        if self._found['delete_object'].level != 'ok':
            return 'what it wrote could not be removed again'
        free = self._found['free_space'].value
        if free is not None and free < SPACE_FACTOR * speed.MOST:
            return f'{free:.0f} bytes are free, and it may write {speed.MOST}'
        return ''

    def _clean_up(self) -> str:
        """Remove what was written, also when somebody asked to stop; a sentence on what is left."""
        container = store.Container(self._driver, self._container.name,
                                    retry_deadline=patience(self._driver))
        left = list(dict.fromkeys(self._written))
        try:
            while left:
                container.delete_many(left[:self._able.delete_batch])
                del left[:self._able.delete_batch]
        except exceptions.OperationCancelled:
            raise
        except exceptions.BackupFrameworkError as error:
            more = f' and {len(left) - _NAMES_SHOWN} more' if len(left) > _NAMES_SHOWN else ''
            return (f'{", ".join(left[:_NAMES_SHOWN])}{more} may be left in container '
                    f'{container.name}: {conf.mask(str(error))}')
        return ''

    def _remarks(self) -> list[Proof]:
        try:
            remarks = self._calls.retry(lambda: list(self._driver.remarks()))
        except exceptions.StoreError as error:
            return [Proof('remarks', 'error', conf.mask(str(error)))]
        return [Proof('remarks', 'note', remark) for remark in remarks]
