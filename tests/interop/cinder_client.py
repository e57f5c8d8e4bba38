"""Builds an environment with Cinder 29.0.0 once, and talks to cinder_host.py running in it."""

import contextlib
import json
import os
import pathlib
import select
import subprocess
import time

from tests import environments

VERSION = '29.0.0'
HOST = pathlib.Path(__file__).with_name('cinder_host.py')
ANSWER_SECONDS = 60


class CinderError(Exception):
    """What Cinder raised, as 'ClassName: message'."""


ENVIRONMENT = ('BF_CINDER_VENV', 'cinder', {'cinder': VERSION})


def find():
    """The Python of the environment.

    :raises environments.Missing: it is not there.
    """
    return environments.find(*ENVIRONMENT) / 'bin' / 'python'


def find_or_build():
    """The same, made where it is not there, which takes minutes.

    :raises environments.Missing: it cannot be had.
    """
    return environments.find_or_build(*ENVIRONMENT) / 'bin' / 'python'


# The process

class Cinder:
    """Real Cinder in a process of its own. An error of Cinder's is raised as CinderError.

    Records are what `backup` answers as 'export': {'backup_service': ..., 'backup_url': ...};
    a chain is a list of them, root first. `more` goes into the request as it is: options,
    extra_metadata, prefix_style (posix, slash, constant), now, uid, gid, groups, ...
    """

    Error = CinderError

    def __init__(self, python, log):
        self._log = open(log, 'w+b')
        self._buffer = b''
        self._process = subprocess.Popen(
            [str(python), '-u', str(HOST)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._log, cwd=pathlib.Path(log).parent)

    def backup(self, root, volume, backup=None, options=None, metadata=None, **more):
        """Backs a volume up below root; answers {'record': every field, 'export': ...}.

        metadata is {'volume': columns, 'metadata': {}, 'glance': {}}, or False for a backup
        without volume metadata.
        """
        return self.ask('backup', root=str(root), volume=str(volume), backup=backup or {},
                        options=options or {}, metadata={} if metadata is None else metadata,
                        **more)

    def restore(self, root, chain, target, volume_is_new=True, **more):
        """Restores the last of the chain onto target, which is made if it does not exist.

        An existing target keeps what it holds where Cinder does not write. target_size sets the
        size of a target file first, open_mode='wb' opens it as Cinder's manager does. Answers id,
        size of the target, and the volume's row, metadata and glance metadata after it.
        """
        return self.ask('restore', root=str(root), chain=chain, target=str(target),
                        volume_is_new=volume_is_new, **more)

    def export(self, backup, **more):
        """The export of a known backup's id, or of a record's fields."""
        key = 'backup_id' if isinstance(backup, str) else 'backup'
        return self.ask('export', **{key: backup}, **more)['export']

    def import_(self, export, **more):
        """The record that Cinder's API and manager make of an export (or of its url alone)."""
        fields = {'backup_url': export} if isinstance(export, str) else export
        return self.ask('import', **fields, **more)['record']

    def delete(self, root, chain, **more):
        """Deletes the last of the chain from the store."""
        return self.ask('delete', root=str(root), chain=chain, **more)

    def forget(self):
        """Empties the process's database."""
        self.ask('forget')

    def version(self):
        return self.ask('version')

    def ask(self, verb, timeout=ANSWER_SECONDS, **request):
        line = json.dumps({'do': verb, **request}) + '\n'
        try:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._broken('has ended')
        answer = json.loads(self._read_line(timeout))
        if 'error' in answer:
            raise CinderError(answer['error'])
        return answer

    def close(self):
        """Ends the process: by asking, else by its own id."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(b'{"do": "quit"}\n')
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()

    def _read_line(self, timeout):
        deadline = time.monotonic() + timeout
        while b'\n' not in self._buffer:
            self._buffer += self._read_some(deadline)
        line, _, self._buffer = self._buffer.partition(b'\n')
        return line

    def _read_some(self, deadline):
        stdout = self._process.stdout
        if not select.select([stdout], [], [], max(0, deadline - time.monotonic()))[0]:
            self._process.kill()
            raise self._broken('gave no answer in time')
        data = os.read(stdout.fileno(), 1 << 16)
        if not data:
            raise self._broken('has ended')
        return data

    def _broken(self, what):
        self._log.seek(0)
        return CinderError('The Cinder process %s: %s'
                           % (what, self._log.read()[-2000:].decode(errors='replace')))
