"""The processes of a stack, put together as their ``__main__`` modules do it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from producer.lead.process import ProducerProcess
from shared.errors import TransientError
from shared.job_store import JobStore
from shared.lease import LeaseKeeper
from shared.ledger import Ledger, WorkerIdentity
from shared.settings import Settings
from shared.stages import INFERENCE, PREPROCESS, RESULTS, Stage, lane_of_queue, queue_name
from shared.staging import NetworkStaging, open_ring
from tests.simulation.broker import Broker
from tests.simulation.client import Client
from tests.simulation.clock import Clock, Process
from tests.simulation.gate import Gate, is_far
from tests.simulation.staging import StagingClient
from tests.simulation.stand_ins import StandIns
from tests.simulation.store import SimulatedStore
from tests.simulation.threads import Event, Thread
from tests.simulation.valkey import Valkey
from workers.collector.chunk_file import ChunkFiles
from workers.collector.closing_loop import ClosingLoop
from workers.collector.stage import CollectStage
from workers.inference.analyst import DeviceAnalyst
from workers.inference.pins import JobPins
from workers.inference.stage import InferenceStage
from workers.inference.task import stop_job
from workers.preprocess.fetch import Fetcher
from workers.preprocess.routes import Routes, waiting_chunks
from workers.preprocess.stage import PreprocessStage
from workers.runtime import Runtime, StageFunction

PAUSE_SECONDS = 0.5


@dataclass
class Services:
    """What a process reaches, and what it is told, here and on the far host."""

    clock: Clock
    gate: Gate
    server: Valkey
    broker: Broker
    store: SimulatedStore
    stand_ins: StandIns
    settings: Settings
    far_settings: Settings
    parcels: Valkey
    parcel_seconds: float

    def settings_of(self, process: str) -> Settings:
        """What a process of this name is told."""
        return self.far_settings if is_far(process) else self.settings

    def network(self, ledger: Ledger) -> NetworkStaging:
        """A connection of its own to the parcels."""
        client = cast(Any, StagingClient(self.parcels, self.gate))
        return NetworkStaging(
            client,
            ledger.still_needed,
            budget_bytes=self.settings.staging_bytes,
            lifetime_seconds=self.parcel_seconds,
        )

    def ledger(self, leader_key: str = "hr:leader") -> Ledger:
        """A connection of its own to the ledger."""
        client = cast(Any, Client(self.server, self.gate, leader_key))
        seconds = self.settings.lease_seconds
        return Ledger(client, lease_seconds=seconds)


class Running:
    """One process that runs. ``stop`` is its SIGTERM."""

    def __init__(self, services: Services, process: Process, pid: int) -> None:
        self.process, self._services = process, services
        role = process.name.split("-")[0]
        self._settings = settings = services.settings_of(process.name)
        self._identity = WorkerIdentity(role, process.name, settings.host_id, pid=pid)
        self._body = getattr(self, f"_{role}")
        self._stopping = Event(services.clock)
        self.stop: Callable[[], None] = self._stopping.set
        services.clock.spawn(process, "main", self._run)

    def _run(self) -> None:
        self._body()
        self._services.clock.kill(self.process)

    def _producer(self, leader_key: str = "hr:leader") -> None:
        services, settings = self._services, self._services.settings
        lease = LeaseKeeper(services.ledger(), self._identity, settings.lease_seconds)
        stopping = cast(threading.Event, self._stopping)
        ledger = services.ledger(leader_key)
        process = ProducerProcess(
            *(settings, ledger, services.broker, lambda _: services.store, stopping)
        )
        lease.start()
        process.run()
        process.end()
        lease.end()

    def _usurper(self) -> None:
        """A producer that leads, though another may, too."""
        self._producer("hr:leader:usurper")

    def _preprocess(self) -> None:
        def setup(runtime: Runtime) -> StageFunction:
            fetcher = Fetcher(lambda _: self._services.store, runtime.stopping)
            settings, ledger = runtime.settings, runtime.ledger
            ring = open_ring(settings.ring, settings.host_id)
            network = self._services.network(ledger)
            routes = Routes(settings.host_id, partial(waiting_chunks, ledger))
            note = partial(runtime.mark_running_alone, PREPROCESS)
            return PreprocessStage(
                *(fetcher, ring, network, routes, ledger.still_staged, note, runtime.stopping)
            )

        self._worker(PREPROCESS, queue_name(PREPROCESS), 2, setup)

    def _inference(self) -> None:
        def setup(runtime: Runtime) -> StageFunction:
            ring = open_ring(runtime.settings.ring, runtime.settings.host_id)
            jobs = JobStore(self._services.store, runtime.settings.state_bucket)
            note = partial(runtime.mark_running_alone, INFERENCE)
            device = cast(Any, self._services.stand_ins)
            network = self._services.network(runtime.ledger)
            stop = partial(stop_job, jobs, runtime.ledger)
            analyst = DeviceAnalyst(device, runtime.stopping)  # of classes, which need no child
            return InferenceStage(
                *(ring, network, analyst, analyst, JobPins(jobs), note, stop, runtime.stopping)
            )

        self._worker(INFERENCE, queue_name(INFERENCE, host=self._settings.host_id), 3, setup)

    def _collector(self) -> None:
        def setup(runtime: Runtime) -> StageFunction:
            store, bucket = self._services.store, runtime.settings.state_bucket
            files = ChunkFiles(store, bucket)
            loop = ClosingLoop(runtime.ledger, JobStore(store, bucket), files, lambda _: store)
            runtime.on_stop(loop.end)
            loop.start()
            stage = CollectStage(files, runtime.stopping)
            return lambda result, _losses: stage(result)

        self._worker(RESULTS, queue_name(RESULTS), 2, setup)

    def _worker(
        self, stage: Stage, queue: str, threads: int, setup: Callable[[Runtime], StageFunction]
    ) -> None:
        services = self._services
        runtime = Runtime(self._settings, self._identity, services.ledger(), services.broker)
        self.stop = runtime.stop
        function = setup(runtime)
        lease = LeaseKeeper(
            runtime.ledger,
            runtime.identity,
            services.settings.lease_seconds,
            in_hand=lambda: tuple(runtime.in_hand),
        )
        lease.start()

        def consume() -> None:
            while not runtime.stopping.is_set():
                try:
                    message = services.broker.take(queue)
                except TransientError:
                    runtime.stopping.wait(PAUSE_SECONDS)
                    continue
                if message is not None:
                    runtime.process(message, lane_of_queue(queue), stage, function)

        pool = [Thread(services.clock, consume, "consumer") for _ in range(threads)]
        for thread in pool:
            thread.start()
        for thread in pool:
            thread.join()
        runtime.stop()
        lease.end()
