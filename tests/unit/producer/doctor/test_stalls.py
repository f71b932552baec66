"""What stands still is named, and what is merely busy is not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import redis

from producer.doctor.stalls import chunks, consumers, findings, slots
from producer.doctor.stalls.chunks import LIMITS, overdue_chunks
from producer.doctor.stalls.consumers import missing_consumers
from producer.doctor.stalls.slots import full_ring
from producer.jobs import JobRequest, submit
from shared.analyses import Analysis
from shared.analyses.palette import Palette
from shared.broker import redis_queues
from shared.broker.rabbitmq import RabbitQueues
from shared.errors import TransientError
from shared.job import JobSpec
from shared.keys import spec_key
from shared.ledger import ChunkPlace, ChunkRef, JobProgress, Ledger, LiveWorker
from shared.settings import Settings
from shared.stages import INFERENCE, PREPROCESS, STAGES, Stage
from shared.staging import Layout, create_ring, open_ring
from tests.support import samples
from tests.support.fake_connections import Fake, fake_connections
from workers.collector.__main__ import CONCURRENCY as COLLECTED
from workers.inference.model_types import LOAD_SECONDS
from workers.inference.task import CPU, CUDA
from workers.preprocess.__main__ import CONCURRENCY as PREPROCESSED

WORKER = "inference-1@host:7:abcd"


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    fake = fake_connections(tmp_path)
    fake.put_images("photos", "a.jpg")
    return fake


@pytest.fixture
def spec(fake: Fake) -> JobSpec:
    request = JobRequest("s3://photos", str(fake.pipeline), job_id="job")
    spec = submit(fake.connections, request, fake.warnings.append)
    fake.ledger.open_jobs[spec.job_uid] = JobProgress(spec.job_uid, "job", 0, 1, False, {})
    return spec


def hold(fake: Fake, spec: JobSpec, stage: Stage, seconds: float, *numbers: int) -> None:
    fake.ledger.held = [
        ChunkPlace(spec.job_uid, number, "held", stage, 1, WORKER, seconds) for number in numbers
    ]


def test_the_deadlines_are_those_of_the_workers(spec: JobSpec) -> None:
    assert chunks.LOAD_SECONDS == LOAD_SECONDS
    assert chunks.PREPROCESS_CHUNKS == PREPROCESSED
    assert CPU.concurrency == chunks.DEVICE_BATCHES
    assert CUDA.concurrency * spec.chunk_items / CUDA.batch_images == chunks.DEVICE_BATCHES
    assert COLLECTED * 60 < chunks.COLLECT_SECONDS  # its files take a second


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_a_chunk_that_is_held_for_too_long_is_named_with_its_worker(
    fake: Fake, spec: JobSpec, stage: Stage
) -> None:
    deadline = LIMITS[stage].seconds(spec)
    hold(fake, spec, stage, deadline / 10 - 1, 3, 4)
    assert overdue_chunks(fake.connections) == []
    for seconds in (deadline / 10 + 1, deadline - 1):
        hold(fake, spec, stage, seconds, 3, 4)
        (found,) = overdue_chunks(fake.connections)
        assert found.is_warning
        what = (
            f"Chunk 3, 4 of job at inference-1@host (pid 7) has not moved for {seconds / 60:,.1f} "
        )
        assert found.detail.startswith(what)
    hold(fake, spec, stage, deadline + 1, 3, 4)
    (found,) = overdue_chunks(fake.connections)
    assert found.worker == WORKER
    assert not found.is_warning
    assert "inference-1@host (pid 7) has held chunk 3, 4 of job" in found.detail
    role = {"results": "collector"}.get(stage.name, stage.name)
    assert found.role == role
    assert f"headrace restart {role}" in found.hint
    assert overdue_chunks(fake.connections, [spec.job_uid]) == [found]
    assert overdue_chunks(fake.connections, ["another"]) == []


def test_a_slow_pipeline_has_later_deadlines(spec: JobSpec) -> None:
    slow = spec.model_copy(
        update={"pipeline": spec.pipeline.model_copy(update={"batch_seconds": 7200.0})}
    )
    for stage in (PREPROCESS, INFERENCE):
        assert LIMITS[stage].seconds(slow) > LIMITS[stage].seconds(spec)


def test_each_analysis_by_a_model_makes_deadlines_later(spec: JobSpec) -> None:
    (once,) = samples.pipeline().analyses.values()

    def deadlines(**analyses: Analysis) -> list[float]:
        models = (samples.MODEL,) if "first" in analyses else ()
        pipeline = samples.long_pipeline(analyses, models)
        asked = spec.model_copy(update={"pipeline": pipeline})
        return [LIMITS[stage].seconds(asked) for stage in (PREPROCESS, INFERENCE)]

    colours = Palette(view=Palette.own_view)
    assert deadlines(first=once, second=once) > deadlines(first=once)
    assert deadlines(first=once, colours=colours) == deadlines(first=once)
    assert deadlines(colours=colours)[0] > 0


def test_a_job_without_a_readable_spec_has_no_chunk_to_name(fake: Fake, spec: JobSpec) -> None:
    hold(fake, spec, INFERENCE, 1e6, 0)
    fake.store.put("state", spec_key("job"), b'{"version": 99}')
    assert overdue_chunks(fake.connections) == []
    fake.store.delete("state", spec_key("job"))
    assert overdue_chunks(fake.connections) == []


def test_where_the_ledger_does_not_answer_nothing_is_said(fake: Fake) -> None:
    fake.ledger.down = True
    assert findings(fake.connections) == []


class Staged:
    """A ledger that says who lives, and of each chunk whether it waits for inference."""

    def __init__(self, *chunks: int, live: Collection[LiveWorker] = ()) -> None:
        self.chunks, self.live = chunks, live

    def workers(self) -> Collection[LiveWorker]:
        return self.live

    def still_staged(self, refs: Collection[ChunkRef]) -> list[bool]:
        return [ref.chunk in self.chunks for ref in refs]


REFS = [ChunkRef(samples.INCARNATION, samples.JOB_UID, number, 1) for number in range(3)]
LOCK = """
import fcntl, os, sys
for path in sys.argv[1:]:
    fcntl.flock(os.open(path, os.O_RDWR), fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a ring with a small slot and two of the usual size, which both count."""
    monkeypatch.setattr(slots, "LOOK_AGAIN_SECONDS", 0.01)
    settings = fake_connections(tmp_path).connections.settings
    ring = settings.ring.model_copy(update={"directory": tmp_path / "ring"})
    create_ring(ring)
    return settings.model_copy(update={"ring": ring})


def look(settings: Settings, *staged: int, workers: Collection[int] = ()) -> str:
    live = [LiveWorker("w", "inference", "inference-1", settings.host_id, p, ()) for p in workers]
    found = full_ring(settings, cast(Ledger, Staged(*staged, live=live)), live)
    return str(found) if found else ""


def fill(settings: Settings, ref: ChunkRef) -> None:
    """As preprocessing does it: the pixels stay, the lock is let go."""
    ring = open_ring(settings.ring, settings.host_id)
    hold = ring.take(2 * 2**20, ref, staged=lambda refs: [True] * len(refs), stopping=lambda: False)
    hold.release()


@pytest.fixture
def locker(ring: Settings) -> Iterator[Callable[..., int]]:
    """Lock slots in a child. Returns its pid."""
    children = []

    def lock(*indexes: int) -> int:
        paths = [str(Layout.of(ring.ring).header_path(index)) for index in indexes]
        child = subprocess.Popen(
            [sys.executable, "-c", LOCK, *paths], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        children.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == b"locked\n"
        return child.pid

    yield lock
    for child in children:
        child.communicate()


def test_a_ring_with_a_free_slot_is_not_full(ring: Settings, locker: Callable[..., int]) -> None:
    assert look(ring) == ""
    locker(0, 1)
    assert look(ring) == ""
    fill(ring, REFS[1])
    assert look(ring) == ""  # what the ledger does not know as staged is free


def age(settings: Settings) -> None:
    """Nothing has been put into the ring or taken from it for a minute."""
    layout = Layout.of(settings.ring)
    for place in layout.places:
        os.utime(layout.header_path(place.index), (time.time() - 60,) * 2)


def test_a_ring_that_strangers_have_locked_is_named_at_once_with_their_pids(
    ring: Settings, locker: Callable[..., int]
) -> None:
    pid = locker(1)
    fill(ring, REFS[1])
    said = look(ring, 1)
    assert "2 of 3 slots are taken, 1 of them locked" in said
    assert f"{pid} (" in said
    assert f"kill {pid}" in said
    assert str(os.getpid()) not in said


def test_a_ring_that_a_worker_has_locked_is_named_when_nothing_has_changed_for_long(
    ring: Settings, locker: Callable[..., int]
) -> None:
    pid = locker(1, 2)
    assert look(ring, workers=[pid]) == ""
    age(ring)
    said = look(ring, workers=[pid])
    assert f"2 of them locked by {pid} (" in said
    assert "none has changed for 60 s" in said
    assert "headrace restart inference" in said


def test_a_worker_whose_lease_is_back_at_the_second_look_is_no_stranger(
    ring: Settings, locker: Callable[..., int]
) -> None:
    pid = locker(1, 2)
    back = LiveWorker("w", "inference", "inference-1", ring.host_id, pid, ())
    assert full_ring(ring, cast(Ledger, Staged(live=[back])), []) is None
    assert full_ring(ring, cast(Ledger, Staged()), []) is not None


def test_so_is_a_ring_whose_chunks_all_wait(ring: Settings) -> None:
    fill(ring, REFS[1])
    fill(ring, REFS[2])
    assert look(ring, 1, 2) == ""
    age(ring)
    assert "none has changed for 60 s" in look(ring, 1, 2)
    Layout.of(ring.ring).header_path(0).touch()  # too small for a usual chunk
    assert "none has changed for 60 s" in look(ring, 1, 2)
    Layout.of(ring.ring).header_path(1).touch()
    assert look(ring, 1, 2) == ""


def test_who_looks_at_a_slot_for_a_moment_is_not_named(
    ring: Settings, locker: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = locker(1, 2)
    found = [{1: [pid], 2: [pid]}, {1: [pid + 1], 2: [pid + 1]}]
    monkeypatch.setattr(slots, "holders", lambda _: found.pop(0))
    assert look(ring) == ""
    assert found == []


def test_a_host_without_a_ring_says_nothing(tmp_path: Path) -> None:
    assert look(fake_connections(tmp_path).connections.settings) == ""


class Broker:
    """As much of a client as tells who is connected."""

    def __init__(self, connections: list[tuple[str, str, str]] | Exception) -> None:
        self._connections = connections
        self.connection_pool = self
        self.connection_kwargs = {"db": 0}

    def client_list(self) -> list[dict[str, str]]:
        if isinstance(self._connections, Exception):
            raise self._connections
        return [{"user": u, "db": db, "psub": psub} for u, db, psub in self._connections]

    def close(self) -> None:
        return None


def living(*roles: str) -> list[LiveWorker]:
    return [
        LiveWorker(f"w{i}", role, f"{role}-{i}", "host", i, (), lease_left_seconds=6.0)
        for i, role in enumerate(roles)
    ]


LIVING = living("producer", "preprocess", "inference", "inference", "collector")
HERE = [(role, "0", "1") for role in ("preprocess", "inference", "inference", "collector")]


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[str, str]]]:
    monkeypatch.setattr(consumers, "LOOK_AGAIN_AFTER", 0.001)

    def named(
        connections: list[tuple[str, str, str]] | Exception,
        user: str = "admin",
        first: Collection[LiveWorker] = LIVING,
        later: Collection[LiveWorker] = LIVING,
    ) -> list[tuple[str, str]]:
        monkeypatch.setattr(redis_queues, "redis_client", lambda *_, **__: Broker(connections))
        settings = samples.settings(tmp_path, f"redis://{user}:s@127.0.0.1:9/0")
        found = missing_consumers(settings, cast(Ledger, Staged(live=later)), first)
        assert all("127.0.0.1:9" in f.detail and "restart" in f.hint for f in found)
        return [(f.role, f.detail) for f in found]

    return named


def test_workers_at_this_broker_are_fine(named: Callable[..., Any]) -> None:
    assert named(HERE) == []


def test_a_role_at_another_broker_is_named(named: Callable[..., Any]) -> None:
    ((role, detail),) = named(HERE[:-1])
    assert role == "collector"
    assert "1 collector worker lives, but none takes" in detail


def test_one_worker_of_two_at_another_broker_is_named(named: Callable[..., Any]) -> None:
    ((role, detail),) = named([*HERE[:2], HERE[3]])
    assert role == "inference"
    assert "2 inference workers live, but only one takes" in detail


@pytest.mark.parametrize("change", [{"stopping": True}, {"lease_left_seconds": 2.0}, None])
def test_a_worker_that_stops_or_was_killed_is_not_named(
    named: Callable[..., Any], change: dict[str, Any] | None
) -> None:
    *others, collector = LIVING
    later = [*others, *([replace(collector, **change)] if change else [])]
    assert named(HERE[:-1], later=later) == []


def test_when_workers_are_known_to_stop_there_is_no_second_look(
    named: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "LOOK_AGAIN_AFTER", 1e6)
    assert named([], first=[replace(worker, stopping=True) for worker in LIVING]) == []


def test_other_connections_of_a_role_do_not_count(named: Callable[..., Any]) -> None:
    others = [("collector", "1", "1"), ("collector", "0", "0"), ("flower", "0", "1")]
    assert [role for role, _ in named([*HERE[:-1], *others])] == ["collector"]


def test_with_one_user_for_all_roles_their_number_counts(named: Callable[..., Any]) -> None:
    assert named([("all", "0", "1")] * 4, "all") == []
    assert {role for role, _ in named([("all", "0", "1")], "all")} == {
        *("preprocess", "inference", "collector")
    }


@pytest.mark.parametrize(
    "error", [redis.ConnectionError("away"), redis.ResponseError("NOPERM"), TransientError("x", "")]
)
def test_a_broker_that_does_not_tell_accuses_nobody(
    named: Callable[..., Any], error: Exception
) -> None:
    assert named(error) == []


def test_at_rabbitmq_the_mailboxes_that_are_listened_to_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "LOOK_AGAIN_AFTER", 0.001)
    mailboxes = {f"{worker.process}@host.celery.pidbox" for worker in LIVING}
    collectors = "collector-4@host.celery.pidbox"
    listened_to = mailboxes - {collectors}

    monkeypatch.setattr(RabbitQueues, "consumers", lambda _, queue: int(queue in listened_to))
    settings = samples.settings(tmp_path, "amqp://u:p@127.0.0.1:9/v")
    ledger = cast(Ledger, Staged(live=LIVING))
    assert [found.role for found in missing_consumers(settings, ledger, LIVING)] == ["collector"]
    listened_to.add(collectors)
    assert missing_consumers(settings, ledger, LIVING) == []
