"""Who may do what: every route for everybody.

A row says what a reader, a member and an admin of the project alpha are answered, and a member of
beta (the stranger) who asks for what alpha has. Whoever gives no password, has no role, or names
alpha in the URL without being in it is answered the same everywhere. A test fails when a route has
no row.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import dataclasses
from pathlib import Path
import sqlite3
from typing import Any

import pytest
import webob

from backup_framework.api import policies, policy, routes
from backup_framework.model import Volume, utcnow
from tests.unit.api import world
from tests.unit.api.world import ALPHA, BETA, SECRET, World


@dataclasses.dataclass(frozen=True)
class Row:
    """
    :ivar path: the ids in braces are of what alpha has; the volume `shared` is nobody's.
    :ivar ok: the status where it is allowed.
    :ivar least: the role that is needed.
    :ivar stranger: the status for a member of another project: None is as for their own.
    """

    method: str
    path: str
    least: str = 'reader'
    ok: int = 200
    body: Any = None
    stranger: int | None = None
    route: str = ''

    @property
    def key(self) -> tuple[str, str]:
        path = self.route or self.path.partition('?')[0]
        for kind in ('volume', 'snapshot', 'backup', 'older', 'broken', 'busy', 'job'):
            path = path.replace('{%s}' % kind, '{id}')
        action = f' {next(iter(self.body))}' if path.endswith('/action') else ''
        return self.method, path + action

    def status(self, role: str) -> int:
        ranks = ('reader', 'member', 'admin')
        return self.ok if ranks.index(role) >= ranks.index(self.least) else 403


RECORD = {'backup-record': {'backup_service': 'local', 'backup_url': 'bm90aGluZw=='}}
SERVICE = {'host': 'backup1', 'binary': 'cinder-backup'}


def of_id(method: str, path: str, least: str = 'reader', ok: int = 200, body: Any = None) -> Row:
    """What names something of alpha does not exist for others."""
    return Row(method, path, least, ok, body, stranger=404)


ROWS = (
    Row('GET', '/backups'), Row('GET', '/backups/detail'),
    of_id('POST', '/backups', 'member', 202, {'backup': {'volume_id': '{idle}', 'name': 'new'}}),
    Row('POST', '/backups/import_record', 'admin', 400, RECORD),
    Row('POST', '/backups/export_record', ok=405),
    of_id('GET', '/backups/{backup}'),
    of_id('PUT', '/backups/{backup}', 'member', 200, {'backup': {'name': 'changed'}}),
    of_id('DELETE', '/backups/{broken}', 'member', 202),
    of_id('POST', '/backups/{backup}/restore', 'member', 202, {'restore': {'volume_id': '{idle}'}}),
    of_id('POST', '/backups/{backup}/restore', 'admin', 202, {
        'restore': {'volume_id': '{shared}'}}),
    of_id('GET', '/backups/{backup}/export_record', 'admin'),
    of_id('POST', '/backups/{backup}/action', 'admin', 202, {'os-reset_status': {
        'status': 'error'}}),
    of_id('POST', '/backups/{broken}/action', 'admin', 202, {'os-force_delete': None}),
    of_id('POST', '/backups/{backup}/action', 'member', 202, {'backup-framework:verify': {
        'how': 'quick'}}),
    of_id('POST', '/backups/{busy}/action', 'member', 202, {'backup-framework:cancel': None}),
    Row('GET', '/volumes'), Row('GET', '/volumes/detail'), of_id('GET', '/volumes/{volume}'),
    of_id('POST', '/volumes', 'member', 202, {'volume': {'backup_id': '{backup}'}}),
    Row('GET', '/snapshots'), Row('GET', '/snapshots/detail'),
    of_id('GET', '/snapshots/{snapshot}'),
    Row('GET', '/os-services', 'admin'),
    Row('PUT', '/os-services/enable', 'admin', body=SERVICE),
    Row('PUT', '/os-services/disable', 'admin', body=SERVICE),
    Row('PUT', '/os-services/disable-log-reason', 'admin',
        body=SERVICE | {'disabled_reason': 'because'}),
    Row('GET', '/limits'), Row('GET', '/extensions'), Row('GET', '/projects'),
    Row('GET', '/projects/alpha', route='/projects/{id}'),
    Row('GET', '/backup-framework/backends'), Row('GET', '/backup-framework/jobs'),
    of_id('GET', '/backup-framework/jobs/{job}'), Row('GET', '/backup-framework/summary'),
    Row('GET', '/backup-framework/schedules'),
    Row('POST', '/backup-framework/prune', 'member', 202, {'prune': {'last': 1}}),
)
"""Below /v3 and /v3/PROJECT."""

# Rules of Cinder that hold also where there is another way to the same.
PRUNE = Row('POST', '/backup-framework/prune', 'member', 202, {'prune': {'last': 1}})
DRY_RUN = dataclasses.replace(PRUNE, body={'prune': {'last': 1, 'dry_run': True}})
SUMMARY = Row('GET', '/backup-framework/summary')
JOBS, JOB = (Row('GET', f'/backup-framework/jobs{path}') for path in ('', '/{job}'))
BESIDE = (
    ('backup:delete', PRUNE),
    ('backup:get_all', PRUNE), ('backup:get_all', DRY_RUN), ('backup:get_all', SUMMARY),
    ('backup:get_all', JOBS), ('backup:get', JOB),
    ('backup-framework:jobs', SUMMARY), ('backup-framework:backends', SUMMARY),
)

PUBLIC = {'/': 300, '/v3': 200, '/v3/': 200, '/status': 200, '/openapi.json': 200,
          '/healthcheck': 200}

# What has a rule beside that of its route, and so no route of its own.
OF_VIEWS = {
    'backup:backup_project_attribute', 'backup-framework:backend_details',
    'volume_extension:volume_tenant_attribute', 'limits_extension:used_limits'}


@pytest.fixture(scope='module')
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Path]]:
    place = tmp_path_factory.mktemp('template')
    made = world.make(place)
    made.ids['shared'] = world.named('shared')
    made.catalog.add_volume(Volume(
        id=made.ids['shared'], name='shared', source='files', source_id='shared',
        size_bytes=1 << 30, offered_at=utcnow()))
    made.catalog.close()
    yield made, place


@pytest.fixture
def make_world(template: tuple[World, Path], tmp_path: Path) -> Iterator[Any]:
    made: list[World] = []

    def make() -> World:
        made.append(world.copy(*template, tmp_path / str(len(made))))
        return made[-1]
    yield make
    for each in made:
        each.catalog.close()


def filled(value: Any, ids: dict[str, str]) -> Any:
    """With the ids of alpha in place of their names in braces."""
    if isinstance(value, dict):
        return {key: filled(each, ids) for key, each in value.items()}
    for kind, id in ids.items():
        value = value.replace('{%s}' % kind, id) if isinstance(value, str) else value
    return value


def ask(where: World, row: Row, user: str | None, project: str | None = None,
        ids: dict[str, str] | None = None) -> webob.Response:
    known = where.ids if ids is None else ids
    path = f'/v3/{project}{row.path}' if project else f'/v3{row.path}'
    return where.ask(user, filled(path, known), row.method, filled(row.body, known))


def kept(where: World) -> list[str]:
    """All that the catalog holds."""
    with contextlib.closing(sqlite3.connect(where.catalog.name)) as connection:
        return list(connection.iterdump())


def id_of(row: Row) -> str:
    return ' '.join(row.key)


def test_every_route_has_a_row() -> None:
    there = {(route.method, route.path) for route in routes.ROUTES
             if route.path != '/backups/{id}/action'}
    there |= {('POST', f'/backups/{{id}}/action {name}') for name in routes.ACTIONS}
    assert {row.key for row in ROWS} == there
    assert {route.path for route in routes.ROOT} == {*PUBLIC, '/metrics'} - {'/healthcheck'}


@pytest.mark.parametrize('row', ROWS, ids=id_of)
@pytest.mark.parametrize('user, role', [('rita', 'reader'), ('mark', 'member'), ('ada', 'admin')])
def test_roles(make_world: Any, row: Row, user: str, role: str) -> None:
    for project in (None, ALPHA):
        where = make_world()
        before = kept(where)
        answer = ask(where, row, user, project)
        assert answer.status_int == row.status(role), answer.text
        if answer.status_int == 403:
            assert answer.json['forbidden']['message'].startswith("Policy doesn't allow")
        if answer.status_int >= 400:
            assert kept(where) == before


@pytest.mark.parametrize('row', ROWS, ids=id_of)
def test_others_never_learn_of_it(make_world: Any, row: Row) -> None:
    """A member of another project is answered as if there were nothing."""
    where = make_world()
    before = kept(where)
    answer = ask(where, row, 'bob')
    assert SECRET not in answer.text
    expected = row.status('member') if row.stranger is None else row.stranger
    assert answer.status_int == expected, answer.text
    if row.stranger is None:
        return
    assert kept(where) == before
    nowhere = {kind: world.named(f'nowhere {kind}') for kind in where.ids}
    unknown = ask(where, row, 'bob', ids=nowhere)
    told, there = answer.text, unknown.text
    for kind, id in where.ids.items():
        told = told.replace(id, nowhere[kind])
    assert (told, answer.status) == (there, unknown.status), 'it does not differ from nothing'


@pytest.mark.parametrize('row', ROWS, ids=id_of)
def test_everybody_else(make_world: Any, row: Row) -> None:
    where = make_world()
    before = kept(where)
    for user, project, status in ((None, None, 401), (None, ALPHA, 401), ('nobody', ALPHA, 401),
                                  ('bob', ALPHA, 400), ('mark', BETA, 400), ('ada', BETA, 400)):
        answer = ask(where, row, user, project)
        assert answer.status_int == status, (user, project, answer.text)
        assert SECRET not in answer.text
    # Who has no role that counts may at most hear what everybody may.
    answer = ask(where, row, 'outsider')
    free = ('/extensions', '/projects', '/limits', '/export_record')
    assert answer.status_int in ((403, 404) if not row.path.startswith(free) else (200,)) or (
        row.ok == 405)
    assert SECRET not in answer.text
    assert kept(where) == before


def test_what_is_public(make_world: Any) -> None:
    where = make_world()
    for path, status in PUBLIC.items():
        answer = where.ask(None, path)
        assert answer.status_int == status and SECRET not in answer.text, path


def test_metrics_are_for_admins(make_world: Any, template: Any, tmp_path: Path) -> None:
    where = make_world()
    found = [where.ask(user, '/metrics').status_int for user in (None, 'rita', 'mark', 'ada')]
    assert found == [401, 403, 403, 200]
    public = world.copy(*template, tmp_path / 'public', 'public_metrics = true\n')
    assert public.ask(None, '/metrics').status_int == 200
    public.catalog.close()


def test_every_rule_is_asked(make_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rule decides on something: else a policy file that changes it does nothing."""
    asked: set[str] = set()
    real = policy.Rules.allow

    def allow(self: policy.Rules, rule: str, *more: Any) -> bool:
        asked.add(rule)
        return real(self, rule, *more)
    monkeypatch.setattr(policy.Rules, 'allow', allow)
    where = make_world()
    for row in ROWS:
        ask(where, row, 'ada')
    where.ask('ada', '/metrics')
    assert {rule.name for rule in policies.list_rules() if ':' in rule.name} <= asked


