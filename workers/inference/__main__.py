"""``python -m workers.inference``: one device worker."""

from __future__ import annotations

import sys

from shared.environment import settle

if __name__ == "__main__":
    settle()

from shared.messages import Batch
from shared.stages import INFERENCE
from workers.celery_worker import run_worker
from workers.inference.task import device_profile, setup

if __name__ == "__main__":
    sys.exit(run_worker(INFERENCE, Batch, concurrency=device_profile().concurrency, setup=setup))
