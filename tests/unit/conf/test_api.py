"""The sections [api] and [quota]."""

from __future__ import annotations

import gc

from oslo_config import cfg
import pytest

from backup_framework import conf
from backup_framework.exceptions import ConfigurationError
from backup_framework.model import Quota


@pytest.fixture
def load(tmp_path):
    def made(text=''):
        file = tmp_path / 'main.conf'
        file.write_text(f'[DEFAULT]\nstate_path = {tmp_path}\n{text}')
        return conf.load([str(file)], oslo=cfg.ConfigOpts())
    return made


def test_defaults_serve_this_machine_alone(load):
    api = load().api
    assert (api.host, api.port, api.auth_strategy, api.osapi_max_limit) == (
        '127.0.0.1', 8776, 'none', 1000)
    assert load().quota == Quota(-1, -1)


def test_what_is_given(load):
    configuration = load('[api]\nport = 80\npublic_endpoint = https://x.example/b/\n'
                         '[quota]\nbackups = 3\n')
    assert (configuration.api.port, configuration.api.public_endpoint) == (
        80, 'https://x.example/b')
    assert configuration.quota == Quota(3, -1)
    assert not list(configuration.warnings)


@pytest.mark.parametrize('line, words', [
    ('public_endpoint = x.example', 'must be like https://'),
    ('public_endpoint = ftp://x.example', 'must be like https://'),
    ('public_endpoint = https://x.example/?a=b', 'must be like https://'),
    ('public_endpoint = https://[x', 'must be like https://'),
    ('port = 70000', 'port'), ('threads = 0', 'an integer from 1 to 1000'),
    ('osapi_max_limit = none', 'an integer'), ('request_timeout = 0', 'from 1 to 3600')])
def test_what_makes_no_sense(load, line, words):
    with pytest.raises(ConfigurationError, match=words) as caught:
        load(f'[api]\n{line}\n').api  # noqa: B018
    assert f'[api] {line.split()[0]}' in str(caught.value)


def test_a_misspelled_option_and_a_backend_called_so(load):
    assert 'did you mean port?' in ' '.join(load('[api]\npotr = 1\n').warnings)
    with pytest.raises(ConfigurationError, match='taken'):
        load('enabled_backends = quota\n[quota]\ndriver = local\n')


def test_sections_that_are_read_for_each_request_cost_no_memory(load):
    configuration = load()
    configuration.service()
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(200):
        configuration.service()
    gc.collect()
    assert len(gc.get_objects()) - before < 100
