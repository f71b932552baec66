"""The dead letters: what could never have been a message of ours, kept with where, why and how.

They lie in the broker, beside the queues that they came from; where that is RabbitMQ, in the
ledger's server, for which read "broker" below. The broker's share is bounded: the oldest move on to
the state bucket, as objects of JSON lines, each line what ``DeadLetter.to_json`` gives.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

import redis

from shared.broker.errors import FAILURES, no_answer
from shared.broker.queues import connect_queues, letters_url
from shared.broker.redis_client import redis_client
from shared.errors import PermanentError
from shared.settings import Settings

QUARANTINE = "quarantine/"
_ORDER, _LETTERS, _RAW = "dead:order", "dead:letters", "dead:raw"
_BYTES, _MOVED, _MOVER, _REPLAYS = "dead:bytes", "dead:moved", "dead:mover", "dead:replays"
_KEYS = (_ORDER, _LETTERS, _RAW, _BYTES, _MOVED, _MOVER)

# ARGV: id, time, about, raw, digest. Done again after an answer that was lost, it does nothing.
# Who adds letters may not write the counts of replays: they are no key that the script declares.
_ADD = f"""
if redis.call('ZADD', KEYS[1], 'NX', ARGV[2], ARGV[1]) == 1 then
  local replays = redis.call('HGET', '{_REPLAYS}', ARGV[5]) or 0
  local about = '{{"replays": ' .. replays .. ', ' .. string.sub(ARGV[3], 2)
  redis.call('HSET', KEYS[2], ARGV[1], about)
  redis.call('HSET', KEYS[3], ARGV[1], ARGV[4])
  redis.call('INCRBY', KEYS[4], #about + #ARGV[4])
end
return {{redis.call('ZCARD', KEYS[1]), tonumber(redis.call('GET', KEYS[4]))}}
"""
# ARGV: how many, and of how many raw bytes in all, but one.
_OLDEST = """
local found, left = {}, tonumber(ARGV[2])
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, ARGV[1] - 1)) do
  left = left - redis.call('HSTRLEN', KEYS[3], id)
  if #found > 0 and left < 0 then break end
  table.insert(found, redis.call('HGET', KEYS[2], id))
  table.insert(found, redis.call('HGET', KEYS[3], id))
end
return found
"""
# ARGV: a mover's token, or nothing; then ids. A mover that lost its turn takes nothing away.
_FORGET = """
if ARGV[1] ~= '' and redis.call('GET', KEYS[6]) ~= ARGV[1] then return -1 end
local gone = 0
for i = 2, #ARGV do
  local id = ARGV[i]
  local size = redis.call('HSTRLEN', KEYS[2], id) + redis.call('HSTRLEN', KEYS[3], id)
  if redis.call('ZREM', KEYS[1], id) == 1 then
    redis.call('HDEL', KEYS[2], id)
    redis.call('HDEL', KEYS[3], id)
    redis.call('DECRBY', KEYS[4], size)
    gone = gone + 1
  end
end
if ARGV[1] ~= '' then redis.call('INCRBY', KEYS[5], gone) end
return gone
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the broker keeps of dead letters; ``total_bytes`` counts their own bytes and ours."""

    entries: int = 10_000
    total_bytes: int = 64 * 2**20


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class DeadLetterLoad:
    """What of them lies in the broker now."""

    entries: int
    total_bytes: int

    def exceeds(self, limits: Limits, share: float = 1.0) -> bool:
        """Is there more than ``share`` of what ``limits`` allow?"""
        return (
            self.entries > limits.entries * share or self.total_bytes > limits.total_bytes * share
        )


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One quarantined message.

    ``layer``: envelope, headers, compression, content_type, body, signature, schema, or unforeseen,
    for what Celery refused although all these were right. ``raw``: the bytes as they lay in the
    queue, of RabbitMQ's as ``shared.broker.deliveries`` writes them. ``replays``: how often it was
    tried again.
    """

    id: str
    queue: str
    layer: str
    reason: str
    size: int
    received_at: str
    replays: int
    raw: bytes

    @classmethod
    def of(cls, *, queue: str, layer: str, reason: str, raw: bytes) -> DeadLetter:
        """A letter for a message that was in ``queue``; its replays are counted as it is added."""
        now = time.time()
        return cls(
            id=f"{int(now * 1000):013d}-{secrets.token_hex(6)}",
            queue=queue,
            layer=layer,
            reason=reason[:500],
            size=len(raw),
            received_at=datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
            replays=0,
            raw=raw,
        )

    def to_json(self) -> str:
        """One line, with ``raw`` in base64 as ``raw_base64``."""
        return json.dumps(_about(self) | {"raw_base64": base64.b64encode(self.raw).decode()})


_ABOUT = [field.name for field in fields(DeadLetter) if field.name != "raw"]

# As ``shared.broker.queues.Queues.put_back``.
PutBack = Callable[[Any, str, bytes], object]


