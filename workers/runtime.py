"""What surrounds a stage's plain function: claim, hold, advance, publish, and never an exception.

A stage is a function of one message that returns what is to happen next. Everything that touches
the ledger or the broker on its behalf is here, once, for all stages.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from shared.errors import PermanentError, TransientError
from shared.ledger import ChunkRef, Ledger, Stale, WorkerIdentity
from shared.messages import Message
from shared.patience import retry_while_unavailable
from shared.settings import Settings
from shared.stages import STAGES, Lane, Stage, queue_name

log = logging.getLogger(__name__)
_T = TypeVar("_T")


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Forward:
    """Queue the chunk for the next stage, in the lane in which it came.

    ``host`` is needed where that stage has queues per host. ``release`` lets go of what must be
    held until the ledger has moved the chunk on; ``abandon`` is called instead where the chunk was
    given to somebody else meanwhile.
    """

    stage: Stage
    message: Message
    host: str = ""
    release: Callable[[], None] = _nothing
    abandon: Callable[[], None] = _nothing


@dataclass(frozen=True, slots=True)
class Done:
    """The chunk is finished; ``counters`` are added to the job's, once."""

    counters: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GiveBack:
    """The chunk returns to its job's first queue unharmed, by us or by the producer."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """The message cannot be right: that counts against the chunk as a malformed message does."""


Outcome = Forward | Done | GiveBack | Refuse
# Called with a message, and with how often a holder of its chunk was lost at this stage.
StageFunction = Callable[[Any, int], Outcome]


class Sends(Protocol):
    """What sends messages. Raises TransientError when nobody answers."""

    def send(self, task: str, queue: str, message: Message) -> None: ...


class Runtime:
    """One worker process: its connections, its identity, and the chunks that it has in hand."""

    def __init__(
        self, settings: Settings, identity: WorkerIdentity, ledger: Ledger, publisher: Sends
    ) -> None:
        self.settings, self.identity = settings, identity
        self.ledger, self.publisher = ledger, publisher
        self.stopping = threading.Event()
        self.in_hand: set[str] = set()
        self._stop_callbacks: list[Callable[[], None]] = []

    def on_stop(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when the worker begins to stop."""
        self._stop_callbacks.append(callback)

    def stop(self) -> None:
        """Begin to stop: what waits for something gives its chunk back."""
        self.stopping.set()
        for callback in self._stop_callbacks:
            callback()

    def retry_while_unavailable(self, action: Callable[[], _T]) -> _T:
        """Wait out a service that does not answer."""
        return retry_while_unavailable(action, stopping=self.stopping)

    def mark_running_alone(self, stage: Stage, ref: ChunkRef, item: int | None) -> int:
        """Note that ``item`` of a chunk in hand runs alone. Returns how often it was lost so."""
        return self.retry_while_unavailable(
            lambda: self.ledger.mark_running_alone(ref, stage, self.identity, item)
        )

    def process(self, message: Message, lane: Lane, stage: Stage, function: StageFunction) -> None:
        """Take one message, which came in ``lane``, through this stage.

        Once the chunk is held, this raises nothing.
        """
        try:
            claim = self.retry_while_unavailable(
                lambda: self.ledger.claim(message.ref, stage, self.identity)
            )
        except Stale as stale:
            log.debug("dropped %s: %s", message.ref.name, stale.reason)
            return
        except TransientError as error:
            log.warning("could not claim %s: %s", message.ref.name, error)
            return
        self.in_hand.add(message.ref.name)
        try:
            self._carry_out(message, lane, stage, function(message, claim.losses))
        except Stale as stale:
            log.info("%s was given to somebody else: %s", message.ref.name, stale.reason)
        except BaseException:
            # Left unnamed from here on, the chunk comes back through two renewals.
            log.exception("%s failed at %s", message.ref.name, stage.name)
        finally:
            self.in_hand.discard(message.ref.name)

    def _carry_out(self, message: Message, lane: Lane, stage: Stage, outcome: Outcome) -> None:
        ref, identity = message.ref, self.identity
        if isinstance(outcome, Done):
            self.retry_while_unavailable(
                lambda: self.ledger.finish(ref, identity, outcome.counters)
            )
        elif isinstance(outcome, GiveBack):
            self._give_back(message, stage)
        elif isinstance(outcome, Refuse):
            self._refuse(message, lane, stage)
        else:
            self._forward(message, lane, stage, outcome)

    def _forward(self, message: Message, lane: Lane, stage: Stage, outcome: Forward) -> None:
        queue = queue_name(outcome.stage, lane, outcome.host)
        try:
            self.retry_while_unavailable(
                lambda: self.ledger.advance(message.ref, stage, self.identity, outcome.stage, queue)
            )
        except BaseException:
            outcome.abandon()
            raise
        outcome.release()
        try:
            self.retry_while_unavailable(
                lambda: self.publisher.send(outcome.stage.task, queue, outcome.message)
            )
        except PermanentError as error:  # the same message would be made again
            log.error("%s cannot be sent on: %s", message.ref.name, error)
            self.retry_while_unavailable(lambda: self.ledger.refuse(message.ref, outcome.stage))

    def _refuse(self, message: Message, lane: Lane, stage: Stage) -> None:
        queue = queue_name(stage, lane, self.settings.host_id if stage.per_host else "")
        self.retry_while_unavailable(
            lambda: self.ledger.advance(message.ref, stage, self.identity, stage, queue)
        )
        self.retry_while_unavailable(lambda: self.ledger.refuse(message.ref, stage))

    def _give_back(self, message: Message, stage: Stage) -> None:
        """A message without items leaves its chunk to the producer, which knows them."""
        chunk = message.as_chunk()
        if chunk is None:
            self.retry_while_unavailable(
                lambda: self.ledger.leave(message.ref, stage, self.identity)
            )
            return
        again = self.retry_while_unavailable(
            lambda: self.ledger.give_back(message.ref, stage, self.identity)
        )
        first = STAGES.get(again.stage)  # of another version: found missing by its producer
        if first is not None:
            chunk = chunk.model_copy(update={"attempt": again.ref.attempt})
            self.retry_while_unavailable(
                lambda: self.publisher.send(first.task, again.queue, chunk)
            )
