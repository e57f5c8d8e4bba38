"""Taking a backup: a volume's chunks through a format's writer, side by side."""

from __future__ import annotations

import contextlib

from backup_framework.engine import parallel
from backup_framework.engine.monitor import Monitor
from backup_framework.engine.source import Source
from backup_framework.formats import base


def backup(source: Source, writer: base.Writer, *, workers: int, budget: int,
           monitor: Monitor) -> base.Totals:
    """Store the whole of `source`; the manifest, written last, is the commit.

    :param budget: bytes of chunks in flight; a chunk counts twice, as read and as compressed.
    """
    monitor.start('backup', source.size)
    stored = parallel.ordered_map(
        writer.store, source.chunks(writer.chunk_size, writer.largest_hole),
        workers=workers, budget=budget, cost=lambda chunk: 2 * chunk.length if chunk.read else 0)
    with contextlib.closing(stored):
        for result in stored:
            writer.add(result)
            monitor.advance(result.length)
            monitor.check()
    monitor.start('hashes')
    return writer.finish()
