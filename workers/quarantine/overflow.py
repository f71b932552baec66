"""Keeping the broker's share of the dead letters bounded: the oldest move on to the state bucket.

They are written before they are dropped, under a name that follows from the oldest: a move that was
cut short and begun again writes the same object, not a second one.
"""

from __future__ import annotations

import logging
import secrets
import threading

import redis

from shared.broker.dead_letters import QUARANTINE, DeadLetter, DeadLetters, Limits
from shared.errors import HeadraceError
from shared.patience import Outage
from shared.storage import Store
from shared.threads import guarded

log = logging.getLogger(__name__)

# One object takes so many of the entries that the limits allow, and no more than a batch. What
# comes meanwhile waits for the next: otherwise a flood would be moved a few at a time.
_MOVED_SHARE = 0.5
_BATCH_LETTERS = 1000
_BATCH_BYTES = 8 * 2**20
_TURN_SECONDS = 15
_LOOK_SECONDS = 5.0


class Overflow:
    """The thread of one worker that moves what is over. ``nudge`` wakes it."""

    def __init__(
        self, letters: DeadLetters, store: Store, bucket: str, role: str, limits: Limits
    ) -> None:
        self._letters = letters
        self._store = store
        self._bucket = bucket
        self._role = role
        self._limits = limits
        self._token = secrets.token_hex(8)
        self._wake = threading.Event()
        self._stopping = threading.Event()

    def start(self) -> None:
        """Begin to watch, in a thread that does not outlive the process."""
        guarded("dead-letters", self._watch, ended=self._stopping.is_set).start()

    def stop(self) -> None:
        """Let the thread end after what it is at."""
        self._stopping.set()
        self._wake.set()

    def nudge(self) -> None:
        """There is too much: look at once."""
        self._wake.set()

    def _watch(self) -> None:
        outage = Outage(log)
        while not self._stopping.is_set():
            self._wake.wait(_LOOK_SECONDS)
            self._wake.clear()
            try:
                self.move()
            except (HeadraceError, redis.RedisError) as error:
                # A broker that does not answer is the consumer's to tell.
                if not (isinstance(error, HeadraceError) and error.code == "broker_unavailable"):
                    outage.report(f"dead letters stay in the broker for now: {error}")
                self._stopping.wait(1)
            else:
                outage.clear()

    def move(self) -> int:
        """Move the oldest until no more is over. Returns how many letters were moved.

        Raises TransientError and what the store raises; nothing is lost then.
        """
        moved = 0
        while (load := self._letters.load()).exceeds(self._limits):
            if not self._letters.begin_move(self._token, _TURN_SECONDS):
                break  # another worker is at it
            over = load.entries - int(self._limits.entries * _MOVED_SHARE)
            count = min(over, _BATCH_LETTERS) if over > 0 else _BATCH_LETTERS
            batch = self._letters.oldest(count, _BATCH_BYTES)
            if not batch:
                break
            self._store.put(self._bucket, self._key(batch[0]), _lines(batch))
            if not self._letters.forget_moved(self._token, [letter.id for letter in batch]):
                break
            moved += len(batch)
        return moved

    def _key(self, oldest: DeadLetter) -> str:
        return f"{QUARANTINE}{self._role}/{oldest.id}.jsonl"


def _lines(letters: list[DeadLetter]) -> bytes:
    return "".join(f"{letter.to_json()}\n" for letter in letters).encode()
