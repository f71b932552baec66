"""What the producer that leads does: list, feed, rescue, and rebuild the ledger from the bucket."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from producer.feed import JobFeed, Sender
from producer.lister import Lister
from producer.listing import Listing
from producer.rescue import Rescuer
from shared import keys
from shared.errors import PermanentError, TransientError
from shared.job import Accounting, Closing, JobSpec
from shared.job_store import JobStore
from shared.ledger import ChunkRef, Ledger, Stale
from shared.manifest import ManifestReader
from shared.settings import Settings

log = logging.getLogger(__name__)

RESCUE_SECONDS = 1.0
LOOK_SECONDS = 30.0

ListingOf = Callable[[JobSpec], Listing]


@dataclass
class OpenJob:
    """A job that is not closed."""

    spec: JobSpec
    reader: ManifestReader
    lister: Lister
    feed: JobFeed


class Leader:
    """One leadership. ``tick`` does what is due; whatever it knows can be learnt again."""

    def __init__(
        self,
        settings: Settings,
        jobs: JobStore,
        listing_of: ListingOf,
        ledger: Ledger,
        sender: Sender,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._jobs, self._listing_of = settings, jobs, listing_of
        self._ledger, self._sender, self._clock = ledger, sender, clock
        self._rescuer = Rescuer(ledger, sender, self._resend)
        self._incarnation = ""
        self._open: dict[str, OpenJob] = {}
        self._closed: set[str] = set()
        self._turn = 0
        self._look_due = self._rescue_due = 0.0
        self.hold_off()

    def hold_off(self) -> None:
        """After a connect or an outage no lease counts as gone for one lease length."""
        self._rescuer.forget()
        self._rescue_due = self._clock() + self._settings.lease_seconds

    def end(self) -> None:
        """Stop listing; another may go on from the bucket."""
        for job in self._open.values():
            job.lister.stop()
        for job in self._open.values():
            job.lister.join(1.0)
        self._open.clear()

    def tick(self) -> bool:
        """Do what is due. Returns whether there was work. Raises TransientError."""
        self._follow_incarnation()
        now = self._clock()
        hinted = self._ledger.take_hints()
        if now >= self._look_due:
            self._look_due = now + LOOK_SECONDS
            hinted = sorted({*hinted, *self._jobs.job_ids()})
        for job_id in dict.fromkeys(hinted):
            self._look_at(job_id)
        for job in list(self._open.values()):
            if job.lister.error is not None:
                self._fail(job, job.lister.error)
        try:
            fed = self._feed()
            if now >= self._rescue_due:
                self._rescue_due = now + RESCUE_SECONDS
                self._tidy()
                fed += self._rescuer.rescue(self._incarnation)
        except Stale as stale:
            log.info("the ledger moved on: %s", stale.reason)
            fed = 1
        return fed > 0

    def _follow_incarnation(self) -> None:
        current = self._ledger.incarnation()
        if current is None:
            current = self._ledger.begin(secrets.token_hex(8))
            log.info("began ledger %s", current)
        if current != self._incarnation:
            self._incarnation = current
            self.hold_off()
            for job in list(self._open.values()):
                self._enter(job)

    def _look_at(self, job_id: str) -> None:
        """Learn what the bucket says about a job, new or open."""
        if job_id in self._closed:
            return
        known = next((j for j in self._open.values() if j.spec.job_id == job_id), None)
        if self._jobs.closing(job_id) is not None:
            self._closed.add(job_id)
            if known is not None:
                self._forget(known)
            return
        if known is None:
            known = self._adopt(job_id)
        if known is not None and self._jobs.is_cancelled(job_id):
            known.lister.cancel()
            self._ledger.cancel_job(self._incarnation, known.spec.job_uid)

    def _adopt(self, job_id: str) -> OpenJob | None:
        try:
            spec = self._jobs.spec(job_id)
        except PermanentError:  # a folder without a spec is none of our jobs
            return None
        except ValueError as error:
            log.error("%s: its spec cannot be read: %s", job_id, error)
            self._closed.add(job_id)
            return None
        store, bucket = self._jobs.store, self._jobs.bucket
        scratch = self._settings.home / "run" / "listing"
        reader = ManifestReader(store, bucket, job_id)
        job = OpenJob(
            spec,
            reader,
            Lister(store, bucket, spec, self._listing_of(spec), scratch),
            JobFeed(spec, reader, self._ledger, self._sender, self._incarnation),
        )
        self._open[spec.job_uid] = job
        self._enter(job)
        job.lister.start()
        log.info("%s: open", job_id)
        return job

    def _enter(self, job: OpenJob) -> None:
        """Make the job known to the ledger, with what the bucket shows to be done."""
        prefix = keys.chunks_prefix(job.spec.job_id)
        found = self._jobs.store.list(self._jobs.bucket, prefix)
        done = [keys.chunk_of_key(info.key) for info in found]
        self._ledger.open_job(self._incarnation, job.spec.job_uid, job.spec.job_id, done)
        job.feed = JobFeed(job.spec, job.reader, self._ledger, self._sender, self._incarnation)
        if self._jobs.is_cancelled(job.spec.job_id):
            job.lister.cancel()
            self._ledger.cancel_job(self._incarnation, job.spec.job_uid)

    def _feed(self) -> int:
        """Give each job its turn; who goes first changes."""
        open_jobs = list(self._open.values())
        if not open_jobs:
            return 0
        self._turn = (self._turn + 1) % len(open_jobs)
        bound = self._settings.preprocess_queue_chunks
        most = max(1, bound // len(open_jobs))
        return sum(
            job.feed.feed(written=job.lister.written, bound=bound, most=most)
            for job in open_jobs[self._turn :] + open_jobs[: self._turn]
        )

    def _tidy(self) -> None:
        """Notice closed jobs, and begin again where something was reopened."""
        known = set(self._ledger.jobs())
        for job in list(self._open.values()):
            if job.spec.job_uid not in known:
                self._look_at(job.spec.job_id)
                if job.spec.job_uid in self._open:  # closed nowhere: the ledger lost it
                    self._enter(job)
            else:
                job.feed.start_again_if_left(job.lister.written)
        for stranger in known - set(self._open):
            progress = self._ledger.progress(stranger)
            if progress is not None:
                self._look_at(progress.job_id)
            if stranger not in self._open:
                self._ledger.close_job(self._incarnation, stranger)

    def _fail(self, job: OpenJob, error: PermanentError) -> None:
        """The listing cannot be done, so the job ends."""
        log.error("%s: cannot be listed: %s", job.spec.job_id, error)
        closing = Closing(state="failed", accounting=Accounting(), error=str(error))
        self._jobs.create_closing(job.spec.job_id, closing)
        self._closed.add(job.spec.job_id)
        self._forget(job)

    def _forget(self, job: OpenJob) -> None:
        job.lister.stop()
        del self._open[job.spec.job_uid]
        try:
            self._ledger.close_job(self._incarnation, job.spec.job_uid)
        except Stale:
            log.debug("%s: the ledger has forgotten it already", job.spec.job_id)

    def _resend(self, ref: ChunkRef) -> None:
        job = self._open.get(ref.job_uid)
        if job is None:
            return
        try:
            job.feed.send(ref)
        except (PermanentError, TransientError) as error:
            log.warning("%s: chunk %d not sent yet: %s", job.spec.job_id, ref.chunk, error)
