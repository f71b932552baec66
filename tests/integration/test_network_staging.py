"""Parcels on a real server: whose pixels they are, how much room there is, and who gets it back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.errors import PermanentError, TransientError
from shared.ledger import ChunkRef, Ledger, WorkerIdentity
from shared.stages import INFERENCE, PREPROCESS, RESULTS, queue_name
from shared.staging import NetworkStaging, NetworkWriteHold, SlotGone, network
from tests.support.ledger_steps import INC, UID
from tests.support.servers import RunningValkey
from tests.support.waiting import wait_for

PARCEL = 1000
BUDGET = 3 * PARCEL

Make = Callable[..., NetworkStaging]


def ref(chunk: int, attempt: int = 1) -> ChunkRef:
    return ChunkRef(INC, UID, chunk, attempt)


def all_needed(refs: list[ChunkRef]) -> list[bool]:
    return [True for _ in refs]


def never() -> bool:
    return False


def gives_up(looks: int = 2) -> Callable[[], bool]:
    """Stops a worker that waits, after a few looks."""
    counted = count()
    return lambda: next(counted) >= looks


@pytest.fixture
def server(valkey: RunningValkey) -> Any:
    client: Any = redis.Redis.from_url(valkey.url)
    client.flushall()
    return client


@pytest.fixture
def make(server: Any) -> Make:
    def make(still_needed: Any = all_needed, **changes: Any) -> NetworkStaging:
        return NetworkStaging(server, still_needed, **{"budget_bytes": BUDGET, **changes})

    return make


def parcel(staging: NetworkStaging, ref: ChunkRef, used_bytes: int = PARCEL) -> NetworkWriteHold:
    """A parcel that is sent, each byte of it the chunk's number."""
    hold = staging.take(PARCEL, ref, stopping=never)
    hold.pixels[:] = ref.chunk
    hold.send(used_bytes)
    hold.release()
    return hold


def has_room(staging: NetworkStaging, parcel_bytes: int = PARCEL) -> bool:
    try:
        staging.take(parcel_bytes, ref(99), stopping=gives_up()).abandon()
    except TransientError:
        return False
    return True


@pytest.mark.parametrize("used_bytes", [PARCEL, 700, 1])
def test_what_is_sent_is_read_once_by_the_attempt_that_sent_it(
    make: Make, monkeypatch: pytest.MonkeyPatch, used_bytes: int
) -> None:
    monkeypatch.setattr(network, "PIECE_BYTES", 300)
    sender, reader = make(), make()
    parcel(sender, ref(7), used_bytes)
    parcel(sender, ref(8), used_bytes)
    for other in (ref(7, attempt=2), ref(6), ChunkRef("0" * 16, UID, 7, 1)):
        with pytest.raises(SlotGone):
            reader.read(other, used_bytes)
    pixels = reader.read(ref(7), used_bytes)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (used_bytes,))
    assert np.all(pixels == 7)
    assert pixels.flags.writeable
    with pytest.raises(SlotGone):
        reader.read(ref(7), used_bytes)
    assert np.all(reader.read(ref(8), used_bytes) == 8)


def test_a_parcel_of_another_size_is_none(make: Make) -> None:
    parcel(make(), ref(7), 500)
    with pytest.raises(SlotGone):
        make().read(ref(7), 501)


def test_a_parcel_that_was_not_sent_is_none(make: Make) -> None:
    make().take(PARCEL, ref(7), stopping=never)
    with pytest.raises(SlotGone):
        make().read(ref(7), PARCEL)


def test_sending_and_reserving_again_does_no_harm(make: Make) -> None:
    staging = make()
    hold = staging.take(PARCEL, ref(7), stopping=never)
    hold = staging.take(PARCEL, ref(7), stopping=never)  # as after an answer that was lost
    hold.pixels[:] = 7
    hold.send(PARCEL)
    hold.send(PARCEL)
    assert has_room(staging, BUDGET - PARCEL)
    assert np.all(staging.read(ref(7), PARCEL) == 7)
    assert has_room(staging, BUDGET)


def test_over_the_budget_a_sender_waits_until_something_is_read(make: Make) -> None:
    staging = make()
    for chunk in range(3):
        parcel(staging, ref(chunk))
    assert not has_room(staging, 1)
    taken = threading.Event()

    def take() -> None:
        staging.take(PARCEL, ref(9), stopping=never)
        taken.set()

    waiting = threading.Thread(target=take, daemon=True)
    waiting.start()
    assert not taken.is_set()
    make().read(ref(1), PARCEL)
    assert taken.wait(10)
    waiting.join(10)


