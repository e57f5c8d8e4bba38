"""The API for WSGI servers other than ours: `backup_framework.api.wsgi:application`.

BF_CONFIG_FILE names the configuration; without it the usual files are read.
"""

from __future__ import annotations

import os

from oslo_config import cfg

from backup_framework import conf
from backup_framework.api.application import make

conf.prepare_daemon_logging(cfg.CONF)
_file = os.environ.get('BF_CONFIG_FILE')
_configuration = conf.load([_file] if _file else None)
conf.setup_daemon_logging(_configuration)

application = make(_configuration)
