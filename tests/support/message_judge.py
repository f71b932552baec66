"""What may come of a message, whatever is in it: it is clean, or Malformed, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kombu.transport.virtual import Channel
from kombu.utils.json import dumps

from shared.messages import Batch, Chunk, Message, Result
from tests.support import samples
from tests.support.malformed import Target, valid
from workers.quarantine.envelope import open_envelope
from workers.quarantine.inspection import Contract, Malformed, inspect
from workers.quarantine.staged import staged_check

KEY = "k" * 32
TARGETS = [
    Target("preprocess", "v6.preprocess.bulk", KEY, samples.chunk()),
    Target("inference", "v6.inference.bulk.testhost", KEY, samples.batch()),
    Target("collector", "v6.results.bulk", KEY, samples.result()),
]
VALID = {target.role: valid(target) for target in TARGETS}
TYPES: dict[str, type[Message]] = {"preprocess": Chunk, "inference": Batch, "collector": Result}
CHECK = staged_check(samples.settings(Path("/nowhere")))


class _Channel:
    """What kombu's Message asks of its channel."""

    decode_body = Channel.decode_body


def judge(target: Target, item: bytes) -> Malformed | None:
    """What is wrong with it; None where it is clean. Raises what must never be raised."""
    check = CHECK if target.role == "inference" else lambda _: None
    contract = Contract([target.queue], target.task, TYPES[target.role], [KEY], check)
    try:
        opened = open_envelope(item, target.queue)
        message = Channel.Message(opened, channel=_Channel())
        assert not message.errors
        dumps([message._raw, "", ""]).encode()  # as kombu keeps it until it is acknowledged
        message.delivery_tag.encode()
        headers, _ = inspect(contract, message, target.queue)
    except Malformed as problem:
        json.dumps([problem.layer, problem.reason])
        return problem
    # What Celery will do with it, in a thread of the pool.
    message.accept = {"application/json"}
    (body, _signature), kwargs, embed = message.decode()
    parsed = contract.message_type.model_validate_json(body)
    parsed.model_dump_json().encode()
    assert (headers["task"], kwargs, embed) == (target.task, {}, {})
    assert headers["eta"] is headers["expires"] is None
    return None


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
