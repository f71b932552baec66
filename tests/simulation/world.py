"""The world of one seed: a stack with its jobs, and what may befall them."""

from __future__ import annotations

import logging
import random
import traceback
from collections.abc import Callable
from pathlib import Path

from greenlet import GreenletExit

from shared.errors import TransientError
from shared.job import JobSpec, MaxErrors
from shared.job_store import JobStore
from shared.keys import closed_key
from shared.settings import RingSettings, Settings
from shared.staging import create_ring
from tests.simulation.audit import Audit
from tests.simulation.broker import Broker
from tests.simulation.clock import Clock, Process
from tests.simulation.faults import Faults
from tests.simulation.gate import Gate, is_far
from tests.simulation.roles import Running, Services
from tests.simulation.stand_ins import IMAGE_BYTES, PIPELINES, StandIns
from tests.simulation.store import SimulatedStore
from tests.simulation.threads import EPOCH, EPOCH_SECONDS
from tests.simulation.valkey import Valkey
from tests.support import samples

# What has to be waited for in turn: a lease, looks at all jobs, pauses at their longest.
PATIENCE_SECONDS = 120.0
AFTERWARDS_SECONDS = 2.0
LEASE_SECONDS = 3.0
LIMITS = (
    *(None, None, MaxErrors(images=0), MaxErrors(images=3)),
    *(MaxErrors(percent=10), MaxErrors(percent=50)),
)
NAMES = (
    *("producer-1", "producer-2", "preprocess-1", "preprocess-2"),
    *("inference-1", "collector-1", "collector-2"),
)
# All on one host, the same with another host beside it, and with the only device there.
LAYOUTS = (
    *(NAMES, NAMES, (*NAMES, "preprocess-far", "inference-far")),
    (*(name for name in NAMES if name != "inference-1"), "inference-far"),
)


