"""Real workers of every role on a real broker meet malformed messages: all kept, none harmful."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from kombu import Exchange

from shared.broker.celery_app import make_app
from shared.broker.dead_letters import DeadLetter
from shared.messages import Message
from shared.settings import load_settings
from tests.support import amqp_deliveries, malformed, samples
from tests.support.malformed import CASES, IGNORED, Target, set_at, signed, valid
from tests.support.servers import BROKER
from tests.support.waiting import wait_for
from tests.support.worker_harness import ROLES, Stand, start

cases = amqp_deliveries.cases if BROKER == "rabbitmq" else malformed.cases
# A bomb of a quarter of a gigabyte would show.
LARGEST_RESIDENT_BYTES = 350 * 2**20


@pytest.fixture(scope="module")
def stands(
    tmp_path_factory: pytest.TempPathFactory, rabbit_url: str | None
) -> Iterator[Callable[[str], Stand]]:
    """The stand of each role, started when it is first asked for."""
    with ExitStack() as running:

        @cache
        def stand_of(role: str) -> Stand:
            directory = tmp_path_factory.mktemp(role)
            made = contextmanager(start)(directory, role, rabbit_url=rabbit_url)
            return running.enter_context(made)

        yield stand_of


@pytest.fixture(params=ROLES)
def stand(request: pytest.FixtureRequest, stands: Callable[[str], Stand]) -> Stand:
    return stands(request.param)


def letters_of(stand: Stand, count: int) -> list[DeadLetter]:
    """The dead letters, with their bytes, once there are ``count``."""
    found = wait_for(
        lambda: found if len(found := stand.letters.list()) >= count else None,
        what=f"{count} dead letters",
        every=0.002,
    )
    return [stand.letters.show(letter.id) for letter in found]


@pytest.mark.parametrize(
    ("stand", "name"),
    [(role, name) for role in ROLES for name in cases(role)],
    indirect=["stand"],
)
def test_a_malformed_message_becomes_a_dead_letter_and_the_next_one_runs(
    stand: Stand, name: str
) -> None:
    case = cases(stand.role)[name]
    stand.letters.purge()
    raw, ran, before = case.make(stand.target), stand.ran(), stand.identity()
    good = stand.queued()
    stand.push(raw)
    stand.send(good)

    wait_for(lambda: stand.ran() == ran + 1, what="the good message behind it", every=0.002)
    (letter,) = letters_of(stand, 1)
    assert (letter.queue, letter.layer) == (stand.target.queue, case.layer), letter.reason
    assert letter.reason
    assert letter.raw == stand.lies_as(raw)
    assert letter.size == len(letter.raw)
    assert stand.identity() == before


def one_of_each_layer(role: str) -> Iterable[str]:
    return {case.layer: name for name, case in cases(role).items()}.values()


@pytest.mark.parametrize(
    ("stand", "name"),
    [(role, name) for role in ROLES for name in one_of_each_layer(role)],
    indirect=["stand"],
)
def test_a_dead_letter_goes_back_to_the_lane_that_it_came_from(stand: Stand, name: str) -> None:
    stand.letters.purge()
    before, queue, case = stand.identity(), stand.interactive.queue, cases(stand.role)[name]
    raw = case.make(stand.interactive)
    stand.push(raw, queue)
    (letter,) = letters_of(stand, 1)
    assert (letter.queue, letter.layer) == (queue, case.layer)
    assert letter.raw == stand.lies_as(raw)
    stand.letters.replay([letter.id])
    (again,) = wait_for(
        lambda: [one for one in stand.letters.list() if one.id != letter.id], what="its return"
    )
    assert (again.queue, again.replays) == (queue, 1)
    assert stand.identity() == before


def test_a_message_runs_only_from_the_lane_that_it_was_signed_for(stand: Stand) -> None:
    stand.letters.purge()
    ran, bulk, interactive = stand.ran(), stand.target, stand.interactive
    for mine, other in ((bulk, interactive), (interactive, bulk)):
        signed_for = replace(mine, message=stand.queued())
        stand.push(json.dumps(valid(signed_for)).encode(), other.queue)
        (letter,) = letters_of(stand, 1)
        assert (letter.queue, letter.layer) == (other.queue, "signature")
        stand.letters.purge()
        assert stand.ran() == ran
    stand.publisher.send(interactive.task, interactive.queue, stand.queued())
    wait_for(lambda: stand.ran() == ran + 1, what="the interactive message", every=0.002)
    assert stand.letters.list() == []


@pytest.mark.parametrize("header", IGNORED)
def test_headers_that_are_not_signed_are_ignored(stand: Stand, header: str) -> None:
    stand.letters.purge()
    before = stand.identity()
    for value in IGNORED[header]:
        ran = stand.ran()
        good = Target(stand.role, stand.target.queue, stand.target.key, stand.queued())
        whole = set_at(valid(good), ("headers", header), value)
        set_at(whole, ("properties", header), value)
        stand.push(json.dumps(set_at(whole, (header,), value)).encode())
        wait_for(lambda ran=ran: stand.ran() == ran + 1, what="it, at once", every=0.002)
    assert stand.letters.list() == []
    assert stand.identity() == before


def test_malformed_remote_control_is_dropped_and_ends_nothing(stand: Stand) -> None:
    stand.letters.purge()
    ran, before = stand.ran(), stand.identity()
    exchange = Exchange("celery.pidbox", "fanout", durable=False)
    with make_app(load_settings(stand.home)).connection() as connection:
        connection.Producer().publish(
            b"nonsense",
            exchange=exchange,
            declare=[exchange],
            content_type="no/such",
            content_encoding="binary",
        )
    log = stand.home / "worker.log"
    wait_for(lambda: "message of remote control" in log.read_text(), what="its end")
    stand.send(stand.queued())
    wait_for(lambda: stand.ran() == ran + 1, what="a good message")
    assert stand.letters.list() == []
    assert stand.identity() == before


def test_a_stale_message_is_dropped_and_is_no_dead_letter(stand: Stand) -> None:
    stand.letters.purge()
    ran = stand.ran()
    good = stand.queued()
    stand.send(good.model_copy(update={"attempt": 7}))
    stand.send(good.model_copy(update={"incarnation": "f" * 16}))
    stand.send(good)
    stand.send(good)

    wait_for(lambda: stand.ran() == ran + 1, what="the good message")
    stale = {"attempt", "incarnation"}  # which the worker's other thread may still be at
    wait_for(lambda: stale <= set(stand.ledger.stale_counts()), what="both being counted")
    assert stand.letters.list() == []
    assert stand.ran() == ran + 1


def test_a_replayed_message_that_is_still_bad_comes_back_with_its_count(stand: Stand) -> None:
    stand.letters.purge()
    stand.push(CASES["signature: invented"].make(stand.target))
    (letter,) = letters_of(stand, 1)
    assert letter.replays == 0
    stand.letters.replay([letter.id])
    (again,) = wait_for(
        lambda: [one for one in stand.letters.list() if one.id != letter.id], what="its return"
    )
    assert again.replays == 1
    assert stand.letters.show(again.id).raw == letter.raw


def test_a_replayed_message_that_is_valid_now_runs_once(stand: Stand) -> None:
    stand.letters.purge()
    ran = stand.ran()
    good = Target(stand.role, stand.target.queue, stand.target.key, stand.queued())
    raw = stand.lies_as(json.dumps(valid(good)).encode())
    for _ in range(2):  # as if it had been refused twice, by an older release
        letter = DeadLetter.of(queue=good.queue, layer="schema", reason="old", raw=raw)
        stand.letters.add(letter)
    stand.letters.replay([letter.id for letter in stand.letters.list()])
    wait_for(lambda: stand.ran() == ran + 1, what="the message")
    assert stand.ran() == ran + 1
    assert stand.letters.list() == []


def strange(stand: Stand, message: Message, **changes: Any) -> bytes:
    """A message of ours with other fields, signed all the same."""
    body = json.dumps({**message.model_dump(mode="json"), **changes})
    target = Target(stand.role, stand.target.queue, stand.target.key, message)
    return json.dumps(signed(target, body)).encode()


def entry(stand: Stand, message: Message) -> list[str]:
    """What the ledger knows of the message's chunk: state, stage, attempt, and so on."""
    line = stand.client.hget(f"hr:{message.job_uid}:live", str(message.chunk))
    assert isinstance(line, bytes)
    return line.decode().split()


