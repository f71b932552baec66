"""``python -m workers.inference.suspect_child``: loads models and runs one image at a time."""

from __future__ import annotations

import logging
import sys
from functools import cache

from shared.environment import settle

if __name__ == "__main__":
    settle()

import numpy as np
import pyarrow as pa

from shared import record_batches
from shared.errors import TransientError
from shared.item import ItemFailure
from shared.pipeline import Pipeline
from shared.pixels import Pixels
from shared.placement import Size
from shared.settings import load_settings
from shared.staging.pixel_layout import PixelLayout
from workers.inference.answering import Group, answers_of, grouped, naming
from workers.inference.errors import (
    HostUnable,
    ModelUnusable,
    model_failure,
    of_analyses,
    one_line,
)
from workers.inference.loading import loader
from workers.inference.model_types import LoadedModel, ModelKey
from workers.inference.suspects import SIZE, Unusable, row_schema
from workers.suspects.packet import Packet
from workers.suspects.serve import Responder, serve

log = logging.getLogger(__name__)


def begin(first: Packet) -> tuple[Packet, Responder]:
    """Load the models of the analyses that the first packet names."""
    pipeline, names = Pipeline.model_validate(first.header["pipeline"]), first.header["analyses"]
    try:
        found = _Models(pipeline, names)
    except ModelUnusable as error:
        why = Unusable(message=error.message, hint=error.hint, analyses=error.analyses)
        why.other_hosts_may_work = isinstance(error, HostUnable)
        return _unusable(why)
    except TransientError as error:
        return _unusable(Unusable(message=error.message, transient=True))
    return Packet({"engines": found.engines()}), found.answer


class _Models:
    """The models of some analyses, each loaded once."""

    def __init__(self, pipeline: Pipeline, names: list[str]) -> None:
        self._pipeline = pipeline
        self._schema = row_schema(pipeline, names)
        self._loaded: dict[ModelKey, LoadedModel] = {}
        load, keys = cache(loader(load_settings())), {}
        for name in names:
            asked = ModelKey.of(pipeline, name)
            with of_analyses(name):
                model = load(asked)
            keys[name] = asked.in_precision(model.choice.precision)
            self._loaded.setdefault(keys[name], model)
        self._groups = grouped(pipeline, keys)

    def engines(self) -> dict[str, object]:
        """What computes each analysis, for the parent."""
        return {
            name: self._loaded[group.key].choice.model_dump(mode="json")
            for group in self._groups
            for name in group.analyses
        }

    def answer(self, image: bytes) -> Packet:
        """The answers to all analyses, or the failure of the first that fails."""
        size, pixels = SIZE.unpack_from(image), np.frombuffer(image, np.uint8, offset=SIZE.size)
        columns: dict[str, pa.Array] = {}
        for group in self._groups:
            failure = self._run(group, (size[0], size[1]), pixels, columns)
            if failure is not None:
                return Packet({"failure": failure.model_dump(mode="json")})
        arrays = [columns[name] for name in self._schema.names]
        row = pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        return Packet({}, record_batches.encode(row))

    def _run(
        self, group: Group, size: Size, pixels: Pixels, columns: dict[str, pa.Array]
    ) -> ItemFailure | None:
        """Add the group's columns, or say why the image failed."""
        model = self._loaded[group.key]
        images = PixelLayout(self._pipeline.staged_views, 1).array(pixels, group.view)
        try:
            outputs = model.engine.run(images)
            found = answers_of(self._pipeline, group, outputs, model.labels, [size])
        except Exception as error:
            log.warning("the engine raised on an image", exc_info=True)
            return naming(self._pipeline, group.analyses[0], model_failure(one_line(error)))
        for name, answered in found.items():
            if answered.failures:
                return answered.failures[0]
            columns[name] = answered.values
        return None


def _unusable(why: Unusable) -> tuple[Packet, Responder]:
    return Packet({"unusable": why.model_dump()}), lambda _: Packet({})


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    sys.exit(serve(begin))
