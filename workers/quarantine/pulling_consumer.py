"""Taking messages from RabbitMQ one by one, in the order of the lanes.

RabbitMQ pushes: it gives a consumer of a quorum queue as many messages as that consumer's prefetch
allows, whatever the consumers of other queues have. A worker of two queues would hold twice as many
messages as it has threads, and could not choose between them. So it asks how many wait in each
queue (0.1 ms), and consumes from one of them for a single message, whenever a thread is free.
``basic_get`` is not used: for it RabbitMQ writes a header of its own into a message, and a dead
letter would not be what was sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any

from kombu import Consumer

from workers.quarantine.lanes import LaneOrder

# RabbitMQ does not tell us when a message arrives, so an idle worker asks: this often at first.
MIN_QUEUE_LOOK_SECONDS = 0.05
# This often in the end. A message then waits 0.25 s on average.
MAX_QUEUE_LOOK_SECONDS = 0.5
# In between, a pause is this share of the time that the worker has been idle.
IDLE_SHARE = 0.1


class PullingConsumer(Consumer):  # type: ignore[misc]
    """Kombu's consumer, which is given nothing unless ``take`` asks for it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._order = LaneOrder()
        self._order.update(queue.name for queue in self.queues)
        self._tags = (f"pull-{number}" for number in count())
        self._asked: str | None = None
        self._look_at = self._idle_since = time.monotonic()
        self._cancelled = False

    def qos(self, *_: Any, **__: Any) -> None:
        """Celery sets as many as there are threads; of each of our consumers it is one message."""
        self.channel.basic_qos(0, 1, a_global=False)

    def consume(self, *_: Any, **__: Any) -> None:
        """Have RabbitMQ push nothing."""
        self.qos()

    def take(self, has_room: Callable[[], bool]) -> None:
        """Take messages that wait while there ``has_room()``. Called again and again."""
        while time.monotonic() >= self._look_at:
            if not has_room():
                self._idle_since = time.monotonic()
                return
            self._look()
            self._read_what_came()

    def _look(self) -> None:
        """Ask for a message of the first queue in which one waits."""
        now = time.monotonic()
        pause = IDLE_SHARE * (now - self._idle_since)
        self._look_at = now + min(max(pause, MIN_QUEUE_LOOK_SECONDS), MAX_QUEUE_LOOK_SECONDS)
        if self._asked is not None:  # another worker was faster
            self._stop_asking()
            return
        for queue in self._order.consume(len(self.queues)):
            if self.channel.queue_declare(queue, passive=True).message_count:
                self._asked = tag = next(self._tags)
                receive = partial(self._receive, queue, tag)
                self.channel.basic_consume(queue, consumer_tag=tag, callback=receive)
                return

    def _read_what_came(self) -> None:
        """Over TLS, what came in one record with an answer is already read: epoll is silent."""
        with suppress(TimeoutError):
            while True:
                self.channel.connection.drain_events(timeout=0)

    def cancel(self) -> None:
        """Take nothing more. A message that comes all the same goes back to its queue."""
        self._cancelled = True
        if self._asked is not None:
            self._stop_asking()

    close = cancel  # as in kombu, whose own ``close`` would not call this ``cancel``

    def _stop_asking(self) -> None:
        """Returns when RabbitMQ sends nothing more; a message may come until then."""
        tag, self._asked = self._asked, None
        self._look_soon()
        self.channel.basic_cancel(tag)

    def _receive(self, queue: str, tag: str, delivered: Any) -> None:
        # Before it is acknowledged, which would bring the next one.
        self.channel.basic_cancel(tag, nowait=True)
        self.channel.callbacks.pop(tag, None)
        if self._cancelled:
            self.channel.basic_reject(delivered.delivery_tag, requeue=True)
            return
        self._asked = None
        self._look_soon()
        self._order.rotate(queue)
        delivered.delivery_info["queue"] = queue
        message = self.channel.message_to_python(delivered)
        message.accept = self.accept
        self.on_message(message)

    def _look_soon(self) -> None:
        self._look_at = self._idle_since = time.monotonic()
