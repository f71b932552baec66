"""``python -m workers.collector``: one collector."""

from __future__ import annotations

import atexit
import sys
from functools import partial

from shared.environment import settle

if __name__ == "__main__":
    settle()

from shared.job_store import JobStore
from shared.messages import Result
from shared.stages import RESULTS
from shared.storage import resolve_store
from workers.celery_worker import run_worker
from workers.collector.chunk_file import ChunkFiles
from workers.collector.closing_loop import ClosingLoop
from workers.collector.stage import CollectStage
from workers.runtime import Runtime, StageFunction

CONCURRENCY = 2


def setup(runtime: Runtime) -> StageFunction:
    """The stage's function; the closing loop runs beside it until the worker stops."""
    settings = runtime.settings
    state = resolve_store(settings, settings.state_bucket)
    jobs = JobStore(state, settings.state_bucket)
    files = ChunkFiles(state, settings.state_bucket)
    loop = ClosingLoop(runtime.ledger, jobs, files, partial(resolve_store, settings))
    runtime.on_stop(loop.end)
    atexit.register(loop.join, 5.0)  # a thread in native code must not meet a dying interpreter
    loop.start()
    stage = CollectStage(files, runtime.stopping)
    return lambda result, _losses: stage(result)  # no image is touched here: none is suspect


if __name__ == "__main__":
    sys.exit(run_worker(RESULTS, Result, concurrency=CONCURRENCY, setup=setup))
