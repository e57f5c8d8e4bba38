"""Logging for the commands and daemons: oslo.log, short lines on the terminal, no secrets."""

from __future__ import annotations

import logging
import os
import sys
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from oslo_config import cfg
from oslo_log import _options

from backup_framework.conf import core, files, masking
from backup_framework.exceptions import ConfigurationError

if TYPE_CHECKING:
    from backup_framework.conf.configuration import Configuration

SHORT = '%(levelname)s: %(message)s'
LONG = '%(asctime)s %(levelname)s %(name)s: %(message)s'


def options() -> list[cfg.Opt]:
    """Those of oslo.log, all of [DEFAULT], from the module that its entry point names.

    The rest of it takes longer to import than all of oslo.config, and most installations say
    nothing of logging.
    """
    return [option for _, found in _options.list_opts() for option in found]


def register_options(oslo: cfg.ConfigOpts, text: files.Text) -> None:
    """Register what oslo.log reads. It does so itself where it may have been told anything."""
    ours = {option.dest for option in core.CORE}
    if (not set(text.options('DEFAULT')) <= ours
            or any(name.startswith('OS_DEFAULT__') for name in os.environ)):
        from oslo_log import log
        log.register_options(oslo)
    # It leaves some of them to when they are first used.
    oslo.register_opts(options())


def setup_logging(configuration: Configuration, debug: bool = False, quiet: bool = False,
                  stream: TextIO | None = None) -> None:
    """Send log records where the options of oslo.log say, and warnings to the terminal.

    :param debug: everything, with time and module.
    :param quiet: errors only, on the terminal.
    :param stream: the terminal; stderr by default.
    :raises ConfigurationError: a log file cannot be written, or an option of oslo.log is wrong.
    """
    oslo = configuration.oslo
    debug = debug or configuration.debug
    terminal = _terminal(debug, quiet, stream)
    root = logging.getLogger()
    if debug or _is_told(oslo):
        oslo.set_override('debug', debug)
        _setup_oslo_log(oslo)
        _drop_stdout(root)
    else:
        # Nobody but the terminal listens.
        for handler in list(root.handlers):
            root.removeHandler(handler)
        root.setLevel(terminal.level)
        sys.excepthook = _log_unhandled
    if not (oslo.log_config_append or oslo.use_stderr):
        root.addHandler(terminal)
    for handler in _all_handlers():
        masking.install(handler)


def prepare_daemon_logging(oslo: cfg.ConfigOpts) -> None:
    """Before the files are loaded: a changed `debug` takes effect when they are read again."""
    from oslo_log import log
    log.set_defaults(default_log_levels=[*log.get_default_log_levels(), 'alembic=WARN'])
    log.register_options(oslo)


def setup_daemon_logging(configuration: Configuration) -> None:
    """As oslo.log does, with the ids of requests; to stderr where no place is configured.

    :raises ConfigurationError: a log file cannot be written, or an option of oslo.log is wrong.
    """
    oslo = configuration.oslo
    told = (oslo.log_file, oslo.log_dir, oslo.use_syslog, oslo.use_journal)
    if not any(told):
        oslo.set_default('use_stderr', True)
    _setup_oslo_log(oslo)
    logging.captureWarnings(True)
    for handler in _all_handlers():
        masking.install(handler)


def _is_told(oslo: cfg.ConfigOpts) -> bool:
    """Whether any option of oslo.log is given, in whatever way."""
    places = (oslo.get_location(option.dest) for option in options())
    return any(place and place.location is not cfg.Locations.opt_default for place in places)


def _setup_oslo_log(oslo: cfg.ConfigOpts) -> None:
    from oslo_log import log
    try:
        log.setup(oslo, 'backup_framework')
    except (OSError, ValueError, TypeError, RuntimeError, log.LogConfigError) as error:
        raise ConfigurationError(f'cannot set up logging: {masking.mask(str(error))}') from error


def _log_unhandled(kind: type[BaseException], error: BaseException,
                   trace: TracebackType | None) -> None:
    """As oslo.log does: the handlers mask what a traceback shows."""
    logging.getLogger('backup_framework').critical(
        'Unhandled error', exc_info=(kind, error, trace))


def _drop_stdout(root: logging.Logger) -> None:
    """Where no destination is configured oslo.log takes stdout, which belongs to results."""
    for handler in list(root.handlers):
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
            root.removeHandler(handler)


def _terminal(debug: bool, quiet: bool, stream: TextIO | None) -> logging.Handler:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter(LONG if debug else SHORT))
    handler.setLevel(logging.DEBUG if debug else logging.ERROR if quiet else logging.WARNING)
    return handler


def _all_handlers() -> set[logging.Handler]:
    """Those of the root and of every logger: log_config_append may give them to any."""
    loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
    return {handler for logger in [logging.root, *loggers] for handler in logger.handlers}
