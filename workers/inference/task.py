"""Puts the inference stage together from a worker's runtime."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial

from shared.job import JobStop
from shared.job_store import JobStore
from shared.ledger import Ledger
from shared.messages import Batch
from shared.stages import INFERENCE
from shared.staging import open_ring
from shared.staging.network import connect_network
from shared.storage import connect_store
from workers.inference.analyst import DeviceAnalyst
from workers.inference.class_host.start import sweep
from workers.inference.device import CPU_BATCH_IMAGES, CUDA_BATCH_IMAGES, DeviceLoop
from workers.inference.engines.hardware import has_cuda
from workers.inference.loading import loader
from workers.inference.models import LoadedModels
from workers.inference.pins import JobPins
from workers.inference.stage import InferenceStage
from workers.inference.suspects import ChildAnalyst, SuspectAnalyst
from workers.runtime import Runtime

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """What suits a device: chunks held at once, images in a batch, and batches to warm up with."""

    concurrency: int
    batch_images: int
    warm_batches: tuple[int, ...] = (1,)


# One chunk runs, one arrives, one leaves.
CPU = DeviceProfile(concurrency=3, batch_images=CPU_BATCH_IMAGES)
# The same with batches of four chunks of the usual size. Those that feeding makes are warmed.
CUDA = DeviceProfile(concurrency=12, batch_images=CUDA_BATCH_IMAGES, warm_batches=(256, 128, 64, 1))


def device_profile() -> DeviceProfile:
    """What suits this process's device."""
    return CUDA if has_cuda() else CPU


def setup(runtime: Runtime) -> InferenceStage:
    """The stage's function; models are loaded when the first chunk of each arrives."""
    settings, profile = runtime.settings, device_profile()
    sweep()
    device = DeviceLoop(
        LoadedModels(loader(settings, profile.warm_batches)),
        batch_images=profile.batch_images,
        submitters=profile.concurrency,
    )
    ring = open_ring(settings.ring, settings.host_id)
    if has_cuda():
        from workers.inference.pinning import pin

        pin(ring.pixels)
    jobs = JobStore(connect_store(settings.s3), settings.state_bucket)
    pins = JobPins(jobs)
    network = connect_network(settings, runtime.ledger.still_needed)
    note = partial(runtime.mark_running_alone, INFERENCE)
    stop = partial(stop_job, jobs, runtime.ledger)
    here = DeviceAnalyst(device, runtime.stopping)
    on_trial = SuspectAnalyst(ChildAnalyst(runtime.stopping), here)
    return InferenceStage(ring, network, here, on_trial, pins, note, stop, runtime.stopping)


def stop_job(jobs: JobStore, ledger: Ledger, batch: Batch, error: str) -> None:
    """End a job that no worker can compute. Raises TransientError."""
    log.error("%s cannot be computed: %s", batch.job_id, error)
    jobs.stop(batch.job_id, batch.job_uid, JobStop(error=error[:2000]))
    ledger.hint(batch.job_id)
