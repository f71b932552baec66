"""Celery's consumer, with every message inspected before anything is done with it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, ClassVar

from celery.bootsteps import RUN
from celery.worker.consumer import Consumer
from celery.worker.control import Panel
from celery.worker.state import maybe_shutdown, reserved_requests
from vine import promise

from shared.broker.errors import no_answer
from shared.broker.queues import is_rabbitmq
from shared.ledger import ChunkRef
from shared.patience import Outage
from shared.stages import lane_of_queue
from workers.quarantine.dead_letter_sink import DeadLetterSink
from workers.quarantine.inspection import Contract, Malformed, inspect
from workers.quarantine.pulling_consumer import MIN_QUEUE_LOOK_SECONDS, PullingConsumer

log = logging.getLogger(__name__)

# Celery's own pauses grow to half a minute, which a broker that is back would be left to wait for.
_CONNECT_PAUSE_SECONDS = 0.5
_MAX_CONNECT_PAUSE_SECONDS = 2.0
# Celery publishes what Flower shows after each step of each task, a fifth of a worker's CPU time.
_EVENTS_SECONDS = 1.0

# What Celery decodes, twice, in place of the body that inspection has read: no arguments.
_NO_ARGUMENTS = b"[[], {}, {}]"


def _take_no_orders() -> None:
    """Refuse orders: anyone who may ask workers, as Flower does, could also stop or divert them.

    They are still told to send their events, which they do.
    """
    for name, about in Panel.meta.items():
        if about.type == "control" and name != "enable_events":
            Panel.data[name] = _refuse


def _refuse(_state: Any, **_: Any) -> dict[str, str]:
    return {"error": "this worker takes no orders"}


class QuarantineConsumer(Consumer):  # type: ignore[misc]
    """A consumer whose malformed messages become dead letters."""

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc]
        """Without what makes queues in RabbitMQ for messages that wait: none of ours does."""

        default_steps: ClassVar[list[str]] = [
            step for step in Consumer.Blueprint.default_steps if "delayed_delivery" not in step
        ]

    def __init__(
        self, *args: Any, contract: Contract, sink: DeadLetterSink, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self._contract, self._sink = contract, sink
        _take_no_orders()
        self.hub.call_repeatedly(_EVENTS_SECONDS, self._flush_events)
        if is_rabbitmq(self.app.conf.broker_url):
            self.app.amqp.Consumer = PullingConsumer
            self.hub.on_tick.add(self._take)
            # So often the hub ticks at least, and with each tick it calls ``_take``. As the timer's
            # own action that could fail unseen: the hub logs what most timers raise, and goes on.
            self.hub.call_repeatedly(MIN_QUEUE_LOOK_SECONDS, _nothing)

    def _take(self) -> None:
        """Called by the hub whenever a thread has become free, and from time to time."""
        consumer = self.task_consumer
        if isinstance(consumer, PullingConsumer) and self.blueprint.state == RUN:
            consumer.take(self._has_room)

    def _has_room(self) -> bool:
        return len(reserved_requests) < int(self.pool.num_processes)

    def on_send_event_buffered(self) -> None:
        """They go out once a second, many in a message."""

    def ensure_connected(self, conn: Any) -> Any:
        outage = Outage(log)
        conn.ensure_connection(
            lambda error, _: outage.report(no_answer("broker", error)),
            interval_start=_CONNECT_PAUSE_SECONDS,
            interval_step=_CONNECT_PAUSE_SECONDS,
            interval_max=_MAX_CONNECT_PAUSE_SECONDS,
            callback=maybe_shutdown,
        )
        outage.clear()
        return super().ensure_connected(conn)

    def create_task_handler(self, promise: Any = promise) -> Callable[[Any], Any]:
        handle = super().create_task_handler(promise)

        def on_task_received(message: Any) -> Any:
            chunk = None
            try:
                if message.problem is not None:  # found as it was opened
                    raise message.problem
                headers, inspected = inspect(self._contract, message, message.queue)
                chunk = inspected.ref
                # The task finds both in ``task.request``: Celery keeps headers as they are, and
                # would decode a body twice more.
                lane = lane_of_queue(message.queue)
                message.headers = {**headers, "inspected": inspected, "lane": lane}
                message.properties = {"correlation_id": headers["id"]}
                message.body = _NO_ARGUMENTS
                return handle(message)
            except Malformed as problem:
                return self._quarantine(message, problem.layer, problem.reason, problem.about_chunk)
            except self.connection_errors:
                raise  # the broker's affair: Celery connects again
            except Exception as error:
                log.exception("a message that nothing was prepared for")
                return self._quarantine(message, "unforeseen", repr(error), chunk)

        return on_task_received

    # Inspection leaves nothing for these but remote control, which is heard by all workers and kept
    # by none; should Celery find more, it is kept all the same.

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        self._quarantine(message, "body", repr(exc))

    def on_unknown_message(self, _body: Any, message: Any) -> None:
        self._quarantine(message, "headers", "not a task message")

    def on_unknown_task(self, _body: Any, message: Any, exc: Exception) -> None:
        self._quarantine(message, "headers", f"unknown task {exc}")

    def on_invalid_task(self, _body: Any, message: Any, exc: Exception) -> None:
        self._quarantine(message, "headers", repr(exc))

    def _quarantine(
        self, message: Any, layer: str, reason: str, about_chunk: ChunkRef | None = None
    ) -> None:
        raw = message.item
        if raw is None:
            log.warning("dropped a message of remote control: %s", reason)
            return
        queue = message.queue
        self._sink.keep(queue=queue, layer=layer, reason=reason, raw=raw, about_chunk=about_chunk)
        if not message.acknowledged:
            message.ack()


def _nothing() -> None:
    return None
