"""A function run in a forked process: what it costs, and what it did, without touching this one."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import gc
import json
import os
import resource
import tempfile
import time
import traceback


@dataclasses.dataclass
class Ran:
    """:param answer: what it returned, or the traceback of what it raised, as text."""

    ok: bool
    answer: str
    seconds: float
    kib: int


def run(function: Callable[[], object]) -> Ran:
    """Run it in a child: processor seconds, and KiB that the process grew by."""
    gc.collect()
    with tempfile.TemporaryFile('w+') as file:
        child = os.fork()
        if not child:
            _become(function, file.fileno())
        os.waitpid(child, 0)
        file.seek(0)
        return Ran(**json.load(file))


def _become(function: Callable[[], object], descriptor: int) -> None:
    try:
        # Else each collection walks through all that the tests have made before, and is counted.
        gc.freeze()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.process_time()
        try:
            ok, answer = True, str(function())
        except BaseException:
            ok, answer = False, traceback.format_exc()
        seconds = time.process_time() - started
        kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        os.write(descriptor, json.dumps({
            'ok': ok, 'answer': answer[-20_000:], 'seconds': seconds, 'kib': kib}).encode())
    finally:
        os._exit(0)
