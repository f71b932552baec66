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
from workers.inference.alone import killed
from workers.inference.engines import HostedEngine, Images, Outputs
from workers.inference.errors import (
    ClassUnusable,
    EngineError,
    HostDied,
    ModelUnusable,
    one_line,
)
from workers.inference.models import LoadedModels, ModelKey, loader
from workers.inference.postprocess import Answer, answers, model_failure
from workers.inference.prints import JobPrints
from workers.inference.suspects import Unusable
from workers.suspects.frame import Frame
from workers.suspects.serve import Answer as AnswerFrame
from workers.suspects.serve import serve

log = logging.getLogger(__name__)


def begin(first: Frame) -> tuple[Frame, AnswerFrame]:
    """Load the model of the pipeline that the first frame holds."""
    pipeline = Pipeline.model_validate(first.header["pipeline"])
    try:
        runs = _Runs(str(first.header["job"]), pipeline)
    except ModelUnusable as error:
        is_class = isinstance(error, ClassUnusable)
        return _unusable(Unusable(message=error.message, hint=error.hint, is_class=is_class))
    except TransientError as error:
        return _unusable(Unusable(message=error.message, transient=True))

    def answer(image: bytes) -> Frame:
        given = runs.answer(image)
        plain = given if isinstance(given, list) else [given]
        dumped = [entry.model_dump(mode="json") for entry in plain]
        return Frame({"answer": dumped if isinstance(given, list) else dumped[0]})

    return Frame(runs.model.choice.model_dump(mode="json")), answer


class _Runs:
    """Runs single images of one job. A user's class has a process of its own here, too."""

    def __init__(self, job: str, pipeline: Pipeline) -> None:
        self._job, self._pipeline = job, pipeline
        self._key = ModelKey.of(pipeline)
        self._models = LoadedModels(loader(load_settings()))
        self._prints = JobPrints()
        self.model = self._models.get(self._key)

    def answer(self, image: bytes) -> Answer:
        crop = self._pipeline.preprocess.crop_pixels
        images = np.frombuffer(image, np.uint8).reshape(1, crop, crop, 3)
        try:
            try:
                outputs = self._run(images)
            except HostDied:
                outputs = self._run(images)
            (given,) = answers(outputs, self.model.labels, self._pipeline.postprocess)
        except HostDied as death:
            return killed(death)
        except EngineError as error:  # of a user's class
            return model_failure(error.message)
        except Exception as error:
            log.warning("the engine raised on an image", exc_info=True)
            return model_failure(one_line(error))
        return given

    def _run(self, images: Images) -> Outputs:
        self.model = self._models.get(self._key)
        engine = self.model.engine
        if not isinstance(engine, HostedEngine):
            return engine.run(images)
        try:
            return engine.launch([images], self._key.batch_seconds).wait().outputs
        finally:
            self._prints.write([self._job], self._key.model.name, engine.take_prints())


def _unusable(why: Unusable) -> tuple[Frame, AnswerFrame]:
    return Frame({"unusable": why.model_dump()}), lambda _: Frame({})


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    sys.exit(serve(begin))
