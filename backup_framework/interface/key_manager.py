"""What wraps the keys of sealed backups. Found by entry point `backup_framework.key_managers`."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

from backup_framework import model


class KeyManager(abc.ABC):
    """Keeps one key-encryption key, or knows who keeps it. One [key:NAME] section makes one.

    An instance serves all threads. It raises ConfigurationError where its section is wrong,
    KeyUnavailable where its key is not at hand, and nothing else that is not ours.
    """

    OPTIONS: tuple[model.Option, ...] = ()
    """The options of its section beside `type`, which is the name of its entry point."""

    @abc.abstractmethod
    def __init__(self, settings: model.Settings) -> None:
        """Keep the settings; reads no key and asks nobody."""

    @abc.abstractmethod
    def wrap(self, key: bytes, context: bytes) -> dict[str, Any]:
        """A key of 32 bytes, wrapped so that only `unwrap` with the same context gives it back.

        :param context: what the key is for; authenticated, not stored.
        :returns: what `unwrap` needs, ready for JSON: text, numbers, lists of these. At most 4 KiB.
        """

    @abc.abstractmethod
    def unwrap(self, wrapped: Mapping[str, Any], context: bytes) -> bytes:
        """The key again.

        :param wrapped: what `wrap` returned once, from an untrusted store: check every value, and
            bound what it costs, before using it.
        :raises KeyUnavailable: it was not wrapped with this key or for this context, or was
            changed; or the key is not at hand. The message never holds a key or a passphrase.
        """
