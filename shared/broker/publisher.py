"""The one way to send a message."""

from __future__ import annotations

import json
import uuid

from shared.broker.queues import connect_queues
from shared.broker.signing import sign
from shared.errors import PermanentError
from shared.messages import MAX_MESSAGE_BYTES, Message
from shared.settings import Settings


class MessagePublisher:
    """Signs messages and sends them. Thread-safe. Raises TransientError when nobody answers."""

    def __init__(self, settings: Settings) -> None:
        self._key = settings.signing_keys[0]
        self._queues = connect_queues(settings)

    def send(self, task: str, queue: str, message: Message) -> None:
        """Send one message to ``queue``, for ``task``.

        Raises PermanentError ``message_too_large`` for what nobody would take.
        """
        message_id, body = str(uuid.uuid4()), message.model_dump_json()
        signature = sign(self._key, task, queue, message_id, body)
        payload = json.dumps([[body, signature], {}, {}], ensure_ascii=False)
        payload_bytes = len(payload.encode())
        if payload_bytes > MAX_MESSAGE_BYTES:
            raise PermanentError(
                "message_too_large",
                f"A message of {payload_bytes} bytes is over {MAX_MESSAGE_BYTES}.",
                "Use a smaller --chunk-items, or a smaller top_k.",
            )
        label = f"{message.job_id} chunk {message.chunk} attempt {message.attempt}"
        self._queues.put(queue, payload, {"task": task, "id": message_id, "argsrepr": label})

    def ready_length(self, queue: str) -> int:
        """How many messages wait in ``queue`` and are with no worker."""
        return self._queues.length(queue)

    def discard(self, queue: str) -> None:
        """Drop the messages that wait in ``queue``, which may be used again."""
        self._queues.discard(queue)
