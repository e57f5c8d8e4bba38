"""Finds drivers by their entry points, loads the one that is asked for, and checks classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
import contextlib
import dataclasses
import difflib
import functools
import importlib
from importlib import metadata
import inspect
import logging
import os
import re
import sys
from typing import Any

from stevedore import driver, extension

from backup_framework.driver.options import SHARED
from backup_framework.exceptions import DriverLoadError, DriverNotFound
from backup_framework.interface.backup_driver import BackupDriver
from backup_framework.interface.chunked_driver import BackupChunkedDriver
from backup_framework.interface.key_manager import KeyManager
from backup_framework.model import Option, OptionType

LOG = logging.getLogger(__name__)

NAMESPACE = 'backup_framework.drivers'
KEY_MANAGERS = 'backup_framework.key_managers'
VOLUME_SOURCES = 'backup_framework.volumes'
_WORDS = {NAMESPACE: 'driver', KEY_MANAGERS: 'key manager', VOLUME_SOURCES: 'source of volumes'}
CHECK = '"backup-framework driver check {}" says what to write'


@dataclasses.dataclass(frozen=True)
class DriverInfo:
    """An installed driver, or key manager.

    :ivar target: `module:Class`.
    :ivar rivals: other distributions, with versions, that give a driver the same name. The driver
        cannot be loaded by name while there are any.
    """

    name: str
    target: str
    distribution: str
    version: str
    rivals: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f'{self.distribution} {self.version}'


@dataclasses.dataclass(frozen=True)
class Finding:
    """What `check` has to say.

    :ivar level: 'error': it does not work; 'warning': it will hurt; 'note': something is missing.
    """

    level: str
    text: str


def drivers() -> dict[str, DriverInfo]:
    """The installed drivers by name, sorted. No driver is imported."""
    return _offered(NAMESPACE)


def key_managers() -> dict[str, DriverInfo]:
    """The installed key managers by name, sorted. None is imported."""
    return _offered(KEY_MANAGERS)


def _offered(namespace: str) -> dict[str, DriverInfo]:
    found: dict[str, list[DriverInfo]] = {}
    for entry in entry_points(namespace):
        assert entry.dist is not None
        # Each question for it reads and parses the file again.
        told = entry.dist.metadata
        info = DriverInfo(entry.name, entry.value, told['Name'] or 'a nameless distribution',
                          told['Version'] or 'of unknown version')
        found.setdefault(entry.name, []).append(info)
    return {name: dataclasses.replace(infos[0], rivals=tuple(str(other) for other in infos[1:]))
            for name, infos in sorted(found.items())}


def bypass_cache(namespace: str = NAMESPACE) -> None:
    """Have stevedore use the entry points that are installed now, and leave the disk alone.

    By itself it keeps them in a file below ~/.cache, which the user of a service may not have, and
    which is stale for minutes after an upgrade in place.
    """
    extension.ExtensionManager.ENTRY_POINT_CACHE[namespace] = entry_points(namespace)


def declare_empty(namespace: str) -> None:
    """Have stevedore believe that nothing is installed under a namespace."""
    extension.ExtensionManager.ENTRY_POINT_CACHE[namespace] = []


def entry_points(namespace: str = NAMESPACE) -> list[metadata.EntryPoint]:
    """Entry points; a distribution that is installed twice counts once, first on the path."""
    found: dict[str, list[metadata.EntryPoint]] = {}
    for distribution, offered in _installed(_state_of_path()):
        entries = [entry for entry in offered if entry.group == namespace]
        with _outliving(distribution):
            if entries:
                found.setdefault(_plain_name(distribution), entries)
    return [entry for entries in found.values() for entry in entries]


def _state_of_path() -> tuple[tuple[str, int], ...]:
    """What changes when something is installed or taken away."""
    state = []
    for place in sys.path:
        try:
            state.append((place, os.stat(place or '.').st_mtime_ns))
        except OSError:
            state.append((place, 0))
    return tuple(state)


@functools.lru_cache(maxsize=1)
def _installed(state: object) -> list[tuple[metadata.Distribution, list[metadata.EntryPoint]]]:
    """All that distributions offer. A command asks several times, and each look takes a while."""
    found = []
    for distribution in metadata.distributions():
        with _outliving(distribution):
            found.append((distribution, list(distribution.entry_points)))
    return found


@contextlib.contextmanager
def _outliving(distribution: metadata.Distribution) -> Iterator[None]:
    """One damaged distribution must not hide the others."""
    try:
        yield
    except Exception as error:
        LOG.warning('cannot read the entry points of %s: %s', distribution, error)


@functools.lru_cache
def _plain_name(distribution: metadata.Distribution) -> str:
    return re.sub('[-_.]+', '-', distribution.name or '').lower()


def load(name: str) -> type:
    """The class of a driver; no other driver is imported.

    :param name: an entry point's name, or the path of a class: `package.module:Class`, or dotted.
    :raises DriverNotFound: no distribution offers it; names the nearest.
    :raises DriverLoadError: its distribution is at fault, or two distributions offer it.
    """
    driver_class, source = _load(name, NAMESPACE)
    missing = sorted(_missing(driver_class, BackupDriver.__abstractmethods__))
    if missing:
        raise DriverLoadError(f'the driver {name} of {source} lacks {", ".join(missing)}; '
                              f'{CHECK.format(name)}')
    return driver_class


def load_key_manager(name: str) -> type[KeyManager]:
    """The class of a key manager; see `load`."""
    return load_heir(name, KEY_MANAGERS, KeyManager)


def load_heir(name: str, namespace: str, base: Any) -> type:
    """The class of what inherits `base`; see `load`."""
    found, source = _load(name, namespace)
    if not issubclass(found, base) or inspect.isabstract(found):
        raise DriverLoadError(
            f'the {_WORDS[namespace]} {name} of {source} must inherit {base.__module__}.'
            f'{base.__name__} and write {", ".join(sorted(base.__abstractmethods__))}')
    return found


def _missing(driver_class: type, interface: Iterable[str]) -> set[str]:
    missing = {name for name in interface if not hasattr(driver_class, name)}
    # The same method under the name that Cinder gave it later.
    return missing - ({'delete'} if hasattr(driver_class, 'delete_backup') else set())


def _load(name: str, namespace: str) -> tuple[type, str]:
    found, source = _resolve(name, namespace)
    if not isinstance(found, type):
        raise DriverLoadError(f'the {_WORDS[namespace]} {name} of {source} is not a class')
    return found, source


def _resolve(name: str, namespace: str = NAMESPACE) -> tuple[Any, str]:
    """What the name stands for, and the distribution that it comes from, for messages."""
    known, word = _offered(namespace), _WORDS[namespace]
    info = known.get(name)
    if info is None:
        found, source = _resolve_path(name, known, word)
    elif info.rivals:
        option = 'driver' if namespace == NAMESPACE else 'type'
        raise DriverLoadError(
            f'the {word} {name} is offered by {" and by ".join([str(info), *info.rivals])}; '
            f'remove one of them, or write {option} = {info.target}')
    else:
        bypass_cache(namespace)
        source = str(info)
        found = _import(lambda: driver.DriverManager(namespace, name).driver,
                        f'{word} {name}', source)
    return found, source


def _resolve_path(path: str, known: Iterable[str], word: str) -> tuple[Any, str]:
    match = re.fullmatch(r'([A-Za-z_][\w.]*)[:.]([A-Za-z_]\w*)', path)
    if match is None:
        near = difflib.get_close_matches(path, list(known), n=1)
        hint = f'did you mean {near[0]}?' if near else f'installed: {", ".join(known) or "none"}'
        raise DriverNotFound(f'no installed distribution offers a {word} {path}; {hint}')
    module, class_name = match[1], match[2]
    # Only here, because --help does without what the store imports.
    from backup_framework import store
    source = store.distribution_of(module)
    found = _import(lambda: getattr(importlib.import_module(module), class_name),
                    f'{word} {path}', source)
    return found, source


def _import(action: Callable[[], Any], what: str, source: str) -> Any:
    """Run foreign code, and name the distribution whatever it raises."""
    try:
        return action()
    except (Exception, SystemExit) as error:
        foreign = what.startswith('driver cinder.')
        hint = '; drivers written for Cinder itself do not run here' if foreign else ''
        raise DriverLoadError(f'the {what} of {source} cannot be imported: '
                              f'{type(error).__name__}: {error}{hint}') from error


# Checking. Calls that each method must take: numbers of positional arguments, then keywords; one
# line of calls fits Cinder of early 2017 and the next one today's.

METHOD_CALLS: dict[str, tuple[tuple[int, str], ...]] = {
    'backup': ((2, ''), (3, ''), (2, 'backup_metadata')),
    'delete': ((1, ''),), 'delete_backup': ((1, ''),),
    'export_record': ((1, ''),), 'import_record': ((2, ''),),
    'get_metadata': ((1, ''),), 'put_metadata': ((2, ''),),
    'put_container': ((1, ''),), 'get_container_entries': ((2, ''),),
    'get_object_writer': ((2, ''), (3, ''), (2, 'extra_metadata')),
    'get_object_reader': ((2, ''), (3, ''), (2, 'extra_metadata')),
    'delete_object': ((2, ''),), 'update_container_name': ((2, ''),),
    'get_extra_metadata': ((2, ''),),
    'capabilities': ((0, ''),), 'check_for_setup_error': ((0, ''),), 'close': ((0, ''),),
    'sync': ((1, ''),), 'remove_temporary': ((1, ''),), 'list_containers': ((0, ''),),
    'object_size': ((2, ''),), 'free_space': ((0, ''),), 'clock': ((0, ''),),
    'delete_objects': ((2, ''),), 'remarks': ((0, ''),),
}
OPTIONAL = {
    'check_for_setup_error(self)': 'faults of the configuration show only in the first operation',
    'close(self)': 'connections are not let go',
}
OPTIONAL_CHUNKED = {
    'capabilities(self)': 'nothing beyond the five verbs is used',
    'list_containers(self)': '"catalog rebuild" wants --container',
    'object_size(self, container, object_name)': (
        'a quick verify does not notice uncompressed objects that were cut'),
    'free_space(self)': '"backend check" shows no free space',
    'clock(self)': '"backend check" does not compare the clocks',
    'remarks(self)': '"backend check" does not tell what this server lacks',
    'delete_objects(self, container, object_names)': 'objects are deleted one by one',
    'sync(self, container)': 'a writer itself must make its object durable',
    'remove_temporary(self, older_than)': 'what a killed writer left stays in the store',
}


def check(name_or_class: str | type) -> list[Finding]:
    """What keeps a class from being a driver, in sentences that tell its author what to write.

    :raises DriverNotFound: see `load`, as for DriverLoadError.
    """
    found = _resolve(name_or_class)[0] if isinstance(name_or_class, str) else name_or_class
    if not isinstance(found, type):
        return [Finding('error', f'{name_or_class} is not a class')]
    return [*_check_methods(found), *_check_abstract(found), *_check_restore(found),
            *_check_constructor(found), *_check_options(found), *_check_private(found),
            *_check_optional(found)]


def is_chunked(driver_class: type) -> bool:
    return hasattr(driver_class, 'get_object_writer')


def _interface(driver_class: type) -> dict[str, Callable[..., Any]]:
    """The methods that the class must have."""
    methods = {name: getattr(BackupDriver, name) for name in BackupDriver.__abstractmethods__}
    chunked = BackupChunkedDriver.__abstractmethods__ if is_chunked(driver_class) else ()
    return methods | {name: getattr(BackupChunkedDriver, name) for name in chunked}


def _definition(name: str, method: Callable[..., Any]) -> str:
    """The line that an author writes: `def restore(self, backup, volume_id, volume_file)`."""
    signature = inspect.signature(method)
    plain = [parameter.replace(annotation=inspect.Parameter.empty)
             for parameter in signature.parameters.values()]
    return f'def {name}{inspect.Signature(plain)}'


def _check_methods(driver_class: type) -> Iterator[Finding]:
    interface = _interface(driver_class)
    for name in sorted(_missing(driver_class, interface)):
        yield Finding('error', f'{name} is missing: write {_definition(name, interface[name])}')
    for name, calls in METHOD_CALLS.items():
        if hasattr(driver_class, name):
            line = _definition(name, interface[name]) if name in interface else ''
            yield from _check_method(driver_class, name, calls, line)


def _check_method(driver_class: type, name: str, calls: Iterable[tuple[int, str]],
                  line: str) -> Iterator[Finding]:
    static = inspect.getattr_static(driver_class, name)
    method = getattr(driver_class, name)
    if not callable(method):
        yield Finding('error', f'{name} is not a method but {type(static).__name__}')
        return
    if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
        yield Finding('error', f'{name} is a coroutine and would never run: write def, not async '
                               f'def')
    if inspect.isgeneratorfunction(method) and name not in ('get_container_entries',
                                                            'list_containers', 'remarks'):
        advice = ('put @contextlib.contextmanager above it' if name.startswith('get_object_')
                  else 'use no yield')
        yield Finding('error', f'{name} is a generator and would never run: {advice}')
    if not all(_takes(static, method, count, keyword) for count, keyword in calls):
        wanted = line or f'def {name}({", ".join(["self", *"abc"[:max(c for c, _ in calls)]])})'
        yield Finding('error', f'{name}{_shown(method)} does not take the calls it gets: write '
                               f'{wanted}')


def _shown(method: Any) -> str:
    try:
        return str(inspect.signature(method))
    except (TypeError, ValueError):
        return '(...)'


def _takes(static: Any, method: Any, count: int, keyword: str = '') -> bool:
    """Whether a call with so many positional arguments, and perhaps a keyword, fits."""
    bound = isinstance(static, (classmethod, staticmethod))
    arguments = [None] * (count if bound else count + 1)
    try:
        inspect.signature(method).bind(*arguments, **({keyword: None} if keyword else {}))
    except TypeError:
        return False
    except ValueError:
        pass  # written in C without a signature: nothing can be said
    return True


def _check_abstract(driver_class: type) -> Iterator[Finding]:
    interface = _interface(driver_class)
    for name in sorted(getattr(driver_class, '__abstractmethods__', ())):
        line = f': write {_definition(name, interface[name])}' if name in interface else ''
        yield Finding('error', f'{name} is still abstract{line}')


def _check_restore(driver_class: type) -> Iterator[Finding]:
    """Three arguments, as the interface has it, or four, as Cinder calls it since 23.0."""
    if not hasattr(driver_class, 'restore'):
        return
    static, method = inspect.getattr_static(driver_class, 'restore'), driver_class.restore
    line = 'def restore(self, backup, volume_id, volume_file, volume_is_new=False)'
    yield from _check_method(driver_class, 'restore', (), line)
    if callable(method) and not (_takes(static, method, 3) or _takes(static, method, 4)):
        yield Finding('error', f'restore{_shown(method)} does not take the calls it gets: write '
                               f'{line}')


def _check_constructor(driver_class: type) -> Iterator[Finding]:
    method = driver_class.__init__  # type: ignore[misc]
    fits = _takes(method, method, 1) and _takes(method, method, 1, 'context')
    if method is object.__init__ or not fits:
        yield Finding('error', '__init__ does not take the settings and the context: write def '
                               '__init__(self, settings, context=None)')


def _check_options(driver_class: type) -> Iterator[Finding]:
    options = getattr(driver_class, 'OPTIONS', None)
    if options is None:
        yield Finding('note', 'OPTIONS is missing: the driver has the shared options only')
        return
    if not isinstance(options, (tuple, list)):
        yield Finding('error', 'OPTIONS must be a tuple of backup_framework.model.Option')
        return
    taken = {option.name for option in SHARED} | {'driver'}
    for option in options:
        if not isinstance(option, Option):
            yield Finding('error', f'OPTIONS holds {option!r}, which is not a '
                                   f'backup_framework.model.Option')
            continue
        if option.name in taken:
            yield Finding('error', f'the option {option.name} is there already, shared by all '
                                   f'drivers or named twice: leave it out or rename it')
        taken |= {option.name} | ({f'{option.name}_file'} if option.secret else set())
        yield from _check_option(option)


def _check_option(option: Option) -> Iterator[Finding]:
    if not re.fullmatch(r'[a-z][a-z0-9_]*', option.name):
        yield Finding('error', f'the option {option.name!r} needs a name of small letters, digits '
                               f'and "_"')
    numbers = (OptionType.SIZE, OptionType.INTEGER, OptionType.MODE, OptionType.FLOAT)
    if isinstance(option.default, str) and option.type in numbers:
        yield Finding('error', f'the default of {option.name} is a text: write the ready value, a '
                               f'size in bytes')
    if option.choices and option.default is not None and option.default not in option.choices:
        yield Finding('error', f'the default of {option.name} is none of its choices')
    if option.required and option.default is not None:
        yield Finding('warning', f'the option {option.name} is required and has a default')
    if option.secret and option.default is not None:
        yield Finding('warning', f'the secret option {option.name} has a default, which everybody '
                                 f'can read')
    if not option.help:
        yield Finding('warning', f'the option {option.name} has no help')


def _check_private(driver_class: type) -> Iterator[Finding]:
    """What is private in a base of this package may be gone or mean something else tomorrow."""
    private = {name: base for base in driver_class.__mro__ if _is_ours(base)
               for name in vars(base) if re.match('_(?!_|abc_)', name)}
    for theirs in driver_class.__mro__:
        for name in sorted(private.keys() & vars(theirs).keys()):
            if not _is_ours(theirs):
                yield Finding('warning', f'{name} is a private name of {private[name].__name__}, '
                                         f'which may change at any time: call it differently in '
                                         f'{theirs.__name__}')


def _is_ours(some_class: type) -> bool:
    return some_class.__module__.partition('.')[0] == __name__.partition('.')[0]


def _check_optional(driver_class: type) -> Iterator[Finding]:
    chunked = is_chunked(driver_class)
    for line, price in (OPTIONAL | (OPTIONAL_CHUNKED if chunked else {})).items():
        name = line.partition('(')[0]
        if not hasattr(driver_class, name):
            yield Finding('note', f'def {line} is missing: {price}')
    if not hasattr(driver_class, 'verify'):
        yield Finding('note', 'verify is missing: backups of this driver cannot be verified; '
                              'inherit backup_framework.driver.chunked.ChunkedBackupDriver to '
                              'have it, and progress')
