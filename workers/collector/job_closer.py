"""Closing one open job: its parts grow, and when all stand it is closed."""

from __future__ import annotations

import logging
import time
from concurrent.futures import Executor
from datetime import UTC, datetime

from shared.errors import PermanentError
from shared.job import Accounting, Closing, JobSpec
from shared.job_store import JobStore
from shared.ledger import JobProgress, Ledger
from shared.manifest import ManifestReader, Seal
from shared.storage import Store
from workers.collector import closing as closings
from workers.collector.chunk_file import ChunkFiles
from workers.collector.output_manifest import account, summarise
from workers.collector.rollup import RollUp
from workers.collector.verdict import circumstances

log = logging.getLogger(__name__)

BUCKET_LOOK_SECONDS = 5.0


class JobCloser:
    """Closes one job: ``advance`` does what can be done now. All it knows can be read again."""

    def __init__(
        self,
        spec: JobSpec,
        jobs: JobStore,
        files: ChunkFiles,
        output: Store,
        ledger: Ledger,
        readers: Executor,
    ) -> None:
        self.spec = spec
        self._jobs, self._output, self._ledger = jobs, output, ledger
        self._manifest = ManifestReader(jobs.store, jobs.bucket, spec.job_id)
        self._rollup = RollUp(spec, files, output, readers)
        self._look_due = time.monotonic()
        self._seal: Seal | None = None
        self._ends_early = False

    def advance(self, incarnation: str, progress: JobProgress) -> None:
        """Roll up what is complete, and close the job if nothing more will come.

        A PermanentError ends the job as failed. Raises TransientError, Stale.
        """
        nothing_moves = progress.live_chunks == 0 or progress.cancelled
        if nothing_moves or time.monotonic() >= self._look_due:
            self._look_due = time.monotonic() + BUCKET_LOOK_SECONDS
            existing = self._jobs.closing(self.spec.job_id)
            if existing is not None:
                self._finish(incarnation, existing)
                return
            self._refresh()
        try:
            self._close_if_complete(incarnation)
        except PermanentError as error:
            self._finish(incarnation, self._fail(error))

    def _refresh(self) -> None:
        """Ask the bucket what the ledger only hints at."""
        self._seal = self._manifest.seal()
        self._ends_early = self._seal is not None and (
            self._seal.cancelled or self._jobs.ends_early(self.spec)
        )

    def _close_if_complete(self, incarnation: str) -> None:
        seal = self._seal
        if seal is not None and self._ends_early:
            self._rollup.roll_up_existing(seal.chunks)
        else:
            self._roll_up(incarnation, seal.chunks if seal else None)
        if seal is None or self._rollup.next_range(seal.chunks):
            return
        parts = self._rollup.parts
        if not account(seal, parts, ends_early=self._ends_early).adds_up:
            self._refresh()  # another collector, which made the parts, may know that it ends early
        proposed = summarise(
            self.spec,
            seal,
            parts,
            ends_early=self._ends_early,
            circumstances=circumstances(self._jobs, self.spec, ends_early=self._ends_early),
            ended_at=datetime.now(UTC),
        )
        ended = closings.close(self._jobs, self._output, self.spec, proposed)
        log.info("%s: %s, %s", self.spec.job_id, ended.state, ended.accounting)
        self._finish(incarnation, ended)

    def _roll_up(self, incarnation: str, chunks: int | None) -> None:
        for chunk in self._rollup.advance(self._is_done, chunks):
            log.warning("%s: the file of chunk %d is missing", self.spec.job_id, chunk)
            self._ledger.reopen(incarnation, self.spec.job_uid, chunk)

    def _is_done(self, span: range) -> bool:
        return self._ledger.done_between(self.spec.job_uid, span.start, span.stop) == len(span)

    def _fail(self, error: PermanentError) -> Closing:
        log.error("%s: cannot be closed: %s", self.spec.job_id, error)
        parts, seal = self._rollup.parts, self._seal
        return closings.record(
            self._jobs,
            self._output,
            self.spec,
            Closing(
                state="failed",
                reason="not_closed",
                accounting=account(seal, parts, ends_early=False) if seal else Accounting(),
                error=" ".join(str(error).split()),
            ),
        )

    def _finish(self, incarnation: str, closing: Closing) -> None:
        closings.finish(self._jobs, self._output, self.spec, closing)
        self._ledger.close_job(incarnation, self.spec.job_uid)
