"""Whatever lies in a queue is Malformed or a clean message, never another exception.

``make fuzz SECONDS=...`` searches for longer than the examples of an ordinary run last.
"""

from __future__ import annotations

import base64
import copy
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kombu.transport.virtual import Channel
from kombu.utils.json import dumps

from shared.messages import Batch, Chunk, Message, Result
from tests import samples
from tests.malformed import MISSING, Target, envelope, signed, valid
from workers.quarantine.envelope import open_envelope
from workers.quarantine.inspection import Contract, Malformed, inspect
from workers.quarantine.staged import staged_check

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
EXAMPLES = settings(
    max_examples=1000 if SECONDS else 150,
    derandomize=False,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
KEY = "k" * 32
TARGETS = [
    Target("preprocess", "v1.preprocess.bulk", KEY, samples.chunk()),
    Target("inference", "v1.inference.bulk.testhost", KEY, samples.batch()),
    Target("collector", "v1.results.bulk", KEY, samples.result()),
]
VALID = {target.role: valid(target) for target in TARGETS}
TYPES: dict[str, type[Message]] = {"preprocess": Chunk, "inference": Batch, "collector": Result}
CHECK = staged_check(samples.settings(Path("/nowhere")))

# Lone surrogates among the texts, NaN and infinities among the numbers.
texts = st.text(st.characters(exclude_categories=()), max_size=20)
odd = st.sampled_from(
    [MISSING, None, True, 0, -1, 2**63, 10**400, "", "\ud800", "x" * 5000, [], {}, [[]], [None]]
)
values = odd | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)


class _Channel:
    """What kombu's Message asks of its channel."""

    decode_body = Channel.decode_body


def judge(target: Target, item: bytes) -> bool:
    """Is it clean? Raises what must never be raised."""
    check = CHECK if target.role == "inference" else lambda _: None
    contract = Contract(target.queue, target.task, TYPES[target.role], [KEY], check)
    try:
        opened = open_envelope(item, target.queue)
        message = Channel.Message(opened, channel=_Channel())
        assert not message.errors
        dumps([message._raw, "", ""]).encode()  # as kombu keeps it until it is acknowledged
        message.delivery_tag.encode()
        headers, _ = inspect(contract, message)
    except Malformed as problem:
        json.dumps([problem.layer, problem.reason])
        return False
    # What Celery will do with it, in a thread of the pool.
    message.accept = {"application/json"}
    (body, _signature), kwargs, embed = message.decode()
    parsed = contract.message_type.model_validate_json(body)
    parsed.model_dump_json().encode()
    assert (headers["task"], kwargs, embed) == (target.task, {}, {})
    assert headers["eta"] is headers["expires"] is None
    return True


def paths(value: Any, here: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a JSON value but its root."""
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    else:
        return []
    found = [(*here, name) for name, _ in inner]
    return found + [path for name, child in inner for path in paths(child, (*here, name))]


def mutated(draw: st.DrawFn, whole: Any) -> Any:
    """``whole`` with one to three places changed, taken away, or added to."""
    whole = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        places = paths(whole)
        if not places:
            return None
        *parents, last = draw(st.sampled_from(places))
        inner = whole
        for name in parents:
            inner = inner[name]
        value = draw(values)
        if isinstance(inner, dict) and draw(st.integers(0, 9)) == 0:
            last = draw(texts)
        if value is not MISSING:
            inner[last] = copy.deepcopy(value)  # a later change must not reach the strategy's own
        elif last in inner or isinstance(inner, list):
            del inner[last]
    return whole


@st.composite
def envelopes(draw: st.DrawFn) -> tuple[Target, bytes]:
    """A valid message with a spoiled envelope."""
    target = draw(st.sampled_from(TARGETS))
    return target, json.dumps(mutated(draw, VALID[target.role])).encode()


@st.composite
def bodies(draw: st.DrawFn) -> tuple[Target, bytes]:
    """A good envelope around a spoiled body."""
    target = draw(st.sampled_from(TARGETS))
    whole = VALID[target.role]
    body = json.dumps(mutated(draw, json.loads(base64.b64decode(whole["body"])))).encode()
    return target, json.dumps(envelope(target, body, whole["headers"]["id"])).encode()


@st.composite
def messages(draw: st.DrawFn) -> tuple[Target, bytes]:
    """A spoiled message, rightly signed."""
    target = draw(st.sampled_from(TARGETS))
    fields = json.loads(target.message.model_dump_json())
    return target, json.dumps(signed(target, json.dumps(mutated(draw, fields)))).encode()


@st.composite
def damaged(draw: st.DrawFn) -> tuple[Target, bytes]:
    """The bytes of a valid message, some of them overwritten, or cut off."""
    target = draw(st.sampled_from(TARGETS))
    data = bytearray(json.dumps(VALID[target.role]).encode())
    for place in draw(st.lists(st.integers(0, len(data) - 1), max_size=4)):
        data[place] = draw(st.integers(0, 255))
    return target, bytes(data[: draw(st.none() | st.integers(0, len(data)))])


@st.composite
def noise(draw: st.DrawFn) -> tuple[Target, bytes]:
    """Bytes of any kind, as envelope or as body."""
    target, data = draw(st.sampled_from(TARGETS)), draw(st.binary(max_size=200))
    if draw(st.booleans()):
        return target, data
    return target, json.dumps(envelope(target, data)).encode()


KINDS = {
    "envelopes": envelopes(),
    "bodies": bodies(),
    "messages": messages(),
    "damaged": damaged(),
    "noise": noise(),
}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.role)
def test_the_message_that_all_the_others_are_made_of_is_clean(target: Target) -> None:
    assert judge(target, json.dumps(VALID[target.role]).encode())


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_is_clean_or_malformed(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    executions = clean = 0

    @EXAMPLES
    @given(KINDS[kind])
    def search(case: tuple[Target, bytes]) -> None:
        nonlocal executions, clean
        executions += 1
        clean += judge(*case)

    end = time.monotonic() + SECONDS / len(KINDS)
    search()
    while time.monotonic() < end:
        search()
    if SECONDS:
        with capsys.disabled():
            print(f"\n{kind}: {executions} executions, {clean} of them clean")
