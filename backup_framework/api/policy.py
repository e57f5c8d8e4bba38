"""Who may do what: the rules of `policies`, with what the operator's policy files say."""

from __future__ import annotations

from collections.abc import Mapping
import logging
import os
import time
from typing import TYPE_CHECKING, Any

from oslo_config import cfg
from oslo_policy import opts, policy
import webob.exc

from backup_framework.api import policies
from backup_framework.exceptions import ConfigurationError

if TYPE_CHECKING:
    from backup_framework.api.context import RequestContext

LOG = logging.getLogger(__name__)

LOOK_EVERY = 1.0
"""Seconds after which policy files are looked at again."""

Signature = dict[str, tuple[int, int, int]]


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


class Rules:
    """All rules. A policy file that changes is read again; while it is wrong, the last one counts.

    Rules are replaced as a whole, for a thread must not meet them half read.

    :param oslo: its `[oslo_policy]` says where the files are.
    :raises ConfigurationError: a policy file cannot be read or makes no sense.
    """

    def __init__(self, oslo: cfg.ConfigOpts) -> None:
        opts._register(oslo)
        self._oslo = oslo
        self._looked = time.monotonic()
        self._read = self._signature()
        self._enforcer = self._load()

    def allow(self, rule: str, target: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
        """Whether a rule lets somebody with these values do something to this target."""
        self._reload()
        return bool(self._enforcer.authorize(rule, target, dict(values)))

    def _reload(self) -> None:
        now = time.monotonic()
        if now < self._looked + LOOK_EVERY:
            return
        self._looked = now
        found = self._signature()
        if found == self._read:
            return
        self._read = found
        try:
            self._enforcer = self._load()
        except ConfigurationError as error:
            LOG.error('the rules stay as they were: %s', error)

    def _load(self) -> policy.Enforcer:
        enforcer = policy.Enforcer(self._oslo)
        enforcer.register_defaults(policies.list_rules())
        try:
            enforcer.load_rules(force_reload=True)
            enforcer.check_rules(raise_on_violation=True)
        except (OSError, ValueError, TypeError, AttributeError, policy.InvalidDefinitionError,
                cfg.ConfigFilesPermissionDeniedError) as error:
            raise ConfigurationError(
                f'the policy file {", ".join(self._read) or enforcer.policy_file} cannot be used: '
                f'{error}') from None
        # It would look at the files again by itself, and half-replace its rules.
        enforcer.use_conf = False
        for name in sorted(set(enforcer.file_rules) - set(enforcer.registered_rules)):
            if ':' in name:
                LOG.warning('%s in the policy file is no rule of this service', name)
        return enforcer

    def _signature(self) -> Signature:
        """The policy files that there are, and what changes when they do."""
        wanted = [self._oslo.oslo_policy.policy_file, *self._oslo.oslo_policy.policy_dirs]
        signature: Signature = {}
        for path in filter(None, map(self._oslo.find_file, wanted)):
            within = [os.path.join(path, name) for name in _listed(path)]
            for file in [path, *within]:
                try:
                    stat = os.stat(file)
                except FileNotFoundError:
                    continue
                signature[file] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        return signature


def _listed(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except (NotADirectoryError, FileNotFoundError):
        return []
