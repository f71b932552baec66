"""One job, one precision: the first device worker's choice binds all that follow it."""

from __future__ import annotations

import threading
from collections import OrderedDict

from shared.job import EngineChoice
from shared.job_store import JobStore
from shared.messages import Batch
from shared.pipeline import Precision

_REMEMBERED_JOBS = 256


class JobPins:
    """Which precision each job computes in, as far as this worker has learnt. Thread-safe."""

    def __init__(self, jobs: JobStore) -> None:
        self._jobs = jobs
        self._known: OrderedDict[str, Precision | None] = OrderedDict()
        self._lock = threading.Lock()

    def is_settled(self, batch: Batch) -> bool:
        """Has any worker settled how the batch's job is computed? Raises the store's errors."""
        with self._lock:
            if batch.job_uid in self._known:
                return True
        return self._jobs.engine(batch.job_id, batch.job_uid) is not None

    def settle(self, batch: Batch, choice: EngineChoice) -> Precision | None:
        """The precision of the batch's job: ``choice``'s, unless another worker chose before.

        The first choice of all is recorded in the bucket. Raises the store's errors.
        """
        with self._lock:
            if batch.job_uid not in self._known:
                settled = self._jobs.settle_engine(batch.job_id, batch.job_uid, choice)
                self._known[batch.job_uid] = settled.precision
            precision = self._known[batch.job_uid]
            if len(self._known) > _REMEMBERED_JOBS:
                self._known.popitem(last=False)
            return precision
