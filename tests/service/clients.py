"""The stock clients of OpenStack, `openstack volume backup …` and `cinder backup-…`."""

import dataclasses
import json
import os
import pathlib
import select
import subprocess

from tests import environments

VERSIONS = {'python-openstackclient': '10.5.0', 'python-cinderclient': '9.10.0'}
HOST = pathlib.Path(__file__).with_name('client_host.py')
ANSWER_SECONDS = 90


def find_or_build():
    """The folder of the environment.

    :raises environments.Missing: it cannot be had.
    """
    return environments.find_or_build('BF_CLIENTS_VENV', 'clients', VERSIONS)


@dataclasses.dataclass
class Done:
    """What became of a command."""

    status: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def table(self):
        """Rows as dicts by column, of a table that cinder prints."""
        rows = [[cell.strip() for cell in line.strip('|').split('|')]
                for line in self.out.splitlines() if line.startswith('|')]
        return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]

    @property
    def properties(self):
        return {row['Property']: row['Value'] for row in self.table}


class Clients:
    """Both, in a process that has imported them once; a command is a child of it."""

    def __init__(self, folder):
        self.folder = folder
        self._process = subprocess.Popen(
            [str(folder / 'bin' / 'python'), '-W', 'ignore', str(HOST)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env={**os.environ, 'PYTHONUNBUFFERED': '1'})

    def run(self, program, environment, *arguments):
        request = {'program': program, 'environment': environment,
                   'arguments': [str(argument) for argument in arguments]}
        self._process.stdin.write(json.dumps(request).encode() + b'\n')
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], ANSWER_SECONDS)
        assert ready, f'{program} {arguments} does not end'
        return Done(**json.loads(self._process.stdout.readline()))

    def close(self):
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class OpenStack:
    """`openstack`, told where the service is.

    :param settings: OS_… of the process environment.
    """

    def __init__(self, clients, **settings):
        self.clients, self._settings = clients, settings

    def try_(self, *arguments):
        """A command that may fail."""
        return self.clients.run('openstack', self._settings, *arguments)

    def __call__(self, *arguments):
        """A command that must not."""
        done = self.try_(*arguments)
        assert done.status == 0, f'{arguments}: {done.err}'
        return done

    def ask(self, *arguments):
        """The JSON of one that answers."""
        return self(*arguments, '-f', 'json').json


class Cinder:
    """`cinder`, told where the service is and who asks."""

    def __init__(self, clients, endpoint, project='demo', user='tester'):
        self.clients = clients
        self._words = ('--os-auth-type', 'noauth', '--os-endpoint', endpoint,
                       '--os-user-id', user, '--os-project-id', project)

    def try_(self, *arguments):
        return self.clients.run('cinder', {}, *self._words, *arguments)

    def __call__(self, *arguments):
        done = self.try_(*arguments)
        assert done.status == 0, f'{arguments}: {done.err}'
        return done


def script(folder, name, settings, *arguments):
    """The program as a user starts it, by a process of its own."""
    # The script's first line has the path that the environment was built under.
    path = folder / 'bin' / name
    done = subprocess.run([str(folder / 'bin' / 'python'), str(path), *arguments],
                          env={**os.environ, **settings}, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
    return Done(done.returncode, done.stdout, done.stderr)
