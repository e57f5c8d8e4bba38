"""Taking a backup: a volume's chunks through a format's writer, side by side."""

from __future__ import annotations

import contextlib

from backup_framework.engine import parallel
from backup_framework.engine.monitor import Monitor
from backup_framework.engine.source import Source
from backup_framework.formats import base


def backup(source: Source, writer: base.Writer, *, workers: int, budget: int, held: int,
           monitor: Monitor) -> base.Totals:
    """Store the whole of `source`; the manifest, written last, is the commit. See `store`."""
    store(source, writer, workers=workers, budget=budget, held=held, monitor=monitor)
    monitor.start('hashes')
    return writer.finish(monitor.tick)


def store(source: Source, writer: base.ChunkWriter, *, workers: int, budget: int, held: int,
          monitor: Monitor) -> None:
    """Store the chunks of `source`.

    :param budget: bytes of memory that the tasks in flight may take.
    :param held: bytes that the store's writer may hold as well for each task.
    """
    monitor.start('backup', source.within.length if source.within else source.size)

    def run(task: base.Task) -> tuple[base.Task, object]:
        return task, task.run()

    def cost(task: base.Task) -> int:
        return task.cost + min(held, writer.largest_object) if task.cost else 0

    chunks = source.chunks(writer.chunk_size, writer.largest_hole)
    for tasks in (writer.stored_before(), writer.tasks(chunks)):
        stored = parallel.ordered_map(run, tasks, workers=workers, budget=budget, cost=cost)
        with contextlib.closing(stored):
            for task, result in stored:
                writer.add(result)
                monitor.advance(task.length)
                monitor.check()
