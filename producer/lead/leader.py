"""What the producer that leads does: list, feed, rescue, and rebuild the ledger from the bucket."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice

from producer.lead.active_job import ActiveJob
from producer.lead.error_limit import stop_of
from producer.lead.feed import JobFeed, Sender
from producer.lead.lister import Lister
from producer.lead.rescue import Rescuer
from producer.sources.listing import Listing
from shared import keys
from shared.errors import HeadraceError, PermanentError, TransientError
from shared.job import Accounting, Closing, JobSpec, PastJob
from shared.job_store import JobStore
from shared.ledger import ChunkRef, Ledger, Stale
from shared.manifest import ManifestReader
from shared.settings import Settings
from shared.stages import RESULTS, queue_name

log = logging.getLogger(__name__)

RESCUE_SECONDS = 1.0
REFRESH_SECONDS = 30.0
STOP_SECONDS = 1.0
DONE_AT_ONCE = 10_000

ListingOf = Callable[[JobSpec], Listing]


def _nothing() -> None:
    return None


class Leader:
    """One leadership: it keeps ledger and broker in step with the bucket, which is the truth.

    ``tick`` goes through this table from top to bottom. The order matters: nothing is fed or sent
    again before the leader knows which ledger it speaks to, and what the bucket already holds.

    ========================================  =====================================================
    what may have happened                    what the leader does
    ========================================  =====================================================
    the ledger is another, or empty           ``_follow_incarnation``: register the jobs there
    it was away, and may have forgotten       ``_reconcile``: chunks with files are done
    a queue has room                          ``_feed``: queue the next chunks of each job in turn
    a listing failed, a job was reopened      ``_retire_jobs``: end it, or register it again
    more images fail than may                 ``_stop_failing``: stop the job
    a holder died, a message is lost          ``Rescuer.rescue``: queue the chunk again and send it
    a chunk was refused too often             ``_give_up``: send its result, in which all failed
    a job is new, closed or cancelled         ``_refresh_jobs``: look it up in the bucket
    ========================================  =====================================================

    Everything that it knows can be learned again from the bucket. ``clock`` gives monotonic
    seconds. ``keep_leading`` is called again and again while something takes long.
    """

    def __init__(
        self,
        settings: Settings,
        jobs: JobStore,
        listing_of: ListingOf,
        ledger: Ledger,
        sender: Sender,
        *,
        clock: Callable[[], float],
        keep_leading: Callable[[], object] = _nothing,
    ) -> None:
        self._settings, self._jobs, self._listing_of = settings, jobs, listing_of
        self._ledger, self._sender, self._clock = ledger, sender, clock
        self._keep_leading = keep_leading
        self._rescuer = Rescuer(ledger, sender, self._resend, settings.lease_seconds)
        self._incarnation = ""
        self._open: dict[str, ActiveJob] = {}  # by uid
        self._closed: set[str] = set()  # job ids
        self._to_refresh: dict[str, None] = {}  # job ids, in order
        self._turn = 0
        self._refresh_due = self._retire_due = self._rescue_due = clock()
        self.pause_rescue()

    def pause_rescue(self) -> None:
        """After a connect or an outage nothing counts as lost for one lease length."""
        self._rescuer.forget()
        self._rescue_due = self._clock() + self._settings.lease_seconds
        self._must_reconcile = True

    def end(self) -> None:
        """Stop listing; another may go on from the bucket."""
        for job in self._open.values():
            job.stop()
        deadline = time.monotonic() + STOP_SECONDS
        for job in self._open.values():
            job.join(max(0.0, deadline - time.monotonic()))
        self._open.clear()

    def tick(self) -> bool:
        """Do what is due. Returns whether there was work. Raises HeadraceError."""
        now, work = self._clock(), 0
        try:
            self._follow_incarnation()
            self._reconcile()
            work += self._feed()
            if now >= self._retire_due:
                self._retire_due = now + RESCUE_SECONDS
                self._retire_jobs()
                self._stop_failing()
            if now >= self._rescue_due:
                self._rescue_due = now + RESCUE_SECONDS
                work += self._rescuer.rescue(self._incarnation, now)
                work += self._give_up()
            work += self._refresh_jobs(now)
        except Stale as stale:
            log.info("the ledger moved on: %s", stale.reason)
        return work > 0

    def _follow_incarnation(self) -> None:
        current = self._ledger.incarnation()
        if current is None:
            current = self._ledger.begin(secrets.token_hex(8))
            log.info("began ledger %s", current)
        if current != self._incarnation:
            for job in list(self._open.values()):
                self._register_again(job, current)
            self._incarnation = current
            self.pause_rescue()

    def _reconcile(self) -> None:
        """A broker that was away may have forgotten its last second: what stands is not redone."""
        if self._must_reconcile:
            for job in self._open.values():
                self._note_files(job, self._ledger.live_chunks(job.spec.job_uid))
            self._must_reconcile = False

    def _note_files(self, job: ActiveJob, chunks: Iterable[int]) -> set[int]:
        """Returns those of the chunks whose files stand, and which so are done."""
        uid, job_id = job.spec.job_uid, job.spec.job_id
        done = set()
        for chunk in chunks:
            if self._jobs.has_chunk_file(job_id, chunk):
                done.add(chunk)
            self._keep_leading()
        if done:
            self._ledger.register_job(self._incarnation, uid, job_id, job.spec.first_queue, done)
        return done

    def _feed(self) -> int:
        """Give each job its turn while the queue has room; who goes first changes."""
        jobs = [job for job in self._open.values() if not job.is_cancelled]
        if not jobs:
            return 0
        self._turn = (self._turn + 1) % len(jobs)
        bound = self._settings.preprocess_queue_chunks
        max_chunks = max(1, bound // len(jobs))
        fed = 0
        for job in jobs[self._turn :] + jobs[: self._turn]:
            try:
                fed += job.feed.feed(job.lister.chunks, bound=bound, max_chunks=max_chunks)
            except Stale as stale:  # the job was closed, or the ledger wiped: look at it again
                log.info("%s: the ledger moved on: %s", job.spec.job_id, stale.reason)
                self._retire_due = 0.0
            except PermanentError as error:
                self._fail(job, error)
        return fed

    def _retire_jobs(self) -> None:
        """End what cannot be listed, notice closed jobs, begin again where one was reopened."""
        known = set(self._ledger.jobs())
        for uid, job in list(self._open.items()):
            if job.error is not None:
                self._fail(job, job.error)
            elif uid not in known:
                self._refresh_job(job.spec.job_id)
                if uid in self._open:  # it is not closed: the ledger lost it
                    self._register_again(job, self._incarnation)
            elif job.seal and not job.is_cancelled and job.feed.has_unfinished_chunks(job.seal):
                self._register_again(job, self._incarnation)
        for stranger in known - self._open.keys():
            progress = self._ledger.progress(stranger)
            if progress is not None:
                self._refresh_job(progress.job_id)
            if stranger not in self._open:
                self._ledger.close_job(self._incarnation, stranger)

    def _refresh_jobs(self, now: float) -> int:
        """Look at the jobs that were hinted at, and now and then at all of them."""
        self._to_refresh.update(dict.fromkeys(self._ledger.take_hints()))
        if now >= self._refresh_due:
            found = set(self._jobs.job_ids())
            self._closed &= found
            known = {job.spec.job_id for job in self._open.values()}
            self._to_refresh.update(dict.fromkeys(sorted((found - self._closed) | known)))
            self._refresh_due = now + REFRESH_SECONDS
        looked = 0
        while self._to_refresh:  # one by one, so that an outage leaves the others to be looked at
            job_id = next(iter(self._to_refresh))
            self._refresh_job(job_id)
            del self._to_refresh[job_id]
            self._keep_leading()
            looked += 1
        return looked

    def _refresh_job(self, job_id: str) -> None:
        """Learn what the bucket says about a job, new or open."""
        try:
            is_closed = self._jobs.closing(job_id) is not None
        except ValueError as error:
            log.error("%s: how it ended cannot be read, so it is left alone: %s", job_id, error)
            is_closed = True
        spec = None
        if not is_closed and self._jobs.has_spec(job_id):
            spec = self._jobs.any_spec(job_id)
        if isinstance(spec, PastJob):
            self._end(job_id, Accounting(), spec.reason)
            spec, is_closed = None, True
        if is_closed:
            self._closed.add(job_id)
        for job in list(self._open.values()):
            if job.spec.job_id == job_id and (spec is None or spec.job_uid != job.spec.job_uid):
                self._forget(job)
        if spec is None:
            return
        if spec.job_uid not in self._open:
            self._start_job(spec)
        else:
            self._end_early_if_asked(self._open[spec.job_uid])

    def _start_job(self, spec: JobSpec) -> None:
        reader = ManifestReader(self._jobs.store, self._jobs.bucket, spec.job_id)
        scratch = self._settings.home / "run" / "listing"
        job = ActiveJob(
            spec,
            Lister(spec, self._jobs, partial(self._listing_of, spec), scratch),
            partial(JobFeed, spec, reader, self._ledger, self._sender),
        )
        if self._register(job, self._incarnation):
            self._open[spec.job_uid] = job
            job.start()
            log.info("%s: open", spec.job_id)
        else:
            self._ledger.close_job(self._incarnation, spec.job_uid)

    def _register(self, job: ActiveJob, incarnation: str) -> bool:
        """Make the job known to the ledger, with what the bucket shows to be done.

        False where it was closed meanwhile: then its chunk files may be gone, and nothing is fed.
        """
        uid, job_id = job.spec.job_uid, job.spec.job_id
        self._ledger.register_job(incarnation, uid, job_id, job.spec.first_queue)
        files = self._jobs.store.list(self._jobs.bucket, keys.chunks_prefix(job_id))
        numbers = (keys.chunk_of_key(info.key) for info in files)
        while done := list(islice(numbers, DONE_AT_ONCE)):
            self._ledger.register_job(incarnation, uid, job_id, job.spec.first_queue, done)
            self._keep_leading()
        job.restart(incarnation)
        if self._jobs.is_closed(job_id):
            self._closed.add(job_id)
            return False
        self._end_early_if_asked(job)
        return True

    def _register_again(self, job: ActiveJob, incarnation: str) -> None:
        """After a wipe, or from the beginning of its manifest."""
        if not self._register(job, incarnation):
            self._forget(job)

    def _end_early_if_asked(self, job: ActiveJob) -> None:
        """A job that its user has cancelled, or that was stopped, is fed no more."""
        if job.is_cancelled or not self._jobs.ends_early(job.spec):
            return
        job.lister.cancel()
        try:
            self._ledger.cancel_job(job.incarnation, job.spec.job_uid)
        except Stale as stale:  # the ledger lost the job, which is registered again, and asked then
            log.info("%s: not cancelled yet: %s", job.spec.job_id, stale.reason)
            self._retire_due = 0.0
            return
        job.is_cancelled = True
        log.info("%s: ends early", job.spec.job_id)

    def _stop_failing(self) -> None:
        """Stop the jobs of which more images failed than may."""
        for job in list(self._open.values()):
            spec = job.spec
            if spec.max_errors is None or job.is_cancelled:
                continue
            progress = self._ledger.progress(spec.job_uid)
            stop = stop_of(spec, progress) if progress else None
            if stop is None:
                continue
            try:
                self._jobs.stop(spec.job_id, spec.job_uid, stop)
            except PermanentError as error:  # other jobs go on
                if not job.is_stop_refused:
                    log.error("%s: cannot be stopped: %s", spec.job_id, error)
                job.is_stop_refused = True
                continue
            log.error("%s: stopped. %s", spec.job_id, stop.error)
            self._end_early_if_asked(job)

    def _fail(self, job: ActiveJob, error: HeadraceError) -> None:
        """The job cannot be listed or fed, so it ends."""
        self._end(job.spec.job_id, Accounting(listed=job.lister.listed), str(error))
        self._forget(job)

    def _end(self, job_id: str, accounting: Accounting, error: str) -> None:
        log.error("%s: %s", job_id, error)
        closing = Closing(state="failed", reason="not_closed", accounting=accounting, error=error)
        self._jobs.create_closing(job_id, closing)
        self._closed.add(job_id)

    def _forget(self, job: ActiveJob) -> None:
        job.stop()
        del self._open[job.spec.job_uid]
        self._ledger.close_job(job.incarnation, job.spec.job_uid)
        log.info("%s: closed", job.spec.job_id)

    def _give_up(self) -> int:
        """End the chunks that no worker takes."""
        refs = self._ledger.give_up(self._incarnation, queue_name(RESULTS))
        for ref in refs:
            log.error("gave up %s: its messages are refused", ref.name)
            self._send(ref, JobFeed.send_given_up)
        return len(refs)

    def _resend(self, ref: ChunkRef) -> None:
        self._send(ref, JobFeed.send)

    def _send(self, ref: ChunkRef, send: Callable[[JobFeed, ChunkRef], None]) -> None:
        job = self._open.get(ref.job_uid)
        if job is None:
            return
        try:
            if not self._note_files(job, [ref.chunk]):  # its holder may have died after the file
                send(job.feed, ref)
        except (PermanentError, TransientError) as error:
            log.warning("%s: chunk %d not sent yet: %s", job.spec.job_id, ref.chunk, error)
