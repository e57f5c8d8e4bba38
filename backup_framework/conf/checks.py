"""Looks for what was probably misspelled: sections and options that nobody reads."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
import difflib
import re

from backup_framework.conf import api, core, retention, schedules, service, sources
from backup_framework.conf.files import Text, same_section
from backup_framework.conf.values import Values, nearest
from backup_framework.driver.options import SHARED
from backup_framework.exceptions import ConfigurationError

# Sections that are there once, with their options.
_PLAIN = {'database': core.DATABASE, retention.SECTION: retention.OPTIONS,
          api.API: api.API_OPTIONS, api.QUOTA: api.QUOTA_OPTIONS,
          service.SERVICE: service.SERVICE_OPTIONS, service.JOBBOARD: service.JOBBOARD_OPTIONS}
BACKEND_NAME = re.compile(r'[A-Za-z0-9_][A-Za-z0-9_.-]*')


def check_backend_names(names: list[str], reserved: Iterable[str]) -> None:
    """:raises ConfigurationError: a name that cannot be that of a section of its own."""
    taken = {name.lower() for name in reserved} | {
        core.DEFAULTS, 'default', *_PLAIN}
    for name in names:
        if not BACKEND_NAME.fullmatch(name):
            raise ConfigurationError(f'enabled_backends: {name!r} cannot be the name of a backend '
                                     f'(letters, digits, "_", "-" and ".")')
        if name.lower() in taken or name.lower().startswith('oslo_'):
            raise ConfigurationError(f'enabled_backends: the name {name} is taken by something '
                                     f'else; call the backend differently')
    lowered = [name.lower() for name in names]
    twice = [name for name in names if lowered.count(name.lower()) > 1]
    if twice:
        raise ConfigurationError(f'enabled_backends names {" and ".join(twice)}, which differ at '
                                 f'most in case')


def belongs_elsewhere(section: str, options: Container[str]) -> bool:
    """Whether others read the section. A library's common name may be a backend's as well."""
    if section in core.LIBRARY_GROUPS:
        return 'driver' not in options
    ours = (core.VOLUME, core.KEY, schedules.PREFIX, sources.PREFIX)
    return section.lower().startswith(ours) or section.startswith('oslo_')


def check_case(text: Text) -> None:
    """:raises ConfigurationError: two sections that oslo.config would merge."""
    seen: dict[str, str] = {}
    for section in text.sections():
        other = seen.setdefault(section.lower(), section)
        if other != section and 'default' != section.lower():
            raise ConfigurationError(f'the sections [{other}] and [{section}] differ only in '
                                     f'case, which makes them one; rename one of them')


def warnings(values: Values, backends: list[str], default_names: Iterable[str]) -> Iterator[str]:
    """Sentences about unknown sections, unknown options and options that are given twice."""
    yield from _sections(values.text, backends)
    for section in values.text.sections():
        yield from _options(values, section, default_names)
    yield from _near_shared(values)
    for file, section, option in values.text.repeated():
        yield f'{file}: [{section}] {option} is given more than once; the last one counts'


def _sections(text: Text, backends: list[str]) -> Iterator[str]:
    known = [*backends, core.DEFAULTS, 'DEFAULT', *_PLAIN]
    for section in text.sections():
        options = text.options(section)
        if (any(same_section(section, name) for name in known)
                or belongs_elsewhere(section, options)):
            continue
        hint = nearest(section, known)
        if 'driver' in options:
            hint = hint or f'; a backend is used only if enabled_backends names it: {section}'
        yield f'section [{section}] is not used{hint}'


def _options(values: Values, section: str, default_names: Iterable[str]) -> Iterator[str]:
    if section == 'DEFAULT':
        known = set(default_names) | core.LIBRARY_DEFAULTS
    elif section.lower() in _PLAIN:
        known = {option.dest for option in _PLAIN[section.lower()]}
    elif section.lower().startswith(core.VOLUME):
        known = {option.dest for option in (*core.VOLUMES, *retention.OPTIONS)}
    elif section.lower().startswith(schedules.PREFIX):
        known = {option.dest for option in (*schedules.OPTIONS, *schedules.RETENTION)}
    else:
        return
    for name in values.text.options(section):
        if name not in known:
            yield (f'{values.label(section, name)} is not an option of this section'
                   f'{nearest(name, known)}')


def _near_shared(values: Values) -> Iterator[str]:
    """Misspelled shared options; other names may belong to a driver that is not loaded."""
    shared = [option.name for option in SHARED]
    for name in values.text.options(core.DEFAULTS):
        close = difflib.get_close_matches(name, shared, n=1, cutoff=0.85)
        if name not in shared and close:
            yield f'{values.label(core.DEFAULTS, name)}{nearest(name, shared)}'
