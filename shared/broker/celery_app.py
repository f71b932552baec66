"""The Celery application.

``app`` is configured when it is first used; ``celery -A shared.broker.celery_app`` finds it, too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from celery import Celery
from celery.loaders.app import AppLoader
from kombu import Exchange, Queue

from shared.broker.queues import connect_queues
from shared.settings import Settings, load_settings
from shared.stages import VERSION

# Messages go to queues directly: an exchange's binding would be lost with a wiped broker.
_DIRECT = Exchange("")


def queue_of(name: str, arguments: Mapping[str, Any] | None = None) -> Queue:
    """A queue that is addressed by its name alone. ``arguments``: the broker's kind of queue."""
    return Queue(name, exchange=_DIRECT, routing_key=name, queue_arguments=arguments)


def consume(app: Celery, settings: Settings, names: Sequence[str]) -> None:
    """Have a worker of this application take from these queues, which are bound to nothing."""
    arguments = connect_queues(settings).queue_arguments
    app.conf.task_queues = [queue_of(name, arguments) for name in names]
    for name in names:
        # For a queue without an exchange Celery would make one, bind it, and want rights on it.
        app.amqp.queues[name].exchange = _DIRECT


def make_app(settings: Settings) -> Celery:
    """The Celery application, for a worker or any other client of this broker."""
    _forget_celerys_variables()
    app = Celery(
        "headrace", broker=settings.broker_url, loader=AppLoader, fixups=[], set_as_current=False
    )
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_default_queue=f"{VERSION}.unrouted",
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        **connect_queues(settings).celery_options,
    )
    return app


def _forget_celerys_variables() -> None:
    """Celery prefers these variables to its arguments."""
    for name in [name for name in os.environ if name.startswith("CELERY_")]:
        del os.environ[name]


@cache
def _observer_app() -> Celery:
    return make_app(load_settings())


def __getattr__(name: str) -> Any:
    if name == "app":
        return _observer_app()
    raise AttributeError(name)
