"""The table of routes: which function answers what, and how a path finds it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
import re
from typing import Any, NamedTuple

from microversion_parse import Version
import webob.exc

from backup_framework.api import (
    answers,
    backups,
    extensions,
    limits,
    metrics,
    microversions,
    openapi,
    page,
    schemas,
    services,
    summary,
    versions,
    volumes,
)
from backup_framework.api.requests import Listable, Request, bad, check_document
from backup_framework.conf.api import PROJECT, ApiConfig

PREFIX = '/v3'

# What a project may be called in a URL; what is not like this finds no route.
_PROJECT = re.compile(f'/({PROJECT})(/.+)', re.ASCII)


class Route(NamedTuple):
    """
    :ivar path: with the names of its arguments in braces.
    :ivar call: takes the request and these arguments; gives what becomes JSON, None for an empty
        answer, or a whole response.
    :ivar status: of an answer that is no response.
    :ivar since: the first microversion that has it.
    :ivar body: the schemas of its body, or None where it takes none.
    :ivar public: it answers without asking who asks; perhaps an option says so.
    :ivar answer: the schema of its answer, or None where that is empty or no JSON.
    :ivar listed: what its list can be filtered and sorted by.
    :ivar media: what its answer is where it is no JSON.
    """

    method: str
    path: str
    call: Callable[..., Any]
    status: int = 200
    since: Version = microversions.MIN
    body: schemas.Versions | None = None
    public: bool | Callable[[ApiConfig], bool] = False
    answer: schemas.Schema | None = None
    listed: Listable | None = None
    media: str | None = None


class Action(NamedTuple):
    """One of the actions that `POST /backups/{id}/action` takes, by the only member of the body.

    :ivar schema: of that member.
    :ivar answer: the schema of its answer, or None where that is empty.
    """

    call: Callable[..., Any]
    schema: schemas.Schema
    answer: schemas.Schema | None = None


ACTIONS: Mapping[str, Action] = {
    'os-reset_status': Action(backups.reset_status, schemas.RESET_STATUS),
    'os-force_delete': Action(backups.force_delete, schemas.ANYTHING),
    'backup-framework:verify': Action(extensions.verify, extensions.VERIFY, answers.ACTED),
    'backup-framework:cancel': Action(extensions.cancel, schemas.ANYTHING, answers.ACTED),
}


def act(request: Request, id: str) -> Any:
    """Do what the body names to a backup."""
    name = next(iter(request.document))
    if name not in ACTIONS:
        bad(f'There is no such action: {name[:80]}. Verify the request body and Content-Type '
            f'header and try again.')
    action = ACTIONS[name]
    check_document(action.schema, request.document[name])
    return action.call(request, id)


# All of these are there with a project behind /v3 as well.
ROUTES: tuple[Route, ...] = (
    Route('GET', '/backups', backups.index,
          answer=answers.BACKUP_SUMMARIES, listed=backups.LISTABLE),
    Route('POST', '/backups', backups.create, 202, body=schemas.CREATE_BACKUP,
          answer=answers.BACKUP_SUMMARY),
    Route('GET', '/backups/detail', backups.detail,
          answer=answers.BACKUPS, listed=backups.LISTABLE),
    Route('POST', '/backups/import_record', backups.import_record, 201, body=schemas.IMPORT_RECORD,
          answer=answers.BACKUP_SUMMARY),
    Route('POST', '/backups/export_record', backups.refuse_import),
    Route('GET', '/backups/{id}', backups.show, answer=answers.BACKUP),
    Route('PUT', '/backups/{id}', backups.update, since=microversions.BACKUP_UPDATE,
          body=schemas.UPDATE_BACKUP, answer=answers.BACKUP_SUMMARY),
    Route('DELETE', '/backups/{id}', backups.delete, 202),
    Route('POST', '/backups/{id}/restore', backups.restore, 202, body=schemas.RESTORE_BACKUP,
          answer=answers.RESTORE),
    Route('GET', '/backups/{id}/export_record', backups.export_record, answer=answers.RECORD),
    Route('POST', '/backups/{id}/action', act, 202, body=schemas.ACTION),
    Route('GET', '/volumes', volumes.index,
          answer=answers.VOLUME_SUMMARIES, listed=volumes.VOLUMES),
    Route('POST', '/volumes', volumes.create, 202, since=microversions.VOLUME_FROM_BACKUP,
          body=schemas.CREATE_VOLUME, answer=answers.VOLUME),
    Route('GET', '/volumes/detail', volumes.detail, answer=answers.VOLUMES, listed=volumes.VOLUMES),
    Route('GET', '/volumes/{id}', volumes.show, answer=answers.VOLUME),
    Route('GET', '/snapshots', volumes.snapshots,
          answer=answers.SNAPSHOTS, listed=volumes.SNAPSHOTS),
    Route('GET', '/snapshots/detail', volumes.snapshots_detail,
          answer=answers.SNAPSHOTS, listed=volumes.SNAPSHOTS),
    Route('GET', '/snapshots/{id}', volumes.show_snapshot, answer=answers.SNAPSHOT),
    Route('GET', '/os-services', services.index, answer=answers.SERVICES),
    Route('PUT', '/os-services/enable', services.enable, body=schemas.SWITCH_SERVICE,
          answer=answers.SWITCHED),
    Route('PUT', '/os-services/disable', services.disable, body=schemas.SWITCH_SERVICE,
          answer=answers.SWITCHED),
    Route('PUT', '/os-services/disable-log-reason', services.disable,
          body=schemas.DISABLE_WITH_REASON, answer=answers.SWITCHED),
    Route('GET', '/limits', limits.index, answer=answers.LIMITS),
    Route('GET', '/extensions', versions.extensions, answer=answers.EXTENSIONS),
    Route('GET', '/projects', versions.projects, answer=answers.PROJECTS),
    Route('GET', '/projects/{id}', versions.project, answer=answers.PROJECT),
    Route('GET', '/backup-framework/backends', extensions.list_backends, answer=answers.BACKENDS),
    Route('GET', '/backup-framework/jobs', extensions.list_jobs, answer=answers.JOBS),
    Route('GET', '/backup-framework/jobs/{id}', extensions.show_job, answer=answers.JOB),
    Route('GET', '/backup-framework/summary', summary.show, answer=answers.SUMMARY),
    Route('GET', '/backup-framework/schedules', extensions.list_schedules,
          answer=answers.SCHEDULES),
    Route('POST', '/backup-framework/prune', extensions.prune, 202, body=extensions.PRUNE,
          answer=answers.PRUNED),
)

ROOT: tuple[Route, ...] = (
    Route('GET', '/', versions.every, 300, public=True, answer=answers.VERSIONS),
    Route('GET', '/v3', versions.current, public=True, answer=answers.VERSIONS),
    Route('GET', '/v3/', versions.current, public=True, answer=answers.VERSIONS),
    Route('GET', '/status', page.show, public=True, media='text/html'),
    Route('GET', '/openapi.json', openapi.show, public=True, answer=answers.DESCRIPTION),
    Route('GET', '/metrics', metrics.show, public=metrics.is_public, media='text/plain'),
)

_Table = tuple[tuple[re.Pattern[str], Mapping[str, Route]], ...]


def _table(routes: Iterable[Route]) -> _Table:
    methods: dict[str, dict[str, Route]] = {}
    for route in routes:
        methods.setdefault(route.path, {})[route.method] = route
    return tuple((re.compile(re.sub(r'\{(\w+)\}', r'(?P<\1>[^/]+)', path)), found)
                 for path, found in methods.items())


_ROOT, _ROUTES = _table(ROOT), _table(ROUTES)


def find(method: str, path: str) -> tuple[Route, str | None, dict[str, str]]:
    """The route, the project in the path, and the arguments of the function.

    :raises webob.exc.HTTPNotFound: there is no such path.
    :raises webob.exc.HTTPMethodNotAllowed: it does not know the method.
    """
    project = None
    found = _matching(_ROOT, path)
    if not found and path.startswith(PREFIX + '/'):
        behind = path.removeprefix(PREFIX)
        found = _matching(_ROUTES, behind)
        match = _PROJECT.fullmatch(behind)
        if not found and match:
            project = match[1]
            found = _matching(_ROUTES, match[2])
    if not found:
        raise webob.exc.HTTPNotFound('The resource could not be found.')
    for methods, arguments in found:
        # WebOb leaves the body of an answer to HEAD out.
        route = methods.get('GET' if method == 'HEAD' else method)
        if route is not None:
            return route, project, arguments
    allowed = sorted({name for methods, _ in found for name in methods})
    raise webob.exc.HTTPMethodNotAllowed(
        f'The method is not allowed here; there is {", ".join(allowed)}.',
        headers={'Allow': ', '.join(allowed)})


def _matching(table: _Table, path: str) -> list[tuple[Mapping[str, Route], dict[str, str]]]:
    matches = ((pattern.fullmatch(path), methods) for pattern, methods in table)
    return [(methods, match.groupdict()) for match, methods in matches if match]
