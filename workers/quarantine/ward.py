"""Moving a message to the dead letters, in one transaction with its removal from the queue."""

from __future__ import annotations

import logging
import time
from typing import Any

import redis

from shared.dead_letters import DeadLetters

log = logging.getLogger(__name__)


class Ward:
    """Where one worker's malformed messages go. It has the broker's client to itself."""

    def __init__(self, client: redis.Redis, queue: str) -> None:
        self._client = client
        self._letters = DeadLetters(client)
        self.queue = queue

    def admit(
        self, *, layer: str, reason: str, raw: bytes, unacked: tuple[str, str, str] | None = None
    ) -> None:
        """Keep ``raw``. ``unacked``: the unacked hash, its index, and the message's tag in them."""
        while True:
            try:
                self._admit(layer, reason, raw, unacked)
                return
            except redis.RedisError as error:
                # It is in no queue any more: to give up now would lose it.
                log.warning("cannot keep a dead letter yet: %s", error)
                time.sleep(1)

    def _admit(
        self, layer: str, reason: str, raw: bytes, unacked: tuple[str, str, str] | None
    ) -> None:
        replays = self._letters.replays_of(self.queue, raw)
        pipe: Any = self._client.pipeline()
        letter = self._letters.add(
            pipe, queue=self.queue, layer=layer, reason=reason, raw=raw, replays=replays
        )
        if unacked is not None:
            entries, index, tag = unacked
            pipe.zrem(index, tag)
            pipe.hdel(entries, tag)
        pipe.execute()
        log.warning("dead letter %s from %s: %s: %s", letter.id, self.queue, layer, reason)
