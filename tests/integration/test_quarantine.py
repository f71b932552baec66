"""A real worker on a real broker meets malformed messages: all kept, none harmful."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from shared.celery_app import Publisher
from shared.dead_letters import DeadLetters
from shared.dead_letters import connect as connect_dead_letters
from shared.ledger import Ledger, Stage, WorkerIdentity
from shared.ledger import connect as connect_ledger
from shared.messages import Result
from shared.queues import INFERENCE_TASK, RESULTS_TASK, results_queue
from shared.settings import save_settings
from shared.signing import sign
from tests import samples
from tests.servers import start_valkey
from tests.waiting import wait_for

QUEUE = results_queue()


@dataclass
class Stand:
    """A worker at work, and everything that a test needs to talk to it."""

    process: subprocess.Popen[bytes]
    client: redis.Redis
    ledger: Ledger
    letters: DeadLetters
    publisher: Publisher
    key: str
    chunks: int = 0

    def queued_result(self) -> Result:
        """A result whose chunk the ledger holds to be queued for the collector."""
        chunk, self.chunks = self.chunks, self.chunks + 1
        _, (ref,) = self.ledger.feed(
            samples.INCARNATION, samples.JOB_UID, chunk, chunk + 1, bound=100
        )
        helper = WorkerIdentity("inference", "helper", "testhost")
        self.ledger.claim(ref, Stage.PREPROCESS, helper)
        self.ledger.advance(ref, Stage.PREPROCESS, helper, Stage.RESULTS, QUEUE)
        return samples.result(chunk=chunk)

    def done(self) -> int:
        progress = self.ledger.progress(samples.JOB_UID)
        assert progress is not None
        return progress.done_chunks

    def push(self, raw: bytes) -> None:
        self.client.lpush(QUEUE, raw)


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    directory = tmp_path_factory.mktemp("quarantine")
    valkey = start_valkey(directory / "valkey")
    settings = samples.settings(directory, valkey.url)
    save_settings(settings)
    ledger = connect_ledger(settings)
    ledger.begin(samples.INCARNATION)
    ledger.open_job(samples.INCARNATION, samples.JOB_UID, "job")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.echo_worker"],
        env={**os.environ, "HEADRACE_HOME": str(directory), "HEADRACE_PROCESS": "collector-1"},
        stderr=(directory / "worker.log").open("wb"),
        cwd=Path(__file__).parents[2],
    )
    try:
        wait_for(lambda: ledger.workers(), what="the worker's lease")
        yield Stand(
            process,
            redis.Redis.from_url(valkey.url),
            ledger,
            connect_dead_letters(settings),
            Publisher(settings),
            settings.signing_keys[0],
        )
    finally:
        process.terminate()
        process.wait(20)
        valkey.stop()


def envelope(content: Any, **changes: Any) -> dict[str, Any]:
    """What kombu would have put into the queue."""
    encoded = base64.b64encode(json.dumps(content).encode()).decode()
    message_id = str(uuid.uuid4())
    return {
        "body": encoded,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": RESULTS_TASK, "id": message_id},
        "properties": {
            "delivery_tag": str(uuid.uuid4()),
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "body_encoding": "base64",
            "correlation_id": message_id,
        },
        **changes,
    }


def signed(stand: Stand, body: str, *, task: str = RESULTS_TASK, queue: str = QUEUE) -> bytes:
    """An envelope whose body carries our signature, for this task and queue."""
    whole = envelope(None)
    message_id = whole["headers"]["id"]
    payload = [[body, sign(stand.key, task, queue, message_id, body)], {}, {}]
    whole["body"] = base64.b64encode(json.dumps(payload).encode()).decode()
    return json.dumps(whole).encode()


def unsigned(stand: Stand) -> bytes:
    body = samples.result().model_dump_json()
    return json.dumps(envelope([[body, "0" * 64], {}, {}])).encode()


def without(name: str) -> bytes:
    whole = envelope([["{}", "x"], {}, {}])
    del whole[name]
    return json.dumps(whole).encode()


MALFORMED: dict[str, tuple[str, Any]] = {
    "not JSON": ("envelope", lambda s: b"\xff\x00 nonsense"),
    "not an object": ("envelope", lambda s: b"[1, 2]"),
    "nested too deep": ("envelope", lambda s: b"[" * 100_000),
    "no properties": ("envelope", lambda s: without("properties")),
    "no headers": ("envelope", lambda s: without("headers")),
    "no body": ("envelope", lambda s: without("body")),
    "bad base64": (
        "envelope",
        lambda s: json.dumps({**envelope(None), "body": "*"}).encode(),
    ),
    "no content type": ("content_type", lambda s: without("content-type")),
    "pickle": (
        "content_type",
        lambda s: json.dumps(
            envelope(None, **{"content-type": "application/x-python-serialize"})
        ).encode(),
    ),
    "no task": ("headers", lambda s: json.dumps(envelope(None, headers={"id": "x"})).encode()),
    "unknown task": (
        "headers",
        lambda s: json.dumps(envelope(None, headers={"id": "x", "task": "no.such"})).encode(),
    ),
    "unhashable task": (
        "headers",
        lambda s: json.dumps(envelope(None, headers={"id": "x", "task": ["a"]})).encode(),
    ),
    "no triple": ("body", lambda s: json.dumps(envelope({"a": 1})).encode()),
    "wrong arity": ("body", lambda s: json.dumps(envelope([["a"], {}, {}])).encode()),
    "with a callback": (
        "body",
        lambda s: json.dumps(envelope([["a", "b"], {}, {"callbacks": [1]}])).encode(),
    ),
    "unsigned": ("signature", unsigned),
    "signed for another task": (
        "signature",
        lambda s: signed(s, samples.result().model_dump_json(), task=INFERENCE_TASK),
    ),
    "signed for another queue": (
        "signature",
        lambda s: signed(s, samples.result().model_dump_json(), queue="v1.other"),
    ),
    "not of our schema": ("schema", lambda s: signed(s, '{"schema_version": 1}')),
    "an unknown field": (
        "schema",
        lambda s: signed(
            s, json.dumps({**json.loads(samples.result().model_dump_json()), "extra": 1})
        ),
    ),
    "not an object in the body": ("schema", lambda s: signed(s, "[]")),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_message_becomes_a_dead_letter_and_the_next_one_runs(
    stand: Stand, name: str
) -> None:
    layer, make = MALFORMED[name]
    raw = make(stand)
    stand.letters.purge()
    done = stand.done()
    result = stand.queued_result()
    stand.push(raw)
    stand.publisher.send(RESULTS_TASK, QUEUE, result)

    wait_for(lambda: stand.done() == done + 1, what="the good message behind it")
    (letter,) = wait_for(stand.letters.list, what="the dead letter")
    assert (letter.queue, letter.layer) == (QUEUE, layer)
    assert letter.reason
    if layer == "envelope":
        assert letter.raw == raw
    else:
        assert json.loads(letter.raw)["body"] == json.loads(raw)["body"]
    assert stand.process.poll() is None
    assert stand.client.zcard("unacked_index.collector") == 0


def test_a_stale_message_is_dropped_and_is_no_dead_letter(stand: Stand) -> None:
    stand.letters.purge()
    done = stand.done()
    result = stand.queued_result()
    superseded = result.model_copy(update={"attempt": 7})
    stand.publisher.send(RESULTS_TASK, QUEUE, superseded)
    stand.publisher.send(RESULTS_TASK, QUEUE, result)
    stand.publisher.send(RESULTS_TASK, QUEUE, result)

    wait_for(lambda: stand.done() == done + 1, what="the good message")
    wait_for(lambda: not stand.client.zcard("unacked_index.collector"), what="all acked")
    assert stand.letters.list() == []
    assert stand.ledger.stale_counts()["attempt"] >= 1


def test_a_replayed_message_that_is_still_bad_comes_back_with_its_count(stand: Stand) -> None:
    stand.letters.purge()
    stand.push(unsigned(stand))
    (letter,) = wait_for(stand.letters.list, what="the dead letter")
    assert letter.replays == 0
    stand.letters.replay([letter.id])
    (again,) = wait_for(
        lambda: [one for one in stand.letters.list() if one.id != letter.id], what="its return"
    )
    assert again.replays == 1
    assert again.raw == letter.raw


def test_headers_that_are_not_signed_are_ignored(stand: Stand) -> None:
    done = stand.done()
    body = stand.queued_result().model_dump_json()
    whole = json.loads(signed(stand, body))
    whole["headers"] |= {"eta": "2999-01-01T00:00:00", "expires": "1999-01-01", "timelimit": [1, 1]}
    whole["headers"] |= {"retries": 10**9, "stamps": "x"}
    stand.push(json.dumps(whole).encode())
    wait_for(lambda: stand.done() == done + 1, what="the message, at once")


def test_a_worker_that_is_told_to_stop_takes_its_lease_away(stand: Stand) -> None:
    def live_roles() -> set[str]:
        return {worker.role for worker in stand.ledger.workers()}

    assert "collector" in live_roles()
    stand.process.terminate()
    assert stand.process.wait(20) == 0
    assert "collector" not in live_roles()