class World(logging.Handler):
    """Everything of one seed. What the product logs as unforeseen is an error of the seed."""

    def __init__(self, seed: int, home: Path, *, tells: bool) -> None:
        super().__init__()
        self._tells = tells
        self.chance = random.Random(seed)
        self.clock = Clock()
        self.audit = Audit(self)
        self.gate = Gate(self.clock, self.chance, self.note, self.audit.after)
        self.server = Valkey(lambda: EPOCH_SECONDS + self.clock.now)
        self.broker = Broker(self.gate)
        self.store = SimulatedStore(self.gate, self.chance, "state", "input", "results")
        self.jobs = JobStore(self.store, "state")
        self.stand_ins = StandIns(
            self.gate,
            self.chance.choice((0.001, 0.01, 0.1)),
            self.chance.choice((0.001, 0.05, 0.5)),
            self.chance.choice((0.0, 0.0, 0.0, 0.1, 0.5, 1.0)),
        )
        self.init = Process("init")
        self.names: tuple[str, ...] = self.chance.choice(LAYOUTS)
        self.away_until, self.skews = 0.0, dict[str, float]()
        self.running: dict[str, Running] = {}
        self.specs = [self._job(number) for number in range(self.chance.choice((1, 1, 1, 2)))]
        self.needs_device = any(spec.pipeline.staged_views for spec in self.specs)
        if not self.needs_device:
            self.names = tuple(name for name in self.names if not name.startswith("inference"))
        self.parcels = Valkey(lambda: EPOCH_SECONDS + self.clock.now)
        self.services = Services(
            *(self.clock, self.gate, self.server, self.broker, self.store, self.stand_ins),
            *(self._settings(home, "testhost"), self._settings(home, "farhost")),
            *(self.parcels, self.chance.choice((5.0, 3600.0))),
        )
        self._pids = 0

    def run(self) -> list[str]:
        """The faults that were drawn."""
        self.faults = Faults(self)
        self.faults.arrange()
        for name in self.names:
            self.start(name)
        self.clock.spawn(self.init, "end", self._end)
        try:
            self.clock.run()
        except Exception:  # noqa: BLE001 - whatever a process dies of is the seed's finding
            self.audit.say(traceback.format_exc())
        if not self.audit.wrong:
            is_near = "inference-1" in self.names or not self.needs_device
            is_undisturbed = not self.faults.names and is_near
            self.audit.finish(is_undisturbed=is_undisturbed)
        self.clock.end()
        return self.faults.names

    def start(self, name: str) -> None:
        """Begin a process; whatever ends it, it begins again."""
        process = Process(name, self.skews.get(name, 0.0))
        process.on_death.append(lambda: self._again(process))
        self._pids += 1
        self.running[name] = Running(self.services, process, self._pids)

    def _again(self, process: Process) -> None:
        self.note(process.name, "ends")
        self.running.pop(process.name, None)
        away_seconds = self.away_until - self.clock.now if is_far(process.name) else 0.0
        seconds = max(0.0, away_seconds) + 0.1 + 2 * self.chance.random()
        self.later(seconds, lambda: self.start(process.name))

    def any_running(self) -> list[Running]:
        """One process, unless all are about to begin again."""
        names = sorted(self.running)
        return [self.running[self.chance.choice(names)]] if names else []

    def kill(self, process: Process) -> None:
        if process is not self.init:
            self.clock.kill(process)

    def later(self, seconds: float, action: Callable[[], object]) -> None:
        """Do something after a while, whatever dies until then."""

        def wait() -> None:
            self.clock.sleep(seconds)
            action()

        self.clock.spawn(self.init, "later", wait)

    def cancel(self, spec: JobSpec) -> None:
        """As ``headrace cancel``, until it is told that it is done."""
        if closed_key(spec.job_id) in self.store.buckets["state"]:
            return
        for ask in (
            lambda: self.jobs.cancel(spec.job_id),
            lambda: self.services.ledger().hint(spec.job_id),
        ):
            while not self._succeeds(ask):
                self.clock.sleep(0.5)

    def _succeeds(self, ask: Callable[[], object]) -> bool:
        try:
            ask()
        except TransientError:
            return False
        return True

    def change_bucket(self) -> None:
        """Add an object, replace one, or delete one."""
        objects = self.store.buckets["input"]
        key = self.chance.choice(sorted(objects) or ["job-0/none"])
        if self.chance.random() < 0.4:
            key = f"job-0/{self.chance.randrange(100)}/new"
        self.audit.changed.add(key)
        if key in objects and self.chance.random() < 0.5:
            self.note(key, "is deleted")
            del objects[key]
        else:
            self.note(key, "is new")
            self._put(key)

    def note(self, *story: object) -> None:
        """A line of the seed's story."""
        if self._tells:
            task = self.clock.task
            who = f"{task.process.name} {task.name}" if task else "-"
            text = " ".join(map(str, story))
            print(f"{self.clock.now:10.4f} {who:28} {text[:300]}")

    def emit(self, record: logging.LogRecord) -> None:
        """What the product logs."""
        text = record.getMessage()
        self.note("log:", text)
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, (TransientError, GreenletExit)):
            self.audit.say(f"{text}: {error!r}")

    def _job(self, number: int) -> JobSpec:
        prefix = f"job-{number}/"
        for image in range(self.chance.randint(0, 24)):
            folder = "deep/" * self.chance.randrange(3)
            self._put(f"{prefix}{folder}{image:03d}")
        pipeline = self.chance.choice(PIPELINES)
        spec = JobSpec(
            job_id=f"job-{number}",
            job_uid=f"{number:016x}",
            created_at=EPOCH,
            bucket="input",
            prefix=prefix,
            output_bucket="results",
            chunk_items=self.chance.randint(2, 4),
            max_errors=self.chance.choice(LIMITS),
            pipeline=pipeline,
            pipeline_sha256=pipeline.sha256,
            headrace_version="0",
        )
        self.store.buckets["state"][f"jobs/{spec.job_id}/spec.json"] = (
            spec.model_dump_json().encode()
        )
        return spec

    def _put(self, key: str) -> None:
        data = self.chance.randbytes(8)
        self.store.buckets["input"][key] = data
        self.audit.history.setdefault(key, set()).add(data)

    def _settings(self, home: Path, host_id: str) -> Settings:
        slots = RingSettings(
            directory=home / host_id,
            slot_bytes=(2 * IMAGE_BYTES, 4 * IMAGE_BYTES),
            slot_counts=(self.chance.randint(1, 2), self.chance.randint(1, 2)),
        )
        create_ring(slots)
        changes = {
            "host_id": host_id,
            "ring": slots,
            "staging_bytes": self.chance.choice((1, 2, 8)) * 4 * IMAGE_BYTES,
            "lease_seconds": LEASE_SECONDS,
            "preprocess_queue_chunks": self.chance.choice((1, 3, 16)),
        }
        return samples.settings(home).model_copy(update=changes)

    def _end(self) -> None:
        """End it when all jobs have ended, and in any case."""
        state = self.store.buckets["state"]
        closed = [closed_key(spec.job_id) for spec in self.specs]
        while self.clock.now < self.faults.end + PATIENCE_SECONDS:
            self.clock.sleep(0.5)
            if self.clock.now > self.faults.end and all(key in state for key in closed):
                self.clock.sleep(AFTERWARDS_SECONDS)
                break
        self.clock.is_over = True
