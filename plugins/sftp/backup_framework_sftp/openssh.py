"""The system's ssh as the transport: a process that encrypts, beside ours.

ssh gets one end of a socket pair as its standard input and output. When this process ends, however
it ends, that socket ends, and ssh with it. It is in a session of its own, so that Ctrl-C reaches
us alone: what an interrupted backup has to tidy up goes through the connection.
"""

from __future__ import annotations

from collections.abc import Sequence
import contextlib
import functools
import math
import os
import re
import select
import shutil
import socket
import subprocess
import time

from backup_framework import exceptions, model
from backup_framework_sftp import failures, host_keys, options, private_keys
from backup_framework_sftp.host_keys import Verdict

SOCKET_BUFFER = 4 << 20
"""Bytes that the socket to ssh may hold, as far as the system allows."""
COMPLAINT_BYTES = 4096
GRACE_SECONDS = 1.0
"""How long ssh may take to say good-bye to the server."""

_FAILED = 255
"""ssh's exit code for failures of its own; others are those of what ran on the server."""

_INPUT = select.POLLIN | select.POLLHUP | select.POLLERR
_UNTOLD = re.compile(r'\$\{|[\0-\x1f\x7f]')


class Stream:
    """A running ssh. Used by one thread at a time.

    Whether ssh reaches the server, knows it and is let in shows when the first byte arrives or
    does not. Until then what goes wrong is a StoreError that says why, later it is an OSError.
    """

    def __init__(self, process: subprocess.Popen[bytes], channel: socket.socket,
                 settings: model.Settings) -> None:
        self._process = process
        self._channel = channel
        self._settings = settings
        self._errors: int | None = process.stderr.fileno() if process.stderr else None
        self._said = b''
        self._greeted = False
        self._ended = False
        self._stalled = False
        self._closed = False
        self._deadline = time.monotonic() + settings.timeout
        self._poll = select.poll()
        self._poll.register(channel, 0)
        if self._errors is not None:
            os.set_blocking(self._errors, False)
            self._poll.register(self._errors, _INPUT)

    def sendall(self, data: bytes | bytearray | memoryview, /) -> None:
        with memoryview(data) as view, view.cast('B') as left:
            sent = 0
            while sent < len(left):
                try:
                    sent += self._channel.send(left[sent:])
                except BlockingIOError:
                    self._wait(select.POLLOUT)
                except OSError as error:
                    raise self._failure() or error

    def recv_into(self, buffer: bytearray | memoryview, /) -> int:
        while True:
            try:
                count = self._channel.recv_into(buffer)
            except BlockingIOError:
                self._wait(select.POLLIN)
                continue
            except ConnectionResetError as error:
                raise self._failure() or error
            if not count:
                failure = self._failure()
                if failure is not None:
                    raise failure
            if not self._greeted:
                self._greet()
            return count

    def is_quiet(self) -> bool:
        if self._closed or self._ended or self._stalled or self._process.poll() is not None:
            return False
        self._poll.modify(self._channel, _INPUT)
        ready = dict(self._poll.poll(0))
        if self._errors in ready:
            self._listen()
        return self._channel.fileno() not in ready

    def complaint(self) -> str:
        if self._ended and not self._closed:
            # Its last words come at about the time when its output ends.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE_SECONDS)
        self._listen()
        lines = self._said.decode(errors='replace').splitlines()
        return '; '.join(line.strip() for line in lines if line.strip())

    def close(self) -> None:
        if self._closed:
            return
        self._said = self.complaint().encode()
        self._closed = True
        self._channel.close()
        try:
            self._process.wait(GRACE_SECONDS if self._greeted and not self._stalled else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stderr is not None:
            self._errors = None
            self._process.stderr.close()

    def _greet(self) -> None:
        """SFTP begins. The banners that were shown before are no complaints."""
        self._greeted = True
        self._listen()
        self._said = b''

    def _wait(self, event: int) -> None:
        """Until the socket is ready for `event`."""
        deadline = self._deadline
        if self._greeted:
            deadline = time.monotonic() + self._settings.timeout
        self._poll.modify(self._channel, event)
        while True:
            ready = dict(self._poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
            if self._errors in ready:
                self._listen()
            if self._channel.fileno() in ready:
                return
            if time.monotonic() >= deadline:
                self._stalled = True
                if not self._greeted:
                    raise failures.silent(self._settings)
                raise TimeoutError(f'no answer within {self._settings.timeout:g} seconds')

    def _listen(self) -> None:
        """Take what ssh says on stderr, so that it need not wait to be heard; keep the end."""
        for _ in range(16):
            if self._errors is None:
                return
            try:
                data = os.read(self._errors, COMPLAINT_BYTES)
            except BlockingIOError:
                return
            if not data:
                self._poll.unregister(self._errors)
                self._errors = None
            self._said = (self._said + data)[-COMPLAINT_BYTES:]

    def _failure(self) -> exceptions.StoreError | None:
        """Why ssh ended before SFTP began; None if that is not so."""
        self._ended = True
        if self._greeted:
            return None
        return explain(self._settings, self.complaint(), self._process.poll())


def connect(settings: model.Settings) -> Stream:
    """Start ssh.

    :raises StoreError: it cannot be started.
    """
    words = command(settings, private_keys.find(settings))
    host_keys.read(options.local_path(settings.known_hosts))
    ours, theirs = socket.socketpair()
    try:
        for end in (ours, theirs):
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                end.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
        process = subprocess.Popen(
            words, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=subprocess.PIPE, cwd='/',
            env=_environment(settings), start_new_session=True)
    except OSError as error:
        ours.close()
        raise exceptions.StoreError(f'cannot start {words[0]}: {error.strerror}') from error
    finally:
        theirs.close()
    ours.setblocking(False)
    return Stream(process, ours, settings)


def _environment(settings: model.Settings) -> dict[str, str]:
    """Only what ssh needs: ours may hold the secrets of others."""
    agent = os.environ.get('SSH_AUTH_SOCK')
    return {'SSH_AUTH_SOCK': agent} if settings.use_agent and agent else {}


def program() -> str | None:
    """The system's ssh, if it is OpenSSH."""
    path = shutil.which('ssh')
    return path if path and _is_openssh(path) else None


@functools.cache
def _is_openssh(path: str) -> bool:
    """Others, such as dropbear's, know few of the options."""
    try:
        done = subprocess.run([path, '-V'], stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=10, env={}, cwd='/')
    except (OSError, subprocess.TimeoutExpired):
        return False
    return (done.stderr + done.stdout).startswith(b'OpenSSH')


def can_be_told(path: str) -> bool:
    """Whether ssh can be given this path: what looks like a variable is always replaced."""
    return not _UNTOLD.search(path)


def command(settings: model.Settings, keys: Sequence[private_keys.KeyFile]) -> list[str]:
    """ssh's words. No file but those named here is read, and nothing but SFTP is asked for."""
    # With these ssh also measures how long a server may take to let it in.
    alive = settings.keepalive or 3600
    values = {
        'BatchMode': 'yes',
        'StrictHostKeyChecking': 'yes',
        'UserKnownHostsFile': _quoted(options.local_path(settings.known_hosts)),
        'GlobalKnownHostsFile': os.devnull,
        'CheckHostIP': 'no',
        'UpdateHostKeys': 'no',
        'VerifyHostKeyDNS': 'no',
        'PreferredAuthentications': 'publickey',
        'PasswordAuthentication': 'no',
        'KbdInteractiveAuthentication': 'no',
        'IdentitiesOnly': 'yes' if settings.private_key else 'no',
        'IdentityAgent': 'SSH_AUTH_SOCK' if settings.use_agent else 'none',
        'AddKeysToAgent': 'no',
        'Ciphers': ','.join(settings.ciphers),
        'Compression': 'no',
        'ConnectTimeout': str(math.ceil(settings.timeout)),
        'ConnectionAttempts': '1',
        'ServerAliveInterval': str(alive),
        'ServerAliveCountMax': str(math.ceil(settings.timeout / alive)),
        'ControlMaster': 'no',
        'ControlPath': 'none',
        'ClearAllForwardings': 'yes',
        'ForwardAgent': 'no',
        'ForwardX11': 'no',
        'Tunnel': 'no',
        'PermitLocalCommand': 'no',
        'ProxyCommand': 'none',
        'EscapeChar': 'none',
        'LogLevel': 'INFO',
    }
    words = [program() or 'ssh', '-F', 'none', '-T', '-s']
    for name, value in values.items():
        words += ['-o', f'{name}={value}']
    for key in keys:
        words += ['-o', f'IdentityFile={_quoted(key.path)}']
    if not keys:
        words += ['-o', 'IdentityFile=none']
    return [*words, '-l', options.user(settings), '-p', str(settings.port), '--', settings.host,
            'sftp']


def _quoted(path: str) -> str:
    """As a value in ssh_config(5): quoted, and `%` is no token."""
    return '"' + re.sub(r'(["\\])', r'\\\1', path).replace('%', '%%') + '"'


def explain(settings: model.Settings, said: str, code: int | None) -> exceptions.StoreError:
    """The error for what ssh said, and how it ended, before SFTP began."""
    for pattern, meaning in _MEANINGS:
        found = re.search(pattern, said)
        if found:
            return meaning(settings, said, found)
    if code is None or code == _FAILED:
        # Lines before the last may be a banner.
        return failures.unavailable(settings, said.rpartition('; ')[2] or (
            'the connection ended before SFTP began'))
    return failures.no_sftp(settings, f'the session ended at once with code {code}')


def _host_key(settings: model.Settings, said: str, _: re.Match[str]) -> exceptions.StoreError:
    known = host_keys.read(options.local_path(settings.known_hosts))
    verdict = (Verdict.REVOKED if 'REVOKED HOST KEY' in said
               else Verdict.CHANGED if 'HOST IDENTIFICATION HAS CHANGED' in said
               else Verdict.UNKNOWN)
    line = re.search(rf'Offending \S+ key in {re.escape(known.path)}:(\d+)', said)
    return failures.host_key(settings, known, verdict, _shown(said),
                             int(line[1]) if line else None)


def _shown(said: str) -> tuple[str, str] | None:
    """Kind and fingerprint of the key that a changed server shows."""
    found = re.search(r'fingerprint for the (\S+) key sent by the remote host is;? '
                      r'(SHA256:[\w+/]+)', said)
    return (found[1], found[2]) if found else None


def _refused(settings: model.Settings, said: str,
             found: re.Match[str]) -> exceptions.StoreError:
    offered = found.groupdict().get('offered')
    detail = '; '.join(re.findall(_OF_KEYS, said))
    keys = private_keys.find(settings)
    return failures.authentication(
        settings, private_keys.described(settings, keys), offered.split(',') if offered else (),
        detail or private_keys.closed(settings, keys))


def _not_understood(settings: model.Settings, said: str, _: object) -> exceptions.StoreError:
    return exceptions.StoreError(
        f'cannot connect to {options.where(settings)}: ssh does not take what it is told ({said});'
        ' transport = paramiko does without it')


def _no_sftp(settings: model.Settings, said: str, _: object) -> exceptions.StoreError:
    return failures.no_sftp(settings)


def _no_common(settings: model.Settings, said: str, _: object) -> exceptions.StoreError:
    return failures.no_common(settings, said)


_OF_KEYS = (r'(?:^|; )((?:Load key|sign_and_send_pubkey|get_agent_identities|Received disconnect)'
            r'[^;]*)')
_MEANINGS = (
    (r'Host key verification failed|REVOKED HOST KEY DETECTED', _host_key),
    (r'\S*: Permission denied \((?P<offered>[\w,@.-]*)\)', _refused),
    (r'Too many authentication failures', _refused),
    (r'subsystem request failed', _no_sftp),
    (r'Unable to negotiate|Bad SSH2 cipher spec', _no_common),
    (r'^command-line|^usage:|illegal option|unknown option', _not_understood),
)
