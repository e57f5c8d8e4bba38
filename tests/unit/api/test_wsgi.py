"""The application as other WSGI servers load it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

ASK = """
import json, webob
from backup_framework.api.wsgi import application
answers = [webob.Request.blank(path).get_response(application)
           for path in ('/v3', '/v3/backups', '/healthcheck')]
print(json.dumps([answer.status_int for answer in answers]))
"""


def test_the_module_that_servers_are_given(tmp_path):
    file = tmp_path / 'main.conf'
    file.write_text(f'[DEFAULT]\nstate_path = {tmp_path}/state\n')
    told = subprocess.run([sys.executable, '-c', ASK], capture_output=True, text=True, timeout=60,
                          env=os.environ | {'BF_CONFIG_FILE': str(file)}, check=False)
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout) == [200, 200, 200]
    assert (tmp_path / 'state' / 'catalog.sqlite').exists()
