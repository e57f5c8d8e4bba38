"""The command line against a service: the same commands, over the REST interface."""

from backup_framework.cmd.remote.connection import Connection, connect
from backup_framework.cmd.remote.manager import Manager

__all__ = ['Connection', 'Manager', 'connect']
