"""The ledger's transitions on a real Valkey, one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shared.errors import TransientError
from shared.ledger import ChunkRef, Ledger, Stale
from shared.stages import INFERENCE, PREPROCESS, RESULTS
from tests.support.ledger_steps import (
    FIRST,
    INC,
    SECOND,
    THIRD,
    UID,
    A,
    B,
    connect_to,
    feed,
    lose,
    stale,
    take_to,
)
from tests.support.samples import FIRST_QUEUE
from tests.support.waiting import wait_for


def test_an_empty_ledger_is_begun_once(client: Any, ledger: Ledger) -> None:
    client.flushall()
    assert ledger.incarnation() is None
    assert ledger.begin("a" * 16) == ledger.begin("b" * 16) == ledger.incarnation() == "a" * 16


def test_a_chunk_passes_every_stage_once(ledger: Ledger) -> None:
    (ref,) = feed(ledger)
    assert ref == ChunkRef(INC, UID, 0, 1)
    take_to(ledger, ref, RESULTS)
    ledger.finish(ref, A, {"succeeded": 3, "device_seconds": 0.5})
    progress = ledger.progress(UID)
    assert progress is not None
    assert (progress.done_chunks, progress.live_chunks) == (1, 0)
    assert progress.counters["succeeded"] == 3
    assert progress.counters["device_seconds"] == 0.5
    assert ledger.queues() == []
    assert ledger.done_between(UID, 0, 1) == 1


def test_what_finds_its_own_result_has_succeeded(ledger: Ledger) -> None:
    (ref,) = feed(ledger)
    ledger.claim(ref, PREPROCESS, A)
    for _ in range(2):
        ledger.advance(ref, PREPROCESS, A, INFERENCE, SECOND)
    ledger.claim(ref, INFERENCE, B)
    ledger.advance(ref, PREPROCESS, A, INFERENCE, SECOND)  # late, and still true
    ledger.advance(ref, INFERENCE, B, RESULTS, THIRD)
    ledger.claim(ref, RESULTS, A)
    for _ in range(2):
        ledger.finish(ref, A, {"succeeded": 1})
    progress = ledger.progress(UID)
    assert progress is not None
    assert progress.counters["succeeded"] == 1


def test_a_held_chunk_is_not_claimed_again_not_even_by_its_holder(ledger: Ledger) -> None:
    (ref,) = feed(ledger)
    ledger.claim(ref, PREPROCESS, A)
    assert stale(lambda: ledger.claim(ref, PREPROCESS, A)) == "state"
    assert stale(lambda: ledger.claim(ref, PREPROCESS, B)) == "state"
    assert stale(lambda: ledger.claim(ref, INFERENCE, B)) == "state"


def test_everything_with_another_incarnation_is_stale(ledger: Ledger) -> None:
    (ref,) = feed(ledger)
    other = replace(ref, incarnation="9" * 16)
    for action in (
        lambda: ledger.register_job("9" * 16, UID, "job", FIRST_QUEUE),
        lambda: ledger.feed("9" * 16, UID, 0, 1, bound=9),
        lambda: ledger.claim(other, PREPROCESS, A),
        lambda: ledger.advance(other, PREPROCESS, A, INFERENCE, SECOND),
        lambda: ledger.finish(other, A, {}),
        lambda: ledger.give_back(other, PREPROCESS, A),
        lambda: ledger.renew("9" * 16, A, []),
        lambda: ledger.depart("9" * 16, A),
        lambda: ledger.rescue_held("9" * 16),
        lambda: ledger.rescue_queued("9" * 16, FIRST, 1),
        lambda: ledger.mark_running_alone(other, PREPROCESS, A, 0),
        lambda: ledger.refuse(other, PREPROCESS),
        lambda: ledger.give_up("9" * 16, THIRD),
        lambda: ledger.reopen("9" * 16, UID, 0),
        lambda: ledger.cancel_job("9" * 16, UID),
        lambda: ledger.close_job("9" * 16, UID),
    ):
        assert stale(action) == "incarnation"
    assert ledger.still_staged([other]) == [False]
    assert ledger.stale_counts()["incarnation"] == 16


def test_a_stale_attempt_changes_nothing(ledger: Ledger) -> None:
    (old,) = feed(ledger)
    ledger.claim(old, PREPROCESS, A)
    new = ledger.give_back(old, PREPROCESS, A).ref
    assert new.attempt == 2
    assert stale(lambda: ledger.claim(old, PREPROCESS, B)) == "attempt"
    ledger.claim(new, PREPROCESS, B)
    assert stale(lambda: ledger.advance(old, PREPROCESS, A, INFERENCE, SECOND)) == "attempt"
    assert stale(lambda: ledger.give_back(old, PREPROCESS, A)) == "attempt"
    assert stale(lambda: ledger.finish(old, A, {"succeeded": 1})) == "attempt"
    ledger.advance(new, PREPROCESS, B, INFERENCE, SECOND)


def test_giving_back_is_no_loss_however_often(ledger: Ledger) -> None:
    (ref,) = feed(ledger)
    for _ in range(5):
        assert ledger.claim(ref, PREPROCESS, A).losses == 0
        ledger.advance(ref, PREPROCESS, A, INFERENCE, SECOND)
        assert ledger.claim(ref, INFERENCE, B).losses == 0
        ref = ledger.give_back(ref, INFERENCE, B).ref


def test_only_the_holder_moves_a_chunk_on(ledger: Ledger) -> None:
    (ref,) = feed(ledger)
    ledger.claim(ref, PREPROCESS, A)
    assert stale(lambda: ledger.give_back(ref, PREPROCESS, B)) == "attempt"
    assert stale(lambda: ledger.advance(ref, PREPROCESS, B, INFERENCE, SECOND)) == "attempt"


def test_what_a_done_chunk_still_gets_is_stale(ledger: Ledger) -> None:
    (ref,) = feed(ledger)
    take_to(ledger, ref, RESULTS)
    ledger.finish(ref, A, {})
    assert stale(lambda: ledger.claim(ref, PREPROCESS, B)) == "done"
    ledger.finish(ref, B, {"succeeded": 1})  # the same chunk, done by somebody
    assert feed(ledger) == []
    progress = ledger.progress(UID)
    assert progress is not None
    assert "succeeded" not in progress.counters


def test_feeding_keeps_to_the_bound_and_to_the_most(ledger: Ledger) -> None:
    cursor, refs = ledger.feed(INC, UID, 0, 100, bound=5)
    assert (cursor, len(refs), ledger.queued_count(FIRST)) == (5, 5, 5)
    assert ledger.feed(INC, UID, 5, 100, bound=5) == (5, [])
    ledger.claim(refs[0], PREPROCESS, A)
    assert ledger.feed(INC, UID, 5, 100, bound=5)[0] == 6
    assert ledger.feed(INC, UID, 6, 100, bound=50, most=2)[0] == 8
    assert ledger.feed(INC, UID, 0, 8, bound=50) == (8, [])  # all of them are live


def test_a_lease_that_runs_out_loses_its_chunks_and_counts_the_loss(ledger: Ledger) -> None:
    first, second = feed(ledger, 0, 2)
    take_to(ledger, first, INFERENCE, A)
    ledger.claim(second, PREPROCESS, B)
    assert ledger.rescue_held(INC) == []

    def rescued() -> list[ChunkRef]:
        ledger.renew(INC, B, [second.name])
        return ledger.rescue_held(INC)

    (again,) = wait_for(rescued, what="the end of A's lease", deadline_seconds=5)
    assert again == replace(first, attempt=2)
    assert [worker.process for worker in ledger.workers()] == ["b"]
    assert stale(lambda: ledger.advance(first, INFERENCE, A, RESULTS, THIRD))
    assert ledger.claim(again, PREPROCESS, B).losses == 0
    ledger.advance(again, PREPROCESS, B, INFERENCE, SECOND)
    assert ledger.claim(again, INFERENCE, B).losses == 1


def test_a_chunk_unnamed_in_two_renewals_is_lost_and_a_named_one_is_not(ledger: Ledger) -> None:
    named, unnamed = feed(ledger, 0, 2)
    for ref in (named, unnamed):
        ledger.claim(ref, PREPROCESS, A)
    ledger.renew(INC, A, [named.name])
    assert ledger.rescue_held(INC) == []
    ledger.renew(INC, A, [named.name, unnamed.name])  # it was only being taken in hand
    ledger.renew(INC, A, [named.name])
    assert ledger.rescue_held(INC) == []
    ledger.renew(INC, A, [named.name])
    assert ledger.rescue_held(INC) == [replace(unnamed, attempt=2)]
    assert ledger.rescue_held(INC) == []


def test_who_departs_is_rescued_at_once(ledger: Ledger) -> None:
    (ref,) = feed(ledger)
    ledger.claim(ref, PREPROCESS, A)
    ledger.renew(INC, B, [])
    ledger.depart(INC, B)
    assert [worker.process for worker in ledger.workers()] == ["a"]
    ledger.depart(INC, A)
    assert ledger.workers() == []
    assert ledger.rescue_held(INC) == [replace(ref, attempt=2)]


def test_the_oldest_queued_are_rescued_and_no_loss_is_counted(ledger: Ledger) -> None:
    refs = feed(ledger, 0, 3)
    for ref in reversed(refs):
        ledger.claim(ref, PREPROCESS, A)
        ledger.advance(ref, PREPROCESS, A, INFERENCE, SECOND)
        score = {ref.name: -ref.attempt * 10 + ref.chunk}  # as if long ago, the first the oldest
        ledger._client.zadd(f"hr:queued:{SECOND}", score)
    assert ledger.still_staged(refs) == [True, True, True]
    again = ledger.rescue_queued(INC, SECOND, 2)
    assert again == [replace(ref, attempt=2) for ref in refs[:2]]
    assert ledger.still_staged(refs) == [False, False, True]
    assert (ledger.queued_count(FIRST), ledger.queued_count(SECOND)) == (2, 1)
    assert ledger.claim(again[0], PREPROCESS, A).losses == 0
    assert ledger.rescue_queued(INC, "no.such.queue", 5) == []


def test_a_reopened_chunk_is_fed_with_attempts_that_nobody_had(ledger: Ledger) -> None:
    (ref,) = feed(ledger)
    take_to(ledger, ref, RESULTS)
    ledger.reopen(INC, UID, 0)  # it is not done
    ledger.finish(ref, A, {})
    ledger.reopen(INC, UID, 0)
    assert ledger.done_between(UID, 0, 1) == 0
    (again,) = feed(ledger)
    assert again.attempt > 1000
    assert stale(lambda: ledger.claim(ref, PREPROCESS, A)) == "attempt"


def test_a_cancelled_job_has_nothing_in_flight_and_is_fed_nothing(ledger: Ledger) -> None:
    held, queued = feed(ledger, 0, 2)
    ledger.claim(held, PREPROCESS, A)
    ledger.cancel_job(INC, UID)
    assert stale(lambda: ledger.claim(queued, PREPROCESS, B)) == "cancelled"
    assert stale(lambda: ledger.advance(held, PREPROCESS, A, INFERENCE, SECOND))
    assert ledger.feed(INC, UID, 2, 9, bound=9) == (2, [])
    assert ledger.queues() == []
    assert ledger.rescue_held(INC) == []
    progress = ledger.progress(UID)
    assert progress is not None
    assert progress.cancelled


def test_a_closed_job_leaves_nothing(ledger: Ledger, client: Any) -> None:
    held, queued, done, refused = feed(ledger, 0, 4)
    (held,) = lose(ledger, held, on_trial=1)
    ledger.claim(held, PREPROCESS, A)
    take_to(ledger, done, RESULTS, B)
    ledger.finish(done, B, {})
    ledger.refuse(refused, PREPROCESS)
    for _ in range(2):
        ledger.close_job(INC, UID)
    assert ledger.jobs() == []
    assert ledger.progress(UID) is None
    assert stale(lambda: ledger.claim(queued, PREPROCESS, B)) == "job"
    for pattern in (f"*{UID}*", "hr:queued:*", "hr:held:*", "hr:waiting", "hr:refused"):
        assert client.keys(pattern) == []


def test_opening_a_job_marks_what_is_done_but_nothing_that_is_held(ledger: Ledger) -> None:
    held, waiting = feed(ledger, 0, 2)
    ledger.claim(held, PREPROCESS, A)
    ledger.register_job(INC, UID, "job", FIRST_QUEUE, [0, 1, 3])
    assert [ref.chunk for ref in feed(ledger, 0, 5)] == [2, 4]
    with pytest.raises(Stale, match="done"):
        ledger.claim(waiting, PREPROCESS, A)
    ledger.advance(held, PREPROCESS, A, RESULTS, "results")
    ledger.claim(held, RESULTS, A)
    ledger.finish(held, A, {})
    assert ledger.done_between(UID, 0, 5) == 3
    assert ledger.live_chunks(UID) == [2, 4]


def test_hints_are_taken_once(ledger: Ledger) -> None:
    ledger.hint("one")
    ledger.hint("two")
    assert ledger.take_hints() == ["one", "two"]
    assert ledger.take_hints() == []


def test_one_leads_until_it_stops_or_its_time_is_up(ledger: Ledger) -> None:
    assert ledger.lead("one", 60)
    assert not ledger.lead("two", 60)
    ledger.stop_leading("two")
    assert ledger.lead("one", 60)
    ledger.stop_leading("one")
    assert ledger.lead("two", 0.2)
    wait_for(lambda: ledger.lead("one", 60), what="the end of two's time", deadline_seconds=5)


def test_a_ledger_that_does_not_answer_is_transient() -> None:
    with pytest.raises(TransientError, match="does not answer"):
        connect_to("redis://127.0.0.1:1/0").incarnation()


def test_each_chunk_has_a_place_and_a_time_there(client: Any, ledger: Ledger) -> None:
    (ref, other) = feed(ledger, 0, 2)
    take_to(ledger, ref, INFERENCE, A)
    held, queued = ledger.places([UID, "unknown"])
    assert (held.job_uid, held.chunk, held.attempt) == (UID, ref.chunk, ref.attempt)
    assert (held.state, held.stage, held.owner) == ("held", INFERENCE, A.name)
    assert (queued.chunk, queued.state, queued.owner) == (other.chunk, "queued", FIRST)
    assert 0 <= held.seconds <= queued.seconds < 60


def test_the_time_begins_with_each_move_and_each_item_on_trial(client: Any, ledger: Ledger) -> None:
    (ref,) = feed(ledger)

    def began_by(move: Any) -> bool:
        """Did the time begin with this move? It was long ago before."""
        line = client.hget(f"hr:{UID}:live", 0).rpartition(" ")[0]
        client.hset(f"hr:{UID}:live", 0, f"{line} 1")
        move()
        return ledger.places([UID])[0].seconds < 60

    assert not began_by(lambda: None)
    assert began_by(lambda: ledger.claim(ref, PREPROCESS, A))
    assert not began_by(lambda: ledger.renew(INC, A, [ref.name]))
    assert began_by(lambda: ledger.mark_running_alone(ref, PREPROCESS, A, 0))
    assert began_by(lambda: ledger.advance(ref, PREPROCESS, A, INFERENCE, SECOND))
    assert began_by(lambda: ledger.claim(ref, INFERENCE, B))
    assert began_by(lambda: ledger.depart(INC, B) or ledger.rescue_held(INC))


def test_a_worker_is_seen_to_stop_and_its_lease_to_run(ledger: Ledger) -> None:
    ledger.renew(INC, A, [], stopping=True)
    ledger.renew(INC, B, [])
    seen = {worker.name: worker for worker in ledger.workers()}
    assert {name: worker.stopping for name, worker in seen.items()} == {A.name: True, B.name: False}
    assert all(worker.lease_left_seconds > 0 for worker in seen.values())