def test_only_admins_see_all_projects(make_world: Any) -> None:
    where = make_world()
    for path in ('/backups/detail', '/volumes/detail', '/snapshots/detail'):
        for user in ('rita', 'mark', 'bob'):
            mine, every = where.ask(user, f'/v3{path}'), where.ask(
                user, f'/v3{path}?all_tenants=1')
            assert mine.json == every.json
        mine, every = (where.ask('ada', f'/v3{path}{query}').text
                       for query in ('', '?all_tenants=1'))
        assert 'plain' not in mine and 'plain' in every and SECRET in every


def test_an_admin_sees_what_another_project_has(make_world: Any) -> None:
    where = make_world()
    for path in (f'/backups/{where.ids["other-backup"]}', f'/volumes/{where.ids["other-volume"]}',
                 f'/backup-framework/jobs/{where.ids["other-job"]}'):
        assert where.ask('ada', f'/v3{path}').status_int == 200
        assert where.ask('mark', f'/v3{path}').status_int == 404


def test_attributes_for_admins(make_world: Any) -> None:
    where = make_world()
    path = f'/v3/backups/{where.ids["backup"]}'
    assert {'os-backup-project-attr:project_id', 'user_id'} <= where.ask(
        'ada', path).json['backup'].keys()
    assert not {'os-backup-project-attr:project_id', 'user_id'} & where.ask(
        'mark', path).json['backup'].keys()


