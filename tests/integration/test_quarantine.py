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
from tests.support.malformed import CASES, IGNORED, SCHEMA, Target, set_at, signed, valid
from tests.support.servers import BROKER
from tests.support.waiting import wait_for
from tests.support.worker_harness import ROLES, WorkerHarness, start

cases = amqp_deliveries.cases if BROKER == "rabbitmq" else malformed.cases
# A bomb of a quarter of a gigabyte would show.
MAX_RESIDENT_BYTES = 350 * 2**20


@pytest.fixture(scope="module")
def harnesses(
    tmp_path_factory: pytest.TempPathFactory, rabbit_url: str | None
) -> Iterator[Callable[[str], WorkerHarness]]:
    """The harness of each role, started when it is first asked for."""
    with ExitStack() as running:

        @cache
        def harness_of(role: str) -> WorkerHarness:
            directory = tmp_path_factory.mktemp(role)
            made = contextmanager(start)(directory, role, rabbit_url=rabbit_url)
            return running.enter_context(made)

        yield harness_of


@pytest.fixture(params=ROLES)
def harness(
    request: pytest.FixtureRequest, harnesses: Callable[[str], WorkerHarness]
) -> WorkerHarness:
    return harnesses(request.param)


def letters_of(harness: WorkerHarness, count: int) -> list[DeadLetter]:
    """The dead letters, with their bytes, once there are ``count``."""
    found = wait_for(
        lambda: found if len(found := harness.letters.list()) >= count else None,
        what=f"{count} dead letters",
        every=0.002,
    )
    return [harness.letters.show(letter.id) for letter in found]


# What all messages begin with is read by the same lines at each stage; ``test_malformed_cases.py``
# tries each of these cases with each message.
ONCE = SCHEMA.keys()


@pytest.mark.parametrize(
    ("harness", "name"),
    [
        (role, name)
        for role in ROLES
        for name in cases(role)
        if role == ROLES[0] or name not in ONCE
    ],
    indirect=["harness"],
)
def test_a_malformed_message_becomes_a_dead_letter_and_the_next_one_runs(
    harness: WorkerHarness, name: str
) -> None:
    case = cases(harness.role)[name]
    harness.letters.purge()
    raw, ran, before = case.make(harness.target), harness.ran(), harness.identity()
    good = harness.queued()
    harness.push(raw)
    harness.send(good)

    wait_for(lambda: harness.ran() == ran + 1, what="the good message behind it", every=0.002)
    (letter,) = letters_of(harness, 1)
    assert (letter.queue, letter.layer) == (harness.target.queue, case.layer), letter.reason
    assert letter.reason
    assert letter.raw == harness.lies_as(raw)
    assert letter.size == len(letter.raw)
    assert harness.identity() == before


def one_of_each_layer(role: str) -> Iterable[str]:
    return {case.layer: name for name, case in cases(role).items()}.values()


@pytest.mark.parametrize(
    ("harness", "name"),
    [(role, name) for role in ROLES for name in one_of_each_layer(role)],
    indirect=["harness"],
)
def test_a_dead_letter_goes_back_to_the_lane_that_it_came_from(
    harness: WorkerHarness, name: str
) -> None:
    harness.letters.purge()
    before, queue, case = harness.identity(), harness.interactive.queue, cases(harness.role)[name]
    raw = case.make(harness.interactive)
    harness.push(raw, queue)
    (letter,) = letters_of(harness, 1)
    assert (letter.queue, letter.layer) == (queue, case.layer)
    assert letter.raw == harness.lies_as(raw)
    harness.letters.replay([letter.id])
    (again,) = wait_for(
        lambda: [one for one in harness.letters.list() if one.id != letter.id], what="its return"
    )
    assert (again.queue, again.replays) == (queue, 1)
    assert harness.identity() == before


