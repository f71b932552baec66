"""Whatever lies in a queue is Malformed or a clean message, never another exception.

``make fuzz SECONDS=...`` searches for longer than the examples of an ordinary run last.
"""

from __future__ import annotations

import base64
import copy
import json
import os
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.malformed import MISSING, Target, envelope, signed
from tests.support.message_judge import TARGETS, VALID, judge, paths

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
EXAMPLES = settings(
    max_examples=1000 if SECONDS else 150,
    derandomize=False,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
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
def answers(draw: st.DrawFn) -> tuple[Target, bytes]:
    """A message whose answers are spoiled, rightly signed."""
    target = draw(st.sampled_from([each for each in TARGETS if each.role != "preprocess"]))
    fields = json.loads(target.message.model_dump_json())
    data = overwritten(draw, base64.b64decode(fields["answers"]))
    fields["answers"] = base64.b64encode(data).decode()
    return target, json.dumps(signed(target, json.dumps(fields))).encode()


def overwritten(draw: st.DrawFn, data: bytes) -> bytes:
    """Some bytes overwritten, or cut off."""
    new = bytearray(data)
    for place in draw(st.lists(st.integers(0, len(new) - 1), max_size=4)):
        new[place] = draw(st.integers(0, 255))
    return bytes(new[: draw(st.none() | st.integers(0, len(new)))])


@st.composite
def damaged(draw: st.DrawFn) -> tuple[Target, bytes]:
    """The bytes of a valid message, some of them overwritten, or cut off."""
    target = draw(st.sampled_from(TARGETS))
    return target, overwritten(draw, json.dumps(VALID[target.role]).encode())


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
    "answers": answers(),
    "damaged": damaged(),
    "noise": noise(),
}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.role)
def test_the_message_that_all_the_others_are_made_of_is_clean(target: Target) -> None:
    assert judge(target, json.dumps(VALID[target.role]).encode()) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_is_clean_or_malformed(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    executions = clean = 0

    @EXAMPLES
    @given(KINDS[kind])
    def search(case: tuple[Target, bytes]) -> None:
        nonlocal executions, clean
        executions += 1
        clean += judge(*case) is None

    end = time.monotonic() + SECONDS / 2 / len(KINDS)  # half of it is coverage-guided
    search()
    while time.monotonic() < end:
        search()
    if SECONDS:
        with capsys.disabled():
            print(f"\n{kind}: {executions} executions, {clean} of them clean")
