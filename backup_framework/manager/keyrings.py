"""The keys of backends: who wraps them and who opens them, each loaded when it is first asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import functools
from typing import Any

from backup_framework import conf, exceptions, loader, model
from backup_framework.engine import parallel
from backup_framework.formats.keyring import Keyring, Recipient
from backup_framework.interface.key_manager import KeyManager


class Keyrings:
    """Makes keyrings of the sections of a configuration; reads no key and imports no manager."""

    def __init__(self, configuration: conf.Configuration) -> None:
        self._configuration = configuration
        self._lock = parallel.lock()

    @functools.cached_property
    def recipients(self) -> dict[str, Recipient]:
        """Everybody who has a section, by name, in the order of the files."""
        return {key.name: Recipient(key.name, key.type, LazyManager(
            functools.partial(self._make, key), f'[{key.section}]'))
            for key in self._configuration.keys().values()}

    def of(self, settings: model.Settings) -> Keyring | None:
        """The keyring of a backend; None where it needs none.

        :param settings: checked: each of its keys has a section.
        """
        if not self.recipients:
            return None
        return self.keyring(settings.keys if settings.encryption != 'none' else (),
                            settings.unsealed == 'accept')

    def keyring(self, names: Sequence[str], accepts_unsealed: bool = False) -> Keyring:
        """A keyring that seals for these and opens with everybody."""
        return Keyring(
            tuple(self.recipients[name] for name in names),
            tuple(each for name, each in self.recipients.items() if name not in names),
            accepts_unsealed)

    def _make(self, key: conf.KeyConfig) -> KeyManager:
        # oslo.config is not for several threads.
        with self._lock:
            manager_class = loader.load_key_manager(key.type)
            return manager_class(self._configuration.key_settings(key, manager_class))


class LazyManager(KeyManager):
    """A key manager that is made when it is first asked; whatever it does, our errors come out.

    :param label: how messages name its section.
    """

    def __init__(self, make: Callable[[], KeyManager], label: str) -> None:
        self._make = make
        self._label = label
        self._lock = parallel.lock()
        self._made: KeyManager | None = None

    def wrap(self, key: bytes, context: bytes) -> dict[str, Any]:
        with self._named():
            return self._get().wrap(key, context)

    def unwrap(self, wrapped: Mapping[str, Any], context: bytes) -> bytes:
        with self._named():
            key = self._get().unwrap(wrapped, context)
            if not isinstance(key, bytes):
                raise TypeError('unwrap returned no bytes')
            return key

    def _get(self) -> KeyManager:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except exceptions.BackupFrameworkError:
            raise
        except Exception as error:
            # Its text may hold what it worked on, and --debug shows the text of a cause.
            raise exceptions.KeyUnavailable(
                f'the key manager of section {self._label} failed with {type(error).__name__}'
            ) from None
