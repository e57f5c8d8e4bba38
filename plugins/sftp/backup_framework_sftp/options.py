"""The driver's options, what is wrong with their values, and what follows from them."""

from __future__ import annotations

import ipaddress
import os
import pwd
import re

from backup_framework import exceptions, model
from backup_framework.model import Option, OptionType

TRANSPORTS = ('auto', 'openssh', 'paramiko')

# AES-GCM first: it is the fastest where the processor knows AES.
CIPHERS = ('aes128-gcm@openssh.com', 'aes256-gcm@openssh.com', 'aes128-ctr', 'aes192-ctr',
           'aes256-ctr', 'chacha20-poly1305@openssh.com')

OPTIONS = (
    Option('host', required=True, sample='backup.example.org', help=(
        'Name or address of the SFTP server. An IPv6 address stands without brackets.')),
    Option('port', OptionType.INTEGER, 22, minimum=1, maximum=65535, help=(
        "The port of the server's SSH service.")),
    Option('username', sample='backup', help=(
        'The account on the server. Unset, it has the name of the user who runs this.')),
    Option('private_key', OptionType.PATH, sample='/etc/backup_framework/id_ed25519', help=(
        'The file of the private key to log in with; no other is tried then. Unset, id_ed25519, '
        'id_ecdsa and id_rsa of ~/.ssh are tried if they are there.')),
    Option('private_key_passphrase', secret=True, help=(
        'The passphrase of private_key, if that is encrypted. ssh cannot be given one, so the '
        'transport is paramiko then, which is slower; a key that an agent holds needs none.')),
    Option('password', secret=True, help=(
        'The password of the account, tried after keys. Where it is given, the transport is '
        'paramiko, which is slower.')),
    Option('use_agent', OptionType.BOOLEAN, True, help=(
        'Also log in with keys of the SSH agent that SSH_AUTH_SOCK names, so that what "ssh HOST" '
        'can reach is reached. Where private_key is given, only that key is taken from the '
        'agent.')),
    Option('known_hosts', OptionType.PATH, '~/.ssh/known_hosts', help=(
        "The file with the server's host key. A server whose key is not in it, or is another one, "
        'is refused; "backup-framework sftp host-key BACKEND" shows the line that is missing.')),
    Option('path', required=True, sample='backups', help=(
        'The directory on the server that holds the store. A relative one begins where logins '
        'begin. It is made when it is missing.')),
    # Two: near a server more were no faster, and each costs a login and a process on both sides.
    # The default memory lets no more than two chunks of the default size travel either.
    Option('connections', OptionType.INTEGER, 2, minimum=1, maximum=64, help=(
        'Connections to the server that may be open at once; as many chunks travel side by side. '
        'Far away, more are faster.')),
    Option('timeout', OptionType.FLOAT, 30.0, minimum=1, maximum=3600, help=(
        'Seconds that connecting may take, and that the server may be silent in the middle of a '
        'request, before it counts as unavailable.')),
    Option('keepalive', OptionType.INTEGER, 15, minimum=0, maximum=3600, help=(
        'Seconds of silence after which a message keeps an idle connection open, which firewalls '
        'would forget otherwise. 0 sends none.')),
    Option('ciphers', OptionType.LIST, CIPHERS, help=(
        'Ciphers that may be used, the preferred one first. The transport paramiko has no '
        'chacha20-poly1305.')),
    Option('transport', default='auto', choices=TRANSPORTS, help=(
        "What speaks SSH. openssh: the system's ssh in a process of its own, which is the faster "
        'one; paramiko: the Python library. auto: openssh where there is an ssh and neither a '
        'password nor the passphrase of a key is needed, else paramiko.')),
    Option('file_mode', OptionType.MODE, 0o600, help=(
        'Permissions of objects on the server.')),
    Option('directory_mode', OptionType.MODE, 0o700, help=(
        'Permissions of directories that are made on the server.')),
)

_HOST = re.compile(r'[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?')
_NO_USER = re.compile(r'^-|[\s"`$;&<>|(){}]|^$')
_CIPHER = re.compile(r'[a-z0-9][a-z0-9@.-]*')


def check(settings: model.Settings) -> None:
    """:raises ConfigurationError: a value that nothing could be done with."""
    check_host(settings.host)
    _require('port', settings.port, 1 <= settings.port <= 65535, 'from 1 to 65535')
    name = user(settings)
    _require('username', name, name.isprintable() and not _NO_USER.search(name),
             'a name without blanks, $, double quotes and what means something to a shell, that '
             'does not begin with -')
    _require('path', settings.path, isinstance(settings.path, str) and settings.path
             and '\0' not in settings.path, 'text, a path on the server')
    _require('path', settings.path, settings.path.split('/')[0] != '~',
             'a path without ~: a relative one begins where logins begin, mostly at home')
    _require('transport', settings.transport, settings.transport in TRANSPORTS,
             f'one of {", ".join(TRANSPORTS)}')
    for cipher in settings.ciphers:
        _require('ciphers', cipher, _CIPHER.fullmatch(cipher), 'names of ciphers of SSH')
    _require('ciphers', '', bool(settings.ciphers), 'names of ciphers of SSH')


def check_host(host: str) -> None:
    """:raises ConfigurationError: neither a name nor an address."""
    if ':' not in host:
        _require('host', host, _HOST.fullmatch(host),
                 'a name of letters, digits, ".", "-" and "_", or an address')
        return
    _require('host', host, _is_ipv6(host), 'a name or an address; the port has an option of its '
             'own, and an IPv6 address stands without brackets')


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return re.fullmatch(r'[0-9A-Za-z:.]+(%[\w.-]+)?', host, re.ASCII) is not None


def _require(option: str, value: object, valid: object, wanted: str) -> None:
    if not valid:
        raise exceptions.ConfigurationError(f'{option} must be {wanted}, not {value!r}')


def user(settings: model.Settings) -> str:
    """The account on the server.

    :raises ConfigurationError: the one that runs this has no name.
    """
    if settings.username:
        return str(settings.username)
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise exceptions.ConfigurationError(
            f'username must be set: user id {os.geteuid()} has no name on this host') from None


def where(settings: model.Settings) -> str:
    """How messages name the server: an account, a host, a port if it is not the usual one."""
    port = '' if settings.port == 22 else f' port {settings.port}'
    return f'{user(settings)}@{settings.host}{port}'


def local_path(path: str) -> str:
    """A path of this host, absolute; `~` is the home directory."""
    return os.path.abspath(os.path.expanduser(path))


def command_argument(settings: model.Settings) -> str:
    """How the command that shows host keys is told this server."""
    if settings.port == 22:
        return str(settings.host)
    host = f'[{settings.host}]' if ':' in settings.host else settings.host
    return f'{host}:{settings.port}'
