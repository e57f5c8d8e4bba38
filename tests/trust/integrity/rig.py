"""A small chain in each format and compression, and which of its stored bytes count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import dataclasses
import functools
from pathlib import Path
import random
import struct
import tempfile
from typing import Any

from backup_framework import exceptions, model
from backup_framework.testing import memory
from tests.formats import v2_reader
from tests.trust.sealing import rig as sealing
from tests.unit.driver import chains

BLOCK, CHUNK = chains.BLOCK, chains.CHUNK
CINDERS, OURS = '1.0.0', '2.0.0'
SEALED = 'sealed'
FORMS = {
    f'{version} {how}': (version, how) for version, hows in (
        (OURS, ('none', 'zstd', SEALED)), (CINDERS, ('none', 'zlib', 'bz2', 'zstd')))
    for how in hows}
ERRORS = (exceptions.FormatError, exceptions.InvalidBackup, exceptions.StoreError)


@dataclasses.dataclass
class Chain:
    """A store in memory with a full backup and one on it, both of which have objects.

    Their records are those of a catalog that was rebuilt: nothing there helps to find damage.

    :ivar sound: the objects of the store.
    """

    driver: memory.MemoryBackupDriver
    version: str
    sealed: bool
    backups: list[model.Backup] = dataclasses.field(default_factory=list)
    volumes: list[bytes] = dataclasses.field(default_factory=list)
    sound: dict[str, bytes] = dataclasses.field(default_factory=dict)

    def take(self, volume: bytes, parent: model.Backup | None = None, **fields: Any
             ) -> model.Backup:
        made = sealing.recorded_nowhere(chains.take(self.driver, volume, parent, **fields))
        self.backups.append(made)
        self.volumes.append(volume)
        self.sound = sealing.objects(self.driver)
        return made

    def put(self, name: str, body: bytes | None) -> None:
        chains.overwrite(self.driver, name, body)

    def again(self) -> None:
        sealing.put(self.driver, self.sound)

    def found(self, backup: model.Backup) -> list[str]:
        """What a verification says."""
        try:
            return sealing.verify(self.driver, backup)
        except ERRORS as error:
            return [str(error)]

    def restored(self, number: int) -> str:
        """What a restore says; without an error it has to be exact, and with one no byte wrong."""
        target = Watched(self.volumes[number])
        try:
            self.driver.restore(self.backups[number], '', target)
        except ERRORS as error:
            return str(error) or type(error).__name__
        assert target.getvalue() == self.volumes[number], 'a restore without an error was wrong'
        return ''

    @functools.cached_property
    def covered(self) -> list[dict[str, list[Range]]]:
        """Of each backup the bytes that it uses."""
        of = _of_ours if self.version == OURS else _of_cinders
        return [of(self, number) for number in range(len(self.backups))]


SALT = 24, 56
"""Of a sealed object, within its header."""


@dataclasses.dataclass(frozen=True)
class Range:
    """Stored bytes that a backup uses.

    :param needed: by a restore too; None where that depends.
    :param is_covered: a change is found; else it may be found, for they are read.
    """

    start: int
    end: int
    needed: bool | None
    is_covered: bool = True


class Watched(chains.io.BytesIO):
    """A used target that takes right bytes only."""

    def __init__(self, right: bytes) -> None:
        super().__init__(b'\xee' * len(right))
        self._right = right

    def write(self, data: Any, /) -> int:
        at = self.tell()
        assert bytes(data) == self._right[at:at + len(data)], f'wrong bytes were written at {at}'
        return super().write(data)


def volumes() -> list[bytes]:
    """Two states: noise, text and zeros; some of each become something else."""
    chance = random.Random(5)
    first = bytearray(chance.randbytes(CHUNK) + b'words and words ' * 128 + bytes(CHUNK)
                      + chance.randbytes(2 * BLOCK + 77))
    second = bytearray(first)
    second[BLOCK:2 * BLOCK] = chance.randbytes(BLOCK)
    second[CHUNK + BLOCK:CHUNK + 2 * BLOCK] = bytes(BLOCK)
    second[2 * CHUNK:2 * CHUNK + BLOCK] = b'later on' * (BLOCK // 8)
    second[-77:] = b'y' * 77
    return [bytes(first), bytes(second)]


def make_chain(form: str) -> Chain:
    version, how = FORMS[form]
    compression = 'none' if how == SEALED else how
    keys = sealing.ring('main') if how == SEALED else None
    driver = sealing.driver(keys, format=version, compression=compression)
    made = Chain(driver, version, keys is not None)
    parent = None
    for volume in volumes():
        parent = made.take(volume, parent, id=f'{len(made.backups) + 1:08x}-0000-4000-8000-0000'
                           '00000000')
    return made


def _of_ours(chain: Chain, number: int) -> dict[str, list[Range]]:
    """As the page of format 2.0.0 says, found by a reader that was written from that page."""
    prefix = str(chain.backups[number].service_metadata)
    found: dict[str, list[Range]] = {}

    def use(name: str, *which: Any) -> None:
        found.setdefault(name, []).append(Range(*which))

    for name in (f'{prefix}_metadata', f'{prefix}_map', *([f'{prefix}_keys-1'] * chain.sealed)):
        use(name, 0, len(chain.sound[name]), True)
    with tempfile.TemporaryDirectory() as directory:
        for name, body in chain.sound.items():
            (Path(directory) / name).write_bytes(body)
        for each in _of_objects(chain, Path(directory), prefix):
            use(*each)
    return found


def _of_objects(chain: Chain, directory: Path, prefix: str) -> Iterator[tuple[Any, ...]]:
    """The name of each object that is used, and what of it."""
    store = v2_reader.Store(directory, prefix, unwrap if chain.sealed else None)
    number = 0
    for count, row in store.map_rows():
        if row is not None:
            name, length, offset = row[:3]
            footer, = struct.unpack_from('<Q', chain.sound[name], len(chain.sound[name]) - 32)
            yield name, 0, 64, None if chain.sealed else False
            yield name, footer, len(chain.sound[name]), False
            yield name, offset, offset + length, True
            table = store.table(number, row)
            for other, _, _, at, stored, *_ in table.frames:
                yield table.names[other], at, at + stored, True
                if chain.sealed:
                    yield table.names[other], 0, 64, None, False
                    yield table.names[other], *SALT, True
        number += count


def unwrap(entry: tuple[str, str], wrapped: Mapping[str, Any], context: bytes) -> bytes:
    return sealing.KnownKey(entry[0]).unwrap(wrapped, context)


def _of_cinders(chain: Chain, number: int) -> dict[str, list[Range]]:
    """Manifests of the chain, the backup's own hash list, objects that no later one hides."""
    found: dict[str, list[Range]] = {}
    prefix = str(chain.backups[number].service_metadata)
    found[f'{prefix}_sha256file'] = [Range(0, len(chain.sound[f'{prefix}_sha256file']), False)]
    seen = bytearray(len(chain.volumes[number]))
    for backup in reversed(chain.backups[number].chain()):
        name = f'{backup.service_metadata}_metadata'
        found[name] = [Range(0, len(chain.sound[name]), None)]
        for entry in chains.manifest(chain.driver, backup)['objects']:
            (name, values), = entry.items()
            extent = slice(values['offset'], values['offset'] + values['length'])
            if not all(seen[extent]):
                found[name] = [Range(0, len(chain.sound[name]), None)]
            seen[extent] = b'\1' * values['length']
    return found
