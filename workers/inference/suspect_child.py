"""``python -m workers.inference.suspect_child``: loads a model and runs one image at a time."""

from __future__ import annotations

import logging
import sys

from shared.environment import settle

if __name__ == "__main__":
    settle()

import numpy as np

from shared.errors import TransientError
from shared.pipeline import Pipeline
from shared.settings import load_settings
from workers.inference.errors import HostUnable, ModelUnusable, one_line
from workers.inference.loading import loader
from workers.inference.model_types import LoadedModel, ModelKey
from workers.inference.postprocess import Answer, answers, model_failure
from workers.inference.suspects import Unusable
from workers.suspects.packet import Packet
from workers.suspects.serve import Responder, serve

log = logging.getLogger(__name__)


def begin(first: Packet) -> tuple[Packet, Responder]:
    """Load the model of the pipeline that the first packet holds."""
    pipeline = Pipeline.model_validate(first.header["pipeline"])
    try:
        model = loader(load_settings())(ModelKey.of(pipeline))
    except ModelUnusable as error:
        why = Unusable(message=error.message, hint=error.hint)
        why.other_hosts_may_work = isinstance(error, HostUnable)
        return _unusable(why)
    except TransientError as error:
        return _unusable(Unusable(message=error.message, transient=True))

    def answer(image: bytes) -> Packet:
        given = _run(model, pipeline, image)
        plain = given if isinstance(given, list) else [given]
        dumped = [entry.model_dump(mode="json") for entry in plain]
        return Packet({"answer": dumped if isinstance(given, list) else dumped[0]})

    return Packet(model.choice.model_dump(mode="json")), answer


def _run(model: LoadedModel, pipeline: Pipeline, image: bytes) -> Answer:
    crop = pipeline.preprocess.crop_pixels
    images = np.frombuffer(image, np.uint8).reshape(1, crop, crop, 3)
    try:
        (given,) = answers(model.engine.run(images), model.labels, pipeline.postprocess)
    except Exception as error:
        log.warning("the engine raised on an image", exc_info=True)
        return model_failure(one_line(error))
    return given


def _unusable(why: Unusable) -> tuple[Packet, Responder]:
    return Packet({"unusable": why.model_dump()}), lambda _: Packet({})


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    sys.exit(serve(begin))
