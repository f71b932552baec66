"""``python -m workers.preprocess``: one preprocess worker."""

from __future__ import annotations

import sys
from functools import partial

from shared.ledger import Stage
from shared.staging import open_ring
from shared.storage import resolve_store
from workers.celery_worker import run_worker
from workers.preprocess.fetch import Fetcher
from workers.preprocess.resize import use_one_thread
from workers.preprocess.stage import PreprocessStage
from workers.runtime import Runtime

# One chunk is decoded while the next is fetched.
CONCURRENCY = 2


def setup(runtime: Runtime) -> PreprocessStage:
    """The stage's function."""
    use_one_thread()
    settings = runtime.settings
    fetcher = Fetcher(partial(resolve_store, settings), runtime.stopping)
    ring = open_ring(settings.ring, settings.host_id)
    note = partial(runtime.note_trial, Stage.PREPROCESS)
    return PreprocessStage(fetcher, ring, runtime.ledger.staged, note, runtime.stopping)


if __name__ == "__main__":
    sys.exit(run_worker("preprocess", concurrency=CONCURRENCY, setup=setup))
