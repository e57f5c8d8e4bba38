"""Taking a backup: a volume's chunks through a format's writer, side by side."""

from __future__ import annotations

import contextlib

from backup_framework.engine import parallel
from backup_framework.engine.monitor import Monitor
from backup_framework.engine.source import Source
from backup_framework.formats import base


def backup(source: Source, writer: base.Writer, *, workers: int, budget: int, held: int,
           monitor: Monitor) -> base.Totals:
    """Store the whole of `source`; the manifest, written last, is the commit.

    :param budget: bytes of chunks in flight; a chunk counts twice, as read and as compressed.
    :param held: bytes that the store's writer may hold as well, of each object at most.
    """
    monitor.start('backup', source.size)

    def cost(chunk: base.Chunk) -> int:
        return 2 * chunk.length + min(held, chunk.length) if chunk.read else 0

    stored = parallel.ordered_map(
        writer.store, source.chunks(writer.chunk_size, writer.largest_hole),
        workers=workers, budget=budget, cost=cost)
    with contextlib.closing(stored):
        for result in stored:
            writer.add(result)
            monitor.advance(result.length)
            monitor.check()
    monitor.start('hashes')
    return writer.finish(monitor.tick)
