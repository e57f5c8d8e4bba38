"""What the commands share: a manager to work with, and errors as sentences and exit codes."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
import contextlib
import gc
import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO, cast

from cliff import command, lister, show

from backup_framework.cmd import exit_codes

if TYPE_CHECKING:
    import datetime

    from backup_framework import conf
    from backup_framework.cmd.remote import Manager as Service
    from backup_framework.engine.monitor import Monitor
    from backup_framework.manager import Manager
    from backup_framework.model import Extent


MANY_OBJECTS = 100_000
"""How many the garbage collector lets a command make until its manager is there."""

_USUAL = gc.get_threshold()


_errors: list[str] = []
"""What this process has reported, for who watches."""


class OutputFailed(Exception):
    """The work is done, but its result cannot be written."""


class Base(command.Command):
    """A command whose errors are one sentence each, unless `--debug` wants the traceback.

    An action that does its work but has bad news sets `code`.

    :cvar observed: it makes, changes or verifies backups: who watches is told what came of it.
    :cvar remote: it can be done by a service as well.
    """

    observed = False
    remote = False
    _configuration: conf.Configuration | None = None

    def get_epilog(self) -> str:
        """Nothing: cliff would read what is installed to name a command's distribution."""
        return ''

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        # A script must not depend on what the other options are.
        parser.allow_abbrev = False
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        code = self._run(parsed_args)
        if self.observed and self._configuration is not None:
            from backup_framework.manager import observing
            for sentence in observing.tell(self._configuration, str(self.cmd_name), code,
                                           _errors):
                self.warn(sentence)
        return code

    def _run(self, parsed_args: argparse.Namespace) -> int:
        self.code = exit_codes.DONE
        try:
            return int(super().run(parsed_args) or self.code)
        except BrokenPipeError:
            raise
        except OutputFailed as error:
            drop_stdout()
            error_line(f'the output cannot be written: {error}')
            return exit_codes.STORE
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
        self._configuration = configuration
        return configuration

    @contextlib.contextmanager
    def manager(self) -> Iterator[Manager]:
        """A manager, with SIGINT and SIGTERM asking its operation to stop."""
        monitor = self._monitor()
        # An empty one, of a variable that is not set, must not mean the local catalog.
        if self.options.endpoint is not None or self.options.os_cloud is not None:
            with self._service(monitor) as service, stopping(monitor):
                # It has those methods of a manager that such a command uses.
                yield cast('Manager', service)
            return
        configuration = self.configuration()
        from backup_framework import manager
        with (manager.Manager(configuration, monitor=monitor, warn=self.warn) as opened,
              stopping(monitor)):
            gc.freeze()
            gc.set_threshold(*_USUAL)
            if self.options.debug:
                print(configuration.describe_source(), file=sys.stderr)
            yield opened

    def _service(self, monitor: Monitor) -> Service:
        """:raises InvalidInput: the command is about this host."""
        if not self.remote:
            from backup_framework import exceptions
            raise exceptions.InvalidInput(
                f'"{self.cmd_name}" works on the local catalog: leave --endpoint and --os-cloud '
                'out')
        from backup_framework.cmd import remote
        return remote.Manager(
            remote.connect(self.options.endpoint, self.options.os_cloud, self.warn), monitor)

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
        with _output():
            return int(super().produce_output(*args))


class ShowOne(Base, show.ShowOne):
    """A command that shows one thing."""

    def produce_output(self, *args: Any) -> int:
        with _output():
            return int(super().produce_output(*args))


