"""Which version reads and writes a backup, and what the manifests of all versions share."""

from __future__ import annotations

from backup_framework import exceptions, store
from backup_framework.formats import base, cinder_v1
from backup_framework.formats.document import parse

FORMATS = {known.version: known for known in (cinder_v1.FORMAT,)}


def manifest_name(prefix: str) -> str:
    return prefix + base.MANIFEST


def open_reader(container: store.Container, prefix: str, *, whole_limit: int) -> base.Reader:
    """A reader of the version that the manifest says.

    :param whole_limit: objects of more bytes, uncompressed, are not held in memory as a whole.
    :raises MissingObject: there is no manifest.
    :raises CorruptManifest: it is damaged, or of no release's making.
    :raises UnsupportedVersion: a newer release wrote it.
    """
    name = manifest_name(prefix)
    try:
        document = container.get(name, base.LARGEST_MANIFEST)
    except (exceptions.ObjectNotFound, exceptions.ContainerNotFound):
        raise exceptions.MissingObject(
            f'there is no manifest {name} in container {container.name}') from None
    try:
        members = parse(document)
        reader = format_of(members.get('version')).open_reader(
            container, prefix, members, whole_limit=whole_limit)
    except exceptions.FormatError as error:
        raise type(error)(f'manifest {name} of container {container.name}: {error}') from None
    if reader.header.stored_bytes is not None:
        # No manifest can tell its own length.
        reader.header.stored_bytes += len(document)
    return reader


def format_of(version: object) -> base.Format:
    """:raises UnsupportedVersion: this release does not know it."""
    if not isinstance(version, str) or version not in FORMATS:
        raise exceptions.UnsupportedVersion(
            f'it has version {str(version)[:40]!r}; this release reads {", ".join(FORMATS)}')
    return FORMATS[version]
