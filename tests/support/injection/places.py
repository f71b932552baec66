"""Named places in the product at which a test kills, stops or breaks the process that gets there.

The product knows nothing of them: ``hooks/sitecustomize.py`` wraps the functions named here in the
processes of a stack that was started with ``environment``.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shared.settings import PROJECT_ROOT
from tests.support.injection.extent import JOB_SECONDS
from tests.support.waiting import wait_for

HOOKS = Path(__file__).parent / "hooks"


@dataclass(frozen=True, slots=True)
class Place:
    """Before or after a function, ``module:name`` or ``module:Class.name``, in a role's process.

    A module run as ``__main__`` cannot have places: name the function where it is defined, and not
    where another module has imported it by ``from``. ``calls``: how many of it there are at least
    in an undisturbed job of 12 chunks of 16 images.
    """

    role: str
    when: str
    function: str
    calls: int = 12


_LEDGER = "shared.ledger.ledger:Ledger"
_CHUNKS = "shared.ledger.chunks:ChunkLedger"
_SEND = "shared.broker.publisher:MessagePublisher.send"
_CLOSING = "workers.collector.closing"
_LISTER = "producer.lead.lister:Lister"

PLACES: dict[str, Place] = {
    "segment to be written": Place("producer", "before", f"{_LISTER}._flush", 3),
    "segment written and not fed": Place("producer", "after", f"{_LISTER}._write", 3),
    "all segments and no seal": Place("producer", "before", f"{_LISTER}._seal", 1),
    "sealed": Place("producer", "after", f"{_LISTER}._seal", 1),
    "fed and not sent": Place("producer", "before", "producer.lead.feed:JobFeed.send"),
    "chunk sent and not noted": Place("producer", "after", _SEND),
    "rescue recorded and not resent": Place(
        "producer", "before", "producer.lead.leader:Leader._resend", 1
    ),
    "chunk claimed": Place("preprocess", "after", f"{_CHUNKS}.claim"),
    "fetched": Place("preprocess", "after", "workers.preprocess.fetch:Fetcher.fetch"),
    "slot taken": Place("preprocess", "after", "shared.staging.ring:StagingRing.take"),
    "half staged": Place(
        "preprocess", "before", "workers.preprocess.staged_chunk:StagedChunk.add", 192
    ),
    "staged and not recorded": Place("preprocess", "before", f"{_CHUNKS}.advance"),
    "batch recorded, its slot locked": Place("preprocess", "after", f"{_CHUNKS}.advance"),
    "batch recorded and not sent": Place("preprocess", "before", _SEND),
    "batch sent and not acked": Place("preprocess", "after", _SEND),
    "batch claimed": Place("inference", "after", f"{_CHUNKS}.claim"),
    "slot locked to be read": Place("inference", "after", "shared.staging.ring:StagingRing.read"),
    "slot being read": Place("inference", "before", "workers.inference.device:DeviceLoop.submit"),
    "batch about to run": Place(
        "inference", "before", "workers.inference.engines.python_engine:PythonEngine.launch", 3
    ),
    "inferred and not answered": Place(
        "inference", "before", "workers.inference.answering:answers_of"
    ),
    "inferred and slot still held": Place(
        "inference", "before", "shared.staging.ring:ReadHold.release"
    ),
    "slot released and not recorded": Place("inference", "before", f"{_CHUNKS}.advance"),
    "result recorded and not sent": Place("inference", "before", _SEND),
    "result sent and not acked": Place("inference", "after", _SEND),
    "result claimed": Place("collector", "after", f"{_CHUNKS}.claim"),
    "chunk file about to be written": Place(
        "collector", "before", "workers.collector.chunk_file:ChunkFiles.write"
    ),
    "object being put": Place("collector", "before", "shared.storage.s3:S3ObjectStore.create"),
    "chunk file written and not recorded": Place(
        "collector", "after", "workers.collector.chunk_file:ChunkFiles.write"
    ),
    "chunk recorded and not acked": Place("collector", "after", f"{_CHUNKS}.finish"),
    "part to be written": Place("collector", "before", "workers.collector.rollup:RollUp._make", 4),
    "part written": Place("collector", "after", "workers.collector.rollup:RollUp._make", 4),
    "manifest to be written": Place("collector", "before", f"{_CLOSING}:_existing", 1),
    "marker to be written": Place("collector", "after", f"{_CLOSING}:_existing", 1),
    "closing to be written": Place("collector", "before", f"{_CLOSING}:record", 1),
    "chunk files to be deleted": Place("collector", "before", f"{_CLOSING}:finish", 1),
    "chunk files gone and the job not forgotten": Place(
        "collector", "before", f"{_LEDGER}.close_job", 1
    ),
}

# On the way of a job of which too many images fail.
EARLY_STOP = {
    "stop to be written": Place("producer", "before", "shared.job_store:JobStore.stop", 1),
    "stop written and not noted": Place("producer", "after", "shared.job_store:JobStore.stop", 1),
}

_WORKERS = ("preprocess", "inference", "collector")
# Where what is raised ends a thread of ours: by role, then by the thread's name.
THREADS: dict[str, dict[str, Place]] = {
    "producer": {
        "leader": Place("producer", "before", "producer.lead.leader:Leader.tick"),
        "lease": Place("producer", "before", "shared.lease:LeaseKeeper._renew"),
        "list": Place("producer", "before", f"{_LISTER}.run", 1),
        "pump": Place("producer", "before", "producer.sources.prefetch:_End.__init__", 1),
    },
    **{
        role: {
            "lease": Place(role, "before", "shared.lease:LeaseKeeper._renew"),
            "dead-letters": Place(role, "before", "workers.quarantine.overflow:Overflow.move"),
            # Celery's bookkeeping behind a task, and its consumer in the main thread.
            "task": Place(role, "before", "celery.worker.request:Request.acknowledge"),
            "main": Place(role, "before", "celery.worker.consumer.consumer:Consumer._flush_events"),
        }
        for role in _WORKERS
    },
}
THREADS["inference"] |= {
    "device": Place("inference", "before", "workers.inference.device:DeviceLoop._next_task"),
    "device-ends": Place("inference", "before", "workers.inference.prints:JobPrints.write"),
}
THREADS["collector"]["closing-loop"] = Place(
    "collector", "before", "workers.collector.closing_loop:ClosingLoop.once"
)


def thread_place(role: str, thread: str) -> str:
    """The name of the place in a role's thread."""
    return f"{role}'s thread {thread}"


