"""The options that every backend's section has; a driver adds its own in `OPTIONS`."""

from __future__ import annotations

from backup_framework.model import Option, OptionType

KIB, MIB = 1 << 10, 1 << 20

SHARED = (
    Option('chunk_size', OptionType.SIZE, minimum=4096, maximum=2 << 30, sample='32MiB', help=(
        'The piece of a volume handled as one unit of work; a worker holds about two in memory. '
        'A multiple of block_size. Unset, the format chooses (32MiB for 1.0.0).')),
    Option('block_size', OptionType.SIZE, 32 * KIB, minimum=512, maximum=16 * MIB, help=(
        'The unit of change tracking: a changed byte costs one block in an incremental backup. A '
        'chain has one block size; with another value the next backup is a full one.')),
    Option('compression', OptionType.STRING, 'zstd', help=(
        'How objects are compressed. zlib and bz2 are slow; every choice can be read back by '
        'Cinder.'), choices=('none', 'zlib', 'bz2', 'zstd')),
    Option('workers', OptionType.INTEGER, 4, minimum=0, maximum=256, help=(
        'Chunks that are read, hashed, compressed and sent side by side. 0 does one after the '
        'other in the main thread.')),
    Option('memory', OptionType.SIZE, 128 * MIB, minimum=1 * MIB, help=(
        'Bytes of chunks that may be in flight in one operation. Fewer workers run where '
        'chunk_size leaves no room for more; one chunk is always allowed.')),
    Option('container', help=(
        'The container that backups go to. Unset, the format chooses: format 1.0.0 has one a '
        'backup, as Cinder has on file systems.')),
    Option('format', OptionType.STRING, '1.0.0', choices=('1.0.0',), help=(
        'The format that full backups are written in. An incremental keeps the format of its '
        'parent. 1.0.0 is what Cinder reads and writes.')),
    Option('incremental', OptionType.BOOLEAN, False, help=(
        'Make incremental backups unless the command line says otherwise.')),
    Option('retry_deadline', OptionType.FLOAT, 300.0, minimum=0, help=(
        'Seconds for which one call to an unavailable store is repeated, with growing pauses, '
        'before the operation fails. 0 never repeats.')),
    Option('metadata_version', OptionType.INTEGER, 2, minimum=1, maximum=2, help=(
        "Version of the volume metadata in a backup, as Cinder's backup_metadata_version.")),
)
