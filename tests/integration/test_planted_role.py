"""A role that only a test knows: a real stack runs it, with rights of its own and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis

from producer.connections import Connections, connect_stack
from producer.doctor import checks as doctor
from producer.doctor.process_rows import process_rows
from producer.stack.local import down, up
from shared.broker.dead_letters import connect_dead_letters
from shared.broker.publisher import MessagePublisher
from shared.job import JobSpec
from shared.ledger import WorkerIdentity
from shared.messages import Chunk, Result
from shared.settings import Settings
from shared.stages import LANES, PREPROCESS, RESULTS, queue_name
from shared.storage import ensure_bucket
from tests.support import samples
from tests.support.envelopes import M, message_in
from tests.support.planted_role import ROLE, only_roles, plant
from tests.support.planted_stage import BRUSH_KEY, COLOUR_KEY, STAGE, Drawing
from tests.support.waiting import wait_for

PHOTOS, PICTURES = "photos", "results"
WORKER = WorkerIdentity("preprocess", "p-1", "elsewhere", pid=1, nonce="1")


def test_a_stack_runs_a_role_that_one_row_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with only_roles("producer", "flower", ROLE.name):  # to be quick
        run_it(tmp_path / "home")


def run_it(home: Path) -> None:
    """Up, look at everything, have chunks and a malformed message pass, down."""
    stopped: list[str] = []
    broker: Any
    try:
        settings = up(home, {ROLE.name: 2}, print)
        rows = {row.name: row for row in process_rows(print, home) if row.role == ROLE.name}
        assert {name: (r.state, r.held) for name, r in rows.items()} == {
            "painter-1": ("running", 0),
            "painter-2": ("running", 0),
        }
        assert doctor._roles(settings).ok
        assert [check.state for check in doctor._consumers(settings)] == ["ok"]
        with redis.Redis.from_url(settings.broker_url) as broker:
            go_through(connect_stack(home), broker)
            refuse_one(settings, broker)
            assert broker.acl_log() == []  # nobody wanted more than it may
    finally:
        down(home, stopped.append)
    assert stopped[-2:] == ["Stopping painter-1, painter-2.", "Stopping seaweedfs, valkey."]


def go_through(connections: Connections, broker: Any) -> None:
    """One chunk in each lane of the planted stage, from the producer to the results."""
    settings, ledger = connections.settings, connections.ledger
    store = connections.store_of(settings.models_bucket)
    store.put(settings.models_bucket, BRUSH_KEY, b"wide ")
    broker.set(COLOUR_KEY, b"blue")
    spec = enqueue(connections, chunks=len(LANES))
    for lane in LANES:
        chunk = take(broker, queue_name(PREPROCESS), Chunk)
        ledger.claim(chunk.ref, PREPROCESS, WORKER)
        queue = queue_name(STAGE, lane, settings.host_id)
        ledger.advance(chunk.ref, PREPROCESS, WORKER, STAGE, queue)
        drawing = Drawing.of(chunk, PICTURES)
        MessagePublisher(settings).send(STAGE.task, queue, drawing)
        result = take(broker, queue_name(RESULTS, lane), Result)
        assert (result.ref, len(result.answers)) == (chunk.ref, len(chunk.items))
        assert store.get(PICTURES, drawing.picture_key()) == b"wide blue"
        ledger.claim(result.ref, RESULTS, WORKER)
        ledger.finish(result.ref, WORKER, {})
    assert ledger.done_between(spec.job_uid, 0, len(LANES)) == len(LANES)


def enqueue(connections: Connections, chunks: int) -> JobSpec:
    """A job of so many chunks of one image each."""
    store = connections.store_of(PHOTOS)
    for bucket in (PHOTOS, PICTURES):
        ensure_bucket(store, bucket)
    for number in range(chunks):
        store.put(PHOTOS, f"{number}.jpg", b"x")
    spec = JobSpec(
        job_id="job",
        bucket=PHOTOS,
        prefix="",
        output_bucket=PICTURES,
        chunk_items=1,
        pipeline=samples.pipeline(),
        pipeline_sha256="",
        headrace_version="0",
    )
    connections.jobs.create_spec(spec)
    connections.ledger.hint(spec.job_id)
    return spec


def take(broker: Any, queue: str, kind: type[M]) -> M:
    """Take a message, as a worker would."""
    return message_in(wait_for(lambda: broker.rpop(queue), what=f"a message in {queue}"), kind)


def refuse_one(settings: Settings, broker: Any) -> None:
    """A malformed message becomes a dead letter, which a worker keeps by its own rights."""
    queue = queue_name(STAGE, host=settings.host_id)
    broker.lpush(queue, b"no message")
    (letter,) = wait_for(connect_dead_letters(settings).list, what="the dead letter")
    assert letter.queue == queue
