"""Which format reads and writes a backup."""

from __future__ import annotations

import hashlib

from backup_framework import exceptions, store
from backup_framework.formats import base
from backup_framework.formats.cinder_v1 import format as cinder_v1
from backup_framework.formats.document import parse
from backup_framework.formats.keyring import Keyring
from backup_framework.formats.v2 import format as v2

FORMATS = {known.version: known for known in (cinder_v1.FORMAT, v2.FORMAT)}


def manifest_name(prefix: str) -> str:
    return prefix + base.MANIFEST


def open_reader(container: store.Container, prefix: str, keyring: Keyring | None = None,
                known: str | None = None) -> base.Reader:
    """A reader of the version that the manifest says.

    :param keyring: opens it where it is sealed. With recipients, nothing else is read, unless the
        keyring says so: a store that gives another backup instead could make it itself.
    :param known: the `manifest_digest` that it has, as somebody knows whom the store cannot change:
        then it need not be sealed.
    :raises InvalidBackup: it is not sealed, and should be.
    :raises KeyUnavailable: it is sealed, and the keyring does not open it.
    :raises MissingObject: there is no manifest.
    :raises CorruptManifest: it is damaged, or of no release's making.
    :raises UnsupportedVersion: a newer release wrote it.
    """
    name = manifest_name(prefix)
    document = _document(container, name)
    try:
        members = parse(document)
        reader = format_of(members.get('version')).open_reader(
            container, prefix, document, members, keyring)
    except exceptions.FormatError as error:
        raise type(error)(f'manifest {name} of container {container.name}: {error}',
                          container=error.container or container.name,
                          name=error.name or name) from None
    reader.header.manifest_digest = hashlib.sha256(document).hexdigest()
    if reader.header.stored_bytes is not None:
        # No manifest can tell its own length.
        reader.header.stored_bytes += len(document)
    if (keyring is not None and keyring.recipients and not keyring.accepts_unsealed
            and not reader.header.sealed and reader.header.manifest_digest != known):
        raise exceptions.InvalidBackup(
            f'backup {reader.header.backup_id} (prefix {prefix} in container {container.name}) is '
            'not sealed, as backups of this backend are: somebody may have put it there. With '
            'unsealed = accept in the section of the backend it is read')
    return reader


def stored_format(container: store.Container, prefix: str) -> base.Format:
    """The format that a manifest names, whatever else becomes of it.

    :raises FormatError: it cannot be told.
    """
    return format_of(parse(_document(container, manifest_name(prefix))).get('version'))


def _document(container: store.Container, name: str) -> bytes:
    if name.startswith(base.CONTAINER):
        raise exceptions.CorruptManifest(f'{name[:80]!r} is not the name of a manifest')
    try:
        return container.get(name, base.LARGEST_MANIFEST)
    except (exceptions.ObjectNotFound, exceptions.ContainerNotFound):
        raise exceptions.MissingObject(
            f'there is no manifest {name} in container {container.name}',
            container=container.name, name=name) from None


def prefixes(container: store.Container) -> list[str]:
    """Of all manifests in a container."""
    return [name.removesuffix(base.MANIFEST) for name in container.names('', base.MANIFEST)
            if not name.startswith(base.CONTAINER)]


def stored_by(name: str) -> str | None:
    """The prefix of the backup that stored an object of this name, in any format."""
    found = (known.stored_by(name) for known in FORMATS.values())
    return next((prefix for prefix in found if prefix is not None), None)


def format_of(version: object) -> base.Format:
    """:raises UnsupportedVersion: this release does not know it."""
    if not isinstance(version, str) or version not in FORMATS:
        raise exceptions.UnsupportedVersion(
            f'it has version {str(version)[:40]!r}; this release reads {", ".join(FORMATS)}')
    return FORMATS[version]