def test_a_policy_file_changes_who_may(make_world: Any, template: Any, tmp_path: Path) -> None:
    place = tmp_path / 'changed'
    place.mkdir()
    (place / 'policy.yaml').write_text('"backup:get_all": "role:admin"\n')
    where = world.copy(*template, place)
    assert where.ask('mark', '/v3/backups').status_int == 403
    assert where.ask('ada', '/v3/backups').status_int == 200
    assert where.ask('mark', f'/v3/backups/{where.ids["backup"]}').status_int == 200
    where.catalog.close()


@pytest.fixture
def with_policy(template: Any, tmp_path: Path) -> Iterator[Any]:
    """Gives a world with one rule of its own."""
    made: list[World] = []

    def make(rule: str, check: str) -> World:
        place = tmp_path / f'ruled{len(made)}'
        place.mkdir()
        (place / 'policy.yaml').write_text(f'"{rule}": "{check}"\n')
        made.append(world.copy(*template, place))
        return made[-1]
    yield make
    for each in made:
        each.catalog.close()


@pytest.mark.parametrize('rule, row', BESIDE, ids=lambda each: getattr(each, 'path', each))
def test_no_way_leads_round_a_rule(with_policy: Any, rule: str, row: Row) -> None:
    where = with_policy(rule, 'rule:admin_api')
    before = kept(where)
    answer = ask(where, row, 'mark')
    assert answer.status_int == 403 and rule in answer.json['forbidden']['message']
    assert kept(where) == before
    assert ask(where, row, 'ada').status_int == row.ok


