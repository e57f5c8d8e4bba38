"""Which format reads and writes a backup."""

from __future__ import annotations

import hashlib

from backup_framework import exceptions, store
from backup_framework.formats import base
from backup_framework.formats.cinder_v1 import format as cinder_v1
from backup_framework.formats.document import parse
from backup_framework.formats.v2 import format as v2

FORMATS = {known.version: known for known in (cinder_v1.FORMAT, v2.FORMAT)}


def manifest_name(prefix: str) -> str:
    return prefix + base.MANIFEST


def open_reader(container: store.Container, prefix: str) -> base.Reader:
    """A reader of the version that the manifest says.

    :raises MissingObject: there is no manifest.
    :raises CorruptManifest: it is damaged, or of no release's making.
    :raises UnsupportedVersion: a newer release wrote it.
    """
    name = manifest_name(prefix)
    if name.startswith(base.CONTAINER):
        raise exceptions.CorruptManifest(f'{name[:80]!r} is not the name of a manifest')
    try:
        document = container.get(name, base.LARGEST_MANIFEST)
    except (exceptions.ObjectNotFound, exceptions.ContainerNotFound):
        raise exceptions.MissingObject(
            f'there is no manifest {name} in container {container.name}',
            container=container.name, name=name) from None
    try:
        members = parse(document)
        reader = format_of(members.get('version')).open_reader(
            container, prefix, document, members)
    except exceptions.FormatError as error:
        raise type(error)(f'manifest {name} of container {container.name}: {error}',
                          container=container.name, name=name) from None
    reader.header.manifest_digest = hashlib.sha256(document).hexdigest()
    if reader.header.stored_bytes is not None:
        # No manifest can tell its own length.
        reader.header.stored_bytes += len(document)
    return reader


def prefixes(container: store.Container) -> list[str]:
    """Of all manifests in a container."""
    return [name.removesuffix(base.MANIFEST) for name in container.names('', base.MANIFEST)
            if not name.startswith(base.CONTAINER)]


def format_of(version: object) -> base.Format:
    """:raises UnsupportedVersion: this release does not know it."""
    if not isinstance(version, str) or version not in FORMATS:
        raise exceptions.UnsupportedVersion(
            f'it has version {str(version)[:40]!r}; this release reads {", ".join(FORMATS)}')
    return FORMATS[version]
