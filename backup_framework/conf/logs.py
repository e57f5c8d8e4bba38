"""Logging for the commands and daemons: oslo.log, short lines on the terminal, no secrets."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

from oslo_log import log

from backup_framework.conf import masking
from backup_framework.conf.configuration import Configuration
from backup_framework.exceptions import ConfigurationError

SHORT = '%(levelname)s: %(message)s'
LONG = '%(asctime)s %(levelname)s %(name)s: %(message)s'


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
    oslo.set_override('debug', debug)
    try:
        log.setup(oslo, 'backup_framework')
    except (OSError, ValueError, TypeError, RuntimeError, log.LogConfigError) as error:
        raise ConfigurationError(f'cannot set up logging: {masking.mask(str(error))}') from error
    root = logging.getLogger()
    _drop_stdout(root)
    if not (oslo.log_config_append or oslo.use_stderr):
        root.addHandler(_terminal(debug, quiet, stream))
    for handler in _all_handlers():
        masking.install(handler)


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
