"""The API for WSGI servers other than ours: `backup_framework.api.wsgi:application`.

BF_CONFIG_FILE names the configuration; without it the usual files are read.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from oslo_config import cfg

from backup_framework import conf, exceptions
from backup_framework.api import application as api

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

LOG = logging.getLogger(__name__)


def _make() -> WSGIApplication:
    conf.prepare_daemon_logging(cfg.CONF)
    file = os.environ.get('BF_CONFIG_FILE')
    configuration = conf.load([file] if file else None)
    conf.setup_daemon_logging(configuration)
    for sentence in configuration.warnings:
        LOG.warning('%s', sentence)
    _check_strategy(configuration)
    api.check(configuration)
    return api.make(configuration)


def _check_strategy(configuration: conf.Configuration) -> None:
    """Nobody knows here where the server listens: that anybody may do anything must be wanted.

    :raises ConfigurationError: nothing says who may ask.
    """
    if not configuration.text_of('api', 'auth_strategy'):
        raise exceptions.ConfigurationError(
            '[api] auth_strategy is not set, and whoever reaches this server would be admin of '
            'every project; set it to keystone or http_basic, or to none if that is what you '
            f'want. {configuration.describe_source()}')
    if configuration.api.auth_strategy == 'none':
        LOG.warning('auth_strategy is none: whoever reaches this server may read, overwrite and '
                    'delete every volume and backup')


application = _make()
