"""Celery's consumer, with every message inspected before anything is done with it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, ClassVar

from amqp.exceptions import ConsumerCancelled
from celery.worker.consumer import Consumer
from celery.worker.control import Panel
from celery.worker.state import maybe_shutdown, reserved_requests
from vine import promise

from shared.broker import rabbitmq
from shared.broker.errors import no_answer
from shared.ledger import ChunkRef
from shared.messages import Message
from shared.patience import Outage
from workers.quarantine.inspection import Contract, Malformed, inspect
from workers.quarantine.ward import Ward

log = logging.getLogger(__name__)

# Celery's own pauses grow to half a minute, which a broker that is back would be left to wait for.
_CONNECT_PAUSE_SECONDS = 0.5
_LONGEST_CONNECT_PAUSE_SECONDS = 2.0
# Celery publishes what Flower shows after each step of each task, a fifth of a worker's CPU time.
_EVENTS_SECONDS = 1.0

# What Celery decodes twice, in place of a body that inspection has read: no arguments.
_READ = b"[[], {}, {}]"

# How long nothing may come, of what waits in RabbitMQ, to a worker with nothing in hand.
_LOOK_SECONDS = 5.0

# More than any role has in hand.
_MOST_INSPECTED = 64

_contract: Contract | None = None
_ward: Ward | None = None
_inspected: dict[str, Message] = {}


def install(contract: Contract, ward: Ward) -> None:
    """Say what this process's queue carries, before the worker starts."""
    global _contract, _ward
    _contract, _ward = contract, ward
    _take_no_orders()


def _take_no_orders() -> None:
    """Whoever may ask Celery's workers, as Flower does, could also stop, slow or divert them.

    They are still told to send their events, which they do.
    """
    for name, about in Panel.meta.items():
        if about.type == "control" and name != "enable_events":
            Panel.data[name] = _refuse


def _refuse(_state: Any, **_: Any) -> dict[str, str]:
    return {"error": "this worker takes no orders"}


def taken(message_id: str) -> Message | None:
    """What was inspected under this id, once; None where it came twice, and was taken before."""
    return _inspected.pop(message_id, None)


def _keep(message_id: str, inspected: Message) -> None:
    while len(_inspected) >= _MOST_INSPECTED:  # of tasks that Celery was told not to run
        taken(next(iter(_inspected)))
    _inspected[message_id] = inspected


class QuarantineConsumer(Consumer):  # type: ignore[misc]
    """A consumer whose malformed messages become dead letters."""

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc]
        """Without what makes queues in RabbitMQ for messages that wait: none of ours does."""

        default_steps: ClassVar[list[str]] = [
            step for step in Consumer.Blueprint.default_steps if "delayed_delivery" not in step
        ]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.hub.call_repeatedly(_EVENTS_SECONDS, self._flush_events)
        self._something_came = False
        if rabbitmq.speaks_amqp(self.app.conf.broker_url):
            self.hub.call_repeatedly(_LOOK_SECONDS, self._connect_anew_where_nothing_comes)

    def _connect_anew_where_nothing_comes(self) -> None:
        """Messages wait and we are idle: our queue is another of that name by now.

        RabbitMQ tells consumers of a queue that it was deleted, unless somebody has made it again
        at once, which whoever sends a message does.
        """
        came, self._something_came = self._something_came, False
        consumer = self.task_consumer
        if came or reserved_requests or consumer is None:
            return
        (queue,) = consumer.queues
        if consumer.channel.queue_declare(queue.name, passive=True).message_count:
            raise ConsumerCancelled(f"{queue.name} does not give what waits in it")

    def on_send_event_buffered(self) -> None:
        """They go out once a second, many in a message."""

    def ensure_connected(self, conn: Any) -> Any:
        outage = Outage(log)
        conn.ensure_connection(
            lambda error, _: outage.goes_on(no_answer("broker", error)),
            interval_start=_CONNECT_PAUSE_SECONDS,
            interval_step=_CONNECT_PAUSE_SECONDS,
            interval_max=_LONGEST_CONNECT_PAUSE_SECONDS,
            callback=maybe_shutdown,
        )
        outage.is_over()
        return super().ensure_connected(conn)

    def create_task_handler(self, promise: Any = promise) -> Callable[[Any], Any]:
        handle = super().create_task_handler(promise)

        def on_task_received(message: Any) -> Any:
            self._something_came = True
            assert _contract is not None  # run_worker installs it before it starts Celery
            chunk = None
            try:
                if message.problem is not None:  # found as it was opened
                    raise message.problem
                message.headers, inspected = inspect(_contract, message)
                chunk, message_id = inspected.ref, message.headers["id"]
                message.properties = {"correlation_id": message_id}
                _keep(message_id, inspected)
                message.body = _READ
                return handle(message)
            except Malformed as problem:
                return self._quarantine(message, problem.layer, problem.reason, problem.accused)
            except self.connection_errors:
                raise  # the broker's affair: Celery connects anew
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
        self, message: Any, layer: str, reason: str, accused: ChunkRef | None = None
    ) -> None:
        assert _ward is not None
        if message.item is None:
            log.warning("dropped a message of remote control: %s", reason)
            return
        _ward.admit(layer=layer, reason=reason, raw=message.item, accused=accused)
        if not message.acknowledged:
            message.ack()
