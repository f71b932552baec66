"""``python -m workers.inference``: one device worker."""

from __future__ import annotations

import sys

from workers.celery_worker import run_worker
from workers.inference.task import plan, setup

# For how long a thread may keep the interpreter from the one that feeds the device, which waits for
# nothing else between two batches. Python's own are five milliseconds.
SWITCH_SECONDS = 0.0005

if __name__ == "__main__":
    sys.setswitchinterval(SWITCH_SECONDS)
    sys.exit(run_worker("inference", concurrency=plan().concurrency, setup=setup))
