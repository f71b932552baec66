"""A queue, and a valid message of it, as kombu would have put it there."""

from __future__ import annotations

import base64
import json
import uuid
from dataclasses import dataclass
from typing import Any

from shared.broker.signing import sign
from shared.messages import Message
from shared.stages import INFERENCE, PREPROCESS, RESULTS

_TASKS = {"preprocess": PREPROCESS.task, "inference": INFERENCE.task, "collector": RESULTS.task}


@dataclass(frozen=True)
class Target:
    """A queue, what it carries, and a valid message of it that is spoiled."""

    role: str
    queue: str
    key: str
    message: Message

    @property
    def task(self) -> str:
        return _TASKS[self.role]

    @property
    def other_task(self) -> str:
        return next(task for task in _TASKS.values() if task != self.task)


def envelope(target: Target, body: bytes, message_id: str | None = None) -> dict[str, Any]:
    """What kombu would have put into the queue."""
    message_id = message_id or str(uuid.uuid4())
    return {
        "body": base64.b64encode(body).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": target.task, "id": message_id},
        "properties": {
            "delivery_tag": str(uuid.uuid4()),
            "delivery_info": {"exchange": "", "routing_key": target.queue},
            "body_encoding": "base64",
            "correlation_id": message_id,
        },
    }


def signed(target: Target, body: str, /, **instead: str) -> dict[str, Any]:
    """An envelope that carries ``body`` with our signature, or one made with other fields."""
    message_id = str(uuid.uuid4())
    fields = {"task": target.task, "queue": target.queue, "message_id": message_id}
    signature = sign(**{"key": target.key, "body": body, **fields, **instead})
    payload = json.dumps([[body, signature], {}, {}]).encode()
    return envelope(target, payload, message_id)


def valid(target: Target) -> dict[str, Any]:
    """The message as it should be."""
    return signed(target, target.message.model_dump_json())
