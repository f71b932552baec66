"""Keeping a worker's malformed messages as dead letters."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import redis

from shared.broker.dead_letters import DeadLetter, DeadLetterLoad, DeadLetters, Limits
from shared.errors import TransientError
from shared.ledger import ChunkRef, Stale
from shared.patience import Outage

log = logging.getLogger(__name__)
_T = TypeVar("_T")

# Past this multiple of the limits the sink keeps nothing more: the consumer waits for the bucket.
_HARD_SHARE = 2.0
_RETRY_SECONDS = 1.0


class DeadLetterSink:
    """Where one worker's malformed messages go.

    ``overflow`` is called whenever more lie in the broker than ``limits`` allow, and
    ``report_chunk`` with the chunk of a message that we signed and cannot take.
    """

    def __init__(
        self,
        letters: DeadLetters,
        *,
        limits: Limits,
        stopping: threading.Event,
        overflow: Callable[[], None],
        report_chunk: Callable[[ChunkRef], None],
    ) -> None:
        self._letters = letters
        self._limits = limits
        self._stopping = stopping
        self._overflow = overflow
        self._report_chunk = report_chunk
        self._load = DeadLetterLoad(0, 0)
        self._outage = Outage(log)
        self._logged_at = 0.0
        self._unlogged = 0

    def keep(
        self,
        *,
        queue: str,
        layer: str,
        reason: str,
        raw: bytes,
        about_chunk: ChunkRef | None = None,
    ) -> None:
        """Keep the bytes of a message of ``queue``. ``about_chunk``: it counts against this one."""
        self._retry_forever(self._wait_for_room)
        letter = DeadLetter.of(queue=queue, layer=layer, reason=reason, raw=raw)
        self._load = self._retry_forever(lambda: self._letters.add(letter))
        self._log(letter)
        if self._load.exceeds(self._limits):
            self._overflow()
        if about_chunk is not None:
            self._count_against(about_chunk)

    def _count_against(self, ref: ChunkRef) -> None:
        try:
            self._report_chunk(ref)
        except Stale as stale:
            log.debug("a late dead letter of %s: %s", ref.name, stale.reason)
        except TransientError as error:  # it is found missing, sent again, and counted then
            log.warning("not counted against %s: %s", ref.name, error)

    def _retry_forever(self, action: Callable[[], _T]) -> _T:
        """The message is in no queue any more: to give up would lose it."""
        while True:
            try:
                done = action()
            except (redis.RedisError, TransientError) as error:
                self._outage.report(f"a dead letter cannot be kept yet: {error}")
                time.sleep(_RETRY_SECONDS)
            else:
                self._outage.clear()
                return done

    def _wait_for_room(self) -> None:
        """A worker that stops does not wait: the one message that it has in hand is kept."""
        waits = False
        while self._load.exceeds(self._limits, _HARD_SHARE) and not self._stopping.is_set():
            if not waits:
                log.warning("waiting: too many dead letters, and the bucket takes none")
            waits = True
            self._overflow()
            time.sleep(0.05)
            self._load = self._letters.load()

    def _log(self, letter: DeadLetter) -> None:
        """One line a second at most: a flood of them must not become a flood of logs."""
        if time.monotonic() - self._logged_at < 1:
            self._unlogged += 1
            return
        log.warning(
            "dead letter %s from %s: %s: %s (%d more since the last line)",
            letter.id,
            letter.queue,
            letter.layer,
            ascii(letter.reason),
            self._unlogged,
        )
        self._logged_at, self._unlogged = time.monotonic(), 0
