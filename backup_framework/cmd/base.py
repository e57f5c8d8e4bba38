"""What the commands share: a manager to work with, and errors as sentences and exit codes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import contextlib
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any

from cliff import command, lister, show

from backup_framework.cmd import exit_codes

if TYPE_CHECKING:
    from backup_framework import conf
    from backup_framework.engine.monitor import Monitor
    from backup_framework.manager import Manager


class Failed(Exception):
    """The command has said why; only the exit code is left to tell."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Base(command.Command):
    """A command whose errors are one sentence each, unless `--debug` wants the traceback."""

    def get_epilog(self) -> str:
        """Nothing: cliff would read what is installed to name a command's distribution."""
        return ''

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        # A script must not depend on what the other options are.
        parser.allow_abbrev = False
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        try:
            return int(super().run(parsed_args) or exit_codes.DONE)
        except Failed as failed:
            return failed.code
        except BrokenPipeError:
            raise
        except (Exception, KeyboardInterrupt) as error:
            report(error, self.options.debug)
            return exit_codes.of(error)

    @property
    def options(self) -> argparse.Namespace:
        """The options in front of the verb."""
        return self.app.options

    def configuration(self) -> conf.Configuration:
        """Read the files and set up logging."""
        from backup_framework import conf
        configuration = conf.load(self.options.config_file or None)
        conf.setup_logging(configuration, debug=self.options.debug, quiet=self.options.quiet)
        for sentence in configuration.warnings:
            self.warn(sentence)
        return configuration

    @contextlib.contextmanager
    def manager(self) -> Iterator[Manager]:
        """A manager, with SIGINT and SIGTERM asking its operation to stop."""
        from backup_framework import manager
        configuration = self.configuration()
        monitor = self._monitor()
        with (manager.Manager(configuration, monitor=monitor, warn=self.warn) as opened,
              stopping(monitor)):
            if self.options.debug:
                print(configuration.describe_source(), file=sys.stderr)
            yield opened

    def _monitor(self) -> Monitor:
        if self.options.quiet or not sys.stderr.isatty():
            from backup_framework.engine import monitor
            return monitor.Monitor()
        from backup_framework.cmd import progress
        return progress.TerminalMonitor()

    def warn(self, sentence: str) -> None:
        if not self.options.quiet:
            say(f'Warning: {sentence}')


class Lister(Base, lister.Lister):
    """A command that lists."""

    def produce_output(self, *args: Any) -> int:
        with _usage_errors():
            return int(super().produce_output(*args))


class ShowOne(Base, show.ShowOne):
    """A command that shows one thing."""

    def produce_output(self, *args: Any) -> int:
        with _usage_errors():
            return int(super().produce_output(*args))


@contextlib.contextmanager
def _usage_errors() -> Iterator[None]:
    """cliff complains with a ValueError of columns that do not exist."""
    try:
        yield
    except ValueError as error:
        from backup_framework import exceptions
        raise exceptions.InvalidInput(str(error).strip('.')) from error


def say(sentence: str) -> None:
    """One line on stderr, with secrets masked."""
    from backup_framework import conf
    print(printable(conf.mask(sentence)), file=sys.stderr)


def printable(text: str) -> str:
    """With escapes for what would move the cursor of a terminal: text comes from stores too."""
    return ''.join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def report(error: BaseException, debug: bool = False) -> None:
    """Say what went wrong in a sentence, and what is known besides."""
    if debug:
        traceback.print_exception(error)
    from backup_framework import exceptions
    text = str(error) or type(error).__name__
    if isinstance(error, KeyboardInterrupt | exceptions.OperationCancelled):
        text = 'interrupted; the operation was not completed'
    elif not isinstance(error, exceptions.BackupFrameworkError):
        text = (f'internal error: {type(error).__name__}: {text}. Please report it with what '
                '--debug prints.')
    say(f'Error: {text}')
    for note in getattr(error, '__notes__', ()):
        say(note)


@contextlib.contextmanager
def stopping(monitor: Monitor) -> Iterator[None]:
    """SIGINT and SIGTERM ask the operation to stop; a second one does not ask."""
    previous: dict[int, Any] = {}

    def ask(number: int, frame: object) -> None:
        monitor.cancel(number)
        signal.signal(number, previous[number])

    for number in (int(signal.SIGINT), int(signal.SIGTERM)):
        previous[number] = signal.signal(number, ask)
    try:
        yield
    finally:
        for asked, handler in previous.items():
            signal.signal(asked, handler)


def key_value(text: str) -> tuple[str, str]:
    """An argparse type for K=V."""
    key, separator, value = text.partition('=')
    if not key or not separator:
        raise argparse.ArgumentTypeError(f'{text!r} is not of the form KEY=VALUE')
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f'{text!r} is not valid text') from None
    return key, value
