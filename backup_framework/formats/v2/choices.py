"""What a new backup's parameters are: of the configuration, of its parent, or the defaults."""

from __future__ import annotations

import dataclasses

from backup_framework import exceptions
from backup_framework.formats import base, codec
from backup_framework.formats.v2 import digest, layout, manifest
from backup_framework.formats.v2.reader import Reader

CHUNK_SIZE = 64 << 20
BLOCK_SIZE = base.BLOCK_SIZES[manifest.VERSION]
DUPLICATES = ('none', 'volume', 'container')


@dataclasses.dataclass(frozen=True)
class Parameters:
    """As the writer needs them.

    :param compression: a codec's name in a manifest.
    """

    chunk_size: int
    block_size: int
    compression: str
    algorithm: digest.Algorithm


def check(choices: base.Choices) -> Parameters:
    """The parameters of a full backup.

    :raises ConfigurationError: the choices cannot be.
    """
    block_size = BLOCK_SIZE if choices.block_size is None else choices.block_size
    if (block_size & (block_size - 1)
            or not manifest.SMALLEST_BLOCK <= block_size <= manifest.LARGEST_BLOCK):
        raise exceptions.ConfigurationError(
            f'block_size {block_size} does not suit format {manifest.VERSION}: it takes a power of '
            f'two from {manifest.SMALLEST_BLOCK} to {manifest.LARGEST_BLOCK} bytes')
    most = layout.MOST_BLOCKS * block_size
    chunk_size = min(CHUNK_SIZE, most) if choices.chunk_size is None else choices.chunk_size
    if chunk_size % block_size or not block_size <= chunk_size <= most:
        raise exceptions.ConfigurationError(
            f'chunk_size {chunk_size} does not suit format {manifest.VERSION} with block_size '
            f'{block_size}: it takes a multiple of that, up to {layout.MOST_BLOCKS} blocks')
    if choices.digest not in digest.NAMES:
        raise exceptions.ConfigurationError(
            f'digest {choices.digest!r} is unknown: it is one of {", ".join(digest.NAMES)}')
    if choices.duplicates not in DUPLICATES:
        raise exceptions.ConfigurationError(
            f'duplicates {choices.duplicates!r} is unknown: it is one of {", ".join(DUPLICATES)}')
    return Parameters(chunk_size, block_size, _compression(choices.compression),
                      digest.algorithm(choices.digest))


def of_parent(choices: base.Choices, reader: Reader) -> tuple[Parameters, list[str]]:
    """The parameters of a backup on a parent, and what the choices say otherwise: sentences."""
    wanted = check(choices)
    notes = [
        f'{name} is {old} as in the parent; {new} takes effect with the next full backup'
        for name, new, old in (('chunk_size', choices.chunk_size, reader.chunk_size),
                               ('block_size', choices.block_size, reader.block_size),
                               ('digest', choices.digest, reader.algorithm.name))
        if new is not None and new != old]
    return Parameters(reader.chunk_size, reader.block_size, wanted.compression,
                      reader.algorithm), notes


def _compression(name: str) -> str:
    try:
        return codec.canonical(name)
    except KeyError:
        raise exceptions.ConfigurationError(
            f'compression {name!r} is unknown: it is one of {", ".join(sorted(codec.NAMES))}'
        ) from None
