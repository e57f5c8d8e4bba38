"""Volumes that begin like images, or like our own objects: bytes to us, whatever they name.

A child backs them up and restores them, and is seen to start no program and to open no file that
is named in one.
"""

from __future__ import annotations

import json
from pathlib import Path
import random
import struct
import sys
from typing import Any
import zlib

import pytest
import zstandard

from backup_framework.manager import restoring
from tests.formats import v2_stores
from tests.trust.hostile import children
from tests.trust.hostile.shop import Shop

NAMED = '/root/canary-that-a-header-names'
PROGRAMS = {'subprocess.Popen', 'os.exec', 'os.fork', 'os.forkpty', 'os.posix_spawn', 'os.spawn',
            'os.system', 'pty.spawn'}
LENGTH = 70_001


def _qcow2(version: int, features: int = 0) -> bytes:
    """With a backing file; version 3 with a data file as well."""
    named = NAMED.encode()
    head = struct.pack('>4sIQIIQIIQQIIQ', b'QFI\xfb', version, 512, len(named), 16, 1 << 20, 0, 1,
                       65536, 131072, 1, 0, 0)
    if version == 3:
        head += struct.pack('>QQQII', features, 0, 0, 4, 104)
        head += struct.pack('>II', 0x44415441, len(named)) + named.ljust(64, b'\0')
    return head.ljust(512, b'\0') + named


def _gpt() -> bytes:
    mbr = bytes(446) + struct.pack('<B3sB3sII', 0, b'', 0xee, b'', 1, 0xffffffff)
    head = struct.pack('<8sIIIIQQQQ16sQIII', b'EFI PART', 0x10000, 92, 0, 0, 1, 100, 34, 90,
                       b'', 2, 128, 128, 0)
    return mbr.ljust(510, b'\0') + b'\x55\xaa' + head


_MAKER = v2_stores.sample()[0]
HEADERS: dict[str, bytes] = {
    'qcow2 with a backing file': _qcow2(2), 'qcow2 3': _qcow2(3),
    'qcow2 with a data file': _qcow2(3, 4), 'qcow2 with unknown features': _qcow2(3, 1 << 60),
    'qcow': b'QFI\xfb' + struct.pack('>IQII', 1, 48, len(NAMED), 0).ljust(44) + NAMED.encode(),
    'qed': struct.pack('<4sIIIQQQQQII', b'QED\0', 65536, 4, 1, 1, 0, 0, 65536, 1 << 20, 64,
                       len(NAMED)) + NAMED.encode(),
    'VMDK descriptor': (f'# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n'
                        f'createType="monolithicFlat"\nRW 64 FLAT "{NAMED}" 0\n').encode(),
    'VMDK with a parent': (f'# Disk DescriptorFile\nversion=1\nparentFileNameHint="{NAMED}"\n'
                           f'RW 64 SPARSE "{NAMED}"\n').encode(),
    'VMDK sparse': b'KDMV' + struct.pack('<IIQQQQ', 1, 3, 128, 128, 1, 20).ljust(508, b'\0'),
    'VHD': b'conectix' + struct.pack('>IIQ', 2, 0x10000, 512) + NAMED.encode('utf-16'),
    'VHDX': b'vhdxfile' + NAMED.encode('utf-16').ljust(65528, b'\0') + b'head',
    'VDI': b'<<< Oracle VM VirtualBox Disk Image >>>\n'.ljust(64, b'\0') + b'\x7f\x10\xda\xbe',
    'Parallels': b'WithoutFreeSpace' + struct.pack('<II', 2, 16),
    'LUKS 1': b'LUKS\xba\xbe\0\1aes'.ljust(592, b'\0'),
    'LUKS 2': b'LUKS\xba\xbe\0\2' + json.dumps({'keyslots': {}, 'config': NAMED}).encode(),
    'MBR': bytes(446) + b'\x80\1\1\0\x83\xfe\xff\xff' + bytes(56) + b'\x55\xaa', 'GPT': _gpt(),
    'ISO 9660': bytes(32768) + b'\1CD001\1' + NAMED.encode(),
    'ext4': bytes(1024 + 56) + b'\x53\xef', 'XFS': b'XFSB' + struct.pack('>I', 4096),
    'squashfs': b'hsqs' + bytes(28), 'LVM': bytes(512) + b'LABELONE' + bytes(24),
    'an include': f'#!/bin/cat {NAMED}\n'.encode(), 'ELF': b'\x7fELF\2\1\1',
    'a nbd link': b'nbd://127.0.0.1:10809/x', 'a json: name': (
        'json:{"driver": "raw", "file": {"filename": "%s"}}' % NAMED).encode(),
    'our object': _MAKER.objects['new-00001'], 'our map': _MAKER.objects['new_map'],
    'our manifest': _MAKER.objects['new_metadata'], 'our magic': b'bf2.objt' * 100,
    'our footer': bytes(LENGTH - 8) + b'bf2.foot', 'a table': b'bf2t' * 4000,
    'a manifest of Cinder': json.dumps({'version': '1.0.0', 'objects': [{NAMED: {}}]}).encode(),
    'a hash list': json.dumps({'sha256s': ['0' * 64] * 100}).encode(),
    'zstd frames': zstandard.ZstdCompressor().compress(bytes(1 << 20)) * 5,
    'zlib': zlib.compress(bytes(1 << 20)), 'bz2': b'BZh91AY&SY' * 20,
}


def volume_of(header: bytes) -> bytes:
    tail = random.Random(1).randbytes(LENGTH)
    return (header + tail)[:max(LENGTH, len(header))]


def round_trips(shop: Shop) -> str:
    """In a child: every volume, a full backup and an incremental one, and back."""
    events: list[str] = []
    looking = True

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        if looking and (event in PROGRAMS or event == 'open' and NAMED in str(arguments[0])):
            events.append(f'{event} {arguments}')

    with shop.manager:
        shop.create()
        sys.addaudithook(look)
        for number, header in enumerate(HEADERS.values()):
            data = volume_of(header)
            shop.volume.write_bytes(data)
            backup = shop.create(incremental=bool(number % 2) or None)
            target = shop.directory / f'target-{number}'
            shop.manager.restore(backup.id, restoring.Request(str(target)))
            assert target.read_bytes() == data, number
        assert shop.manager.verify(backup.id).ok
        looking = False
    assert not events, events
    return 'done'


@pytest.mark.parametrize('version', ['1.0.0', '2.0.0'])
def test_a_volume_is_bytes(tmp_path: Path, version: str) -> None:
    assert len(HEADERS) >= 30 and len({*HEADERS.values()}) == len(HEADERS)
    ran = children.run(lambda: round_trips(Shop(tmp_path, version)))
    assert ran.ok and ran.answer == 'done', ran.answer
