"""Puts the inference stage together from a worker's runtime."""

from __future__ import annotations

from functools import partial

from shared.job_store import JobStore
from shared.ledger import Stage
from shared.staging import open_ring
from shared.storage import connect
from workers.inference.device import CPU_BATCH_IMAGES, CUDA_BATCH_IMAGES, DeviceLoop
from workers.inference.engines.hardware import has_cuda
from workers.inference.models import LoadedModels, loader
from workers.inference.pins import JobPins
from workers.inference.stage import InferenceStage
from workers.runtime import Runtime

# One chunk runs, one arrives, one leaves.
CONCURRENCY = 3


def setup(runtime: Runtime) -> InferenceStage:
    """The stage's function; models are loaded when the first chunk of each arrives."""
    settings = runtime.settings
    device = DeviceLoop(
        LoadedModels(loader(settings)),
        batch_images=CUDA_BATCH_IMAGES if has_cuda() else CPU_BATCH_IMAGES,
        submitters=CONCURRENCY,
    )
    ring = open_ring(settings.ring, settings.host_id)
    pins = JobPins(JobStore(connect(settings.s3), settings.state_bucket))
    note = partial(runtime.note_trial, Stage.INFERENCE)
    return InferenceStage(ring, device, pins, note, runtime.stopping)
