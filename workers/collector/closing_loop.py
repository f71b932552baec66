"""The timer in every collector: it advances all open jobs, so that nothing hangs on a message."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from shared.errors import HeadraceError, PermanentError
from shared.job_store import JobStore
from shared.ledger import Ledger, Stale
from shared.storage import Store
from shared.threads import guarded
from workers.collector.chunk_file import ChunkFiles
from workers.collector.job_closer import JobCloser

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 0.5
PARALLEL_READS = 8


class ClosingLoop:
    """One pass after another over the ledger's open jobs. ``store_of`` gives a bucket's store."""

    def __init__(
        self,
        ledger: Ledger,
        jobs: JobStore,
        files: ChunkFiles,
        store_of: Callable[[str], Store],
    ) -> None:
        self._ledger, self._jobs, self._files, self._store_of = ledger, jobs, files, store_of
        self._readers = ThreadPoolExecutor(PARALLEL_READS, thread_name_prefix="roll-up")
        self._open: dict[str, JobCloser] = {}
        self._said: dict[str, str] = {}
        self._ending = threading.Event()
        self._thread = guarded("closing-loop", self._run, ended=self._ending.is_set)

    def start(self) -> None:
        """Begin, in a thread."""
        self._thread.start()

    def end(self) -> None:
        """Ask it to end after the job in hand. May be called twice."""
        self._ending.set()

    def join(self, timeout_seconds: float) -> None:
        """Wait for the thread."""
        self._thread.join(timeout_seconds)

    def once(self) -> None:
        """One pass. A job's trouble is logged, once, and is its own. Raises TransientError."""
        incarnation = self._ledger.incarnation()
        if incarnation is None:  # the producer has not rebuilt the ledger yet
            return
        uids = self._ledger.jobs()
        self._open = {uid: job for uid, job in self._open.items() if uid in uids}
        self._said = {uid: said for uid, said in self._said.items() if uid in uids}
        for uid in uids:
            if self._ending.is_set():
                return
            try:
                self._advance(incarnation, uid)
                self._said.pop(uid, None)
            except Stale as stale:
                log.debug("%s: the ledger moved on: %s", uid, stale.reason)
            except HeadraceError as error:
                self._say(uid, str(error))
            except Exception as error:
                if self._is_new(uid, repr(error)):
                    log.exception("%s: cannot be closed now", uid)

    def _advance(self, incarnation: str, uid: str) -> None:
        progress = self._ledger.progress(uid)
        if progress is None:
            return
        job = self._open.get(uid) or self._open_job(uid, progress.job_id)
        if job is None:
            self._ledger.close_job(incarnation, uid)
        else:
            job.advance(incarnation, progress)

    def _open_job(self, uid: str, job_id: str) -> JobCloser | None:
        """The job of this uid; None where it was removed, or another has taken its name."""
        try:
            spec = self._jobs.spec(job_id)
        except PermanentError as error:
            if error.code != "no_such_job":
                raise
            return None
        if spec.job_uid != uid:
            return None
        output = self._store_of(spec.output_bucket)
        self._open[uid] = JobCloser(
            spec, self._jobs, self._files, output, self._ledger, self._readers
        )
        return self._open[uid]

    def _say(self, what: str, text: str) -> None:
        if self._is_new(what, text):
            log.warning("%s: %s", what, text)

    def _is_new(self, what: str, text: str) -> bool:
        known, self._said[what] = self._said.get(what), text
        return known != text

    def _run(self) -> None:
        while not self._ending.wait(INTERVAL_SECONDS):
            try:
                self.once()
            except HeadraceError as error:
                self._say("the ledger", str(error))
            except Exception:
                log.exception("a pass over the open jobs failed")
