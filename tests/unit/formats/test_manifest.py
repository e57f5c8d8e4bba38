"""Our manifests guard themselves: what they say is what was stored, or nothing is restored."""

from __future__ import annotations

import json

import pytest

from backup_framework import exceptions
from backup_framework.formats import manifest, versions
from tests.unit.driver import chains


def test_every_flipped_bit_is_found_or_means_the_same() -> None:
    """White space may change; nothing else."""
    driver = chains.make_driver()
    volume = chains.make_bytes(5 * chains.CHUNK + 77)
    full = chains.take(driver, volume)
    changed = b'other' + volume[5:]
    backup = chains.take(driver, changed, full)
    name = f'{backup.service_metadata}_metadata'
    document = chains.body(driver, name)
    said = json.loads(document)
    harmless = 0
    for bit in range(len(document) * 8):
        flipped = bytearray(document)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            manifest.read(versions.parse(bytes(flipped)), str(backup.service_metadata))
        except exceptions.FormatError:
            continue
        harmless += 1
        same = json.loads(flipped)
        # Without the name of our member, or of the digest in it, it passes for one of Cinder's.
        if 'sha256' in same.get('backup_framework', {}):
            assert same == said
        else:
            assert same['objects'] == said['objects'] and same['parent_id'] == said['parent_id']
    assert harmless < len(document)


def test_a_foreign_manifest_needs_no_digest() -> None:
    document = json.dumps({'version': '1.0.0', 'objects': []}).encode()
    header, objects = manifest.read(versions.parse(document), 'prefix')
    assert objects == [] and header.size is None


def test_properties_named_as_the_digest_is() -> None:
    driver = chains.make_driver()
    backup = chains.take(driver, b'x' * 1000, metadata={'sha256': '0' * 64})
    assert chains.bring_back(driver, backup) == b'x' * 1000
    header, _ = driver.describe(chains.CONTAINER, str(backup.service_metadata))
    assert header.properties == {'sha256': '0' * 64}


def test_a_manifest_of_nothing_but_members_is_refused_before_it_is_unpacked() -> None:
    document = b'{"version": "1.0.0", "objects": [' + b'[],' * 3_000_000 + b'[]]}'
    with pytest.raises(exceptions.CorruptManifest, match='more members'):
        versions.parse(document)
