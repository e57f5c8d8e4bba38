"""The errors of connecting, in the same words whatever speaks SSH."""

from __future__ import annotations

from collections.abc import Sequence

from backup_framework import exceptions, model
from backup_framework_sftp import options
from backup_framework_sftp.host_keys import AUTHORITY, KnownHosts, Verdict


def host_key(settings: model.Settings, known: KnownHosts, verdict: Verdict,
             shown: tuple[str, str] | None, line: int | None) -> exceptions.PermissionDenied:
    """The server is not, or not surely, the one that it should be.

    :param shown: type and fingerprint of the server's key, where they are known.
    :param line: of the file.
    """
    key = f' ({" ".join(shown)})' if shown else ''
    place = f'line {line} of {known.path}' if line else known.path
    asked = options.command_argument(settings)
    head = f'refused to log in as {options.where(settings)}: '
    if verdict is Verdict.REVOKED:
        return exceptions.PermissionDenied(
            f'{head}{place} says that the key which the server shows{key} is revoked; the '
            'server needs another one')
    if verdict is Verdict.CHANGED:
        return exceptions.PermissionDenied(
            f'{head}the server shows another key{key} than {place} says. It was installed anew, '
            'or somebody is in between. If its administrator confirms the new key, replace that '
            f'line by what "backup-framework sftp host-key {asked}" prints')
    certified = known.has_authority(settings.host, settings.port)
    advice = (f' Lines with {AUTHORITY} are for the transport openssh only.' if certified else '')
    return exceptions.PermissionDenied(
        f'{head}the key of the server{key} is not in {place}.{advice} "backup-framework sftp '
        f'host-key {asked}" shows its fingerprint and the line to add, as "ssh-keyscan -p '
        f'{settings.port} {settings.host}" does; compare the fingerprint with what "ssh-keygen '
        '-l" says on the server first')


def authentication(settings: model.Settings, tried: Sequence[str], offered: Sequence[str],
                   detail: str = '') -> exceptions.PermissionDenied:
    """:param tried: what we came with, such as `the key FILE`.
    :param offered: the server's names of methods; empty where they are unknown.
    """
    ours = ' and '.join(tried) or ('nothing: give private_key or password, or have an agent hold '
                                   'a key')
    # Nothing follows the methods: what stands behind "password" would be taken for one and masked.
    theirs = f'; the server offers {", ".join(offered)}' if offered else ''
    return exceptions.PermissionDenied(
        f'{options.where(settings)} does not let us in{f" ({detail})" if detail else ""}. '
        f'Tried: {ours}{theirs}')


def unavailable(settings: model.Settings, reason: str) -> exceptions.StoreUnavailable:
    return exceptions.StoreUnavailable(f'cannot connect to {options.where(settings)}: {reason}')


def silent(settings: model.Settings) -> exceptions.StoreUnavailable:
    return unavailable(settings, f'no answer within {settings.timeout:g} seconds (timeout)')


def no_sftp(settings: model.Settings, detail: str = '') -> exceptions.StoreError:
    return exceptions.StoreError(
        f'{options.where(settings)} lets us in but offers no SFTP'
        f'{f" ({detail})" if detail else ""}: the server needs "Subsystem sftp", and the account '
        'must be allowed to use it')


def no_common(settings: model.Settings, detail: str) -> exceptions.StoreError:
    return exceptions.StoreError(
        f'{options.where(settings)} and we have no algorithm of SSH in common ({detail}); see the '
        'option ciphers')
