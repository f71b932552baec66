"""The broker: a queue is a list of messages, and a message that was taken is gone from it."""

from __future__ import annotations

from collections import defaultdict, deque

from shared.messages import Message
from tests.simulation.gate import Gate
from tests.simulation.threads import Event

TAKE_SECONDS = 1.0


class Broker:
    """Sends as ``MessagePublisher`` does; ``take`` is what a Celery worker does.

    ``copies``: how many there shall be of the messages that are sent next.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.queues: defaultdict[str, deque[Message]] = defaultdict(deque)
        self.copies: list[int] = []
        self._arrivals: dict[str, Event] = {}

    def send(self, task: str, queue: str, message: Message) -> None:
        about = f"{queue} {message.ref.name} attempt {message.attempt}"

        def send() -> None:
            for _ in range(self.copies.pop() if self.copies else 1):
                self.put(queue, message)

        self._gate.call("broker", f"send.{task}", about, send)

    def ready_length(self, queue: str) -> int:
        return self._gate.call("broker", "length", queue, lambda: len(self.queues[queue]))

    def discard(self, queue: str) -> None:
        self._gate.call("broker", "discard", queue, self.queues[queue].clear)

    def put(self, queue: str, message: Message) -> None:
        self.queues[queue].append(message)
        self._arrival(queue).set()

    def take(self, queue: str) -> Message | None:
        """The next message, if one comes soon."""
        arrival = self._arrival(queue)
        if not arrival.wait(TAKE_SECONDS):
            return None

        def pop() -> Message | None:
            waiting = self.queues[queue]
            message = waiting.popleft() if waiting else None
            if not waiting:
                arrival.clear()
            return message

        return self._gate.call("broker", "take", queue, pop)

    def wipe(self) -> None:
        """Lose every message."""
        for waiting in self.queues.values():
            waiting.clear()

    def remember(self) -> dict[str, list[Message]]:
        """What ``restore`` goes back to."""
        return {queue: list(waiting) for queue, waiting in self.queues.items()}

    def restore(self, remembered: dict[str, list[Message]]) -> None:
        self.wipe()
        for queue, messages in remembered.items():
            for message in messages:
                self.put(queue, message)

    def _arrival(self, queue: str) -> Event:
        return self._arrivals.setdefault(queue, Event(self._gate.clock))
