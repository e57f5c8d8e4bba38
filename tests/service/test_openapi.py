"""The description of the API, and the API held against it with requests that are made up.

Requests and answers pass through the application in this process, as a server would pass them.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
import contextlib
from pathlib import Path
import random
import re
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS
from schemathesis.core.parameters import ParameterLocation

from backup_framework.api import routes
from backup_framework.service.dispatch import WORKER
from tests.unit.api import world

# Of what fails in a server only 503 is described.
CHECKED = ('status_code_conformance', 'content_type_conformance',
           'response_headers_conformance', 'response_schema_conformance',
           'unsupported_method')
EXAMPLES, MANY_EXAMPLES = 5, 60

OF_BACKUPS = ('backup', 'older', 'broken', 'busy', 'other-backup')
KNOWN = {'backups': OF_BACKUPS, 'volumes': ('volume', 'idle', 'other-volume'),
         'snapshots': ('snapshot',), 'jobs': ('job', 'other-job'), 'projects': ('job',),
         'volume_id': ('volume', 'idle'), 'backup_id': OF_BACKUPS, 'snapshot_id': ('snapshot',)}
"""What there is, by the collection or the name of a member."""


@pytest.fixture(scope='module')
def where(tmp_path_factory: pytest.TempPathFactory) -> Iterator[world.World]:
    made = world.make(tmp_path_factory.mktemp('world'))
    yield made
    made.catalog.close()


@pytest.fixture(scope='module')
def description(where: world.World) -> dict[str, Any]:
    answer = where.ask(None, '/openapi.json')
    assert answer.status_int == 200
    found: dict[str, Any] = answer.json
    return found


def test_every_route_is_described(description: dict[str, Any]) -> None:
    there = {(route.path, route.method) for route in routes.ROOT}
    there |= {(prefix + route.path, route.method) for route in routes.ROUTES
              for prefix in ('/v3', '/v3/{project_id}')}
    told = {(path, method.upper()) for path, item in description['paths'].items()
            for method in item}
    assert told - {('/healthcheck', 'GET')} == there


def test_the_description_is_whole(description: dict[str, Any]) -> None:
    operations = [operation for item in description['paths'].values()
                  for operation in item.values()]
    names = [operation['operationId'] for operation in operations]
    assert len(names) == len(set(names))
    assert all(operation['summary'] for operation in operations)
    for route in routes.ROUTES:
        told = description['paths'][f'/v3{route.path}'][route.method.lower()]
        assert ('requestBody' in told) == (route.body is not None)
        assert f'{route.status}' in told['responses']


def test_answers_without_a_schema_are_meant_so() -> None:
    assert {(route.method, route.path) for route in (*routes.ROOT, *routes.ROUTES)
            if route.answer is None and route.media is None} == {
        ('DELETE', '/backups/{id}'), ('POST', '/backups/export_record'),
        ('POST', '/backups/{id}/action')}


def test_it_says_where_it_is(where: world.World) -> None:
    assert where.ask(None, '/openapi.json').json['servers'] == [{'url': 'http://localhost'}]


def hold(where: world.World, examples: int, seed: int) -> None:
    """Ask every operation with made-up requests, and check each answer."""
    schema = schemathesis.openapi.from_wsgi('/openapi.json', where.application)
    token = base64.b64encode(f'ada:{world.PASSWORD}'.encode()).decode()
    checks = CHECKS.get_by_names(list(CHECKED))
    settings = hypothesis.settings(
        max_examples=examples, deadline=None, database=None, phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck))
    for number, found in enumerate(schema.get_all_operations()):
        operation, choose = found.ok(), random.Random(seed + number)
        where.revive()
        for mode in GenerationMode.POSITIVE, GenerationMode.NEGATIVE:
            def ask(case: schemathesis.Case) -> None:
                name_what_is_there(case, where.ids, choose)  # noqa: B023
                answer = case.call_and_validate(
                    headers={'Authorization': f'Basic {token}'}, checks=checks)
                # Of queries Cinder ignores what it does not know.
                assert answer.status_code >= 400 or not has_wrong_body(case)

            strategy = operation.as_strategy(generation_mode=mode)
            # Where there is nothing that could be wrong, no case is.
            nothing = () if mode == GenerationMode.POSITIVE else (hypothesis.errors.Unsatisfiable,)
            with contextlib.suppress(*nothing):
                hypothesis.seed(seed)(settings(hypothesis.given(case=strategy)(ask)))()


def has_wrong_body(case: schemathesis.Case) -> bool:
    body = case.meta and case.meta.components.get(ParameterLocation.BODY)
    return bool(body and body.mode == GenerationMode.NEGATIVE)


def name_what_is_there(case: schemathesis.Case, ids: dict[str, str], choose: random.Random
                       ) -> None:
    """In half of the cases: what is made up is seldom the id of anything."""
    def known(name: str) -> str:
        return ids[choose.choice(KNOWN[name])]

    path = case.path_parameters or {}
    if 'project_id' in path and choose.random() < 0.9:
        path['project_id'] = world.ALPHA
    if choose.random() < 0.5:
        return
    if 'id' in path:
        path['id'] = known(re.findall(r'(\w+)/{id}', case.operation.path)[0])
    if case.meta is None or case.meta.generation.mode == GenerationMode.NEGATIVE:
        return
    members = [case.body, *case.body.values()] if isinstance(case.body, dict) else []
    for member in members:
        if isinstance(member, dict):
            member |= {name: known(name) for name in KNOWN if name in member}
            member |= {name: value for name, value in (
                ('host', 'backup1'), ('binary', WORKER)) if name in member}


def test_answers_are_as_described(where: world.World) -> None:
    hold(where, EXAMPLES, seed=1)


@pytest.mark.long
def test_many_answers_are_as_described(tmp_path: Path) -> None:
    made = world.make(tmp_path / 'world')
    hold(made, MANY_EXAMPLES, seed=random.randrange(1 << 32))
    made.catalog.close()
