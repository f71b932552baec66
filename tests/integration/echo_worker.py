"""A worker that finishes every chunk at once: real Celery, ledger and quarantine, no stage."""

import sys

from workers.celery_worker import run_worker
from workers.runtime import Done

if __name__ == "__main__":
    sys.exit(run_worker("collector", concurrency=2, setup=lambda _: lambda *_: Done({"ok": 1})))
