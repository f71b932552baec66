"""Running one stage as a Celery worker: one process, a threads pool, the queues of its lanes."""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from celery import Celery, signals
from celery.exceptions import SecurityWarning

from shared.broker.celery_app import consume, make_app
from shared.broker.dead_letters import LIMITS, Limits, connect_dead_letters
from shared.broker.publisher import MessagePublisher
from shared.broker.queues import prepare_queues
from shared.errors import HeadraceError
from shared.lease import LeaseKeeper
from shared.ledger import WorkerIdentity, connect_ledger
from shared.messages import Batch, Message
from shared.settings import Settings, load_settings
from shared.stages import Stage, stage_queues
from shared.storage import Store, resolve_store, wait_for_store_access
from workers.quarantine import transport
from workers.quarantine.consumer import QuarantineConsumer
from workers.quarantine.dead_letter_sink import DeadLetterSink
from workers.quarantine.inspection import Contract
from workers.quarantine.overflow import Overflow
from workers.quarantine.staged import staged_check
from workers.runtime import Runtime, StageFunction
from workers.task_pool import TaskPool

Setup = Callable[[Runtime], StageFunction]

log = logging.getLogger(__name__)


def make_task(app: Celery, stage: Stage, runtime: Runtime, function: StageFunction) -> None:
    """Register the stage's Celery task. Its message was inspected before it got here."""

    @app.task(name=stage.task, shared=False, bind=True)  # type: ignore[untyped-decorator]
    def run(task: Any) -> None:
        try:
            request = task.request
            runtime.process(request.inspected, request.lane, stage, function)
        except BaseException:
            # Nothing may leave a task: Celery keeps the place of one that raised MemoryError taken
            # for ever. Acknowledged all the same, the message is found missing and sent again.
            log.exception("a message failed at %s before its chunk was held", stage.name)


def run_worker(
    stage: Stage,
    message_type: type[Message],
    *,
    concurrency: int,
    setup: Setup,
    dead_letter_limits: Limits = LIMITS,
) -> int:
    """Run a worker of this stage until it is told to stop. Returns the exit code.

    ``setup`` makes the stage's function, and returns only when the worker is ready to work.
    ``dead_letter_limits``: what the broker keeps of them.
    """
    _log_to_stderr()
    try:
        settings = load_settings()
        runtime = _runtime(settings, stage.role)
        own_queues = stage_queues(stage, settings.host_id)
        check = staged_check(settings) if message_type is Batch else _no_check
        contract = Contract(own_queues, stage.task, message_type, settings.signing_keys, check)
        store = resolve_store(settings, settings.state_bucket)
        wait_for_store_access(store, settings.state_bucket, runtime.stopping)
        # Celery would not say why it is refused.
        runtime.retry_while_unavailable(lambda: prepare_queues(settings, own_queues))
        sink = _dead_letter_sink(runtime, stage, store, dead_letter_limits)
        transport.install()
        app = make_app(settings)
        consume(app, settings, own_queues)
        make_task(app, stage, runtime, setup(runtime))
    except HeadraceError as error:
        log.error("%s", error)
        return 1
    consumer = partial(QuarantineConsumer, contract=contract, sink=sink)
    return _serve(app, runtime, consumer, concurrency)


def _runtime(settings: Settings, role: str) -> Runtime:
    identity = WorkerIdentity.of_this_process(role, settings.host_id)
    return Runtime(settings, identity, connect_ledger(settings), MessagePublisher(settings))


def _no_check(_: Message) -> None:
    return None


def _dead_letter_sink(
    runtime: Runtime, stage: Stage, store: Store, limits: Limits
) -> DeadLetterSink:
    """Where malformed messages go, and the thread that keeps the broker's share of them small."""
    settings = runtime.settings
    letters = connect_dead_letters(settings)
    overflow = Overflow(letters, store, settings.state_bucket, runtime.identity.role, limits)
    overflow.start()
    runtime.on_stop(overflow.stop)
    return DeadLetterSink(
        letters,
        limits=limits,
        stopping=runtime.stopping,
        overflow=overflow.nudge,
        report_chunk=lambda ref: runtime.ledger.refuse(ref, stage),
    )


def _serve(
    app: Celery, runtime: Runtime, consumer: Callable[..., QuarantineConsumer], concurrency: int
) -> int:
    lease = LeaseKeeper(
        runtime.ledger,
        runtime.identity,
        runtime.settings.lease_seconds,
        in_hand=lambda: tuple(runtime.in_hand),
        alive_file=runtime.settings.alive_file,
        stopping=runtime.stopping.is_set,
    )

    def on_shutdown(**_: Any) -> None:
        runtime.stop()

    signals.setup_logging.connect(lambda **_: None, weak=False)  # ours stands already
    signals.worker_shutting_down.connect(on_shutdown, weak=False)

    class Worker(app.Worker):  # type: ignore[misc]
        def on_consumer_ready(self, consumer: Any) -> None:
            """Not as a signal's receiver: Celery passes over what these raise."""
            super().on_consumer_ready(consumer)
            lease.start()
            log.info("%s is ready", runtime.identity.name)

        def stop(self, *args: Any, **options: Any) -> None:
            """Also called where Celery gives up by itself, and then waits for what is in hand."""
            runtime.stop()
            super().stop(*args, **options)

    worker = Worker(
        hostname=f"{runtime.identity.process}@{runtime.identity.host_id}",
        pool_cls=TaskPool,
        consumer_cls=consumer,
        concurrency=concurrency,
        task_events=True,
        without_gossip=True,
        without_mingle=True,
        optimization="fair",
    )
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the supervisor's affair
    try:
        worker.start()
    finally:
        runtime.stop()
    lease.end()
    return int(worker.exitcode or 0)


def _log_to_stderr() -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # Containers run as a user without a name, which Celery takes for root.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    for chatty in ("celery", "kombu", "amqp"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