def test_a_message_runs_only_from_the_lane_that_it_was_signed_for(harness: WorkerHarness) -> None:
    harness.letters.purge()
    ran, bulk, interactive = harness.ran(), harness.target, harness.interactive
    for mine, other in ((bulk, interactive), (interactive, bulk)):
        signed_for = replace(mine, message=harness.queued())
        harness.push(json.dumps(valid(signed_for)).encode(), other.queue)
        (letter,) = letters_of(harness, 1)
        assert (letter.queue, letter.layer) == (other.queue, "signature")
        harness.letters.purge()
        assert harness.ran() == ran
    harness.publisher.send(interactive.task, interactive.queue, harness.queued())
    wait_for(lambda: harness.ran() == ran + 1, what="the interactive message", every=0.002)
    assert harness.letters.list() == []


@pytest.mark.parametrize("header", IGNORED)
def test_headers_that_are_not_signed_are_ignored(harness: WorkerHarness, header: str) -> None:
    harness.letters.purge()
    before = harness.identity()
    for value in IGNORED[header]:
        ran = harness.ran()
        good = Target(harness.role, harness.target.queue, harness.target.key, harness.queued())
        whole = set_at(valid(good), ("headers", header), value)
        set_at(whole, ("properties", header), value)
        harness.push(json.dumps(set_at(whole, (header,), value)).encode())
        wait_for(lambda ran=ran: harness.ran() == ran + 1, what="it, at once", every=0.002)
    assert harness.letters.list() == []
    assert harness.identity() == before


def test_malformed_remote_control_is_dropped_and_ends_nothing(harness: WorkerHarness) -> None:
    harness.letters.purge()
    ran, before = harness.ran(), harness.identity()
    exchange = Exchange("celery.pidbox", "fanout", durable=False)
    with make_app(load_settings(harness.home)).connection() as connection:
        connection.Producer().publish(
            b"nonsense",
            exchange=exchange,
            declare=[exchange],
            content_type="no/such",
            content_encoding="binary",
        )
    log = harness.home / "worker.log"
    wait_for(lambda: "message of remote control" in log.read_text(), what="its end")
    harness.send(harness.queued())
    wait_for(lambda: harness.ran() == ran + 1, what="a good message")
    assert harness.letters.list() == []
    assert harness.identity() == before


def test_a_stale_message_is_dropped_and_is_no_dead_letter(harness: WorkerHarness) -> None:
    harness.letters.purge()
    ran = harness.ran()
    good = harness.queued()
    harness.send(good.model_copy(update={"attempt": 7}))
    harness.send(good.model_copy(update={"incarnation": "f" * 16}))
    harness.send(good)
    harness.send(good)

    wait_for(lambda: harness.ran() == ran + 1, what="the good message")
    stale = {"attempt", "incarnation"}  # which the worker's other thread may still be at
    wait_for(lambda: stale <= set(harness.ledger.stale_counts()), what="both being counted")
    assert harness.letters.list() == []
    assert harness.ran() == ran + 1


def test_a_replayed_message_that_is_still_bad_comes_back_with_its_count(
    harness: WorkerHarness,
) -> None:
    harness.letters.purge()
    harness.push(CASES["signature: invented"].make(harness.target))
    (letter,) = letters_of(harness, 1)
    assert letter.replays == 0
    harness.letters.replay([letter.id])
    (again,) = wait_for(
        lambda: [one for one in harness.letters.list() if one.id != letter.id], what="its return"
    )
    assert again.replays == 1
    assert harness.letters.show(again.id).raw == letter.raw


def test_a_replayed_message_that_is_valid_now_runs_once(harness: WorkerHarness) -> None:
    harness.letters.purge()
    ran = harness.ran()
    good = Target(harness.role, harness.target.queue, harness.target.key, harness.queued())
    raw = harness.lies_as(json.dumps(valid(good)).encode())
    for _ in range(2):  # as if it had been refused twice, by an older release
        letter = DeadLetter.of(queue=good.queue, layer="schema", reason="old", raw=raw)
        harness.letters.add(letter)
    harness.letters.replay([letter.id for letter in harness.letters.list()])
    wait_for(lambda: harness.ran() == ran + 1, what="the message")
    assert harness.ran() == ran + 1
    assert harness.letters.list() == []


def strange(harness: WorkerHarness, message: Message, **changes: Any) -> bytes:
    """A message of ours with other fields, signed all the same."""
    body = json.dumps({**message.model_dump(mode="json"), **changes})
    target = Target(harness.role, harness.target.queue, harness.target.key, message)
    return json.dumps(signed(target, body)).encode()