class DeadLetters:
    """The dead letters of one broker. Methods raise TransientError when it does not answer."""

    def __init__(self, client: redis.Redis, put_back: PutBack) -> None:
        self._client: Any = client
        self._put_back = put_back
        self._add = client.register_script(_ADD)
        self._oldest = client.register_script(_OLDEST)
        self._forget = client.register_script(_FORGET)

    def add(self, letter: DeadLetter) -> DeadLetterLoad:
        """Keep the letter; adding it twice keeps one. Returns what lies in the broker then."""
        received_at = datetime.fromisoformat(letter.received_at).timestamp()
        about = _about(letter)
        del about["replays"]  # the broker has counted them
        digest = _digest(letter.queue, letter.raw)
        values = (letter.id, received_at, json.dumps(about), letter.raw, digest)
        return DeadLetterLoad(*self._call(self._add, _KEYS, values))

    def load(self) -> DeadLetterLoad:
        """How much lies in the broker."""
        pipe = self._client.pipeline()
        pipe.zcard(_ORDER)
        pipe.get(_BYTES)
        entries, total_bytes = self._call(pipe.execute)
        return DeadLetterLoad(entries, int(total_bytes or 0))

    def moved(self) -> int:
        """How many were moved to the bucket since they were last purged."""
        return int(self._call(self._client.get, _MOVED) or 0)

    def begin_move(self, token: str, seconds: int) -> bool:
        """Take the turn to move letters to the bucket, or keep it; one worker has it at a time."""
        if self._call(self._client.set, _MOVER, token, nx=True, ex=seconds):
            return True
        if _text(self._call(self._client.get, _MOVER) or b"") != token:
            return False
        return bool(self._call(self._client.expire, _MOVER, seconds))

    def oldest(self, count: int, max_bytes: int) -> list[DeadLetter]:
        """Up to ``count`` of the oldest, and no more than ``max_bytes`` of raw bytes, but one."""
        found = self._call(self._oldest, _KEYS, (count, max_bytes))
        return [_load(about, raw) for about, raw in zip(found[::2], found[1::2], strict=True)]

    def forget_moved(self, token: str, letter_ids: Sequence[str]) -> bool:
        """Drop what is in the bucket now; False where it is another's turn, and nothing is."""
        return int(self._call(self._forget, _KEYS, (token, *letter_ids))) >= 0

    def list(self) -> list[DeadLetter]:
        """All that lie in the broker, newest first, without their bytes."""
        ids = [_text(i) for i in self._call(self._client.zrevrange, _ORDER, 0, -1)]
        return [_load(about, b"") for about in self._about(ids) if about is not None]

    def show(self, letter_id: str) -> DeadLetter:
        """One of them; raises PermanentError ``no_such_dead_letter``."""
        pipe = self._client.pipeline()
        pipe.hget(_LETTERS, letter_id)
        pipe.hget(_RAW, letter_id)
        about, raw = self._call(pipe.execute)
        if about is None or raw is None:
            raise PermanentError(
                "no_such_dead_letter",
                f"There is no dead letter '{letter_id}'.",
                "See 'headrace dead-letters list'.",
            )
        return _load(about, raw)

    def replay(self, letter_ids: Sequence[str]) -> Sequence[DeadLetter]:
        """Put messages back into their queues as they were; what is still bad comes back."""
        letters = [self.show(letter_id) for letter_id in letter_ids]
        for letter in letters:
            # Counted before a worker can meet it again.
            self._call(self._client.hincrby, _REPLAYS, _digest(letter.queue, letter.raw), 1)
            pipe = self._client.pipeline()
            self._put_back(pipe, letter.queue, letter.raw)
            self._forget(_KEYS, ("", letter.id), client=pipe)
            self._call(pipe.execute)
        return letters

    def purge(self) -> int:
        """Throw away all that lie in the broker, and the count of those in the bucket.

        Returns how many of them lay in the broker.
        """
        ids = [_text(i) for i in self._call(self._client.zrange, _ORDER, 0, -1)]
        gone = sum(
            int(self._call(self._forget, _KEYS, ("", *ids[start : start + 1000])))
            for start in range(0, len(ids), 1000)
        )
        self._call(self._client.delete, _MOVED, _REPLAYS)
        return gone

    def _about(self, ids: Sequence[str]) -> Sequence[bytes | None]:
        found: Sequence[bytes | None] = self._call(self._client.hmget, _LETTERS, ids) if ids else ()
        return found

    def _call(self, method: Any, *args: Any, **options: Any) -> Any:
        try:
            return method(*args, **options)
        except FAILURES as error:
            raise no_answer("broker", error) from error


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _digest(queue: str, raw: bytes) -> str:
    return hashlib.sha256(queue.encode() + b"\0" + raw).hexdigest()


def _about(letter: DeadLetter) -> dict[str, Any]:
    """Everything but the bytes."""
    return {name: getattr(letter, name) for name in _ABOUT}


def _load(about: bytes, raw: bytes) -> DeadLetter:
    return DeadLetter(**json.loads(about), raw=raw)


def connect_dead_letters(settings: Settings) -> DeadLetters:
    """The dead letters of the settings' broker."""
    client = redis_client(letters_url(settings), settings.ca_file)
    return DeadLetters(client, connect_queues(settings).put_back)
