"""The application as other WSGI servers load it."""

from __future__ import annotations

from collections.abc import Callable
import json
import os
from pathlib import Path
import subprocess
import sys

import pytest

ASK = """
import json, webob
from backup_framework.api.wsgi import application
answers = [webob.Request.blank(path).get_response(application)
           for path in ('/v3', '/v3/backups', '/healthcheck')]
print(json.dumps([answer.status_int for answer in answers]))
"""

Load = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """A process that loads and asks it, with these lines behind those of [DEFAULT]."""
    def run(text: str, **environment: str) -> subprocess.CompletedProcess[str]:
        file = tmp_path / 'main.conf'
        file.write_text(f'[DEFAULT]\nstate_path = {tmp_path}/state\n{text}')
        return subprocess.run(
            [sys.executable, '-c', ASK], capture_output=True, text=True, timeout=60, check=False,
            env=os.environ | {'BF_CONFIG_FILE': str(file)} | environment)
    return run


def test_the_module_that_servers_are_given(load: Load, tmp_path: Path) -> None:
    told = load('[api]\nauth_strategy = none\nprot = 1\n')
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout) == [200, 200, 200]
    assert (tmp_path / 'state' / 'catalog.sqlite').exists()
    assert 'prot is not an option of this section; did you mean port?' in told.stderr
    assert 'auth_strategy is none: whoever reaches this server' in told.stderr


def test_a_strategy_that_the_environment_names(load: Load) -> None:
    told = load('', OS_API__AUTH_STRATEGY='none')
    assert json.loads(told.stdout) == [200, 200, 200], told.stderr


def test_nobody_is_let_in_because_of_a_misspelt_section(load: Load) -> None:
    told = load('[apii]\nauth_strategy = keystone\n')
    assert told.returncode != 0 and told.stdout == ''
    assert 'section [apii] is not used; did you mean api?' in told.stderr
    assert 'ConfigurationError: [api] auth_strategy is not set' in told.stderr


@pytest.mark.parametrize('text, said', [
    ('[quota]\nbackups = many\n', '[quota] backups must be'),
    ('[service]\nservice_down_time = soon\n', '[service] service_down_time must be'),
    ('[schedule:x]\ncron = often\nvolumes = *\n', '[schedule:x] cron must have five fields'),
    ('[jobboard]\nconnection = carrier-pigeon://loft\n', 'must begin with etcd'),
])
def test_nonsense_keeps_it_from_starting(load: Load, text: str, said: str) -> None:
    told = load(f'[api]\nauth_strategy = none\n{text}')
    assert told.returncode != 0 and told.stdout == ''
    assert 'ConfigurationError: ' in told.stderr and said in told.stderr
