"""Reading and writing a job's documents in the state bucket."""

from __future__ import annotations

from collections.abc import Iterator

from shared import keys
from shared.errors import PermanentError
from shared.job import Closing, EngineChoice, JobSpec, JobStop, PastJob, read_spec
from shared.storage import ObjectMissing, Store


class JobStore:
    """The state bucket's ``jobs/`` folder. Methods raise the store's errors."""

    def __init__(self, store: Store, state_bucket: str) -> None:
        self.store = store
        self.bucket = state_bucket

    def job_ids(self) -> Iterator[str]:
        """Every job that has a folder, in no promised order."""
        return self.store.list_folders(self.bucket, keys.JOBS)

    def create_spec(self, spec: JobSpec) -> JobSpec:
        """Write the spec unless there is one. Returns the one that stands."""
        if self.store.create(self.bucket, keys.spec_key(spec.job_id), _json(spec)):
            return spec
        return self.spec(spec.job_id)

    def spec(self, job_id: str) -> JobSpec:
        """The job's spec; raises PermanentError ``no_such_job`` or ``past_job``."""
        found = self.any_spec(job_id)
        if isinstance(found, PastJob):
            raise PermanentError("past_job", f"The job '{job_id}' cannot be run: {found.reason}")
        return found

    def any_spec(self, job_id: str) -> JobSpec | PastJob:
        """The job's spec, of any version; raises PermanentError ``no_such_job``."""
        try:
            return read_spec(job_id, self.store.get(self.bucket, keys.spec_key(job_id)))
        except ObjectMissing as error:
            raise PermanentError(
                "no_such_job", f"There is no job '{job_id}'.", "See 'headrace jobs'."
            ) from error

    def has_spec(self, job_id: str) -> bool:
        """Is there such a job? Stores list the folders of removed ones for a while."""
        return self.store.exists(self.bucket, keys.spec_key(job_id))

    def closing(self, job_id: str) -> Closing | None:
        """How the job ended; None while it is open."""
        try:
            return Closing.model_validate_json(self.store.get(self.bucket, keys.closed_key(job_id)))
        except ObjectMissing:
            return None

    def is_closed(self, job_id: str) -> bool:
        """Did the job end, however?"""
        return self.store.exists(self.bucket, keys.closed_key(job_id))

    def create_closing(self, job_id: str, closing: Closing) -> bool:
        """Record the end; False where one stands already."""
        return self.store.create(self.bucket, keys.closed_key(job_id), _json(closing))

    def has_chunk_file(self, job_id: str, chunk: int) -> bool:
        """Does the result of the chunk stand?"""
        return self.store.exists(self.bucket, keys.chunk_key(job_id, chunk))

    def cancel(self, job_id: str) -> bool:
        """Ask for cancellation; False where that was done before."""
        return self.store.create(self.bucket, keys.cancel_key(job_id), b"{}")

    def is_cancelled(self, job_id: str) -> bool:
        """Was cancellation asked for?"""
        return self.store.exists(self.bucket, keys.cancel_key(job_id))

    def stop(self, job_id: str, job_uid: str, stop: JobStop) -> bool:
        """Record why the job ends early; False where a reason stands already."""
        return self.store.create(self.bucket, keys.stop_key(job_id, job_uid), _json(stop))

    def stopped(self, job_id: str, job_uid: str) -> JobStop | None:
        """Why the job ends early; None unless a worker or the producer has said so."""
        try:
            data = self.store.get(self.bucket, keys.stop_key(job_id, job_uid))
        except ObjectMissing:
            return None
        return JobStop.model_validate_json(data)

    def ends_early(self, spec: JobSpec) -> bool:
        """Was the job cancelled, or stopped?"""
        stop = keys.stop_key(spec.job_id, spec.job_uid)
        return self.is_cancelled(spec.job_id) or self.store.exists(self.bucket, stop)

    def engine(self, job_id: str, job_uid: str, analysis: str) -> EngineChoice | None:
        """How an analysis of the job is computed; None before a worker has loaded its model."""
        try:
            data = self.store.get(self.bucket, keys.engine_key(job_id, job_uid, analysis))
        except ObjectMissing:
            return None
        return EngineChoice.model_validate_json(data)

    def settle_engine(
        self, job_id: str, job_uid: str, analysis: str, choice: EngineChoice
    ) -> EngineChoice:
        """Settle how an analysis is computed. Returns the choice that stands, the first of all."""
        key = keys.engine_key(job_id, job_uid, analysis)
        self.store.create(self.bucket, key, _json(choice))
        return self.engine(job_id, job_uid, analysis) or choice

    def add_retry(self, job_id: str, retry_id: str) -> None:
        """Link a retry to the job that it retries; before its spec, so that none is unknown."""
        self.store.put(self.bucket, keys.retries_prefix(job_id) + retry_id, b"")

    def remove_retry(self, job_id: str, retry_id: str) -> None:
        """Take back the link to a retry; twice is fine."""
        self.store.delete(self.bucket, keys.retries_prefix(job_id) + retry_id)

    def first_of(self, spec: JobSpec) -> JobSpec:
        """The job that was retried first: retries of retries lead back to it, while it is there."""
        while spec.retry_of is not None and self.has_spec(spec.retry_of):
            spec = self.spec(spec.retry_of)
        return spec

    def retries(self, job_id: str) -> list[str]:
        """The jobs that retry this one, sorted by id; such a job may not have come to be."""
        prefix = keys.retries_prefix(job_id)
        found = self.store.list(self.bucket, prefix)
        return sorted(info.key.removeprefix(prefix) for info in found)

    def all_retries(self, job_id: str) -> list[JobSpec | PastJob]:
        """The jobs that retry this one, and those that retry them, oldest first."""
        found: dict[str, JobSpec | PastJob] = {}
        pending = self.retries(job_id)
        while pending:
            retry_id = pending.pop()
            if retry_id not in found and self.has_spec(retry_id):
                found[retry_id] = self.any_spec(retry_id)
                pending += self.retries(retry_id)
        return sorted(found.values(), key=lambda retry: retry.created_at)

    def closed_family(self, spec: JobSpec) -> list[tuple[str, Closing]]:
        """How the job that was retried first and its retries ended: id and closing, oldest first.

        Those that have not ended are left out.
        """
        first = self.first_of(spec)
        ids = [first.job_id, *(retry.job_id for retry in self.all_retries(first.job_id))]
        ends = ((job_id, self.closing(job_id)) for job_id in ids)
        return [(job_id, closing) for job_id, closing in ends if closing is not None]


def _json(document: JobSpec | Closing | EngineChoice | JobStop) -> bytes:
    return document.model_dump_json(indent=2).encode()
