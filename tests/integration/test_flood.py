"""A flood of malformed messages: the broker's share stays small, and the rest is in the bucket."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from shared.broker.dead_letters import QUARANTINE, DeadLetter, DeadLetters, Limits
from shared.broker.redis_queues import RedisQueues
from shared.ledger import ChunkRef
from shared.settings import S3Settings
from shared.storage import Store, StoreUnavailable, connect_store
from tests.support.malformed import CASES
from tests.support.memory_store import MemoryStore
from tests.support.servers import RunningSeaweed, start_seaweedfs, start_valkey
from tests.support.waiting import wait_for
from tests.support.worker_harness import WorkerHarness, start
from workers.quarantine.dead_letter_sink import DeadLetterSink
from workers.quarantine.overflow import Overflow

# A multiple of ten thousand.
FLOOD = int(os.environ.get("FLOOD_MESSAGES", "10000"))
BATCH = 1000
GOOD = 10
# Who floods a queue can always fill the broker; what is measured is what becomes of the messages.
WAITING = 5_000
DEADLINE_SECONDS = 240
LIMITS = Limits(entries=500, total_bytes=4 * 2**20)
# Of the broker, with the messages that wait, and of the worker.
MAX_GROWTH_BYTES = 100 * 2**20


@pytest.fixture
def seaweed(tmp_path: Path) -> Iterator[RunningSeaweed]:
    server = start_seaweedfs(tmp_path / "weed")
    yield server
    server.stop()


@pytest.fixture
def letters(tmp_path: Path) -> Iterator[DeadLetters]:
    valkey = start_valkey(tmp_path / "valkey")
    yield DeadLetters(redis.Redis.from_url(valkey.url), RedisQueues.put_back)
    valkey.stop()


def in_bucket(store: Store, bucket: str) -> Iterator[dict[str, Any]]:
    """Every dead letter that was moved."""
    for found in store.list(bucket, QUARANTINE):
        yield from map(json.loads, store.get(bucket, found.key).splitlines())


def moved_ids(store: Store, bucket: str) -> list[str]:
    return [letter["id"] for letter in in_bucket(store, bucket)]


def nobody(ref: ChunkRef) -> None:
    raise AssertionError(f"{ref} is reported")


def fill(letters: DeadLetters, count: int) -> list[str]:
    """Add letters; their ids."""
    made = [DeadLetter.of(queue="q", layer="body", reason="r", raw=b"%d" % n) for n in range(count)]
    for letter in made:
        letters.add(letter)
    return [letter.id for letter in made]


def test_a_flood_stays_bounded_and_the_good_messages_amid_it_run(
    tmp_path: Path, seaweed: RunningSeaweed
) -> None:
    s3 = S3Settings(
        endpoint=seaweed.endpoint, access_key=seaweed.access_key, secret_key=seaweed.secret_key
    )
    store = connect_store(s3)
    store.make_bucket("state")
    arguments = (str(LIMITS.entries), str(LIMITS.total_bytes))
    running = start(tmp_path, "collector", *arguments, s3=s3)
    harness = next(running)
    try:
        _flood(harness, store)
    finally:
        running.close()


def _flood(harness: WorkerHarness, store: Store) -> None:
    before, worker = harness.identity(), Resident(harness.process.pid)
    broker = Resident(int(harness.client.info("server")["process_id"]))
    makes = [CASES[name].make for name in ("envelope: not JSON", "signature: none", "body: null")]
    ran, largest, started = harness.ran(), 0, time.monotonic()

    def look() -> int:
        """How many messages wait; on the way, what there is of letters and memory."""
        nonlocal largest
        largest = max(largest, harness.letters.load().entries)
        worker.look()
        broker.look()
        return int(harness.client.llen(harness.target.queue))

    for first in range(0, FLOOD, BATCH):
        wait_for(
            lambda: look() <= WAITING, what="room in the queue", deadline_seconds=DEADLINE_SECONDS
        )
        batch = [makes[n % len(makes)](harness.target) for n in range(first, first + BATCH)]
        harness.client.lpush(harness.target.queue, *batch)
        if first % (FLOOD // GOOD) == 0:
            harness.send(harness.queued())

    wait_for(
        lambda: look() == 0 and harness.ran() == ran + GOOD,
        what="the good messages amid the flood",
        deadline_seconds=DEADLINE_SECONDS,
    )
    seconds = time.monotonic() - started
    wait_for(lambda: not harness.letters.load().exceeds(LIMITS), what="the last of them moved")
    print(f"\n{FLOOD} messages, {FLOOD / seconds:.0f}/s; worker {worker}, broker {broker}")
    assert largest <= 2 * LIMITS.entries + 1
    kept, moved = wait_for(
        lambda: whole if sum(map(len, whole := kept_and_moved(harness, store))) <= FLOOD else None,
        what="the end of a move, until which a letter is in both places",
    )
    assert len(kept) + len(moved) == FLOOD == len({*kept, *moved})
    assert harness.letters.moved() == len(moved)
    assert harness.letters.load().entries == len(kept)
    assert harness.identity() == before
    assert max(worker.growth_bytes, broker.growth_bytes) < MAX_GROWTH_BYTES


def kept_and_moved(harness: WorkerHarness, store: Store) -> tuple[list[str], list[str]]:
    """The ids of the letters in the broker, and of those in the bucket."""
    return [letter.id for letter in harness.letters.list()], moved_ids(store, "state")


class Resident:
    """The resident memory of a process, from when this is made."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._first = self._largest = self._process.memory_info().rss

    def look(self) -> None:
        self._largest = max(self._largest, self._process.memory_info().rss)

    @property
    def growth_bytes(self) -> int:
        return self._largest - self._first

    def __str__(self) -> str:
        return f"at most {self._largest >> 20} MiB, {self.growth_bytes >> 20} MiB more than before"


