"""Logging in through paramiko: with keys, with those of the agent, with the password."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib
import functools
import io
import os
import re
import time
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
import paramiko
from paramiko.pkey import UnknownKeyType

from backup_framework import exceptions, model
from backup_framework_sftp import failures, files, options, private_keys
from backup_framework_sftp.agent import Agent, AgentSilent
from backup_framework_sftp.private_keys import KeyFile

Attempt = Callable[[], Sequence[str]]
"""Gives the methods that the server wants besides; none when it has let us in."""
Ways = Iterator[tuple[str, Attempt]]
"""How a method can be tried: what messages call it, and the attempt."""


def log_in(transport: paramiko.Transport, settings: model.Settings, keys: Sequence[KeyFile],
           deadline: float) -> None:
    """:raises PermissionDenied: nothing of what we have is accepted.
    :raises StoreUnavailable: the connection ended.
    """
    user = options.user(settings)
    tried: list[str] = []
    offered = _attempt(transport, settings, tried, lambda: transport.auth_none(user))
    with contextlib.ExitStack() as stack:
        held = _held_keys(settings, deadline, tried, stack)
        for method, ways in (
                ('publickey', _with_files(transport, settings, keys)),
                ('publickey', _with_agent(transport, settings, keys, held)),
                ('password', _with_password(transport, settings)),
                ('keyboard-interactive', _with_answer(transport, settings))):
            while method in offered and (way := next(ways, None)):
                tried.append(way[0])
                offered = _attempt(transport, settings, tried, way[1], offered)
    if offered:
        raise failures.authentication(settings, tried, offered, private_keys.closed(settings, keys))


def _attempt(transport: paramiko.Transport, settings: model.Settings, tried: Sequence[str],
             attempt: Attempt, offered: Sequence[str] = ()) -> Sequence[str]:
    """What the server still wants, which is `offered` where it just says no."""
    try:
        return attempt()
    except paramiko.BadAuthenticationType as error:
        return list(error.allowed_types)
    except paramiko.AuthenticationException as error:
        if transport.is_active():
            return offered
        cause = error
    except AgentSilent:
        raise failures.authentication(
            settings, tried, offered,
            'the agent does not answer: does it wait for a confirmation?') from None
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise failures.unavailable(settings, f'logging in: {error or "no answer"}') from error
    if tried[1:]:
        raise failures.authentication(settings, tried, offered,
                                      'the server ended the connection: too many attempts?')
    raise failures.unavailable(
        settings, 'the server ended the connection while we logged in') from cause


def _with_files(transport: paramiko.Transport, settings: model.Settings,
                keys: Sequence[KeyFile]) -> Ways:
    for file in keys:
        if not file.encrypted or settings.private_key_passphrase:
            opened = _opened(file, settings.private_key_passphrase)
            yield f'the key {file.path}', functools.partial(
                transport.auth_publickey, options.user(settings), opened)


def _with_agent(transport: paramiko.Transport, settings: model.Settings, keys: Sequence[KeyFile],
                held: Iterator[paramiko.AgentKey]) -> Ways:
    ours = {file.public for file in keys} if settings.private_key else None
    for key in held:
        if ours is None or key.asbytes() in ours:
            yield f'the key {key.comment or key.get_name()} of the agent', functools.partial(
                transport.auth_publickey, options.user(settings), key)


def _with_password(transport: paramiko.Transport, settings: model.Settings) -> Ways:
    if settings.password:
        yield 'the password', functools.partial(
            transport.auth_password, options.user(settings), settings.password, fallback=False)


def _with_answer(transport: paramiko.Transport, settings: model.Settings) -> Ways:
    if settings.password:
        yield 'the password as an answer', functools.partial(
            transport.auth_interactive, options.user(settings),
            functools.partial(_answer, settings.password))


def _opened(file: KeyFile, passphrase: str | None) -> paramiko.PKey:
    try:
        return _load(file.path, passphrase.encode() if passphrase and file.encrypted else None)
    except (paramiko.SSHException, UnknownKeyType, UnsupportedAlgorithm, ValueError, TypeError,
            OSError):
        # Their text may hold what they were given.
        reason = ('private_key_passphrase does not open it' if file.encrypted
                  else 'it is damaged, or of a kind that paramiko does not know')
        raise exceptions.PermissionDenied(
            f'cannot use the private key {file.path}: {reason}') from None


def _load(path: str, passphrase: bytes | None) -> paramiko.PKey:
    """A key in any form: PKCS#8, which paramiko does not know, is put into OpenSSH's."""
    with files.open_regular(path) as file:
        data = file.read()
    if not re.search(rb'BEGIN (ENCRYPTED )?PRIVATE KEY', data):
        # The stub says that a passphrase is text; bytes are what works.
        untyped: Any = passphrase
        return paramiko.PKey.from_path(path, untyped)
    text = serialization.load_pem_private_key(data, passphrase).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption()).decode()
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        with contextlib.suppress(paramiko.SSHException):
            return kind.from_private_key(io.StringIO(text))
    raise ValueError('another kind of key')


def _answer(password: str, title: str, instructions: str,
            prompts: Sequence[tuple[str, bool]]) -> list[str]:
    """To one question with hidden input the password; servers also ask nothing at all."""
    return [password] if len(prompts) == 1 and not prompts[0][1] else ['' for _ in prompts]


def _held_keys(settings: model.Settings, deadline: float, tried: list[str],
               stack: contextlib.ExitStack) -> Iterator[paramiko.AgentKey]:
    """The keys of the agent, if there is one. It is asked when the first is wanted, for it may be
    silent, and signs until the stack is closed.
    """
    path = os.environ.get('SSH_AUTH_SOCK')
    if not settings.use_agent or not path:
        return
    # What follows needs time as well: signing, a password.
    patience = max(0.001, (deadline - time.monotonic()) / 2)
    try:
        agent = stack.enter_context(contextlib.closing(Agent(path, patience)))
    except AgentSilent:
        tried.append(f'the agent, which does not answer ({path})')
    except (paramiko.SSHException, OSError):
        return  # there is none
    else:
        yield from agent.get_keys()
