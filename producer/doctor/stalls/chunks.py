"""Chunks that a worker has held without progress for longer than they may take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass

from producer.connections import Connections
from producer.doctor.stalls.finding import Finding, described_worker
from shared.errors import PermanentError
from shared.job import JobSpec
from shared.ledger import ChunkPlace
from shared.stages import INFERENCE, PREPROCESS, RESULTS

# What an inference worker gives a model to load.
LOAD_SECONDS = 600.0
# A preprocess worker decodes one chunk while the next is fetched.
PREPROCESS_CHUNKS = 2
# A device runs what its worker holds one batch after the other: three chunks of a batch each on a
# CPU, twelve in batches of four on a GPU. Each may be of another model, which is loaded first.
DEVICE_BATCHES = 3
# One small file to write. A store that is away for so long is worth a line, too.
COLLECT_SECONDS = 300.0
# Of its deadline; from then on a chunk is worth a warning.
SLOW_AFTER = 0.1


@dataclass(frozen=True, slots=True)
class Limit:
    """How long a chunk may be held at a stage without progress.

    ``min_seconds``: the shortest that any pipeline makes it; below it no spec need be read.
    """

    min_seconds: float
    seconds: Callable[[JobSpec], float]


def _device_seconds(spec: JobSpec) -> float:
    """Each analysis by a model runs over each batch, and may load its model first."""
    batch_seconds = spec.pipeline.batch_seconds
    runs = DEVICE_BATCHES * max(1, len(spec.pipeline.network_analyses))
    return runs * (max(LOAD_SECONDS, batch_seconds) + batch_seconds)


def _preprocess_seconds(spec: JobSpec) -> float:
    """Before it is decoded a chunk may wait for a slot, which the device has to empty first.

    One that needs no slot may wait for one that does.
    """
    item_seconds = spec.pipeline.preprocess.item_seconds
    return PREPROCESS_CHUNKS * spec.chunk_items * item_seconds + _device_seconds(spec)


# By stage. Of a stage that is not here no limit is known, so its chunks are never overdue.
LIMITS = {
    PREPROCESS: Limit(DEVICE_BATCHES * LOAD_SECONDS, _preprocess_seconds),
    INFERENCE: Limit(DEVICE_BATCHES * LOAD_SECONDS, _device_seconds),
    RESULTS: Limit(COLLECT_SECONDS, lambda _: COLLECT_SECONDS),
}


def overdue_chunks(
    connections: Connections, job_uids: Collection[str] | None = None
) -> list[Finding]:
    """A finding for each worker and job, of these jobs or of all: a warning before the deadline.

    Raises TransientError.
    """
    ledger = connections.ledger
    uids = ledger.jobs() if job_uids is None else job_uids
    slow: dict[tuple[str, str], list[ChunkPlace]] = defaultdict(list)
    for place in ledger.places(uids):
        if place.state != "held" or place.stage.long or place.stage not in LIMITS:
            continue
        if place.seconds > SLOW_AFTER * LIMITS[place.stage].min_seconds:
            slow[place.job_uid, place.owner].append(place)
    found = []
    for (uid, worker), places in slow.items():
        spec = _spec(connections, uid)
        if spec is not None:
            late, early = (_held_for(spec, places, share) for share in (1.0, SLOW_AFTER))
            if late or early:
                found.append(_finding(spec, worker, late or early, is_warning=not late))
    return found


def _held_for(spec: JobSpec, places: list[ChunkPlace], share: float) -> list[ChunkPlace]:
    """Those that have been held for longer than this share of their deadline."""
    return [p for p in places if p.seconds > share * LIMITS[p.stage].seconds(spec)]


def _spec(connections: Connections, uid: str) -> JobSpec | None:
    progress = connections.ledger.progress(uid)
    if progress is None:
        return None
    try:
        return connections.jobs.spec(progress.job_id)
    except (PermanentError, ValueError):  # it was removed, or is of another version
        return None


def _finding(spec: JobSpec, worker: str, places: list[ChunkPlace], *, is_warning: bool) -> Finding:
    oldest = max(places, key=lambda place: place.seconds)
    numbers = ", ".join(str(place.chunk) for place in places)
    role, place = oldest.stage.role, described_worker(worker)
    deadline = LIMITS[oldest.stage].seconds(spec)
    if is_warning:
        detail = (
            f"Chunk {numbers} of {spec.job_id} at {place} has not moved for "
            f"{oldest.seconds / 60:,.1f} min; it may take {deadline / 60:,.0f} min."
        )
        hint = f"A slow model takes its time; else see 'headrace logs {role}'."
    else:
        detail = (
            f"{place} has held chunk {numbers} of {spec.job_id} without progress "
            f"for {oldest.seconds:,.0f} s; it may take {deadline:,.0f} s."
        )
        hint = f"See 'headrace logs {role}', then run 'headrace restart {role}'."
    return Finding(detail, hint, role, worker, is_warning)