_IN_THREADS = {
    thread_place(role, thread): place
    for role, threads in THREADS.items()
    for thread, place in threads.items()
}


ALL_PLACES = PLACES | EARLY_STOP | _IN_THREADS


class Places:
    """The places of one stack. ``environment`` is for the stack, before it is started."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        table = {name: asdict(place) for name, place in ALL_PLACES.items()}
        (directory / "places.json").write_text(json.dumps(table))
        path = f"{PROJECT_ROOT}{os.pathsep}{HOOKS}"
        self.environment = {"INJECTION_DIR": str(directory), "PYTHONPATH": path}

    def arm(self, name: str, action: str = "kill", *, passing: int = 0, **more: Any) -> None:
        """The process that gets to the place after ``passing`` calls of it, by any, acts, once.

        Actions: kill, stop (SIGSTOP, at once or ``seconds`` later), hang (``seconds``), raise
        (``exception``, its dotted name, and ``message``), skip (the call returns None; ``before``
        only).
        """
        assert name in ALL_PLACES, name
        for old in self._directory.glob(f"{name}.*"):
            old.unlink()
        new = self._directory / f"{name}.new"
        new.write_text(json.dumps({"action": action, "passing": passing, **more}))
        new.rename(self._directory / name)

    def disarm(self, name: str) -> None:
        """Nothing happens there any more."""
        (self._directory / name).unlink(missing_ok=True)

    def struck(self, name: str, *, deadline_seconds: float = JOB_SECONDS) -> int:
        """Wait until a process got there. Returns its pid."""
        found = wait_for(
            lambda: list(self._directory.glob(f"{name}.*.struck")),
            what=f"a process at the place '{name}'",
            deadline_seconds=deadline_seconds,
        )
        return int(found[0].name.split(".")[-2])