def test_senders_at_once_never_take_more_than_there_is(make: Make, server: Any) -> None:
    most = []

    def work(first: int) -> None:
        staging = make()
        for chunk in range(first, first + 20):
            parcel(staging, ref(chunk))
            sizes = [int(value.split()[0]) for value in server.hvals("stage:parcels")]
            most.append(sum(sizes))
            staging.read(ref(chunk), PARCEL)

    threads = [threading.Thread(target=work, args=(40 * n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(most) == 120
    assert max(most) <= BUDGET
    assert server.keys() == []


def test_what_nobody_awaits_any_more_gives_its_room_back(make: Make) -> None:
    staging = make(lambda refs: [r.chunk != 1 for r in refs])
    for chunk in range(3):
        parcel(staging, ref(chunk))
    late = parcel(staging, ref(9))
    with pytest.raises(SlotGone):
        staging.read(ref(1), PARCEL)
    for chunk in (0, 2, 9):
        staging.read(ref(chunk), PARCEL)
    late.abandon()


def test_a_sender_that_lost_its_room_is_told(make: Make, server: Any) -> None:
    staging = make()
    hold = staging.take(PARCEL, ref(7), stopping=never)
    make(lambda refs: [False for _ in refs]).take(BUDGET, ref(8), stopping=never)
    with pytest.raises(SlotGone):
        hold.send(PARCEL)
    assert server.exists(f"stage:pixels:{INC}:{UID}:7:1") == 0


def test_what_expires_gives_its_room_back(make: Make, server: Any) -> None:
    staging = make(lifetime_seconds=0.2)
    for chunk in range(3):
        parcel(staging, ref(chunk))
    wait_for(lambda: has_room(staging, BUDGET), what="room for all")
    assert server.keys() == []
    with pytest.raises(SlotGone):
        staging.read(ref(0), PARCEL)


def test_an_abandoned_parcel_gives_its_room_back(make: Make, server: Any) -> None:
    staging = make()
    staging.take(BUDGET, ref(1), stopping=never).abandon()
    parcel(staging, ref(2)).abandon()
    assert has_room(staging, BUDGET)
    assert server.keys() == []


def test_a_chunk_over_the_whole_budget_is_refused(make: Make) -> None:
    with pytest.raises(PermanentError, match="chunk-items"):
        make().take(BUDGET + 1, ref(1), stopping=never)


def test_a_server_that_does_not_answer_is_a_passing_error() -> None:
    nobody = NetworkStaging(
        redis.Redis(port=1, retry=Retry(NoBackoff(), 0)), all_needed, budget_bytes=BUDGET
    )
    hold = NetworkWriteHold(nobody, ref(1), PARCEL)
    for action in (
        lambda: nobody.take(PARCEL, ref(1), stopping=never),
        lambda: hold.send(PARCEL),
        lambda: nobody.read(ref(1), PARCEL),
    ):
        with pytest.raises(TransientError, match="staging"):
            action()
    hold.abandon()


def test_a_full_server_is_a_passing_error(make: Make, server: Any) -> None:
    staging = make()
    hold = staging.take(PARCEL, ref(1), stopping=never)
    server.config_set("maxmemory", 1)
    try:
        with pytest.raises(TransientError):
            hold.send(PARCEL)
        with pytest.raises(TransientError):
            staging.take(PARCEL, ref(2), stopping=never)
    finally:
        server.config_set("maxmemory", 0)
    hold.send(PARCEL)


def test_the_ledger_awaits_an_attempt_until_it_is_inferred(make: Make, ledger: Ledger) -> None:
    worker = WorkerIdentity("preprocess", "p-1", "here", pid=1, nonce="1")
    _, refs = ledger.feed(INC, UID, 0, 2, bound=10)
    inferred, returned = refs
    seen = []

    def look() -> None:
        seen.append((ledger.still_needed([inferred]), ledger.still_staged([inferred])))

    look()
    ledger.claim(inferred, PREPROCESS, worker)
    look()
    ledger.advance(inferred, PREPROCESS, worker, INFERENCE, queue_name(INFERENCE, host="b"))
    look()
    ledger.claim(inferred, INFERENCE, worker)
    look()
    ledger.advance(inferred, INFERENCE, worker, RESULTS, queue_name(RESULTS))
    look()
    assert [(a[0], s[0]) for a, s in seen] == [
        *((True, False), (True, False), (True, True), (True, True)),
        (False, False),
    ]
    ledger.claim(returned, PREPROCESS, worker)
    again = ledger.give_back(returned, PREPROCESS, worker).ref
    assert ledger.still_needed([returned, again, ChunkRef("0" * 16, UID, 1, 1)]) == [
        False,
        True,
        False,
    ]
    staging = make(ledger.still_needed)
    staging.take(BUDGET, returned, stopping=never)
    staging.take(BUDGET, again, stopping=never).abandon()
