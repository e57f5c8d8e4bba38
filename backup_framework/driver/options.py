"""The options that every backend's section has; a driver adds its own in `OPTIONS`."""

from __future__ import annotations

from backup_framework.formats import base
from backup_framework.model import Option, OptionType

KIB, MIB = 1 << 10, 1 << 20

FORMATS = tuple(base.BLOCK_SIZES)
"""The formats that this release writes."""

SHARED = (
    Option('chunk_size', OptionType.SIZE, minimum=4096, maximum=2 << 30, sample='64MiB', help=(
        'The piece of a volume handled as one unit of work, a multiple of block_size. Unset, the '
        'format chooses: 64MiB for 2.0.0; 32MiB for 1.0.0, where a worker holds about two in '
        'memory.')),
    Option('block_size', OptionType.SIZE, minimum=512, maximum=16 * MIB, sample='64KiB', help=(
        'The unit of change tracking: a changed byte costs one block in an incremental backup. '
        'Another value takes effect with the next full backup. Unset, the format chooses: 64KiB '
        'for 2.0.0, 32KiB for 1.0.0.')),
    Option('compression', OptionType.STRING, 'zstd', help=(
        'How objects are compressed. bz2 is slow; every choice can be read back by Cinder from '
        'format 1.0.0.'), choices=('none', 'zlib', 'bz2', 'zstd')),
    Option('digest', OptionType.STRING, 'blake3', choices=('blake3', 'sha256'), help=(
        'What format 2.0.0 makes digests of blocks with. blake3 is the faster one. Format 1.0.0 '
        'always has SHA-256.')),
    Option('duplicates', OptionType.STRING, 'volume', choices=('none', 'volume', 'container'),
           help=('Where format 2.0.0 looks for blocks that are stored already: nowhere, in the '
                 'backup itself and its parent, or in all backups of the container.')),
    Option('index_size', OptionType.SIZE, 16 * MIB, minimum=64 * KIB, help=(
        'Bytes of memory for finding duplicates. Where they do not suffice fewer are found.')),
    Option('workers', OptionType.INTEGER, 4, minimum=0, maximum=256, help=(
        'Chunks that are read, hashed, compressed and sent side by side. 0 does one after the '
        'other in the main thread.')),
    Option('memory', OptionType.SIZE, 128 * MIB, minimum=1 * MIB, help=(
        'Bytes of chunks that may be in flight in one operation. Fewer workers run where '
        'chunk_size leaves no room for more; one chunk is always allowed.')),
    Option('container', help=(
        'The container that backups go to. Unset, the format chooses: 2.0.0 has one a volume, '
        '1.0.0 one a backup, as Cinder has on file systems.')),
    Option('format', OptionType.STRING, '2.0.0', choices=FORMATS, help=(
        'The format that full backups are written in. An incremental keeps the format of its '
        'parent. 1.0.0 is what Cinder reads and writes.')),
    Option('encryption', OptionType.STRING, 'none', choices=('none', 'aes-256-gcm'), help=(
        'Whether new backups are sealed, in format 2.0.0: nobody without a key can read them or '
        'make one up.')),
    Option('keys', OptionType.LIST, (), help=(
        'Names of [key:NAME] sections. New backups are sealed for all of these keys, and any one '
        'of them opens them: have a second one that is kept elsewhere.')),
    Option('unsealed', OptionType.STRING, 'refuse', choices=('refuse', 'accept'), help=(
        'What to do with backups that are not sealed where encryption is on. With refuse only '
        'those are read that are byte for byte what the catalog recorded: whoever writes to the '
        'store could have put others there. With accept all are read.')),
    Option('read_bandwidth', OptionType.SIZE, minimum=1, sample='100MiB', help=(
        'The most bytes a second that are read from the store. Unset, there is no limit.')),
    Option('write_bandwidth', OptionType.SIZE, minimum=1, sample='50MiB', help=(
        'The most bytes a second that are written to the store. Unset, there is no limit.')),
    Option('incremental', OptionType.BOOLEAN, False, help=(
        'Make incremental backups unless the command line says otherwise.')),
    Option('retry_deadline', OptionType.FLOAT, 300.0, minimum=0, help=(
        'Seconds for which one call to an unavailable store is repeated, with growing pauses, '
        'before the operation fails. 0 never repeats.')),
    Option('metadata_version', OptionType.INTEGER, 2, minimum=1, maximum=2, help=(
        "Version of the volume metadata in a backup, as Cinder's backup_metadata_version.")),
)
