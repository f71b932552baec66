"""Puts the inference stage together from a worker's runtime."""

from __future__ import annotations

from functools import partial

from shared.staging import open_ring
from shared.storage import connect
from workers.inference.artefacts import Artefacts
from workers.inference.device import CPU_BATCH_IMAGES, CUDA_BATCH_IMAGES, DeviceLoop
from workers.inference.engines.hardware import has_cuda
from workers.inference.models import LoadedModels, load_model
from workers.inference.stage import InferenceStage
from workers.runtime import Runtime

# One chunk runs, one arrives, one leaves.
CONCURRENCY = 3


def setup(runtime: Runtime) -> InferenceStage:
    """The stage's function; models are loaded when the first chunk of each arrives."""
    settings = runtime.settings
    cache = settings.home / "cache" / "models"
    artefacts = Artefacts(connect(settings.s3), settings.models_bucket, cache)
    device = DeviceLoop(
        LoadedModels(partial(load_model, artefacts=artefacts, plugins=settings.plugins)),
        batch_images=CUDA_BATCH_IMAGES if has_cuda() else CPU_BATCH_IMAGES,
        submitters=CONCURRENCY,
    )
    return InferenceStage(open_ring(settings.ring, settings.host_id), device, runtime.stopping)
