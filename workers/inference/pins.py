"""One job, one precision: the first device worker's choice binds all that follow it."""

from __future__ import annotations

import threading
from collections import OrderedDict

from shared.job import EngineChoice
from shared.job_store import JobStore
from shared.messages import Batch
from shared.pipeline import Pipeline, Precision

_REMEMBERED_JOBS = 256


class JobPins:
    """Which precision each job computes in, as far as this worker has learnt. Thread-safe."""

    def __init__(self, jobs: JobStore) -> None:
        self._jobs = jobs
        self._known: OrderedDict[str, Precision | None] = OrderedDict()
        self._lock = threading.Lock()

    def pinned(self, batch: Batch) -> Pipeline:
        """The batch's pipeline, in its job's precision where that is known here."""
        with self._lock:
            precision = self._known.get(batch.job_uid)
        return batch.pipeline.model_copy(update={"precision": precision} if precision else {})

    def allows(self, batch: Batch, choice: EngineChoice) -> bool:
        """Whether results of this choice may join the job's. If not, ``pinned`` now says which may.

        The first choice of all is recorded in the bucket. Raises the store's errors.
        """
        with self._lock:
            known = batch.job_uid in self._known
        if not known:
            self._learn(batch.job_uid, self._jobs.settle_engine(batch.job_id, choice).precision)
        with self._lock:
            return self._known[batch.job_uid] == choice.precision

    def _learn(self, job_uid: str, precision: Precision | None) -> None:
        with self._lock:
            self._known[job_uid] = precision
            while len(self._known) > _REMEMBERED_JOBS:
                self._known.popitem(last=False)
