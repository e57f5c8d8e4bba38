"""A driver that fails with all it knows in its errors, as a careless author's would."""

from __future__ import annotations

from collections.abc import Iterable
import logging
from typing import Any

from backup_framework.driver.chunked import ChunkedBackupDriver
from backup_framework.model import Option

LOG = logging.getLogger(__name__)


class CrashingDriver(ChunkedBackupDriver):
    """Says its secrets in logs of every level, in errors, and in errors behind errors."""

    OPTIONS = (Option('token', secret=True), Option('plain'))

    def put_container(self, container: str) -> None:
        token = self.settings.token
        for level in (logging.DEBUG, logging.INFO, logging.WARNING):
            LOG.log(level, 'connecting with %s, %r', token, {'X-Auth-Token': token})
        LOG.warning('settings are %r and %s', self.settings, vars(self.settings))
        try:
            raise ValueError(f'403 for Bearer {token}')
        except ValueError as error:
            raise RuntimeError(f'no login with {token!r} at https://u:{token}@host/') from error

    def get_container_entries(self, container: str, prefix: str) -> Iterable[str]:
        raise KeyError(self.settings.token)

    def get_object_writer(self, container: str, object_name: str, extra_metadata: Any = None
                          ) -> Any:
        raise AssertionError('never reached')

    def get_object_reader(self, container: str, object_name: str, extra_metadata: Any = None
                          ) -> Any:
        raise OSError(5, self.settings.token)

    def delete_object(self, container: str, object_name: str) -> None:
        raise RuntimeError(self.settings.token)