def test_the_oldest_move_with_all_that_is_known_of_them(letters: DeadLetters) -> None:
    store = MemoryStore("state")
    ids = fill(letters, 11)
    overflow = Overflow(letters, store, "state", "collector", Limits(entries=10))
    overflow.move()
    moved = list(in_bucket(store, "state"))
    kept = [letter.id for letter in letters.list()]
    assert sorted(ids) == sorted([*kept, *(letter["id"] for letter in moved)])
    assert {letter["queue"] for letter in moved} == {"q"}
    assert all(letter["raw_base64"] for letter in moved)
    assert len(kept) <= 8  # some room, so that the next letter begins no other move
    assert overflow.move() == 0


def test_what_comes_while_others_move_waits_for_the_next_object(letters: DeadLetters) -> None:
    class Flooded(MemoryStore):
        def put(self, bucket: str, key: str, data: bytes) -> None:
            super().put(bucket, key, data)
            fill(letters, 3)

    store = Flooded("state")
    fill(letters, 11)
    assert Overflow(letters, store, "state", "collector", Limits(entries=10)).move() == 6
    assert len(store.buckets["state"]) == 1


def test_an_object_has_no_more_bytes_than_are_asked_for_or_one_letter(letters: DeadLetters) -> None:
    for _ in range(3):
        letters.add(DeadLetter.of(queue="q", layer="body", reason="r", raw=bytes(1000)))
    assert len(letters.oldest(10, 2500)) == 2
    assert len(letters.oldest(10, 1)) == 1
    assert len(letters.oldest(1, 2500)) == 1


def test_the_bytes_count_too_and_come_down_to_nothing(letters: DeadLetters) -> None:
    store = MemoryStore("state")
    for _ in range(4):
        letters.add(DeadLetter.of(queue="q", layer="body", reason="r", raw=bytes(1000)))
    Overflow(letters, store, "state", "collector", Limits(total_bytes=4000)).move()
    assert letters.load().total_bytes <= 4000
    letters.purge()
    assert (letters.load().entries, letters.load().total_bytes) == (0, 0)


def test_a_letter_that_is_added_twice_is_one(letters: DeadLetters) -> None:
    letter = DeadLetter.of(queue="q", layer="body", reason="r", raw=b"x")
    assert letters.add(letter) == letters.add(letter)


def test_nothing_is_dropped_while_the_store_is_away(letters: DeadLetters) -> None:
    class Away(MemoryStore):
        def put(self, bucket: str, key: str, data: bytes) -> None:
            raise StoreUnavailable("store_unavailable", "It does not answer.")

    fill(letters, 20)
    with pytest.raises(StoreUnavailable):
        Overflow(letters, Away("state"), "state", "collector", Limits(entries=10)).move()
    assert letters.load().entries == 20


def test_a_mover_that_lost_its_turn_drops_nothing(letters: DeadLetters) -> None:
    ids = fill(letters, 3)
    assert letters.begin_move("one", 60)
    assert not letters.begin_move("another", 60)
    assert not letters.forget_moved("another", ids)
    assert letters.load().entries == 3
    assert letters.forget_moved("one", ids)
    assert letters.load().entries == 0


def test_a_move_that_was_cut_short_and_begun_again_moves_each_once(letters: DeadLetters) -> None:
    store = MemoryStore("state")
    ids = fill(letters, 20)
    limits = Limits(entries=1)
    overflow = Overflow(letters, store, "state", "collector", limits)
    forget = letters.forget_moved
    letters.forget_moved = lambda *_: False  # type: ignore[method-assign]
    overflow.move()
    letters.forget_moved = forget  # type: ignore[method-assign]
    overflow.move()
    moved = moved_ids(store, "state")
    assert sorted(moved + [letter.id for letter in letters.list()]) == sorted(ids)


def test_the_consumer_waits_at_twice_the_limits_until_there_is_room(letters: DeadLetters) -> None:
    nudges: list[int] = []

    def overflow() -> None:
        nudges.append(letters.load().entries)
        if len(nudges) == 5:
            letters.purge()

    sink = DeadLetterSink(
        letters,
        limits=Limits(entries=2),
        stopping=threading.Event(),
        overflow=overflow,
        report_chunk=nobody,
    )
    for _ in range(6):
        sink.keep(queue="q", layer="body", reason="r", raw=b"x")
    assert nudges == [3, 4, 5, 5, 5]  # over twice two, the sixth waits for the purge
    assert letters.load().entries == 1


def test_a_worker_that_stops_keeps_what_it_has_in_hand(letters: DeadLetters) -> None:
    stopping = threading.Event()
    sink = DeadLetterSink(
        letters,
        limits=Limits(entries=0),
        stopping=stopping,
        overflow=stopping.set,
        report_chunk=nobody,
    )
    for _ in range(3):
        sink.keep(queue="q", layer="body", reason="r", raw=b"x")
    assert letters.load().entries == 3
