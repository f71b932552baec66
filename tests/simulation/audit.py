"""What must hold, after every step and at the end. It knows the bucket's layout and little else."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow.parquet as pq

from shared.job import JobSpec
from tests.simulation.stand_ins import is_right

if TYPE_CHECKING:
    from tests.simulation.world import World

FIRST = "preprocess"
# From so many rows on a percentage of failures counts here: jobs have a few images.
MIN_ROWS_FOR_PERCENT = 8
ENDING = ("ledger.cancel_job", "ledger.close_job")
LEDGER_READS = {
    f"ledger.{name}" for name in ("get", "mget", "hgetall", "lpop", "zcard", "scan", "staged")
}


class _Entry(NamedTuple):
    """Where the ledger has a chunk."""

    state: str
    stage: str
    attempt: str
    owner: str

    @property
    def place(self) -> str:
        """The key under which the ledger has all chunks of this state and owner."""
        return f"hr:{self.state}" if self.owner == "-" else f"hr:{self.state}:{self.owner}"


def _may_become(then: _Entry, now: _Entry, name: str, about: str, route: Sequence[str]) -> bool:
    """Is this one of the steps of a chunk on its route, made by a caller who may?"""
    if int(now.attempt) == int(then.attempt) + 1:
        stage = then.stage if now.state == "waiting" else FIRST
        return now.state != "held" and now.stage == stage
    if then.state == "waiting":
        return now == then._replace(state="queued", stage=FIRST, owner=now.owner)
    if name not in ("ledger.claim", "ledger.advance"):
        return False
    _, _, _, attempt, _, caller = about.split(" ")
    if (attempt, then.attempt) != (now.attempt, now.attempt):
        return False
    if name == "ledger.claim":
        return (then.state, now.state, now.stage, now.owner) == (
            "queued",
            "held",
            then.stage,
            caller,
        )
    step = ("held", "queued", dict(pairwise(route)).get(then.stage), caller)
    return (then.state, now.state, now.stage, then.owner) == step


class Audit:
    """``wrong``: everything that was found. ``lost_files``: chunk files that a fault has taken."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.wrong: list[str] = []
        self.lost_files: set[str] = set()
        self._standing: dict[tuple[str, str], bytes] = {}
        self._live: dict[str, dict[str, _Entry]] = {}
        self._done: dict[str, set[int]] = {}
        self._finished: set[str] = set()
        self.history: dict[str, set[bytes]] = {}
        self.changed: set[str] = set()
        self.rows = 0

    def say(self, text: str) -> None:
        """Something is wrong; the simulation ends here."""
        self.wrong.append(text)
        self._world.clock.is_over = True

    def forget(self) -> None:
        """The ledger is about to lose its memory, so nothing of it has to grow from here."""
        self._live, self._done = {}, {}

    def wiped(self) -> None:
        """The ledger loses everything, so what is finished is known from the bucket alone."""
        self.forget()
        state = self._world.store.buckets["state"]
        self._finished = {key for key in state if "/chunks/" in key}

    def lose(self, key: str) -> None:
        """A fault takes a chunk file away."""
        self.lost_files.add(key)
        self._finished.discard(key)
        self._standing.pop(("state", key), None)

    def after(self, name: str, about: str) -> None:
        """Called after every step of anybody."""
        if name.startswith("ledger."):
            if name not in LEDGER_READS:
                self._check_ledger(name, about)
        elif name in ("store.create", "store.put"):
            self._check_standing()
        elif name == "store.delete":
            self._check_deleted(about)

    def _check_standing(self) -> None:
        """Nothing that decides something is ever written again, with other content."""
        for bucket in ("state", "results"):
            for key, data in self._world.store.buckets[bucket].items():
                if self._standing.setdefault((bucket, key), data) != data:
                    self.say(f"s3://{bucket}/{key} was written over")

    def _check_deleted(self, key: str) -> None:
        self._standing.pop(("state", key), None)
        folder = key.rpartition("/chunks/")[0]
        if not folder or f"{folder}/closed.json" not in self._world.store.buckets["state"]:
            self.say(f"{key} is deleted before its job is closed")

    def _check_ledger(self, name: str, about: str) -> None:
        values = self._world.server.values
        for spec in self._world.specs:
            if f"hr:job:{spec.job_uid}" in values:
                self._check_done(spec, values)
                self._check_live(spec, values, name, about)
            else:
                self._done.pop(spec.job_uid, None)
                self._live.pop(spec.job_uid, None)

    def _check_done(self, spec: JobSpec, values: dict[str, Any]) -> None:
        uid = spec.job_uid
        done: set[int] = values.get(f"hr:{uid}:done", set())
        for chunk in self._done.get(uid, set()) - done:
            if self._chunk_file(spec, chunk) in self._world.store.buckets["state"]:
                self.say(f"{spec.job_id} chunk {chunk} was done, has its file, and is not done")
        for chunk in done - self._done.get(uid, set()):
            key = self._chunk_file(spec, chunk)
            there = key in self._world.store.buckets["state"] or key in self.lost_files
            if not (there or self._is_closed(spec)):
                self.say(f"{spec.job_id} chunk {chunk} is done without a file")
        self._done[uid] = set(done)

    def _check_live(self, spec: JobSpec, values: dict[str, Any], name: str, about: str) -> None:
        uid = spec.job_uid
        lines: dict[str, str] = values.get(f"hr:{uid}:live", {})
        live = {chunk: _Entry(*line.split(" ")[:4]) for chunk, line in lines.items()}
        before, self._live[uid] = self._live.get(uid, live), live
        route = [stage.name for stage in spec.pipeline.route]
        if live != before and about.split(" ")[0] != values.get("hr:incarnation"):
            self.say(f"{spec.job_id}: {name} {about} is of another incarnation")
        for chunk, entry in live.items():
            if f"{uid} {chunk}" not in values.get(entry.place, ()):
                self.say(f"{spec.job_id} chunk {chunk} is {entry}, and its owner has it not")
            if int(chunk) in self._done[uid]:
                self.say(f"{spec.job_id} chunk {chunk} is both live and done")
            then = before.get(chunk)
            if then is None and self._chunk_file(spec, int(chunk)) in self._finished:
                self.say(f"{spec.job_id} chunk {chunk} was finished and is fed again")
            if then not in (None, entry) and not _may_become(then, entry, name, about, route):
                self.say(
                    f"{spec.job_id} chunk {chunk} goes from {then} to {entry} by {name} {about}"
                )
        for chunk in before.keys() - live.keys():
            is_done = name == "ledger.register_job" and int(chunk) in self._done[uid]
            if before[chunk][:2] != ("held", "results") and name not in ENDING and not is_done:
                self.say(f"{spec.job_id} chunk {chunk} is gone by {name}")

    def _chunk_file(self, spec: JobSpec, chunk: int) -> str:
        return f"jobs/{spec.job_id}/chunks/{chunk:09d}.arrow"

    def _is_closed(self, spec: JobSpec) -> bool:
        return f"jobs/{spec.job_id}/closed.json" in self._world.store.buckets["state"]

    def finish(self, *, is_undisturbed: bool) -> None:
        """Look at what users see, when all is over."""
        for spec in self._world.specs:
            if not self._is_closed(spec):
                self.say(f"{spec.job_id} has not ended")
                continue
            self._check_outcome(spec)
        stops = [key for key in self._world.store.buckets["state"] if "/stop-" in key]
        if is_undisturbed and not stops and self._world.stand_ins.images_filled != self.rows:
            filled = self._world.stand_ins.images_filled
            self.say(f"undisturbed, {filled} images were decoded for {self.rows} rows")

    def _check_outcome(self, spec: JobSpec) -> None:
        results = self._world.store.buckets["results"]
        root = f"{spec.job_id}/"
        state = self._world.store.buckets["state"]
        closing = json.loads(state[f"jobs/{spec.job_id}/closed.json"])
        rows = [
            row
            for key, data in results.items()
            if key.startswith(f"{root}rows/")
            for row in pq.ParquetFile(io.BytesIO(data)).read(use_threads=False).to_pylist()
        ]
        self.rows += len(rows)
        self._check_rows(spec, rows)
        manifest = json.loads(results.get(f"{root}manifest.json", b"null"))
        counted = closing["accounting"]
        statuses = Counter(row["status"] for row in rows)
        end, may_be = (closing["state"], closing["reason"]), self._ends(spec, manifest, statuses)
        if end not in may_be:
            self.say(f"{spec.job_id} ended as {end}: {closing['error']}, and not as {may_be}")
            return
        if sum(part["rows"] for part in manifest["parts"]) != len(rows):
            self.say(f"{spec.job_id}: manifest.json counts other rows than there are")
        if (counted["succeeded"], counted["failed"]) != (statuses["ok"], statuses["failed"]):
            self.say(f"{spec.job_id}: {counted} is said of {dict(statuses)}")
        if counted["listed"] != len(rows) + counted["cancelled"]:
            self.say(f"{spec.job_id}: {counted} does not add up")
        if (closing["state"] == "succeeded") != (f"{root}_SUCCESS" in results):
            self.say(f"{spec.job_id}: {closing['state']}, and _SUCCESS does not say so")
        if closing["state"] == "succeeded" and counted["cancelled"]:
            self.say(f"{spec.job_id} succeeded without {counted['cancelled']} images")
        if closing["state"] == "succeeded":
            self._check_complete(spec, rows)

    def _ends(
        self, spec: JobSpec, manifest: dict[str, Any] | None, statuses: Counter[str]
    ) -> set[tuple[str, str | None]]:
        """How such a job may end: early only if somebody wanted that, and else by its rows."""
        state, ok, failed = self._world.store.buckets["state"], statuses["ok"], statuses["failed"]
        if manifest is None:
            return set()
        stop = json.loads(state.get(f"jobs/{spec.job_id}/stop-{spec.job_uid}.json", b"null"))
        limit, too_many = spec.max_errors, False
        if limit is not None and limit.images is not None:
            too_many = failed > limit.images
        elif limit is not None and limit.percent is not None:
            rows = ok + failed
            too_many = rows >= MIN_ROWS_FOR_PERCENT and 100 * failed > limit.percent * rows
        if stop and stop["reason"] == "too_many_errors":
            is_certain = limit and limit.images is not None and not self.lost_files | self.changed
            if is_certain and not too_many:
                self.say(f"{spec.job_id} was stopped and had {failed} failures, {limit} may be")
        if manifest["listed"]["cancelled"] or manifest["accounting"]["cancelled"]:
            early: set[tuple[str, str | None]] = set()
            if f"jobs/{spec.job_id}/cancel.json" in state:
                early.add(("cancelled", None))
            if stop and stop["reason"] == "too_many_errors":
                early.add(("failed", "too_many_errors"))
            elif stop:
                early.add(("failed", "not_closed" if ok else "no_success"))
            return early
        if not ok:
            return {("failed", "no_success")}
        return {("failed", "too_many_errors")} if too_many else {("succeeded", None)}

    def _check_rows(self, spec: JobSpec, rows: list[dict[str, Any]]) -> None:
        doubled = [key for key, n in Counter(row["key"] for row in rows).items() if n > 1]
        if doubled:
            self.say(f"{spec.job_id}: more than one row of {doubled}")
        for row in rows:
            key = row["key"]
            contents = {_etag(data): data for data in self.history.get(key, ())}
            if row["etag"] not in contents or not key.startswith(spec.prefix):
                self.say(f"{spec.job_id}: a row of {key}, which never was")
            elif row["status"] == "ok" and not is_right(row, contents[row["etag"]]):
                self.say(f"{spec.job_id}: {key} has the pixels of another")
            elif row["status"] != "ok" and not self._may_fail(spec, row, contents):
                self.say(f"{spec.job_id}: {key} failed: {row['error_message']}")

    def _may_fail(self, spec: JobSpec, row: dict[str, Any], contents: dict[str, bytes]) -> bool:
        stand_ins = self._world.stand_ins
        by_model = stand_ins.is_poisoned(contents[row["etag"]]) or spec.job_id in stand_ins.lost
        return row["key"] in self.changed or (spec.pipeline.has_class and by_model)

    def _check_complete(self, spec: JobSpec, rows: list[dict[str, Any]]) -> None:
        found = {row["key"] for row in rows}
        stable = {key for key in self.history if key.startswith(spec.prefix)} - self.changed
        if lost := stable - found:
            self.say(f"{spec.job_id}: no row of {sorted(lost)}")


def _etag(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()
