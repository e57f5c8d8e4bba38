"""Who may do what: the rules of `policies`, with what the operator's policy files say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import logging
import os
from typing import TYPE_CHECKING, Any

from oslo_config import cfg
from oslo_policy import opts, policy
import webob.exc

from backup_framework.api import policies
from backup_framework.api.watching import Watched
from backup_framework.exceptions import ConfigurationError

if TYPE_CHECKING:
    from backup_framework.api.context import RequestContext

LOG = logging.getLogger(__name__)


def check(context: RequestContext, rule: str, target: object = None) -> None:
    """Refuse unless the caller may do this to the target.

    :param target: a record or a mapping with `project_id`; one without a project, like none, counts
        as the caller's.
    :raises webob.exc.HTTPForbidden: with Cinder's words.
    """
    if not allowed(context, rule, target):
        raise webob.exc.HTTPForbidden(f"Policy doesn't allow {rule} to be performed.")


def allowed(context: RequestContext, rule: str, target: object = None) -> bool:
    """Whether the caller may do this to the target."""
    if context.rules is None:
        return False
    return context.rules.allow(rule, _target(context, target), context.to_policy_values())


def _target(context: RequestContext, target: object) -> dict[str, Any]:
    def of(name: str) -> Any:
        value = target.get(name) if isinstance(target, Mapping) else getattr(target, name, None)
        return getattr(context, name) if value is None else value
    return {'project_id': of('project_id'), 'user_id': of('user_id')}


def _refuse_unreadable(enforcer: policy.Enforcer) -> None:
    """oslo.policy takes a rule that it cannot read for one that lets nobody do anything.

    :raises ValueError: there is one.
    """
    for name, rule in enforcer.file_rules.items():
        if str(rule.check) == '!' and str(rule.check_str).strip(' ()') != '!':
            raise ValueError(f'the rule {name} makes no sense: {rule.check_str}')


class Rules:
    """All rules; policy files that change are read again.

    :param oslo: its `[oslo_policy]` says where the files are.
    :raises ConfigurationError: a policy file cannot be read or makes no sense.
    """

    def __init__(self, oslo: cfg.ConfigOpts) -> None:
        opts._register(oslo)
        self._oslo = oslo
        self._enforcer = Watched(self._files, self._load)

    def allow(self, rule: str, target: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
        """Whether a rule lets somebody with these values do something to this target."""
        return bool(self._enforcer.get().authorize(rule, target, dict(values)))

    def _files(self) -> Iterator[str]:
        options = self._oslo.oslo_policy
        for path in map(self._oslo.find_file, [options.policy_file, *options.policy_dirs]):
            if path:
                yield path
            if path and os.path.isdir(path):
                yield from sorted(entry.path for entry in os.scandir(path))

    def _load(self) -> policy.Enforcer:
        enforcer = policy.Enforcer(self._oslo)
        enforcer.register_defaults(policies.list_rules())
        try:
            enforcer.load_rules(force_reload=True)
            enforcer.check_rules(raise_on_violation=True)
            _refuse_unreadable(enforcer)
        # YAML that is no mapping of texts ends in any of these.
        except (OSError, ValueError, TypeError, AttributeError, cfg.Error,
                policy.InvalidDefinitionError) as error:
            where = ', '.join(self._files()) or enforcer.policy_file
            raise ConfigurationError(f'the policy file {where} cannot be used: {error}') from None
        # It would look at the files again by itself, and half-replace its rules.
        enforcer.use_conf = False
        for name in sorted(set(enforcer.file_rules) - set(enforcer.registered_rules)):
            if ':' in name:
                LOG.warning('%s in the policy file is no rule of this service', name)
        return enforcer
