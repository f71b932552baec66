"""One job, one precision: the first device worker's choice binds all that follow it."""

from __future__ import annotations

import threading
from collections import OrderedDict

from shared.job import EngineChoice
from shared.job_store import JobStore
from shared.messages import Batch

_REMEMBERED_JOBS = 256


class JobPins:
    """How each job is computed, as far as this worker has learnt. Thread-safe.

    The store is asked outside the lock: while it does not answer, settled jobs go on.
    """

    def __init__(self, jobs: JobStore) -> None:
        self._jobs = jobs
        self._known: OrderedDict[str, EngineChoice] = OrderedDict()
        self._lock = threading.Lock()

    def settled(self, batch: Batch) -> EngineChoice | None:
        """What any worker has settled for the batch's job. Raises the store's errors."""
        known = self._known_of(batch)
        if known is None and (known := self._jobs.engine(batch.job_id, batch.job_uid)) is not None:
            self._remember(batch, known)
        return known

    def settle(self, batch: Batch, choice: EngineChoice) -> EngineChoice:
        """What holds for the batch's job: ``choice``, unless another worker chose before.

        The first choice of all is recorded in the bucket. Raises the store's errors.
        """
        known = self._known_of(batch)
        if known is None:
            known = self._jobs.settle_engine(batch.job_id, batch.job_uid, choice)
            self._remember(batch, known)
        return known

    def _known_of(self, batch: Batch) -> EngineChoice | None:
        with self._lock:
            return self._known.get(batch.job_uid)

    def _remember(self, batch: Batch, settled: EngineChoice) -> None:
        with self._lock:
            self._known[batch.job_uid] = settled
            if len(self._known) > _REMEMBERED_JOBS:
                self._known.popitem(last=False)
