"""Loading a model: choose the engine, fetch what it needs, warm it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from shared.errors import HeadraceError, PermanentError, TransientError
from shared.model import Model
from shared.placement import Size
from shared.settings import Settings
from shared.storage import Store, connect_store
from workers.inference.artefacts import Artefacts
from workers.inference.engines import Engine
from workers.inference.engines.choose import Candidate, candidates, pick
from workers.inference.engines.hardware import has_cuda, runs_graphs_on_cuda
from workers.inference.errors import ModelUnusable, is_out_of_memory, load_error
from workers.inference.model_types import LoadedModel, LoadModel, ModelKey
from workers.inference.selection import Open, SelfTest
from workers.inference.user_code import UserCode

# What an engine takes, by its file: OpenVINO keeps the weights as they are and as it computes them,
# others less. Measured in float32, two cores: 1,203 MiB for VGG16's 528, 126 for MobileNetV2's 14.
WEIGHTS_COPIES = 2
ENGINE_BYTES = 128 * 2**20
# Slices of a batch are joined once all are there.
OUTPUT_COPIES = 2

log = logging.getLogger(__name__)


def loader(settings: Settings, batches: Sequence[int] = (1,)) -> LoadModel:
    """A function that loads any model, for a worker with these settings.

    ``batches``: sizes, in images, of which the engine runs one each before it is ready.
    """
    store, cache = connect_store(settings.s3), settings.home / "cache"
    return loader_from(store, settings.models_bucket, cache, batches)


def loader_from(store: Store, bucket: str, cache: Path, batches: Sequence[int] = (1,)) -> LoadModel:
    """The same, where the models lie in ``bucket`` and what is fetched is kept in ``cache``."""
    artefacts = Artefacts(store, bucket, cache / "models")
    user_code = UserCode(store, bucket, cache / "code")
    self_test = SelfTest(cache / "engines")
    return partial(
        load_model,
        artefacts=artefacts,
        user_code=user_code,
        self_test=self_test,
        batches=batches,
    )


def load_model(
    key: ModelKey,
    artefacts: Artefacts,
    user_code: UserCode,
    self_test: SelfTest,
    batches: Sequence[int] = (1,),
) -> LoadedModel:
    """Choose the engine, fetch what it needs, load it, and warm it where that is safe.

    Raises ModelUnusable where trying again does not help, HostUnable where another machine may do
    better, else TransientError.
    """
    started = time.monotonic()
    try:
        engine, reason = _chosen(key, partial(_open, key, artefacts, user_code), self_test)
        memory_bytes = None  # of a user's class, whose process is measured
        if engine.name != "python":  # a class may count its calls, or refuse black images
            output_bytes = _warm(engine, key.canvas, batches)
            memory_bytes = _memory_bytes(engine, key.model, artefacts, output_bytes)
        loaded = LoadedModel(engine, _labels(key.model, artefacts), reason, memory_bytes)
    except (ModelUnusable, TransientError):
        raise
    except HeadraceError as error:
        raise ModelUnusable(error.message, error.hint) from error
    except BaseException as error:
        raise load_error(key.model.name, error) from error
    log.info(
        "model '%s' %s: %s %s on %s, because %s; ready in %.1f s",
        *(key.model.name, key.model.sha256[:12], engine.name, engine.precision or ""),
        *(engine.device, reason, time.monotonic() - started),
    )
    return loaded


def _warm(engine: Engine, canvas: Size, batches: Sequence[int]) -> int:
    """Run a batch of each size. Returns how many bytes the engine gives for the largest."""
    width, height = canvas
    output_bytes = 0
    for images in batches:
        try:
            given = engine.run(np.zeros((images, height, width, 3), np.uint8))
            output_bytes = max(output_bytes, sum(array.nbytes for array in given))
        except BaseException as error:
            if images == 1 or not is_out_of_memory(error):  # else batches will be smaller
                raise
    return output_bytes


def _chosen(key: ModelKey, open_engine: Open, self_test: SelfTest) -> tuple[Engine, str]:
    """The engine that a pipeline's policies come to on this machine, and why."""
    is_graph = key.model.architecture is None and key.model.python_class is None
    cuda = runs_graphs_on_cuda() if is_graph else has_cuda()
    left = candidates(key.model, key.engine, key.precision, cuda=cuda)
    if len(left) > 1 and key.precision in ("auto", "float32"):
        results = self_test.results(key, open_engine, cuda=cuda)
        results = [result for result in results if result.candidate in left]
        if any(result.is_exact for result in results):
            best, reason = pick(results)
            return open_engine(best), reason
        left = left[:1]  # the engine that is asked for answers differently, or says why it cannot
    asked = "the model is a Python class" if key.model.python_class else "the pipeline asks for it"
    for candidate in left[:-1]:
        try:
            return open_engine(candidate), asked
        except PermanentError as error:
            log.info("%s: %s", candidate.engine, error)
    return open_engine(left[-1]), asked


def _labels(model: Model, artefacts: Artefacts) -> tuple[str, ...]:
    return () if model.python_class else artefacts.labels(model)


def _memory_bytes(engine: Engine, model: Model, artefacts: Artefacts, output_bytes: int) -> int:
    """What a network takes. ``output_bytes``: of the largest batch that it has."""
    file = artefacts.weights(model) if engine.name == "torch" else artefacts.onnx(model)
    return WEIGHTS_COPIES * file.stat().st_size + ENGINE_BYTES + OUTPUT_COPIES * output_bytes


def _open(key: ModelKey, artefacts: Artefacts, user_code: UserCode, candidate: Candidate) -> Engine:
    """Each engine's library is imported only where the engine is tried or chosen."""
    model, precision = key.model, candidate.precision
    if model.python_class is not None:
        from workers.inference.class_host.start import open_class

        return open_class(model, user_code, key.load_seconds)
    assert precision is not None
    if candidate.engine == "torch" and has_cuda():
        from workers.inference.engines.cuda_engine import CudaEngine

        return CudaEngine(model, artefacts.weights(model), precision)
    if candidate.engine == "torch":
        from workers.inference.engines.torch_engine import TorchEngine

        return TorchEngine(model, artefacts.weights(model), precision)
    if candidate.engine == "openvino":
        from workers.inference.engines.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(model, artefacts.onnx(model), key.canvas, precision)
    from workers.inference.engines.onnxruntime_engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(model, artefacts.onnx(model), key.canvas)
