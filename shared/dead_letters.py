"""The dead letters: what could never have been a message of ours, kept with where, why and how.

They lie in the broker, beside the queues that they came from, so that a message moves from one to
the other in one transaction.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import redis

from shared.errors import PermanentError, TransientError
from shared.settings import Settings

_ORDER, _ENTRIES, _REPLAYS = "dead:order", "dead:entries", "dead:replays"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One quarantined message. ``layer``: envelope, headers, content_type, body, signature, schema.

    ``raw``: the bytes as they lay in the queue. ``replays``: how often it was tried again.
    """

    id: str
    queue: str
    layer: str
    reason: str
    size: int
    received_at: str
    replays: int
    raw: bytes


class DeadLetters:
    """The dead letters of one broker. Methods raise TransientError when it does not answer."""

    def __init__(self, client: redis.Redis) -> None:
        self._client: Any = client

    def add(
        self, pipe: Any, *, queue: str, layer: str, reason: str, raw: bytes, replays: int
    ) -> DeadLetter:
        """Put a message among the dead letters, within the caller's transaction."""
        now = time.time()
        digest = hashlib.sha256(queue.encode() + b"\0" + raw).hexdigest()
        letter = DeadLetter(
            id=f"{int(now * 1000):013d}-{digest[:12]}",
            queue=queue,
            layer=layer,
            reason=reason[:500],
            size=len(raw),
            received_at=datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
            replays=replays,
            raw=raw,
        )
        pipe.hset(_ENTRIES, letter.id, _dump(letter))
        pipe.zadd(_ORDER, {letter.id: now})
        return letter

    def replays_of(self, queue: str, raw: bytes) -> int:
        """How often this very message was replayed to this queue."""
        digest = hashlib.sha256(queue.encode() + b"\0" + raw).hexdigest()
        return int(self._call(self._client.hget, _REPLAYS, digest) or 0)

    def list(self) -> list[DeadLetter]:
        """All of them, newest first."""
        ids = self._call(self._client.zrevrange, _ORDER, 0, -1)
        if not ids:
            return []
        entries = self._call(self._client.hmget, _ENTRIES, ids)
        return [_load(entry) for entry in entries if entry is not None]

    def show(self, letter_id: str) -> DeadLetter:
        """One of them; raises PermanentError ``no_such_dead_letter``."""
        entry = self._call(self._client.hget, _ENTRIES, letter_id)
        if entry is None:
            raise PermanentError(
                "no_such_dead_letter",
                f"There is no dead letter '{letter_id}'.",
                "See 'headrace dead-letters list'.",
            )
        return _load(entry)

    def replay(self, letter_ids: Sequence[str]) -> Sequence[DeadLetter]:
        """Put messages back into their queues as they were; what is still bad comes back."""
        letters = [self.show(letter_id) for letter_id in letter_ids]
        for letter in letters:
            digest = hashlib.sha256(letter.queue.encode() + b"\0" + letter.raw).hexdigest()
            pipe = self._client.pipeline()
            pipe.hincrby(_REPLAYS, digest, 1)
            pipe.lpush(letter.queue, letter.raw)
            self._forget(pipe, letter.id)
            self._call(pipe.execute)
        return letters

    def purge(self) -> int:
        """Throw all of them away. Returns how many there were."""
        ids = [_text(value) for value in self._call(self._client.zrange, _ORDER, 0, -1)]
        pipe = self._client.pipeline()
        for letter_id in ids:
            self._forget(pipe, letter_id)
        self._call(pipe.execute)
        return len(ids)

    @staticmethod
    def _forget(pipe: Any, letter_id: str) -> None:
        pipe.zrem(_ORDER, letter_id)
        pipe.hdel(_ENTRIES, letter_id)

    def _call(self, method: Any, *args: Any) -> Any:
        try:
            return method(*args)
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise TransientError(
                "broker_unavailable",
                f"The broker does not answer ({type(error).__name__}).",
                "Is the stack up? See 'headrace ps'.",
            ) from error


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _dump(letter: DeadLetter) -> str:
    return json.dumps(asdict(letter) | {"raw": base64.b64encode(letter.raw).decode()})


def _load(entry: bytes | str) -> DeadLetter:
    fields = json.loads(entry)
    return DeadLetter(**(fields | {"raw": base64.b64decode(fields["raw"])}))


def connect(settings: Settings) -> DeadLetters:
    """The dead letters of the settings' broker."""
    client = redis.Redis.from_url(settings.broker_url, socket_timeout=10, socket_connect_timeout=3)
    return DeadLetters(client)
