"""What stands before the application, and how many requests a user may make."""

from __future__ import annotations

import io
import json
import re

from oslo_config import cfg
import oslo_context.context
import pytest
import webob
import webob.dec
import webob.exc

from backup_framework import conf
from backup_framework.api import context, middleware, rates
from backup_framework.exceptions import ConfigurationError

REQUEST_ID = re.compile(r'req-[0-9a-f-]{36}')


@pytest.fixture
def pipeline(tmp_path):
    """Gives `pipeline(application, more of the configuration)`."""
    def made(application, text: str = ''):
        file = tmp_path / 'main.conf'
        file.write_text(f'[DEFAULT]\nstate_path = {tmp_path}\n{text}')
        return middleware.pipeline(application, conf.load([str(file)], oslo=cfg.ConfigOpts()))
    return made


@webob.dec.wsgify
def echo(request: webob.Request) -> webob.Response:
    return webob.Response(json_body={
        'id': request.environ['openstack.request_id'], 'url': request.application_url,
        'from': request.remote_addr, 'global': request.environ.get('openstack.global_request_id')})


def broken(environ: object, start_response: object) -> None:
    raise RuntimeError('secret of a disk')


def ask(application, path: str = '/v3/backups', **options) -> webob.Response:
    return webob.Request.blank(path, **options).get_response(application)


def test_every_answer_has_a_request_id(pipeline):
    asked = ask(pipeline(echo))
    assert asked.headers['x-openstack-request-id'] == asked.json['id']
    for answer in (ask(pipeline(broken)), ask(pipeline(echo), middleware.HEALTH)):
        assert REQUEST_ID.fullmatch(answer.headers['x-openstack-request-id'])


def test_an_id_that_the_caller_gave_is_the_global_one(pipeline):
    given = 'req-00000000-1111-2222-3333-444444444444'
    answer = ask(pipeline(echo), headers={'X-Openstack-Request-Id': given})
    assert answer.json['global'] == given
    assert answer.headers['x-openstack-request-id'] != given
    assert ask(pipeline(echo), headers={'X-Openstack-Request-Id': 'x'}).json['global'] is None


def test_what_nobody_expected_is_an_answer_that_tells_nothing(pipeline, caplog):
    answer = ask(pipeline(broken))
    assert answer.status_int == 500 and answer.json['computeFault']['code'] == 500
    assert 'secret' not in answer.text and 'secret of a disk' in caplog.text
    assert answer.content_type == 'application/json'


def test_healthcheck_needs_nobody(pipeline):
    assert ask(pipeline(broken), '/healthcheck').status_int == 200
    assert ask(pipeline(broken), '/healthcheck', method='HEAD').status_int == 204
    assert ask(pipeline(broken), '/healthcheck', method='POST').status_int == 500
    assert ask(pipeline(broken), '/healthcheck/').status_int == 500


@pytest.mark.parametrize('section, option', [
    ('cors', 'allow_credentials'), ('healthcheck', 'detailed'),
    ('oslo_middleware', 'enable_proxy_headers_parsing')])
def test_an_option_that_makes_no_sense(pipeline, section, option):
    with pytest.raises(ConfigurationError, match=rf'\[{section}\].*{option}.*perhaps'):
        pipeline(echo, f'[{section}]\n{option} = perhaps\n')


def test_a_file_takes_the_service_out_of_a_balancer(pipeline, tmp_path):
    application = pipeline(echo, '[healthcheck]\nbackends = disable_by_file\n'
                                 f'disable_by_file_path = {tmp_path}/off\n')
    assert ask(application, '/healthcheck').status_int == 200
    (tmp_path / 'off').touch()
    assert ask(application, '/healthcheck').status_int == 503


def test_headers_of_a_proxy_count_only_where_there_is_one(pipeline):
    headers = {'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'backup.example.org',
               'X-Forwarded-For': '192.0.2.7', 'X-Forwarded-Prefix': '/volume'}
    assert ask(pipeline(echo), headers=headers).json['url'] == 'http://localhost'
    behind = pipeline(echo, '[oslo_middleware]\nenable_proxy_headers_parsing = true\n')
    answer = ask(behind, headers=headers).json
    assert (answer['url'], answer['from']) == ('https://backup.example.org/volume', '192.0.2.7')


def test_browsers_of_other_origins(pipeline):
    application = pipeline(echo, '[cors]\nallowed_origin = https://horizon.example.org\n')
    headers = {'Origin': 'https://horizon.example.org', 'Access-Control-Request-Method': 'PUT',
               'Access-Control-Request-Headers': 'OpenStack-API-Version, X-Auth-Token'}
    asked = ask(application, method='OPTIONS', headers=headers)
    assert asked.headers['Access-Control-Allow-Origin'] == 'https://horizon.example.org'
    assert asked.headers['Access-Control-Allow-Methods'] == 'PUT'
    assert 'OpenStack-API-Version' in asked.headers['Access-Control-Allow-Headers']
    assert REQUEST_ID.fullmatch(asked.headers['x-openstack-request-id'])
    answer = ask(application, headers={'Origin': 'https://horizon.example.org'})
    assert 'X-OpenStack-Request-Id' in answer.headers['Access-Control-Expose-Headers']
    for strange in (ask(application, headers={'Origin': 'https://evil.example.org'}),
                    ask(pipeline(echo), headers={'Origin': 'https://horizon.example.org'})):
        assert 'Access-Control-Allow-Origin' not in strange.headers
    failed = ask(pipeline(broken, '[cors]\nallowed_origin = https://horizon.example.org\n'),
                 headers={'Origin': 'https://horizon.example.org'})
    assert failed.headers['Access-Control-Allow-Origin'], 'a browser may read what went wrong'