def test_what_may_not_be_deleted_may_be_planned(with_policy: Any) -> None:
    where = with_policy('backup:delete', 'rule:admin_api')
    assert ask(where, DRY_RUN, 'mark').json['going'] == 1


def test_a_prune_deletes_nothing_of_users_whom_the_rule_protects(with_policy: Any) -> None:
    where = with_policy('backup:delete', 'user_id:%(user_id)s')
    before = kept(where)
    assert ask(where, PRUNE, 'mark').status_int == 403
    assert kept(where) == before
    for id in (where.ids[kind] for kind in ('backup', 'older', 'broken', 'busy')):
        where.catalog.update_backup(id, user_id='mark')
    assert ask(where, PRUNE, 'mark').status_int == 202


def test_those_whom_the_rule_names_may_overwrite_what_is_everybodys(with_policy: Any) -> None:
    where = with_policy('backup-framework:restore_to_shared', 'role:member')
    row = next(row for row in ROWS if '{shared}' in str(row.body))
    assert ask(where, row, 'rita').status_int == 403
    assert ask(where, row, 'mark').status_int == 202


def test_nobody_else_may_do_so(make_world: Any) -> None:
    where = make_world()
    row = next(row for row in ROWS if '{shared}' in str(row.body))
    told = ask(where, row, 'mark').json['forbidden']['message']
    assert 'backup-framework:restore_to_shared' in told
