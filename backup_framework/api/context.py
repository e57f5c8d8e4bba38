"""Who asks: the user, the project and the roles of one request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from oslo_context import context

from backup_framework.api.policy import Rules

ROLES = ('admin', 'member', 'reader')
"""Each may do what those behind it may, as Keystone has it."""


class RequestContext(context.RequestContext):
    """Of one request; `oslo.log` writes its ids into each line.

    :param rules: what decides of this request; `policy.check` asks it.
    """

    def __init__(self, *, rules: Rules | None = None, **known: Any) -> None:
        # None: the rules decide. oslo.context's own default says no.
        super().__init__(**{'is_admin': None, **known})
        self.rules = rules

    def check_is_admin(self) -> bool:
        """By the rule `context_is_admin`."""
        return self.rules is not None and self.rules.allow(
            'context_is_admin', {}, super().to_policy_values())

    @property
    def scope(self) -> str | None:
        """The project whose records the caller may know of; None for an admin: all."""
        return None if self.is_admin else self.project_id

    def to_policy_values(self) -> dict[str, Any]:
        return {**super().to_policy_values(), 'is_admin': self.is_admin}


def implied(roles: Iterable[str]) -> list[str]:
    """Roles with those that they imply."""
    given = list(dict.fromkeys(roles))
    ranks = [ROLES.index(role) for role in given if role in ROLES]
    return [*given, *(role for role in ROLES[min(ranks):] if role not in given)] if ranks else given
