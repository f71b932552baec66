"""One analysis of a job, one precision: the first device worker's choice binds all others."""

from __future__ import annotations

import threading
from collections import OrderedDict

from shared.job import EngineChoice
from shared.job_store import JobStore
from shared.messages import Batch

_REMEMBERED_CHOICES = 1024


class JobPins:
    """How each analysis of a job is computed, as far as this worker has learnt. Thread-safe.

    The store is asked outside the lock: while it does not answer, settled jobs go on.
    """

    def __init__(self, jobs: JobStore) -> None:
        self._jobs = jobs
        self._known: OrderedDict[tuple[str, str], EngineChoice] = OrderedDict()
        self._lock = threading.Lock()

    def settled(self, batch: Batch, analysis: str) -> EngineChoice | None:
        """What any worker has settled for an analysis of the batch's job.

        Raises the store's errors.
        """
        known = self._known_of(batch, analysis)
        if known is None:
            known = self._jobs.engine(batch.job_id, batch.job_uid, analysis)
            if known is not None:
                self._remember(batch, analysis, known)
        return known

    def settle(self, batch: Batch, analysis: str, choice: EngineChoice) -> EngineChoice:
        """What holds for an analysis of the batch's job: ``choice``, unless another chose before.

        The first choice of all is recorded in the bucket. Raises the store's errors.
        """
        known = self._known_of(batch, analysis)
        if known is None:
            known = self._jobs.settle_engine(batch.job_id, batch.job_uid, analysis, choice)
            self._remember(batch, analysis, known)
        return known

    def _known_of(self, batch: Batch, analysis: str) -> EngineChoice | None:
        with self._lock:
            return self._known.get((batch.job_uid, analysis))

    def _remember(self, batch: Batch, analysis: str, settled: EngineChoice) -> None:
        with self._lock:
            self._known[batch.job_uid, analysis] = settled
            if len(self._known) > _REMEMBERED_CHOICES:
                self._known.popitem(last=False)
