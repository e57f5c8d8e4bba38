"""The key managers of a backend, as those who seal and open see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from backup_framework import exceptions
from backup_framework.interface.key_manager import KeyManager

MOST_RECIPIENTS = 32


@dataclasses.dataclass(frozen=True)
class Recipient:
    """One who can open what is sealed.

    :param name: of its [key:NAME] section.
    :param type: of its key manager.
    """

    name: str
    type: str
    manager: KeyManager


@dataclasses.dataclass(frozen=True)
class Keyring:
    """Those who wrap and unwrap the keys of a backend's backups.

    :param recipients: new backups are sealed for all of them. None where the backend does not seal,
        and its keys serve for reading alone.
    :param others: also asked when something is opened: what was sealed before.
    """

    recipients: Sequence[Recipient]
    others: Sequence[Recipient] = ()
    accepts_unsealed: bool = False
    """Whether a backup that is not sealed may be read though `recipients` are there."""

    def wrap(self, key: bytes, context: bytes) -> list[dict[str, Any]]:
        """The key, wrapped for each recipient: {'name', 'type', 'wrapped'}.

        :raises KeyUnavailable: the key of one is not at hand.
        """
        return [{'name': each.name, 'type': each.type, 'wrapped': each.manager.wrap(key, context)}
                for each in self.recipients]

    def unwrap(self, entries: Sequence[Mapping[str, Any]], context: bytes) -> bytes:
        """The key again, by the first entry that one of those here can open.

        :param entries: as `wrap` returned them, from an untrusted store, their shape checked.
        :raises KeyUnavailable: none can; the message says who could.
        """
        reasons = []
        for each in (*self.recipients, *self.others):
            # A name may have changed; an entry of that name comes first.
            for entry in sorted((entry for entry in entries if entry['type'] == each.type),
                                key=lambda entry: entry['name'] != each.name):
                try:
                    return each.manager.unwrap(entry['wrapped'], context)
                except (exceptions.KeyUnavailable, exceptions.ConfigurationError) as error:
                    # A section that is wrong must not hide another one that opens it.
                    reasons.append(f'[key:{each.name}]: {error}')
        wanted = ', '.join(sorted(str(entry['name']) for entry in entries))
        raise exceptions.KeyUnavailable(
            f'it is sealed for {wanted}, and no key that is configured here opens it'
            + (f' ({"; ".join(reasons)})' if reasons else ''))
