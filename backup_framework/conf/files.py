"""Which files are read, and what stands in them, before any option is known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
import dataclasses
import os

from oslo_config import cfg, iniparser

from backup_framework.exceptions import ConfigurationError

MAIN_FILE = '/etc/backup_framework/backup_framework.conf'
MAIN_DIRECTORY = '/etc/backup_framework/backup_framework.conf.d'

Sections = dict[str, dict[str, list[str]]]


@dataclasses.dataclass(frozen=True)
class Text:
    """All files as text: per file, section and option the values given, last one in force."""

    files: dict[str, Sections]

    def sections(self) -> Iterator[str]:
        """Names of the sections with at least one option, each once, in the order of the files."""
        names = (name for sections in self.files.values()
                 for name, options in sections.items() if options)
        yield from dict.fromkeys(names)

    def options(self, section: str) -> dict[str, str]:
        """The options of a section and their text, merged over the files.

        Names of sections do not differ by case, because oslo.config's do not.
        """
        merged: dict[str, str] = {}
        for sections in self.files.values():
            for name, options in sections.items():
                if same_section(name, section):
                    merged.update({option: values[-1] for option, values in options.items()})
        return merged

    def where(self, section: str, option: str) -> str:
        """The file whose value is in force, or '' if no file has one."""
        for file in reversed(self.files):
            for name, options in self.files[file].items():
                if same_section(name, section) and option in options:
                    return file
        return ''

    def repeated(self) -> Iterator[tuple[str, str, str]]:
        """(file, section, option) of options given more than once in one file's section."""
        for file, sections in self.files.items():
            for section, options in sections.items():
                for option, values in options.items():
                    if len(values) > 1:
                        yield file, section, option


def same_section(one: str, other: str) -> bool:
    return one == other or one.lower() == other.lower() != 'default'


def find(config_files: Iterable[str] | None, config_dirs: Iterable[str] | None) -> list[str]:
    """The files to read, in order; of the default ones only those that exist.

    :raises ConfigurationError: a file or directory was named and is missing, or one is there and
        cannot be looked at.
    """
    if config_files is None and config_dirs is None:
        return _existing(MAIN_FILE) + _listing(MAIN_DIRECTORY, required=False)
    found = [os.path.abspath(os.path.expanduser(file)) for file in config_files or ()]
    for directory in config_dirs or ():
        found += _listing(os.path.abspath(os.path.expanduser(directory)), required=True)
    return found


def _existing(file: str) -> list[str]:
    try:
        os.stat(file)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _unreadable(file, error) from None
    return [file]


def _listing(directory: str, required: bool) -> list[str]:
    try:
        names = sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError) as error:
        if required:
            raise _unreadable(directory, error) from None
        return []
    except OSError as error:
        raise _unreadable(directory, error) from None
    return [os.path.join(directory, name) for name in names
            if name.endswith('.conf') and not name.startswith('.')]


def _unreadable(path: str, error: OSError) -> ConfigurationError:
    return ConfigurationError(f'cannot read the configuration {path}: {error.strerror}')


def read(files: Iterable[str]) -> Text:
    """:raises ConfigurationError: naming file, line and what is wrong, never what stands there."""
    return Text({file: _read_one(file) for file in files})


def _read_one(file: str) -> Sections:
    sections: Sections = {}
    parser = cfg.ConfigParser(file, sections)
    try:
        parser.parse()
    except iniparser.ParseError as error:
        # The line itself may hold a secret.
        raise ConfigurationError(
            f'{file}, line {error.lineno}: {error.msg[:1].lower()}{error.msg[1:]}') from None
    except UnicodeDecodeError:
        raise ConfigurationError(f'{file} is not a text in UTF-8') from None
    except OSError as error:
        raise _unreadable(file, error) from None
    return sections
