"""The collector's timer: rolls up complete ranges and closes finished jobs.

It hangs on no message: any collector that lives closes what is there to close.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from shared import keys
from shared.errors import HeadraceError, TransientError
from shared.job import JobSpec
from shared.job_store import JobStore
from shared.ledger import Ledger, Stale
from shared.manifest import ManifestReader, Seal
from shared.storage import Store
from workers.collector.closing import close, delete_chunk_files, fail
from workers.collector.rollup import Missing, Part, RollUp

log = logging.getLogger(__name__)

StoreOf = Callable[[str], Store]

PASS_SECONDS = 0.5
OUTAGE_SECONDS = 2.0


class JobDesk:
    """One open job as this collector sees it."""

    def __init__(self, jobs: JobStore, output_store: Store, ledger: Ledger, spec: JobSpec) -> None:
        self._jobs, self._output_store, self._ledger, self._spec = jobs, output_store, ledger, spec
        self._reader = ManifestReader(jobs.store, jobs.bucket, spec.job_id)
        self._rollup = RollUp(jobs.store, output_store, jobs.bucket, spec, self._reader)
        self._parts: list[Part] = []
        self._next = 0

    def advance(self, incarnation: str) -> bool:
        """Write the parts that can be written. Returns True once the job is closed.

        Raises the stores' and the ledger's errors.
        """
        seal = self._reader.seal()
        closing = self._jobs.closing(self._spec.job_id)
        if closing is not None:
            if closing.state != "failed":
                delete_chunk_files(self._jobs, self._spec)
        elif seal is not None and seal.cancelled:
            self._close_cancelled(seal)
        elif not self._roll_up(incarnation, seal) or seal is None:
            return False
        else:
            self._close(seal)
        self._ledger.close_job(incarnation, self._spec.job_uid)
        return True

    def fail(self, incarnation: str, error: HeadraceError) -> None:
        """The job cannot be closed."""
        log.error("%s: cannot be closed: %s", self._spec.job_id, error)
        fail(self._jobs, self._spec, str(error))
        self._ledger.close_job(incarnation, self._spec.job_uid)

    def _roll_up(self, incarnation: str, seal: Seal | None) -> bool:
        """Returns whether every part of a sealed job stands."""
        while True:
            first, end = keys.part_range(self._next)
            if seal is not None:
                end = min(end, seal.chunks)
            if first >= end:
                return True
            if self._ledger.done_between(self._spec.job_uid, first, end) < end - first:
                return False
            part = self._rollup.standing(self._next)
            if part is None:
                written = self._rollup.write(self._next, list(range(first, end)))
                if isinstance(written, Missing):
                    self._reopen(incarnation, written)
                    return False
                part = written
            self._parts.append(part)
            self._next += 1

    def _reopen(self, incarnation: str, missing: Missing) -> None:
        log.warning("%s: %d chunk files are missing", self._spec.job_id, len(missing.chunks))
        for chunk in missing.chunks:
            self._ledger.reopen(incarnation, self._spec.job_uid, chunk)

    def _close(self, seal: Seal) -> None:
        closing = close(self._jobs, self._output_store, self._spec, seal, self._parts)
        log.info("%s: %s, %s", self._spec.job_id, closing.state, closing.accounting)

    def _close_cancelled(self, seal: Seal) -> None:
        """Of a cancelled job, what has a chunk file counts, until manifest.json stands."""
        prefix = keys.chunks_prefix(self._spec.job_id)
        found = self._jobs.store.list(self._jobs.bucket, prefix)
        done = sorted(keys.chunk_of_key(info.key) for info in found)
        number, parts = 0, []
        while (first := keys.part_range(number)[0]) < seal.chunks:
            end = keys.part_range(number)[1]
            chunks = [chunk for chunk in done if first <= chunk < end]
            part = self._rollup.standing(number)
            if part is None and chunks:
                written = self._rollup.write(number, chunks)
                part = written if isinstance(written, Part) else None
            if part is not None:
                parts.append(part)
            number += 1
        self._parts = parts
        self._close(seal)


class Desk(threading.Thread):
    """All open jobs, in a thread of their own."""

    def __init__(self, jobs: JobStore, store_of: StoreOf, ledger: Ledger) -> None:
        super().__init__(name="desk", daemon=True)
        self._jobs, self._store_of, self._ledger = jobs, store_of, ledger
        self._desks: dict[str, JobDesk] = {}
        self._ended = threading.Event()

    def end(self) -> None:
        """Finish the pass that runs, and stop."""
        self._ended.set()

    def run(self) -> None:
        pause_seconds = PASS_SECONDS
        while not self._ended.wait(pause_seconds):
            try:
                self.look_at_all()
                pause_seconds = PASS_SECONDS
            except TransientError as error:
                if pause_seconds != OUTAGE_SECONDS:
                    log.warning("%s", error)
                pause_seconds = OUTAGE_SECONDS
            except Exception:
                log.exception("a pass over the jobs failed")
                pause_seconds = OUTAGE_SECONDS

    def look_at_all(self) -> None:
        """One pass. Raises TransientError."""
        incarnation = self._ledger.incarnation()
        if incarnation is None:
            return
        open_uids = self._ledger.jobs()
        for uid in set(self._desks) - set(open_uids):
            del self._desks[uid]
        for uid in open_uids:
            try:
                self._look_at(incarnation, uid)
            except Stale as stale:
                log.info("job %s: the ledger moved on: %s", uid, stale.reason)

    def _look_at(self, incarnation: str, uid: str) -> None:
        desk = self._desks.get(uid) or self._open(uid)
        if desk is None:
            return
        self._desks[uid] = desk
        try:
            closed = desk.advance(incarnation)
        except TransientError:
            raise
        except (HeadraceError, ValueError) as error:
            shown = error if isinstance(error, HeadraceError) else _unreadable(error)
            desk.fail(incarnation, shown)
            closed = True
        if closed:
            self._desks.pop(uid, None)

    def _open(self, uid: str) -> JobDesk | None:
        progress = self._ledger.progress(uid)
        if progress is None:
            return None
        spec = self._jobs.spec(progress.job_id)
        return JobDesk(self._jobs, self._store_of(spec.output_bucket), self._ledger, spec)


def _unreadable(error: ValueError) -> HeadraceError:
    return HeadraceError("unreadable_file", f"A file of the job cannot be read: {error}.")
