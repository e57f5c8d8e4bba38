"""Reads options from oslo.config, with errors that name file, section and option, no secret."""

from __future__ import annotations

from collections.abc import Iterable
import difflib
import os
import re
import shlex
from typing import Any

from oslo_config import cfg

from backup_framework.conf import files, masking
from backup_framework.conf.core import DEFAULTS
from backup_framework.exceptions import ConfigurationError

SECRET_FILE_LIMIT = 64 << 10
_NAME = re.compile(r'\$(?:(\w+)|\{(\w+)\})')
_REFERENCE = re.compile(r'\$\{?[_a-z]', re.IGNORECASE)


class Values:
    """Options of one oslo.config object.

    :ivar oslo: the `cfg.ConfigOpts`, its files parsed.
    :ivar text: the same files as text.
    :ivar warnings: sentences for the user, added to.
    """

    def __init__(self, oslo: cfg.ConfigOpts, text: files.Text) -> None:
        self.oslo = oslo
        self.text = text
        self.warnings: list[str] = []
        self._registered: list[tuple[list[cfg.Opt], str]] = []

    def register(self, options: Iterable[cfg.Opt], section: str) -> None:
        """As often as one likes: daemons read some sections again and again."""
        group = cfg.OptGroup(section)
        new = [option for option in options if self.oslo.register_opt(option, group=group)]
        if new:
            self._registered.append((new, section))

    def unregister(self) -> None:
        """Leave the oslo.config object as it was before; values are gone afterwards."""
        self.oslo.reset()
        for options, section in self._registered:
            self.oslo.unregister_opts(options, group=section)
        self._registered.clear()

    def given(self, section: str | None, name: str) -> bool:
        """Whether a file, the environment or an override says something."""
        info = self.oslo.get_location(name, section)
        defaults = (cfg.Locations.opt_default, cfg.Locations.set_default)
        return info is not None and info.location not in defaults

    def get(self, section: str | None, name: str, *, secret: bool = False) -> Any:
        """The value of a registered option.

        :raises ConfigurationError: it is not what its type wants.
        """
        where = self.label(section, name)
        try:
            return self.oslo[name] if section is None else self.oslo[section][name]
        except (cfg.NoSuchOptError, cfg.TemplateSubstitutionError, RecursionError):
            raise ConfigurationError(
                f'{where} refers to itself or to an option that does not exist; a plain $ is '
                f'written $$') from None
        except ValueError as error:
            raise self._wrong(section, name, error, secret) from None

    def words(self, section: str | None, name: str) -> tuple[str, ...]:
        """A command as words for an exec without a shell; none where the option is not set.

        :raises ConfigurationError: its quotes do not match.
        """
        try:
            return tuple(shlex.split(self.get(section, name) or ''))
        except ValueError as error:
            raise ConfigurationError(f'{self.label(section, name)} cannot be split into words: '
                                     f'{str(error).lower()}') from None

    def set_default(self, section: str, name: str, source: str, *, secret: bool) -> None:
        """Make what section `source` says of an option the default of another section's."""
        raw = self.raw(source, name)
        if secret:
            self.refuse_reference(source, name)
        try:
            self.oslo.set_default(name, raw, group=section)
        except ValueError as error:
            raise self._wrong(source, name, error, secret) from None

    def refuse_reference(self, section: str, name: str) -> None:
        """A password like pa$path would silently become another one."""
        raw = self.raw(section, name)
        masking.add_secret(raw)
        if _REFERENCE.search(raw.replace('$$', '').replace(r'\$', '')):
            raise ConfigurationError(f'{self.label(section, name)}: a $ in a secret is written $$ '
                                     f'here; {name}_file takes it as it is')

    def label(self, section: str | None, name: str) -> str:
        """How messages name an option: `FILE: [SECTION] NAME`."""
        section = section or 'DEFAULT'
        file = self.text.where(section, name)
        return f'{file}: [{section}] {name}' if file else f'[{section}] {name}'

    def texts(self, section: str, implied: dict[str, str]) -> list[str]:
        """What stands in a backend's section, references replaced as far as they are known."""
        default = self.text.options('DEFAULT') | {'state_path': self.oslo.state_path}
        options = implied | self.text.options(DEFAULTS) | self.text.options(section)
        known = default | options
        return [_NAME.sub(lambda match: known.get(match[1] or match[2], match[0]), text)
                for text in options.values()]

    def raw(self, section: str | None, name: str) -> str:
        """What stands in the environment or a file, as it is written; '' where nothing does."""
        variable = f'OS_{(section or "DEFAULT").upper()}__{name.upper()}'
        return os.environ.get(variable) or self.text.options(section or 'DEFAULT').get(name, '')

    def _wrong(self, section: str | None, name: str, error: ValueError,
               secret: bool) -> ConfigurationError:
        label = self.label(section, name)
        if secret:
            return ConfigurationError(f'{label} is not valid (its value is secret and not shown)')
        raw = self.raw(section, name)
        reason = str(error).rpartition('is not valid: ')[2]
        return ConfigurationError(f'{label} must be {reason}, not {raw!r}')

    def secret(self, section: str, name: str) -> Any:
        """The value of a secret option, from itself or from the file that `NAME_file` names."""
        value = self.get(section, name, secret=True)
        file = self.get(section, f'{name}_file')
        if file is not None and self._prefers_file(section, name):
            value = read_secret(file, self.label(section, f'{name}_file'), self.warnings)
        return value

    def _prefers_file(self, section: str, name: str) -> bool:
        """A value of the section itself wins over one that came in as a default.

        :raises ConfigurationError: option and file are given side by side.
        """
        here, there = self.given(section, name), self.given(section, f'{name}_file')
        if here == there and self.oslo[section][name] is not None:
            raise ConfigurationError(
                f'{self.label(section, name)} and {name}_file are both given; keep one')
        return there or not here


def read_secret(file: str, label: str, warnings: list[str]) -> str:
    """The text of a secret's file without the end of its last line.

    :param label: what names the file.
    :param warnings: gets one where others can read it.
    """
    try:
        with open(file, 'rb') as stream:
            mode = os.fstat(stream.fileno()).st_mode
            data = stream.read(SECRET_FILE_LIMIT + 1)
        text = data.decode().rstrip('\r\n')
    except OSError as error:
        raise ConfigurationError(f'{label}: cannot read {file}: {error.strerror}') from None
    except UnicodeDecodeError:
        raise ConfigurationError(f'{label}: {file} is not a text in UTF-8') from None
    if not text or len(data) > SECRET_FILE_LIMIT:
        fault = 'is empty' if not text else 'is longer than 64 KiB'
        raise ConfigurationError(f'{label}: {file} {fault}')
    if mode & 0o004:
        warnings.append(f'{file} holds a secret and can be read by every user of this '
                        f'machine; chmod 600 it')
    return text


def nearest(name: str, known: Iterable[str]) -> str:
    """A phrase that names what was probably meant, or '' ."""
    matches = difflib.get_close_matches(name.lower().replace('-', '_'), list(known), n=1)
    return f'; did you mean {matches[0]}?' if matches else ''
