"""A ledger that a version before wrote: the next producer to lead begins a new one."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import redis

from shared import keys
from shared.job import Accounting
from shared.lease import LeaseKeeper
from shared.ledger import ChunkRef, Ledger
from shared.messages import Chunk, Result, Timings
from shared.stages import INFERENCE, PREPROCESS, RESULTS, VERSION
from tests.support import samples
from tests.support.broker_accounts import add_users, url_as
from tests.support.ledger_steps import FIRST, INC, UID, A, connect_to, feed, stale
from tests.support.producer_harness import BOUND, RESCUE_SECONDS, WORKER, ProducerHarness
from tests.support.servers import RunningValkey, start_valkey
from tests.support.waiting import wait_for
from workers.collector.chunk_file import ChunkFiles
from workers.collector.closing_loop import ClosingLoop

OLD, OLD_WORKER = "9" * 16, "p-1@testhost:1:old"
# Counts of rescues and losses, the item on trial, and the time. v3 had eleven words an entry, three
# of them counts of losses, and no layout; v4 had entries as they are now.
ENTRIES = {
    "v3": {
        "0": "queued preprocess 1 v3.preprocess.bulk 0 0 0 0 0 - 1000",
        "1": f"held preprocess 2 {OLD_WORKER} 1 0 0 1 0 - 1000",
        "2": "queued inference 1 v3.inference.bulk.testhost 0 0 0 0 0 - 1000",
        "3": "waiting preprocess 3 - 2 0 0 2 0 - 1000",
        "4": "refused preprocess 4 - 0 0 0 0 3 - 1000",
    },
    "v4": {
        "0": "queued preprocess 1 v4.preprocess.bulk 0 0 - 1000",
        "1": f"held preprocess 2 {OLD_WORKER} 1 0 - 1000",
        "2": "queued inference 1 v4.inference.bulk.testhost 0 0 - 1000",
        "3": "waiting preprocess 3 - 2 0 - 1000",
        "4": "refused preprocess 4 - 0 3 - 1000",
    },
}
of_each_version = pytest.mark.parametrize("version", list(ENTRIES))


def plant(client: Any, uid: str, version: str, done: tuple[int, ...] = ()) -> None:
    """Write a ledger as a version before did, with a job in every state."""
    client.delete("hr:layout")
    about = {"job_id": "job", "opened_at_ms": 1, "old": 1}
    if version != "v3":
        client.set("hr:layout", version)
        about |= {"first_stage": "preprocess", "first_queue": f"{version}.preprocess.bulk"}
    client.set("hr:incarnation", OLD)
    client.sadd("hr:jobs", uid)
    client.hset(f"hr:job:{uid}", mapping=about)
    client.hset(f"hr:{uid}:live", mapping=ENTRIES[version])
    client.hset(f"hr:{uid}:trial:1", "5", 1)
    for chunk in done:
        client.setbit(f"hr:{uid}:done", chunk, 1)
    client.zadd(f"hr:queued:{version}.preprocess.bulk", {f"{uid} 0": 1000})
    client.zadd(f"hr:queued:{version}.inference.bulk.testhost", {f"{uid} 2": 1000})
    client.zadd("hr:waiting", {f"{uid} 3": 1000})
    client.zadd("hr:refused", {f"{uid} 4": 1000})
    client.hset(f"hr:held:{OLD_WORKER}", f"{uid} 1", 0)
    client.hset("hr:workers", OLD_WORKER, "{}")
    client.set(f"hr:lease:{OLD_WORKER}", 1)
    client.hset("hr:stale", "attempt", 7)


@of_each_version
def test_a_new_leader_begins_a_new_ledger_and_feeds_every_chunk(
    harness: ProducerHarness, version: str
) -> None:
    spec = harness.add_job(5)
    plant(harness.client, spec.job_uid, version)
    assert harness.ledger.incarnation() is None  # for no worker, either
    assert harness.ledger.lead("me", 60)
    leader = harness.lead()
    fed: list[Chunk] = []

    def all_fed() -> bool:
        leader.tick()
        while message := harness.broker.take():
            fed.append(message)
            harness.ledger.claim(message.ref, PREPROCESS, WORKER)
            harness.finish(message)
        return harness.ledger.done_between(spec.job_uid, 0, 5) == 5

    wait_for(all_fed, what="all chunks", every=0.01)
    assert [(message.chunk, message.attempt) for message in fed] == [(n, 1) for n in range(5)]
    assert {message.incarnation for message in fed} == {harness.ledger.incarnation()} != {OLD}

    client, uid = harness.client, spec.job_uid
    assert not harness.ledger.lead("another", 60)  # who leads was not deleted with the rest
    assert client.get("hr:layout") == VERSION
    held = f"hr:held:{WORKER.name}"
    ours = {"hr:incarnation", "hr:layout", "hr:leader", "hr:jobs", "hr:workers", held}
    ours |= {f"hr:lease:{WORKER.name}", f"hr:job:{uid}", f"hr:{uid}:live", f"hr:{uid}:done"}
    assert set(client.keys("hr:*")) <= ours
    assert client.hkeys("hr:workers") == [WORKER.name]
    assert "old" not in client.hgetall(f"hr:job:{uid}")


def test_messages_and_workers_of_the_old_ledger_are_late(client: Any, ledger: Ledger) -> None:
    client.set("hr:layout", "v4")
    old = feed(ledger)[0]
    ledger.claim(old, PREPROCESS, A)
    assert ledger.incarnation() is None
    new = ledger.begin("b" * 16)
    assert new == ledger.incarnation() == "b" * 16
    steps: tuple[Callable[[], object], ...] = (
        lambda: ledger.claim(old, PREPROCESS, A),
        lambda: ledger.give_back(old, PREPROCESS, A),
        lambda: ledger.renew(INC, A, [old.name]),
    )
    for late in steps:
        assert stale(late) == "incarnation"
    lease = LeaseKeeper(ledger, A, 6.0)
    lease.start()
    wait_for(lambda: [w.name for w in ledger.workers()] == [A.name], what="its new lease")
    lease.end()


def test_of_two_producers_none_deletes_what_the_other_began(
    client: Any, ledger: Ledger, valkey: RunningValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.set("hr:layout", "v4")
    first, fed = connect_to(valkey.url), list[ChunkRef]()
    scan = redis.Redis.scan_iter

    def overtaken(self: Any, *args: Any, **options: Any) -> Iterator[str]:
        found = list(scan(self, *args, **options))
        monkeypatch.setattr(redis.Redis, "scan_iter", scan)
        ledger.begin("b" * 16)
        ledger.register_job("b" * 16, UID, "job", samples.FIRST_QUEUE)
        fed.extend(ledger.feed("b" * 16, UID, 0, 3, bound=9)[1])
        return iter(found)

    monkeypatch.setattr(redis.Redis, "scan_iter", overtaken)
    assert first.begin("a" * 16) == "b" * 16
    assert (
        [place.chunk for place in ledger.places([UID])] == [ref.chunk for ref in fed] == [0, 1, 2]
    )
    assert ledger.queued_count(FIRST) == 3


@of_each_version
def test_the_producers_user_may_begin_a_new_ledger(tmp_path: Path, version: str) -> None:
    server = start_valkey(tmp_path)
    try:
        add_users(server.url)
        client: Any = redis.Redis.from_url(server.url, decode_responses=True)
        plant(client, UID, version)
        producer = connect_to(url_as(server.url, "producer"))
        assert producer.begin("b" * 16) == "b" * 16
        assert set(client.keys("hr:*")) == {"hr:incarnation", "hr:layout"}
        for role in ("preprocess", "inference", "collector"):
            assert connect_to(url_as(server.url, role)).incarnation() == "b" * 16
    finally:
        server.stop()


def finish(harness: ProducerHarness, files: ChunkFiles, message: Chunk) -> None:
    """Do what the workers do for a chunk, up to its file."""
    ref = message.ref
    for stage, following in ((PREPROCESS, INFERENCE), (INFERENCE, RESULTS)):
        harness.ledger.claim(ref, stage, WORKER)
        harness.ledger.advance(ref, stage, WORKER, following, "elsewhere")
    harness.ledger.claim(ref, RESULTS, WORKER)
    files.write(result_of(message))
    harness.ledger.finish(ref, WORKER, {})


def result_of(message: Chunk) -> Result:
    rows = [{"classes": samples.prediction("cat", 0.5)}] * len(message.items)
    return message.onward(
        Result,
        answers=samples.answers(message.pipeline, INFERENCE, *rows),
        computed={"classes": None},
        scored_at=1000.0,
        timings=Timings(),
    )


@of_each_version
def test_a_job_half_done_in_an_old_ledger_ends_with_each_row_once(
    harness: ProducerHarness, version: str
) -> None:
    spec, store = harness.add_job(5), harness.store
    store.buckets["results"] = {}
    files = ChunkFiles(store, "state")
    before = harness.lead()
    harness.until(before, lambda: harness.queued() == BOUND, "the first chunks")
    harness.until(before, harness.sealed, "the seal")
    for _ in range(3):
        message = harness.broker.take()
        assert message is not None
        if message.chunk != 1:  # of chunk 2 the old ledger does not know yet that it has a file
            files.write(result_of(message))
    before.end()
    harness.client.flushall()
    harness.broker.sent.clear()
    plant(harness.client, spec.job_uid, version, done=(0,))

    leader = harness.lead()
    collector = ClosingLoop(harness.ledger, harness.jobs, files, lambda _bucket: store)

    def closed() -> bool:
        harness.now += RESCUE_SECONDS
        leader.tick()
        while message := harness.broker.take():
            finish(harness, files, message)
        collector.once()
        return harness.jobs.closing(spec.job_id) is not None

    wait_for(closed, what="its end", every=0.01)
    closing = harness.jobs.closing(spec.job_id)
    assert closing is not None
    assert closing.state == "succeeded"
    assert closing.accounting == Accounting(listed=9, succeeded=9)
    rows = [
        key
        for name, data in store.buckets["results"].items()
        if name.startswith(keys.rows_prefix(spec))
        for key in pq.read_table(io.BytesIO(data))["key"].to_pylist()
    ]
    assert sorted(rows) == sorted(store.buckets["input"])
    assert {chunk for _, chunk, _ in harness.broker.sent} == {1, 3, 4}  # no file was made again
    assert set(harness.broker.sent.values()) == {1}


@pytest.mark.parametrize(
    "line", ["", f"queued preprocess 1 {FIRST}", ENTRIES["v3"]["1"], "a b c d e f g h i j k l"]
)
def test_an_entry_that_cannot_be_read_is_fed_again(client: Any, ledger: Ledger, line: str) -> None:
    ref, other = feed(ledger, 0, 2)
    ledger.claim(ref, PREPROCESS, A)
    client.hset(f"hr:{UID}:live", ref.chunk, line)
    assert [place.chunk for place in ledger.places([UID])] == [other.chunk]
    assert stale(lambda: ledger.give_back(ref, PREPROCESS, A)) == "done"
    ledger.depart(INC, A)
    assert ledger.rescue_held(INC) == []
    assert feed(ledger, 0, 2) == [ref]
    ledger.claim(ref, PREPROCESS, A)