class Unread(io.RawIOBase):
    """A body that nobody may touch."""

    def read(self, *_: object) -> bytes:
        raise AssertionError('it was read')


def test_a_body_that_is_too_large_is_not_read():
    request = webob.Request.blank('/', method='POST')
    request.environ.update({'CONTENT_LENGTH': '1025', 'wsgi.input': Unread()})
    with pytest.raises(webob.exc.HTTPRequestEntityTooLarge, match='1024'):
        middleware.limit_body(request, 1024)
    request.environ['CONTENT_LENGTH'] = '1024'
    middleware.limit_body(request, 1024)


def test_a_body_of_unknown_length_is_read_up_to_the_limit():
    request = webob.Request.blank('/', method='POST')
    request.environ.update({'wsgi.input': io.BytesIO(b'x' * 2000), 'wsgi.input_terminated': True})
    middleware.limit_body(request, 1024)
    with pytest.raises(webob.exc.HTTPRequestEntityTooLarge):
        request.body  # noqa: B018


# Rates

class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(rates, 'time', clock)
    return clock


def of(project: str, user: str = 'u') -> context.RequestContext:
    return context.RequestContext(project_id=project, user_id=user, roles=[])


def made(limiter: rates.Limiter, who: context.RequestContext, most: int = 10_000) -> int:
    """How many requests go through before one is refused."""
    for count in range(most):
        try:
            limiter.check(who)
        except webob.exc.HTTPTooManyRequests:
            return count
    return most


def test_a_bucket_is_emptied_and_fills_again(clock):
    limiter = rates.Limiter(2)
    assert made(limiter, of('p')) == 20
    clock.now += 1
    assert made(limiter, of('p')) == 2
    clock.now += 0.4
    assert made(limiter, of('p')) == 0
    clock.now += 3600
    assert made(limiter, of('p')) == 20


def test_who_is_refused_hears_when_to_come_back(clock):
    limiter = rates.Limiter(0.25)
    assert made(limiter, of('p')) == 2
    with pytest.raises(webob.exc.HTTPTooManyRequests) as refused:
        limiter.check(of('p'))
    clock.now += int(refused.value.headers['Retry-After'])
    limiter.check(of('p'))


def test_users_do_not_hinder_one_another(clock):
    limiter = rates.Limiter(1)
    assert made(limiter, of('p')) == 10
    assert made(limiter, of('p', 'other')) == 10
    assert made(limiter, of('q')) == 10


def test_without_a_limit_there_is_none(clock):
    assert made(rates.Limiter(0), of('p'), 1000) == 1000


def test_buckets_are_bounded(clock, monkeypatch):
    monkeypatch.setattr(rates, 'MOST_CALLERS', 5)
    limiter = rates.Limiter(1)
    assert made(limiter, of('busy')) == 10
    for number in range(20):
        clock.now += 0.1
        limiter.check(of(str(number)))
        assert len(limiter._empty_at) <= 5


def test_a_full_bucket_is_forgotten_first(clock, monkeypatch):
    monkeypatch.setattr(rates, 'MOST_CALLERS', 5)
    limiter = rates.Limiter(1)
    for number in range(4):
        limiter.check(of(str(number)))
    clock.now += 5
    assert made(limiter, of('busy')) == 10
    clock.now += 5
    limiter.check(of('new'))
    assert made(limiter, of('busy')) == 5, 'it begins anew only when all are used'


def test_what_is_logged_bears_the_id_of_its_own_request(make_world):
    world = make_world()
    for user, path in (('mark', '/v3/backups'), (None, '/v3'), (None, '/v3/backups')):
        answer = world.ask(user, path)
        logged = oslo_context.context.get_current()
        assert logged.request_id == answer.headers['x-openstack-request-id']
        assert logged.user_id == user


def test_nobody_writes_lines_of_the_log(make_world, caplog):
    world = make_world()
    with caplog.at_level('INFO'):
        world.ask(None, '/v3/a%0aERROR forged%1b[31m')
    said, = (each.getMessage() for each in caplog.records if 'forged' in each.getMessage())
    assert said.isprintable() and said.startswith('GET /v3/a%0AERROR%20forged%1B%5B31m: 404, ')


def test_requests_are_limited_once_it_is_known_who_asks(make_world):
    world = make_world('rate_limit = 0.1\n')
    assert [world.ask('mark', '/v3/backups').status_int for _ in range(2)] == [200, 429]
    assert world.ask('mark', '/v3/alpha/limits').status_int == 429
    assert world.ask('rita', '/v3/backups').status_int == 200
    assert world.ask(None, '/v3/backups').status_int == 401
    assert world.ask(None, '/v3').status_int == 200, 'what is public is not limited'


@pytest.mark.parametrize('user, status', [('mark', 413), (None, 401)])
def test_large_bodies_are_refused_by_the_application(make_world, user, status):
    world = make_world('max_request_body_size = 1024\n')
    body = {'backup': {'volume_id': 'x' * 2000}}
    answer = world.ask(user, '/v3/backups', 'POST', body)
    assert answer.status_int == status
    if status == 413:
        assert '1024' in answer.json['overLimit']['message']


def test_the_answer_is_cinders(pipeline, clock):
    limiter = rates.Limiter(1)

    def application(environ, start_response):
        made(limiter, of('p'))
        limiter.check(of('p'))
    answer = ask(pipeline(application))
    assert answer.status_int == 429 and answer.headers['Retry-After'] == '1'
    said = json.loads(answer.body)['overLimit']
    assert said['code'] == 429 and said['retryAfter'] == '1' and 'Retry after' in said['message']
