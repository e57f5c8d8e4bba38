"""What may be deleted when a backup of format 2.0.0 goes: what no manifest refers to any more.

The backup's own manifest is gone by then, so nothing new can refer to its objects. Its map goes
last, and behind it the keys that open it: it names the objects of backups that went before and were
kept for this one, so a sweep that was interrupted can be repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
import logging

from backup_framework import exceptions, store
from backup_framework.formats import base, document
from backup_framework.formats.keyring import Keyring
from backup_framework.formats.v2 import digest, key_sets, manifest, names
from backup_framework.formats.v2.passing_map import PassingMap

LOG = logging.getLogger(__name__)

_REFERRING_TO_NONE = ('1.0.0',)
"""Versions whose manifests name objects of their own backup only."""

_Gone = (exceptions.ObjectNotFound, exceptions.ContainerNotFound)


def leftovers(container: store.Container, prefix: str, *, committed: bool, tick: base.Tick,
              keyring: Keyring | None = None) -> Sequence[Sequence[str]]:
    """Names to delete, in this order; see `base.Format`.

    :raises FormatError: a manifest of the container, or the map of one, cannot be read: what it
        refers to is not known, so nothing may be deleted.
    """
    own = container.names(prefix)
    maps = [name for name in own if names.is_map(prefix, name)]
    data = {name for name in own if names.is_data(prefix, name)}
    keys = [name for name in own if names.is_keys(prefix, name)]
    if committed:
        manifests = set(container.names('', base.MANIFEST)) - {names.manifest_name(prefix)}
        if maps:
            try:
                data_key = _own_key(container, prefix, keyring) if keys else None
            except exceptions.KeyUnavailable as error:
                LOG.warning(
                    'The map of the deleted backup with prefix %s does not open: %s. It is left '
                    'in container %s with its keys, and so are objects of earlier backups that '
                    'only this one used, if there are any.', prefix, error, container.name)
                maps, keys = [], []
            else:
                data.update(_orphans(container, maps, data_key, manifests, tick))
        try:
            _keep_used(container, manifests, data, tick, keyring)
        except exceptions.FormatError as error:
            raise type(error)(
                f'no objects of the deleted backup with prefix {prefix} can be freed, because '
                f'what other backups use of them is not known: {error}. Delete that backup as '
                'well, or put back what is damaged, then delete this one again') from error
    return sorted(data), maps, keys


def _own_key(container: store.Container, prefix: str, keyring: Keyring | None) -> bytes | None:
    """What the own maps are sealed with; None where the keys are damaged.

    :raises KeyUnavailable: they do not open.
    """
    try:
        return key_sets.read(container, prefix, keyring).keys[prefix]
    except (exceptions.CorruptObject, exceptions.MissingObject) as error:
        LOG.warning('%s', error)
        return None


def _orphans(container: store.Container, maps: Sequence[str], data_key: bytes | None,
             manifests: set[str], tick: base.Tick) -> Iterator[str]:
    """The objects in own maps that backups without a manifest stored."""
    for name in maps:
        for stored, found in _named(container, name, data_key, tick):
            if (names.manifest_name(stored) not in manifests
                    and not found.startswith(names.CONTAINER)):
                yield found


def _named(container: store.Container, name: str, data_key: bytes | None, tick: base.Tick
           ) -> list[tuple[str, str]]:
    """The objects in a map, with their prefixes. What its digests are of, the manifest knew."""
    for algorithm in map(digest.algorithm, digest.NAMES):
        try:
            found = PassingMap(container, name, algorithm, data_key, tick).objects()
            return [(names.prefix_of(each), each) for each in found]
        except exceptions.CorruptObject as error:
            reason: Exception = error
        except _Gone:
            return []
    LOG.warning('Object %s of container %s cannot be read: %s. Objects of earlier backups that '
                'only this one used, if there are any, are left in the container.',
                name, container.name, reason)
    return []


def _keep_used(container: store.Container, manifests: Iterable[str], data: set[str],
               tick: base.Tick, keyring: Keyring | None) -> None:
    """Take out of `data` what the backups with these manifests use."""
    prefixes = {names.prefix_of(name) for name in data}
    for name in sorted(manifests):
        if not data:
            return
        tick()
        found = _parameters(container, name)
        if found is None or prefixes.isdisjoint(found.references):
            continue
        try:
            key = None
            if found.is_sealed:
                prefix = name.removesuffix(base.MANIFEST)
                key = key_sets.read(container, prefix, keyring).keys[prefix]
            data.difference_update(_used(container, found, key, tick))
        except exceptions.FormatError as error:
            # Another delete may have come between: without a manifest it uses nothing.
            if _parameters(container, name) is not None:
                raise type(error)(f'manifest {name} of container {container.name} names the map '
                                  f'{found.map_name}: {error}') from error


def _parameters(container: store.Container, name: str) -> manifest.Parameters | None:
    """None where the manifest is gone, or refers to nothing of other backups."""
    try:
        data = container.get(name, base.LARGEST_MANIFEST)
    except _Gone:
        # Not because the store says so once: what it lists still may be there, and use objects.
        if name not in container.names(name):
            return None
        raise exceptions.MissingObject(
            f'manifest {name} of container {container.name} is listed, and cannot be found: the '
            'store contradicts itself') from None
    try:
        members = document.parse(data)
        version = members.get('version')
        if version in _REFERRING_TO_NONE:
            return None
        if version != manifest.VERSION:
            raise exceptions.UnsupportedVersion(
                f'it has version {str(version)[:40]!r}, which this release does not know')
        manifest.check(data, members)
        return manifest.parameters(members, name.removesuffix(base.MANIFEST))
    except exceptions.FormatError as error:
        raise type(error)(f'manifest {name} of container {container.name}: {error}') from error


def _used(container: store.Container, parameters: manifest.Parameters, data_key: bytes | None,
          tick: base.Tick) -> list[str]:
    """:raises FormatError: the map is gone, or is not the one that the manifest means."""
    found = PassingMap(container, parameters.map_name, digest.algorithm(parameters.digest),
                       data_key, tick)
    try:
        used = found.objects()
    except _Gone:
        raise exceptions.MissingObject('it is not in the container') from None
    if (found.length, found.digest()) != (parameters.map_length, parameters.map_digest):
        raise exceptions.CorruptObject('it is not the one that was stored')
    return used