def test_a_signed_dead_letter_counts_against_its_chunk(stand: Stand) -> None:
    stand.letters.purge()
    message = stand.queued()
    for attempt in (1, 2, 3):
        before = entry(stand, message)
        assert (before[0], int(before[2])) == ("queued", attempt)
        stand.push(strange(stand, message, attempt=attempt, novelty=True))
        wait_for(lambda was=before: entry(stand, message) != was, what="the chunk set aside")
        if attempt < 3:
            requeue(stand, message, attempt + 1)
    assert entry(stand, message)[0] == "refused"
    letters = letters_of(stand, 3)
    assert {(letter.layer, letter.reason.split(":")[0]) for letter in letters} == {
        ("schema", "novelty")
    }
    stand.letters.replay([letters[0].id])  # of attempts that are over by now
    wait_for(lambda: len(stand.letters.list()) == 3, what="its return")
    assert entry(stand, message)[2] == "4"
    stand.letters.purge()


def requeue(stand: Stand, message: Message, attempt: int) -> None:
    """The producer's part: the chunk is queued again, and reaches the worker's stage."""
    stand.client.zadd("hr:waiting", {message.ref.name: 0})
    (ref,) = stand.ledger.rescue_held(samples.INCARNATION)
    assert ref.attempt == attempt
    stand.pass_on(ref)


