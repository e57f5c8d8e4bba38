"""backup-framework: the application around the commands."""

from __future__ import annotations

import argparse
import atexit
from collections.abc import Sequence
import gc
import os
import sys
from typing import Any

from cliff import app

from backup_framework import __version__, loader
from backup_framework.cmd import base, commands, exit_codes

COMMANDS = 'backup_framework.commands'
_CLIFFS = ('cliff.formatter.list', 'cliff.formatter.show', 'cliff.formatter.completion')
_ANYWHERE = {'--debug': 0, '--quiet': 0, '-q': 0, '--config-file': 1, '--endpoint': 1,
             '--os-cloud': 1}
"""Options of the application that may stand behind the verb too, with how many values they take."""


class App(app.App):
    """Backs volumes up to any store, incrementally, and restores and verifies them."""

    NAME = 'backup-framework'

    def __init__(self) -> None:
        for namespace in _CLIFFS:
            loader.bypass_cache(namespace)
        manager = commands.Commands(COMMANDS)
        # cliff would look for hooks on every command, and have their absence written to ~/.cache.
        for name in (*manager.commands, 'help', 'complete'):
            loader.declare_empty(f'{COMMANDS}.{name.replace(" ", "_")}')
        super().__init__(description=str(self.__doc__), version=__version__,
                         command_manager=manager, deferred_help=True)

    def build_option_parser(self, description: str | None, version: str | None,
                            argparse_kwargs: dict[str, Any] | None = None
                            ) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(
            prog=self.NAME, description=description, add_help=False, allow_abbrev=False)
        parser.add_argument('--version', action='version', version=f'%(prog)s {version}')
        parser.add_argument('--config-file', action='append', metavar='FILE', default=[],
                            help='read this file instead of /etc/backup_framework; repeatable')
        service = parser.add_mutually_exclusive_group()
        service.add_argument('--endpoint', metavar='URL',
                             help='ask the service at this address, such as '
                                  'http://127.0.0.1:8776/v3/PROJECT, and not the local catalog; '
                                  'OS_USERNAME and OS_PASSWORD say who asks')
        service.add_argument('--os-cloud', metavar='NAME',
                             help='ask the service of this cloud of clouds.yaml')
        parser.add_argument('-q', '--quiet', action='store_true',
                            help='no progress and no warnings')
        parser.add_argument('--debug', action='store_true',
                            help='log everything, and show tracebacks of errors')
        parser.add_argument('-h', '--help', action='store_true', dest='deferred_help',
                            help='show this help, or that of a command, and exit')
        return parser

    def configure_logging(self) -> None:
        """Each command sets logging up with the configuration it reads."""

    def run(self, argv: list[str]) -> int:
        self.options = argparse.Namespace()
        if not argv:
            argv = ['--help']
        return super().run(_options_first(argv))

    def interact(self) -> None:
        """Options but no command: as without any. cliff would open a shell."""
        self.options.deferred_help = True
        self.print_help_if_requested()

    def run_subcommand(self, argv: list[str]) -> int:
        self.options.verbose_level = 0
        try:
            command = self.command_manager.find_command(argv)[0]
        except ValueError:
            print(f'Error: {self._unknown(argv)}', file=sys.stderr)
            return exit_codes.USAGE
        if issubclass(command, commands.Broken):
            print(f'Error: {base.printable(command.reason)}', file=sys.stderr)
            return exit_codes.USAGE
        return super().run_subcommand(argv)

    def _unknown(self, argv: list[str]) -> str:
        """cliff says this on stdout, which belongs to results."""
        options = [word for word in argv if word.startswith('-')]
        if argv[0].startswith('-'):
            return f'there is no option {options[0]}; "{self.NAME} --help" shows those there are'
        near = ', '.join(self.get_fuzzy_matches(argv[0]))
        return (f'there is no command {" ".join(argv)[:80]}; '
                + (f'did you mean one of {near}?' if near else f'see "{self.NAME} --help"'))


def _options_first(argv: Sequence[str]) -> list[str]:
    """Move the application's options in front of the verb, where cliff looks for them."""
    first: list[str] = []
    rest: list[str] = []
    waiting = list(argv)
    while waiting:
        word = waiting.pop(0)
        if word == '--':
            rest += [word, *waiting]
            break
        name, _, value = word.partition('=')
        if name in _ANYWHERE and (not value or _ANYWHERE[name]):
            first.append(word)
            count = 0 if value else _ANYWHERE[name]
            first += waiting[:count]
            del waiting[:count]
        else:
            rest.append(word)
    return first + rest


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    # Importing makes many objects and no garbage. At the end all of them go anyway.
    gc.set_threshold(base.MANY_OBJECTS)
    atexit.register(gc.freeze)
    _open_missing_streams()
    try:
        code = App().run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        base.drop_stdout()
        return exit_codes.BROKEN_PIPE
    except OSError as error:
        # The command has caught its own; this one is of the output.
        base.drop_stdout()
        print(f'Error: the output cannot be written: {error.strerror}', file=sys.stderr)
        return exit_codes.STORE
    except KeyboardInterrupt as error:
        return exit_codes.of(error)


def _open_missing_streams() -> None:
    """Whoever starts us without them must not have a volume open as standard output."""
    for number, name in enumerate(('stdin', 'stdout', 'stderr')):
        if getattr(sys, name) is None:
            base.MISSING.add(name)
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, open(number, 'w' if number else 'r'))


if __name__ == '__main__':
    sys.exit(main())
