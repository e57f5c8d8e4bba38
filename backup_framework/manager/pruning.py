"""Pruning: deleting the backups that no rule keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
from typing import Any

from backup_framework import exceptions
from backup_framework.catalog import orphans
from backup_framework.manager import deleting, retention
from backup_framework.manager.context import Context
from backup_framework.model import Backup, Volume

_OTHER = 'a backup that is not of this project'


@dataclasses.dataclass
class Request:
    """What a prune was asked for.

    :param volumes: of which volumes; none means of all.
    :param rules: fields of a `retention.Policy`; where there are any, they replace those of the
        configuration. What the configuration protects is protected all the same.
    :param project_id: only backups of this project; None is those of no project.
    :param all_projects: whatever project they are of; for who owns the machine alone.
    """

    volumes: Sequence[Volume] = ()
    backend: str | None = None
    rules: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    project_id: str | None = None
    all_projects: bool = False


def plan(context: Context, request: Request) -> list[retention.Verdict]:
    """What becomes of each backup, by volume and backend, newest first.

    :raises Refused: no rule keeps anything of a volume that was named, or of any.
    :raises BackendNotFound: the backend is not enabled.
    """
    if request.backend is not None:
        context.configuration.backend(request.backend)
    groups = _groups(context, request)
    volumes = request.volumes or context.catalog.volumes(
        None if request.all_projects else {volume_id for volume_id, _ in groups})
    policies = {volume.id: _policy(context, volume.name, request) for volume in volumes}
    lacking = [volume for volume in request.volumes if not policies[volume.id].keeps]
    known = list(policies.values()) or [_policy(context, None, request)]
    if lacking or not any(policy.keeps for policy in known):
        # It says what to do.
        retention.judge((), retention.Policy())
    verdicts: list[retention.Verdict] = []
    for (volume_id, _), backups in groups.items():
        policy = policies.get(volume_id, retention.Policy())
        verdicts += retention.judge(
            backups, policy, needed=_needed(context, request, backups)) if policy.keeps else [
            retention.Verdict(backup, ['no rule for its volume']) for backup in backups]
    return verdicts


def _policy(context: Context, volume_name: str | None, request: Request) -> retention.Policy:
    configured = context.configuration.retention(volume_name)
    rules = dict(request.rules or configured)
    protect = [*rules.get('protect', ()), *configured.get('protect', ())]
    return retention.Policy(**rules | {'protect': tuple(dict.fromkeys(protect))})


def _groups(context: Context, request: Request) -> dict[tuple[str, str], list[Backup]]:
    """The backups of each volume on each backend, newest first."""
    groups: dict[tuple[str, str], list[Backup]] = {}
    for volume_id in {volume.id: None for volume in request.volumes} or (None,):
        for backup in context.catalog.backups(
                volume_id=volume_id, backend=request.backend,
                projects=None if request.all_projects else [request.project_id]):
            groups.setdefault((backup.volume_id, str(backup.backend)), []).append(backup)
    return groups


def _needed(context: Context, request: Request, backups: Sequence[Backup]) -> dict[str, str]:
    """Why others than these need some of them: what the request is not about, and what is not in
    the catalog. A project is not told what others have.
    """
    if not any(orphans.may_be_needed(backup) for backup in backups):
        return {}
    family = backups if request.all_projects else context.catalog.backups(
        volume_id=backups[0].volume_id, backend=str(backups[0].backend))
    own = {backup.id for backup in backups}
    needed = {str(other.parent_id): f'{_OTHER} needs it' for other in family
              if other.needs_parent and other.parent_id in own and other.id not in own}
    orphan, held = orphans.find(family)
    if orphan is not None:
        why = orphans.describe(orphan) if orphan.id in own else (
            f'{_OTHER} needs one that is not in the catalog, and that one may need it')
        needed |= dict.fromkeys(held & own, why)
    return needed


def apply(context: Context, verdicts: Sequence[retention.Verdict]
          ) -> Iterator[tuple[Backup, bool | exceptions.BackupFrameworkError]]:
    """Delete what goes, children first; what each delete returned, or why it failed.

    One that fails stops no other: what is needed by now is refused when its turn comes.
    """
    going = [verdict.backup for verdict in verdicts if not verdict.stays]
    for backup in deleting.children_first(going):
        try:
            yield backup, deleting.delete(context, backup)
        except exceptions.OperationCancelled:
            raise
        except exceptions.BackupFrameworkError as error:
            yield backup, error
    deleting.take_up(context)
