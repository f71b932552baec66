"""Is this a message of ours? Everything is checked before Celery acts on anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict, ValidationError

from shared.broker.signing import verify
from shared.ledger import ChunkRef
from shared.messages import MAX_MESSAGE_BYTES, Address, Message

# What a dead letter keeps of a reason, and how much of it may be the place's name.
_MAX_REASON_CHARACTERS = 500
_MAX_PLACE_CHARACTERS = 200


class Malformed(Exception):
    """``layer`` says where the message is wrong, as in ``shared.broker.dead_letters.DeadLetter``.

    ``about_chunk`` is the chunk of a message that carries our signature all the same.
    """

    def __init__(self, layer: str, reason: str, about_chunk: ChunkRef | None = None) -> None:
        super().__init__(f"{layer}: {reason}")
        self.layer = layer
        self.reason = reason
        self.about_chunk = about_chunk


@dataclass(frozen=True, slots=True)
class Contract:
    """What one worker's queues carry, and no other queue does.

    ``check`` says what is wrong with a message that its type allows.
    """

    queues: Collection[str]
    task: str
    message_type: type[Message]
    signing_keys: Sequence[str]
    check: Callable[[Any], str | None] = lambda _: None


def inspect(contract: Contract, message: Any, queue: str) -> tuple[dict[str, Any], Message]:
    """Check a kombu message that was taken from ``queue`` to the last field; or raise Malformed.

    Returns headers made only of what is signed, and what is signed: eta, expires, time limits,
    retries and callbacks that somebody may have put beside it are never seen by Celery. A message
    is signed for its queue: put into another, it is malformed there.
    """
    task, message_id = message.headers["task"], message.headers["id"]
    if task != contract.task:
        raise Malformed("headers", f"the task is not {contract.task}")
    if message.content_type != "application/json" or message.content_encoding != "utf-8":
        raise Malformed("content_type", "the content type is not application/json in utf-8")
    body, signature = _payload(message.body)
    if queue not in contract.queues:
        raise Malformed("signature", f"not from a queue of this worker: {queue}")
    if not verify(contract.signing_keys, task, queue, message_id, body, signature):
        raise Malformed("signature", "not signed with our key for this task, queue and id")
    parsed = _parse(contract.message_type, body)
    problem = contract.check(parsed)
    if problem is not None:
        raise Malformed("schema", problem, parsed.ref)
    return _clean_headers(contract.task, message_id, parsed), parsed


def _payload(raw: Any) -> tuple[str, str]:
    if not isinstance(raw, bytes):
        raise Malformed("body", "there is no body")
    if len(raw) > MAX_MESSAGE_BYTES:
        raise Malformed("body", f"the body is over {MAX_MESSAGE_BYTES} bytes")
    try:
        body = json.loads(raw.decode())  # as kombu will: of bytes, json would guess an encoding
    except (ValueError, RecursionError) as error:
        raise Malformed("body", f"the body is not JSON: {error}") from error
    match body:
        case [[str(payload), str(signature)], dict(kwargs), dict(embed)] if not kwargs | embed:
            try:
                payload.encode()
                signature.encode()
            except UnicodeEncodeError as error:
                raise Malformed("body", "the body has a lone surrogate") from error
            return payload, signature
    raise Malformed("body", "the body is not [[payload, signature], {}, {}]")


def _parse(message_type: type[Message], body: str) -> Message:
    try:
        return message_type.model_validate_json(body, strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        # Both may have a name from the message in them, of any length.
        where = ".".join(str(part) for part in first["loc"])[:_MAX_PLACE_CHARACTERS] or "message"
        reason = f"{where}: {first['msg']}"[:_MAX_REASON_CHARACTERS]
        raise Malformed("schema", reason, _about_chunk(body)) from error


class _Signed(Address):
    """As much of a signed message as says whose it is, whatever else is in it."""

    model_config = ConfigDict(extra="ignore")


def _about_chunk(body: str) -> ChunkRef | None:
    try:
        return _Signed.model_validate_json(body, strict=True).ref
    except ValidationError:
        return None


def _clean_headers(task: str, message_id: str, message: Message) -> dict[str, Any]:
    return {
        "lang": "py",
        "task": task,
        "id": message_id,
        "root_id": message_id,
        "parent_id": None,
        "group": None,
        "retries": 0,
        "eta": None,
        "expires": None,
        "timelimit": [None, None],
        "argsrepr": f"{message.job_id} chunk {message.chunk} attempt {message.attempt}",
        "kwargsrepr": "",
        "origin": "headrace",
        "ignore_result": True,
    }
