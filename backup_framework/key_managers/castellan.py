"""A key that OpenStack's castellan fetches: from Barbican, or from HashiCorp Vault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backup_framework import exceptions
from backup_framework.engine import parallel
from backup_framework.interface.key_manager import KeyManager
from backup_framework.key_managers import wrapping
from backup_framework.model import Option, OptionType, Settings


class Castellan(KeyManager):
    """The key stays in memory once it was fetched; it is never sent anywhere."""

    OPTIONS = (
        Option('key_id', required=True, sample='0e7c9a52-5d1f-4a35-b7ae-3c2f1f1d9c11', help=(
            'The id that the key manager knows the key by: a symmetric key of 256 bits.')),
        Option('configuration_file', OptionType.PATH, required=True,
               sample='/etc/backup_framework/castellan.conf', help=(
                   "castellan's own configuration: [key_manager] with backend, auth_type and "
                   'credentials, and [barbican] or [vault].')),
    )

    def __init__(self, settings: Settings) -> None:
        self._id: str = settings.key_id
        self._file: str = settings.configuration_file
        self._lock = parallel.lock()
        self._fetched: bytes | None = None

    def wrap(self, key: bytes, context: bytes) -> dict[str, Any]:
        return wrapping.wrap(self._key(), key, context)

    def unwrap(self, wrapped: Mapping[str, Any], context: bytes) -> bytes:
        return wrapping.unwrap(self._key(), wrapped, context)

    def _key(self) -> bytes:
        with self._lock:
            if self._fetched is None:
                self._fetched = self._fetch()
            return self._fetched

    def _fetch(self) -> bytes:
        try:
            from castellan import key_manager
            from castellan.common import utils
            from oslo_config import cfg
        except ImportError as error:
            raise exceptions.ConfigurationError(
                'keys of this type need the package castellan, which cannot be imported here: '
                'install backup-framework[castellan]') from error
        configuration = cfg.ConfigOpts()
        try:
            configuration(args=[], default_config_files=[self._file], default_config_dirs=[],
                          use_env=False)
        except cfg.Error as error:
            # Its text may show a line of the file, with a token in it.
            raise exceptions.ConfigurationError(
                f"castellan's configuration {self._file} cannot be read: {type(error).__name__}"
            ) from None
        try:
            manager = key_manager.API(configuration)
            found = manager.get(_credentials(utils, configuration), self._id)
            key = found.get_encoded()
        except Exception as error:
            # What a server or its client says is not known beforehand.
            raise exceptions.KeyUnavailable(
                f'castellan, configured in {self._file}, cannot fetch the key {self._id}: '
                f'{type(error).__name__}: {error}') from error
        if not isinstance(key, bytes) or len(key) != wrapping.KEY_SIZE:
            raise exceptions.ConfigurationError(
                f'what castellan has under the id {self._id} is not a symmetric key of 256 bits')
        return key


def _credentials(utils: Any, configuration: Any) -> Any:
    """Those of its file; Vault's are its own, so there may be none."""
    configuration.register_opts(utils.credential_opts, group=utils.OPT_GROUP)
    if configuration.key_manager.auth_type is None:
        return None
    return utils.credential_factory(conf=configuration)