@contextlib.contextmanager
def _output() -> Iterator[None]:
    """cliff complains with a ValueError of columns that do not exist."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputFailed(error.strerror) from error
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


def error_line(sentence: str) -> None:
    """What went wrong: on stderr, and for those who watch."""
    from backup_framework import conf
    _errors.append(conf.mask(sentence))
    say(f'Error: {sentence}')


def sentence_of(error: BaseException) -> str:
    """What an error says, and how to do better on the command line."""
    return f'{error}{getattr(error, "advice", "")}'


def report(error: BaseException, debug: bool = False) -> None:
    """Say what went wrong in a sentence, and what is known besides."""
    if debug:
        from backup_framework import conf
        print(conf.mask(''.join(traceback.format_exception(error))), file=sys.stderr)
    from backup_framework import exceptions
    text = sentence_of(error) or type(error).__name__
    if isinstance(error, KeyboardInterrupt | exceptions.OperationCancelled):
        text = 'interrupted; the operation was not completed'
    elif not isinstance(error, exceptions.BackupFrameworkError):
        text = (f'internal error: {type(error).__name__}: {text}. Please report it with what '
                '--debug prints.')
    error_line(text)
    for note in getattr(error, '__notes__', ()):
        say(note)


@contextlib.contextmanager
def stopping(monitor: Monitor) -> Iterator[None]:
    """SIGINT and SIGTERM ask the operation to stop; a second one ends it where it is.

    Also then what must be undone is undone. A third one ends the process, whose threads may be
    waiting for a store that hangs; a volume that was frozen wakes up before.
    """
    from backup_framework import exceptions
    from backup_framework.manager import hooks
    previous: dict[int, Any] = {}
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        asked.append(number)
        if len(asked) == 1:
            monitor.cancel(number)
        elif len(asked) == 2:
            raise exceptions.OperationCancelled(signal=number)
        else:
            signal.signal(number, signal.SIG_DFL)
            hooks.thaw_all()
            signal.raise_signal(number)

    for number in (int(signal.SIGINT), int(signal.SIGTERM)):
        previous[number] = signal.signal(number, ask)
    try:
        yield
    finally:
        hooks.thaw_all()
        for number, handler in previous.items():
            signal.signal(number, handler)


def drop_stdout() -> None:
    """Nothing more can be written to it; Python would complain again when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def add_backup(parser: argparse.ArgumentParser) -> None:
    """The argument of commands on one backup."""
    parser.add_argument('backup', metavar='ID', help='id, name or beginning of an id')


def add_adopt(parser: argparse.ArgumentParser) -> None:
    """The option of commands that write backups."""
    parser.add_argument('--adopt', action='store_true',
                        help='take the container over from another installation, which must not '
                             'use it any more')


def add_resume(parser: argparse.ArgumentParser) -> None:
    """The option of commands that read volumes."""
    parser.add_argument('--resume', action='store_true',
                        help='go on with what an interrupted backup stored, and leave it there '
                             'for the next time if this one is interrupted')


class _Format(argparse.Action):
    """`--format` of commands that write backups: of a backup, or, as elsewhere, of the output."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace,
                 values: Any, option_string: str | None = None) -> None:
        from backup_framework.driver import options
        setattr(namespace, self.dest if values in options.FORMATS else 'formatter', values)


def add_format(parser: argparse.ArgumentParser, formatters: Iterable[str]) -> None:
    """The option for one of the formats that this release writes.

    cliff has an option of this name; its short form stays, and its values are still understood.

    :param formatters: these values.
    """
    from backup_framework.driver import options
    group = parser.add_argument_group('format of the backup', conflict_handler='resolve')
    group.add_argument('--format', metavar='F', dest='version', action=_Format,
                       choices=[*options.FORMATS, *formatters],
                       help=f"{' or '.join(options.FORMATS)}; else the backend's, and for an "
                            "incremental backup its parent's")


MISSING: set[str] = set()
"""Standard streams that the command was started without."""


def binary_stdin() -> BinaryIO:
    """:raises InvalidInput: it is closed, or a terminal."""
    return _pipe('stdin', 'read a volume from')


def binary_stdout() -> BinaryIO:
    """:raises InvalidInput: it is closed, or a terminal."""
    return _pipe('stdout', 'write a volume to')


def _pipe(name: str, what: str) -> BinaryIO:
    from backup_framework import exceptions
    stream: TextIO = getattr(sys, name)
    if name in MISSING:
        raise exceptions.InvalidInput(f'cannot {what} {name}: it is closed')
    if stream.isatty():
        raise exceptions.InvalidInput(f'cannot {what} a terminal: use a pipe or a file')
    return stream.buffer


def extent(text: str) -> Extent:
    """An argparse type for OFFSET:LENGTH, each a number of bytes or a size such as 4KiB."""
    from backup_framework import conf, model
    words = text.split(':')
    if len(words) != 2:
        raise argparse.ArgumentTypeError(f'{text!r} is not of the form OFFSET:LENGTH')
    try:
        offset, length = map(conf.parse_size, words)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f'{text!r} is not of the form OFFSET:LENGTH, each {error}') from None
    if offset < 0 or length <= 0:
        raise argparse.ArgumentTypeError(f'{text!r} holds no bytes of a volume')
    return model.Extent(offset, length)


def count(text: str) -> int:
    """An argparse type for how many."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f'{text!r} is not a number of backups')
    return int(text)


def duration(text: str) -> datetime.timedelta:
    """An argparse type for lengths of time such as 30d."""
    from backup_framework import conf
    try:
        return conf.parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'{text!r} is not {error}') from None


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
