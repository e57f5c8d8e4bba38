"""Logging in through paramiko: with keys, with those of the agent, with the password."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib
import functools
from typing import Any

import paramiko
from paramiko.pkey import UnknownKeyType

from backup_framework import exceptions, model
from backup_framework_sftp import failures, options, private_keys
from backup_framework_sftp.private_keys import KeyFile

Attempt = Callable[[], Sequence[str]]
"""Gives the methods that the server wants besides; none when it has let us in."""


def log_in(transport: paramiko.Transport, settings: model.Settings,
           keys: Sequence[KeyFile]) -> None:
    """:raises PermissionDenied: nothing of what we have is accepted.
    :raises StoreUnavailable: the connection ended.
    """
    user = options.user(settings)
    tried: list[str] = []
    offered = _attempt(transport, settings, tried, lambda: transport.auth_none(user))
    with contextlib.ExitStack() as stack:
        held = _held_keys(settings, stack)
        for method, name, attempt in _ways(transport, settings, keys, held):
            if not offered:
                return
            if method in offered:
                tried.append(name)
                offered = _attempt(transport, settings, tried, attempt, offered)
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
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise failures.unavailable(settings, f'logging in: {error or "no answer"}') from error
    if tried[1:]:
        raise failures.authentication(settings, tried, offered,
                                      'the server ended the connection: too many attempts?')
    raise failures.unavailable(
        settings, 'the server ended the connection while we logged in') from cause


def _ways(transport: paramiko.Transport, settings: model.Settings, keys: Sequence[KeyFile],
          held: Sequence[paramiko.AgentKey]) -> Iterator[tuple[str, str, Attempt]]:
    """What we can try: the server's name of a method, ours, and how.

    :param held: the keys of the agent.
    """
    user = options.user(settings)
    for file in keys:
        if not file.encrypted or settings.private_key_passphrase:
            opened = _opened(file, settings.private_key_passphrase)
            yield 'publickey', f'the key {file.path}', functools.partial(
                transport.auth_publickey, user, opened)
    ours = {file.public for file in keys} if settings.private_key else None
    for key in held:
        if ours is None or key.asbytes() in ours:
            yield 'publickey', f'the key {key.comment or key.get_name()} of the agent', (
                functools.partial(transport.auth_publickey, user, key))
    if settings.password:
        yield 'password', 'the password', functools.partial(
            transport.auth_password, user, settings.password, fallback=False)
        yield 'keyboard-interactive', 'the password as an answer', functools.partial(
            transport.auth_interactive, user, functools.partial(_answer, settings.password))


def _opened(file: KeyFile, passphrase: str | None) -> paramiko.PKey:
    # Its stub says that a passphrase is text; bytes are what works.
    secret: Any = passphrase.encode() if passphrase and file.encrypted else None
    try:
        return paramiko.PKey.from_path(file.path, secret)
    except (paramiko.SSHException, UnknownKeyType, ValueError, TypeError, OSError):
        # Their text may hold what they were given.
        reason = ('private_key_passphrase does not open it' if file.encrypted
                  else 'it is damaged, or of a kind that paramiko does not know')
        raise exceptions.PermissionDenied(
            f'cannot use the private key {file.path}: {reason}') from None


def _answer(password: str, title: str, instructions: str,
            prompts: Sequence[tuple[str, bool]]) -> list[str]:
    """To one question with hidden input the password; servers also ask nothing at all."""
    return [password] if len(prompts) == 1 and not prompts[0][1] else ['' for _ in prompts]


def _held_keys(settings: model.Settings, stack: contextlib.ExitStack
               ) -> Sequence[paramiko.AgentKey]:
    """The keys of the agent, if there is one; it signs until the stack is closed."""
    if settings.use_agent:
        with contextlib.suppress(paramiko.SSHException, OSError):
            return stack.enter_context(contextlib.closing(paramiko.Agent())).get_keys()
    return ()
