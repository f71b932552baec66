"""The ledger: its jobs, and what it shows. What happens to chunks is in ``chunks``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.broker.redis_client import redis_client
from shared.ledger.chunks import ChunkLedger
from shared.ledger.records import ChunkPlace, JobProgress, LiveWorker, read_place
from shared.settings import Settings
from shared.stages import VERSION, QueueInfo

# Of a job's hash.
_NO_COUNTERS = {"job_id", "cancelled", "first_stage", "first_queue"}


class Ledger(ChunkLedger):
    """One connection to the ledger: see ``Connection``."""

    def incarnation(self) -> str | None:
        """The id that this ledger was born with; None where it is empty or of another layout."""
        value, layout = self._call(lambda: self._client.mget("hr:incarnation", "hr:layout"))
        return str(value) if value and layout == VERSION else None

    def begin(self, incarnation: str) -> str:
        """Give a new ledger its id. Returns the id that stands, ours or an earlier one.

        A ledger of another layout is deleted with that, all but who leads.
        """
        keys = self._call(lambda: set(self._client.scan_iter("hr:*", count=1000)))
        old = sorted(keys - {"hr:leader"}) if "hr:incarnation" in keys else []
        return str(self._run("begin", incarnation, VERSION, *old))

    def register_job(
        self,
        incarnation: str,
        job_uid: str,
        job_id: str,
        first: QueueInfo,
        done: Iterable[int] = (),
    ) -> None:
        """Make a job known, with the chunks that the bucket shows to be done. Idempotent.

        Its chunks begin, and begin again, on the queue ``first``. Of those that are done, only what
        somebody holds stays as it is, until its holder finishes it.
        """
        chunks = ",".join(map(str, done))
        self._checked(
            "register_job", incarnation, job_uid, job_id, first.stage.name, first.name, chunks
        )

    def cancel_job(self, incarnation: str, job_uid: str) -> None:
        """Make every chunk in flight stale; nothing more of this job is fed."""
        self._checked("cancel_job", incarnation, job_uid)

    def close_job(self, incarnation: str, job_uid: str) -> None:
        """Forget a job that the bucket shows to be closed."""
        self._checked("close_job", incarnation, job_uid)

    def queued_count(self, queue: str) -> int:
        """How many chunks the ledger holds to be queued on ``queue``."""
        return int(self._call(lambda: self._client.zcard(f"hr:queued:{queue}")))

    def queues(self) -> list[str]:
        """Every queue that chunks are recorded on."""
        keys = self._call(lambda: list(self._client.scan_iter("hr:queued:*", count=1000)))
        return sorted(key.removeprefix("hr:queued:") for key in keys)

    def jobs(self) -> list[str]:
        """The uids of the jobs that are open here."""
        return sorted(self._call(lambda: self._client.smembers("hr:jobs")))

    def live_chunks(self, job_uid: str) -> list[int]:
        """The job's chunks that are queued or held."""
        return sorted(
            int(chunk) for chunk in self._call(lambda: self._client.hkeys(f"hr:{job_uid}:live"))
        )

    def places(self, job_uids: Iterable[str]) -> list[ChunkPlace]:
        """Where each chunk of these jobs is that is queued or held; one request.

        Left out are those that cannot be read, until they are fed again.
        """
        uids = list(job_uids)

        def read() -> list[Any]:
            pipe = self._client.pipeline(transaction=False)
            pipe.time()
            for uid in uids:
                pipe.hgetall(f"hr:{uid}:live")
            return list(pipe.execute())

        (seconds, microseconds), *lines = self._call(read)
        now = seconds + microseconds / 1e6
        places = [
            read_place(uid, chunk, line, now)
            for uid, chunks in zip(uids, lines, strict=True)
            for chunk, line in sorted(chunks.items(), key=lambda pair: int(pair[0]))
        ]
        return [place for place in places if place is not None]

    def done_between(self, job_uid: str, first: int, end: int) -> int:
        """How many of the chunks ``[first, end)`` are recorded as done."""
        if end <= first:
            return 0
        key = f"hr:{job_uid}:done"
        return int(self._call(lambda: self._client.bitcount(key, first, end - 1, "BIT")))

    def progress(self, job_uid: str) -> JobProgress | None:
        """Hints for a progress bar; None where the job is not open here."""

        def read() -> tuple[Any, ...]:
            pipe = self._client.pipeline()
            pipe.hgetall(f"hr:job:{job_uid}")
            pipe.bitcount(f"hr:{job_uid}:done")
            pipe.hlen(f"hr:{job_uid}:live")
            return tuple(pipe.execute())

        fields, done, live = self._call(read)
        if not fields:
            return None
        counters = {key: float(fields[key]) for key in fields.keys() - _NO_COUNTERS}
        job_id, cancelled = fields.get("job_id", ""), "cancelled" in fields
        return JobProgress(job_uid, job_id, done, live, cancelled, counters)

    def workers(self) -> list[LiveWorker]:
        """The workers whose leases stand."""
        described = self._call(lambda: self._client.hgetall("hr:workers"))
        names = sorted(described)

        def read() -> list[Any]:
            pipe = self._client.pipeline(transaction=False)
            for name in names:
                pipe.pttl(f"hr:lease:{name}")
                pipe.hkeys(f"hr:held:{name}")
            return list(pipe.execute())

        answers = self._call(read) if names else []
        live = []
        for name, left_ms, held in zip(names, answers[::2], answers[1::2], strict=True):
            if left_ms > 0:
                about = json.loads(described[name])
                about.pop("nonce")
                chunks, seconds = tuple(sorted(held)), left_ms / 1000
                live.append(LiveWorker(name, held=chunks, lease_left_seconds=seconds, **about))
        return live

    def hosts(self, role: str) -> set[str]:
        """The hosts on which a worker of this role lives."""
        return {worker.host_id for worker in self.workers() if worker.role == role}

    def hint(self, job_id: str) -> None:
        """Tell the producer that a job's state in the bucket has changed. Losing it costs time."""
        self._call(lambda: self._client.rpush("hr:hints", job_id))

    def take_hints(self) -> list[str]:
        """The jobs hinted at since the last call."""
        return list(self._call(lambda: self._client.lpop("hr:hints", 1000)) or [])

    def lead(self, token: str, seconds: float) -> bool:
        """Take or keep the producers' leadership. It saves work; the bucket decides."""
        milliseconds = int(seconds * 1000)

        def take() -> bool:
            if self._client.set("hr:leader", token, nx=True, px=milliseconds):
                return True
            if self._client.get("hr:leader") != token:
                return False
            return bool(self._client.pexpire("hr:leader", milliseconds))

        return self._call(take)

    def stop_leading(self, token: str) -> None:
        """Let another producer lead at once."""
        if self._call(lambda: self._client.get("hr:leader")) == token:
            self._call(lambda: self._client.delete("hr:leader"))

    def stale_counts(self) -> dict[str, int]:
        """How many late messages and transitions were dropped, by reason."""
        counts = self._call(lambda: self._client.hgetall("hr:stale"))
        return {reason: int(count) for reason, count in counts.items()}


def connect_ledger(settings: Settings) -> Ledger:
    """Connect lazily to ``settings.ledger_url``; timeouts are short and nothing is retried."""
    client = redis_client(
        settings.ledger_url,
        settings.ca_file,
        decode_responses=True,
        health_check_interval=15,
        retry=Retry(NoBackoff(), 1),
    )
    return Ledger(client, lease_seconds=settings.lease_seconds)
