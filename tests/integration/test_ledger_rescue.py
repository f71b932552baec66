"""What the ledger counts against a chunk or an item, and how long it makes them wait."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import redis

from shared.ledger import ChunkRef, Ledger
from shared.stages import INFERENCE, PREPROCESS, RESULTS
from tests.support.ledger_steps import (
    FIRST,
    INC,
    SECOND,
    THIRD,
    UID,
    A,
    B,
    feed,
    lose,
    stale,
)
from tests.support.servers import RunningValkey
from tests.support.waiting import wait_for

PAUSE_SECONDS = 0.4


def rescued(ledger: Ledger) -> ChunkRef:
    (ref,) = wait_for(
        lambda: ledger.rescue_held(INC), what="the end of its pause", deadline_seconds=20
    )
    return ref


@pytest.fixture
def hasty(valkey: RunningValkey, ledger: Ledger) -> Ledger:
    """The same ledger, with short pauses."""
    client = redis.Redis.from_url(valkey.url, decode_responses=True)
    return Ledger(client, pause_seconds=PAUSE_SECONDS)


def test_from_its_second_rescue_on_a_chunk_waits_longer_and_longer(
    ledger: Ledger, client: Any
) -> None:
    (ref,) = feed(ledger)
    (ref,) = lose(ledger, ref)  # the first is immediate
    pauses = []
    for losses in range(2, 10):
        before = sum(x / y for x, y in zip(client.time(), (1, 1e6), strict=True))
        assert lose(ledger, ref) == []
        ((_, due_ms),) = client.zrange("hr:waiting", 0, -1, withscores=True)
        pauses.append(round(due_ms / 1000 - before))
        assert ledger.queues() == []
        client.zadd("hr:waiting", {ref.name: 0})
        (ref,) = ledger.rescue_held(INC)
        assert ref.attempt == losses + 1
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]


def test_what_waits_is_rescued_when_its_pause_is_over(hasty: Ledger) -> None:
    (ref,) = feed(hasty)
    (ref,) = lose(hasty, ref)
    assert lose(hasty, ref) == []
    assert stale(lambda: hasty.claim(replace(ref, attempt=3), PREPROCESS, B)) == "state"
    again = rescued(hasty)
    assert again == replace(ref, attempt=3)
    assert hasty.claim(again, PREPROCESS, B).losses == 2


def test_a_message_that_is_lost_again_is_sent_after_a_pause(hasty: Ledger) -> None:
    feed(hasty)
    (ref,) = hasty.rescue_queued(INC, FIRST, 1)
    assert hasty.rescue_queued(INC, FIRST, 1) == []
    assert hasty.queued_count(FIRST) == 0
    assert rescued(hasty) == replace(ref, attempt=3)


def test_giving_back_never_makes_a_chunk_wait(ledger: Ledger) -> None:
    (ref,) = feed(ledger)
    for _ in range(5):
        ledger.claim(ref, PREPROCESS, A)
        ref = ledger.give_back(ref, PREPROCESS, A).ref
        assert ledger.queued_count(FIRST) == 1
    assert lose(ledger, ref) == [replace(ref, attempt=7)]  # the first loss of all


def test_a_chunk_that_is_left_is_sent_in_the_next_pass_however_often(ledger: Ledger) -> None:
    others = feed(ledger, end=3)
    ref = others.pop()
    for _ in range(5):
        assert ledger.claim(ref, PREPROCESS, A).losses == 0
        ledger.advance(ref, PREPROCESS, A, INFERENCE, SECOND)
        assert ledger.claim(ref, INFERENCE, A).losses == 0
        ledger.leave(ref, INFERENCE, A)
        assert stale(lambda ref=ref: ledger.leave(ref, INFERENCE, A)) == "attempt"  # type: ignore[misc]
        assert ledger.queued_count(FIRST) == len(others)
        # Itself, and none of those that wait before it.
        ref = replace(ref, attempt=ref.attempt + 1)
        assert ledger.rescue_held(INC) == [ref]
    assert lose(ledger, ref) == [replace(ref, attempt=7)]  # the first loss of all


def test_a_lost_run_counts_against_the_item_on_trial_alone(hasty: Ledger) -> None:
    (ref,) = feed(hasty)
    for item in (4, 7, 4):
        lose(hasty, ref, on_trial=item)
        ref = replace(ref, attempt=ref.attempt + 1)
        wait_for(lambda: hasty.rescue_held(INC) or hasty.queued_count(FIRST), what="it again")
    hasty.claim(ref, PREPROCESS, A)
    counts = [hasty.mark_running_alone(ref, PREPROCESS, A, item) for item in (4, 7, 5)]
    assert counts == [2, 1, 0]
    hasty.advance(ref, PREPROCESS, A, INFERENCE, SECOND)
    hasty.claim(ref, INFERENCE, A)
    assert hasty.mark_running_alone(ref, INFERENCE, A, 4) == 0  # another stage, another matter


def test_no_item_pays_for_a_run_that_was_over_or_given_back(ledger: Ledger) -> None:
    (ref,) = feed(ledger)
    ledger.claim(ref, PREPROCESS, A)
    ledger.mark_running_alone(ref, PREPROCESS, A, 0)
    ref = ledger.give_back(ref, PREPROCESS, A).ref
    ledger.claim(ref, PREPROCESS, A)
    ledger.mark_running_alone(ref, PREPROCESS, A, 0)
    ledger.mark_running_alone(ref, PREPROCESS, A, None)
    ledger.depart(INC, A)
    (ref,) = ledger.rescue_held(INC)
    ledger.claim(ref, PREPROCESS, A)
    assert ledger.mark_running_alone(ref, PREPROCESS, A, 0) == 0


def test_only_a_holder_notes_a_trial(ledger: Ledger) -> None:
    (ref,) = feed(ledger)
    assert stale(lambda: ledger.mark_running_alone(ref, PREPROCESS, A, 0)) == "attempt"
    ledger.claim(ref, PREPROCESS, A)
    assert stale(lambda: ledger.mark_running_alone(ref, PREPROCESS, B, 0)) == "attempt"
    assert (
        stale(lambda: ledger.mark_running_alone(replace(ref, chunk=9), PREPROCESS, A, 0)) == "done"
    )


def test_a_refused_chunk_comes_again_and_is_given_up_at_the_third_time(hasty: Ledger) -> None:
    (ref,) = feed(hasty)
    for attempt in (2, 3):
        hasty.refuse(ref, PREPROCESS)
        assert hasty.give_up(INC, THIRD) == []
        ref = rescued(hasty)
        assert ref.attempt == attempt
    hasty.refuse(ref, PREPROCESS)
    assert hasty.queues() == []
    (given_up,) = wait_for(lambda: hasty.give_up(INC, THIRD), what="the end of its pause")
    assert given_up == replace(ref, attempt=4)
    assert hasty.rescue_held(INC) == []
    hasty.claim(given_up, RESULTS, B)
    hasty.finish(given_up, B, {})
    assert hasty.done_between(UID, 0, 1) == 1


def test_only_the_last_message_of_a_chunk_can_be_refused(ledger: Ledger) -> None:
    (ref,) = feed(ledger)
    assert stale(lambda: ledger.refuse(ref, INFERENCE)) == "state"
    assert stale(lambda: ledger.refuse(replace(ref, attempt=2), PREPROCESS)) == "attempt"
    assert stale(lambda: ledger.refuse(replace(ref, chunk=9), PREPROCESS)) == "done"
    ledger.claim(ref, PREPROCESS, A)
    assert stale(lambda: ledger.refuse(ref, PREPROCESS)) == "state"
    assert ledger.give_back(ref, PREPROCESS, A).ref.attempt == 2
