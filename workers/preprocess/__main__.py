"""``python -m workers.preprocess``: one preprocess worker."""

from __future__ import annotations

import sys
from functools import partial

from shared.environment import settle

if __name__ == "__main__":
    settle(OMP_NUM_THREADS="1")  # images of a chunk are resized one after another

from shared.messages import Chunk
from shared.stages import PREPROCESS
from shared.staging import open_ring
from shared.staging.network import connect_network
from shared.storage import resolve_store
from workers.celery_worker import run_worker
from workers.preprocess.fetch import Fetcher
from workers.preprocess.resize import use_one_thread
from workers.preprocess.routes import Routes, waiting_chunks
from workers.preprocess.stage import PreprocessStage
from workers.runtime import Runtime

# One chunk is decoded while the next is fetched.
CONCURRENCY = 2


def setup(runtime: Runtime) -> PreprocessStage:
    """The stage's function."""
    use_one_thread()
    settings, ledger = runtime.settings, runtime.ledger
    fetcher = Fetcher(partial(resolve_store, settings), runtime.stopping)
    ring = open_ring(settings.ring, settings.host_id)
    network = connect_network(settings, ledger.still_needed)
    routes = Routes(settings.host_id, partial(waiting_chunks, ledger) if network else dict)
    note = partial(runtime.mark_running_alone, PREPROCESS)
    return PreprocessStage(
        fetcher, ring, network, routes, ledger.still_staged, note, runtime.stopping
    )


if __name__ == "__main__":
    sys.exit(run_worker(PREPROCESS, Chunk, concurrency=CONCURRENCY, setup=setup))