def entry(harness: WorkerHarness, message: Message) -> list[str]:
    """What the ledger knows of the message's chunk: state, stage, attempt, and so on."""
    line = harness.client.hget(f"hr:{message.job_uid}:live", str(message.chunk))
    assert isinstance(line, bytes)
    return line.decode().split()


def test_a_signed_dead_letter_counts_against_its_chunk(harness: WorkerHarness) -> None:
    harness.letters.purge()
    message = harness.queued()
    for attempt in (1, 2, 3):
        before = entry(harness, message)
        assert (before[0], int(before[2])) == ("queued", attempt)
        harness.push(strange(harness, message, attempt=attempt, novelty=True))
        wait_for(lambda was=before: entry(harness, message) != was, what="the chunk set aside")
        if attempt < 3:
            requeue(harness, message, attempt + 1)
    assert entry(harness, message)[0] == "refused"
    letters = letters_of(harness, 3)
    assert {(letter.layer, letter.reason.split(":")[0]) for letter in letters} == {
        ("schema", "novelty")
    }
    harness.letters.replay([letters[0].id])  # of attempts that are over by now
    wait_for(lambda: len(harness.letters.list()) == 3, what="its return")
    assert entry(harness, message)[2] == "4"
    harness.letters.purge()


def requeue(harness: WorkerHarness, message: Message, attempt: int) -> None:
    """The producer's part: the chunk is queued again, and reaches the worker's stage."""
    harness.client.zadd("hr:waiting", {message.ref.name: 0})
    (ref,) = harness.ledger.rescue_held(samples.INCARNATION)
    assert ref.attempt == attempt
    harness.pass_on(ref)


@pytest.mark.parametrize("name", ["signature: invented", "signature: none", "body: null"])
def test_a_forged_dead_letter_counts_against_nobody(harness: WorkerHarness, name: str) -> None:
    harness.letters.purge()
    message = harness.queued()
    before = entry(harness, message)
    target = Target(harness.role, harness.target.queue, harness.target.key, message)
    harness.push(CASES[name].make(target))
    letters_of(harness, 1)
    ran = harness.ran()
    harness.send(message)
    wait_for(lambda: harness.ran() == ran + 1, what="the chunk, at its first attempt")
    assert before[2] == "1"
    harness.letters.purge()


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
def test_a_worker_takes_no_orders(
    harness: WorkerHarness, order: str, arguments: dict[str, Any]
) -> None:
    """Flower asks workers over the broker; who has its password there may only ask."""
    before, ran, target = harness.identity()[:2], harness.ran(), harness.target
    named = {"QUEUE": target.queue, "TASK": target.task}
    arguments = {name: named.get(str(value), value) for name, value in arguments.items()}
    # By name, since on RabbitMQ the other roles' workers have the same broker and hear it too.
    control, one = harness.app.control, {"destination": [harness.name], "limit": 1}
    answers = control.broadcast(order, arguments=arguments, reply=True, **one)
    assert answers == [{harness.name: {"error": "this worker takes no orders"}}]
    assert control.inspect(timeout=5, **one).ping()
    harness.send(harness.queued())
    wait_for(lambda: harness.ran() == ran + 1, what="its next message")
    assert harness.identity()[:2] == before  # an answer is waited for by a connection of ours


def test_nothing_that_was_sent_filled_the_worker_or_stopped_it(harness: WorkerHarness) -> None:
    """The last but one on each harness: after bombs, and millions of elements."""
    status = Path(f"/proc/{harness.process.pid}/status").read_text()
    (peak,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    assert int(peak.split()[1]) * 1024 < MAX_RESIDENT_BYTES


def test_a_worker_that_is_told_to_stop_takes_its_lease_away(harness: WorkerHarness) -> None:
    assert harness.role in {worker.role for worker in harness.ledger.workers()}
    harness.process.terminate()
    assert harness.process.wait(20) == 0
    assert harness.role not in {worker.role for worker in harness.ledger.workers()}