@pytest.mark.parametrize("name", ["signature: invented", "signature: none", "body: null"])
def test_a_forged_dead_letter_counts_against_nobody(stand: Stand, name: str) -> None:
    stand.letters.purge()
    message = stand.queued()
    before = entry(stand, message)
    target = Target(stand.role, stand.target.queue, stand.target.key, message)
    stand.push(CASES[name].make(target))
    letters_of(stand, 1)
    ran = stand.ran()
    stand.send(message)
    wait_for(lambda: stand.ran() == ran + 1, what="the chunk, at its first attempt")
    assert before[2] == "1"
    stand.letters.purge()


@pytest.mark.parametrize(
    ("order", "arguments"),
    [
        ("shutdown", {}),
        ("cancel_consumer", {"queue": "QUEUE"}),
        ("add_consumer", {"queue": "elsewhere"}),
        ("pool_shrink", {"n": 2}),
        ("rate_limit", {"task_name": "TASK", "rate_limit": "1/h"}),
        ("time_limit", {"task_name": "TASK", "hard": 0.1}),
    ],
)
def test_a_worker_takes_no_orders(stand: Stand, order: str, arguments: dict[str, Any]) -> None:
    """Flower asks workers over the broker; whoever has its password there may only ask."""
    before, ran, target = stand.identity()[:2], stand.ran(), stand.target
    named = {"QUEUE": target.queue, "TASK": target.task}
    arguments = {name: named.get(str(value), value) for name, value in arguments.items()}
    # By name, since on RabbitMQ the other roles' workers have the same broker and hear it too.
    control, one = stand.app.control, {"destination": [stand.name], "limit": 1}
    answers = control.broadcast(order, arguments=arguments, reply=True, **one)
    assert answers == [{stand.name: {"error": "this worker takes no orders"}}]
    assert control.inspect(timeout=5, **one).ping()
    stand.send(stand.queued())
    wait_for(lambda: stand.ran() == ran + 1, what="its next message")
    assert stand.identity()[:2] == before  # an answer is waited for by a connection of ours


def test_nothing_that_was_sent_filled_the_worker_or_stopped_it(stand: Stand) -> None:
    """The last but one on each stand: after bombs, and millions of elements."""
    status = Path(f"/proc/{stand.process.pid}/status").read_text()
    (peak,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    assert int(peak.split()[1]) * 1024 < LARGEST_RESIDENT_BYTES


def test_a_worker_that_is_told_to_stop_takes_its_lease_away(stand: Stand) -> None:
    assert stand.role in {worker.role for worker in stand.ledger.workers()}
    stand.process.terminate()
    assert stand.process.wait(20) == 0
    assert stand.role not in {worker.role for worker in stand.ledger.workers()}
