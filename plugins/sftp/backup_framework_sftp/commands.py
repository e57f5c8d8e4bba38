"""The command `sftp host-key`.

It speaks through paramiko, which is always installed, and not through ssh-keyscan: addresses,
timeouts and errors are those of the driver then.
"""

from __future__ import annotations

import argparse
import re
from typing import Any

from backup_framework import exceptions, model
from backup_framework.cmd import base, exit_codes
from backup_framework_sftp import failures, host_keys, options
from backup_framework_sftp.host_keys import KnownHosts, Verdict

DRIVERS = ('sftp', 'backup_framework_sftp.driver.SFTPBackupDriver',
           'backup_framework_sftp.driver:SFTPBackupDriver')

COLUMNS = ('type', 'fingerprint', 'state', 'line')
Row = tuple[str, str, str, str]


class HostKey(base.Lister):
    """Show the host keys of an SFTP server, and whether known_hosts knows them.

    Nothing is added to known_hosts. Compare the fingerprint with what "ssh-keygen -l -f" says of
    the key's file on the server itself, then add the line.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('server', metavar='BACKEND|HOST[:PORT]',
                            help='name of an enabled backend with the driver sftp, or a server')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        settings = self._settings(parsed_args.server)
        options.check(settings)
        known = _known(settings)
        rows = [_row(settings, known, key) for key in scan(settings)]
        if any(row[2] in (Verdict.CHANGED, Verdict.REVOKED) for row in rows):
            self.code = exit_codes.STORE
        if parsed_args.formatter != 'table' or parsed_args.columns:
            return COLUMNS, rows
        # The line of an RSA key would tear a table apart.
        _say_lines(known.path, rows)
        return COLUMNS[:-1], [row[:-1] for row in rows]

    def _settings(self, server: str) -> model.Settings:
        # Only here, because --help imports this module.
        from backup_framework_sftp.driver import SFTPBackupDriver
        configuration = self.configuration()
        if server not in configuration.enabled_backends:
            host, port = split(server)
            return SFTPBackupDriver.make_settings(host=host, port=port, path='.')
        name = configuration.backend(server).driver
        if name not in DRIVERS:
            raise exceptions.InvalidInput(
                f'the backend {server} has the driver {name}, not sftp; name a backend that has '
                'it, or a server as HOST or HOST:PORT')
        settings: model.Settings = configuration.settings(server, SFTPBackupDriver)
        return settings


def split(server: str) -> tuple[str, int]:
    """Host and port of HOST, HOST:PORT, an IPv6 address or [ADDRESS]:PORT.

    :raises InvalidInput: it is none of these.
    """
    found = re.fullmatch(r'\[(?P<address>[^]]+)\](:(?P<behind>[0-9]{1,5}))?'
                         r'|(?P<host>[^:\[\]]+)(:(?P<port>[0-9]{1,5}))?'
                         r'|(?P<bare>[^\[\]]*:[^\[\]]*:[^\[\]]*)', server)
    if found is None:
        raise exceptions.InvalidInput(
            f'{server!r} is neither an enabled backend nor HOST, HOST:PORT or [ADDRESS]:PORT')
    host = found['address'] or found['host'] or found['bare']
    return host, int(found['behind'] or found['port'] or 22)


def scan(settings: model.Settings) -> list[host_keys.HostKey]:
    """The server's keys, one of each type it has, without logging in.

    :raises StoreError: it cannot be reached, or shows none.
    """
    from backup_framework_sftp import portable
    asked = [(each,) for each in portable.KEY_TYPES if each not in portable.RSA]
    keys = [portable.ask_key(settings, types) for types in (*asked, portable.RSA)]
    found = [key for key in keys if key is not None]
    if not found:
        raise failures.no_common(settings, 'it has no host key of a kind that paramiko knows')
    return found


def _known(settings: model.Settings) -> KnownHosts:
    """The file, or an empty one in its place: nothing is known then."""
    path = options.local_path(settings.known_hosts)
    try:
        return host_keys.read(path)
    except exceptions.PermissionDenied:
        base.say(f'{path} cannot be read, so no key is known yet')
        return KnownHosts(path, '')


def _say_lines(path: str, rows: list[Row]) -> None:
    """What makes the server known, where it is not."""
    if any(row[2] != Verdict.UNKNOWN for row in rows):
        return
    base.say(f'If the fingerprints are those of the server, add one of these lines to {path}:')
    for row in rows:
        base.say(row[-1])


def _row(settings: model.Settings, known: KnownHosts, key: host_keys.HostKey) -> Row:
    verdict, line = known.judge(settings.host, settings.port, key)
    if line and not line.marker and line.key.type != key.type:
        # The file says nothing of this type; the server's key of another type is there.
        verdict = Verdict.UNKNOWN
    return key.type, key.fingerprint, str(verdict), key.line(settings.host, settings.port)
