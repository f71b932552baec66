"""Loaded models: as many as memory allows of those that were used last, ready to run."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict, deque
from collections.abc import Collection

from shared.job import EngineChoice
from shared.pipeline import MAX_ANALYSES
from workers.inference.engines.hardware import memory_bytes
from workers.inference.errors import ClassUnusable, ModelUnusable
from workers.inference.model_types import LoadedModel, LoadModel, ModelKey

# Of the memory of the machine, or of the device. The rest is for batches, and on a machine without
# a device for the decoders, the staging ring and the pages of files.
MODELS_SHARE = 0.5
# A user's class whose process cannot be measured is taken for so much of that: one pipeline's fit.
CLASS_SHARE = 1 / MAX_ANALYSES
# Models whose choice of engine is remembered, and those that were closed for others. Each takes
# about 1 KB.
REMEMBERED_MODELS = 256
# A model that was refused is not tried again for each chunk of its job.
REFUSED_SECONDS = 30.0

log = logging.getLogger(__name__)


class LoadedModels:
    """An LRU of loaded models, of ``budget_bytes`` together, by default the ``MODELS_SHARE``.

    One is always kept, however large. One thread uses it, others ask for choices alone.

    A network whose precision was open is kept under the one that was chosen: who asks for that
    finds it, and where it has to be loaded again it computes in no other.
    """

    def __init__(self, load: LoadModel, *, budget_bytes: int | None = None) -> None:
        self._load = load
        self._budget_bytes = budget_bytes or int(MODELS_SHARE * memory_bytes())
        self._loaded: OrderedDict[ModelKey, LoadedModel] = OrderedDict()
        self._choices: OrderedDict[ModelKey, EngineChoice] = OrderedDict()
        self._refused: dict[ModelKey, tuple[float, ModelUnusable]] = {}
        self._said_closed: deque[ModelKey] = deque(maxlen=REMEMBERED_MODELS)

    def choice(self, key: ModelKey) -> EngineChoice | None:
        """What computes the model here, loaded or not; None where it is new. Any thread may ask."""
        return self._choices.get(key)

    def __contains__(self, key: ModelKey) -> bool:
        """Is it ready to run? The process of a user's class may have ended."""
        key = self._as_chosen(key)
        return key in self._loaded and not getattr(self._loaded[key].engine, "dead", False)

    def get(self, key: ModelKey) -> LoadedModel:
        """The model, loaded now if need be. Raises ModelUnusable, or TransientError."""
        key = self._as_chosen(key)
        if key in self:
            self._loaded.move_to_end(key)
            return self._loaded[key]
        self._raise_if_refused(key)
        self.close_one(key)
        try:
            loaded = self._load(key)
        except ClassUnusable:  # its job ends; another's is tried
            raise
        except ModelUnusable as error:
            log.error("model '%s' cannot be used: %s", key.model.name, error)
            self._refused[key] = (time.monotonic(), error)
            raise
        self._remember(key, loaded.choice)
        chosen = self._as_chosen(key)
        self._remember(chosen, loaded.choice)
        if chosen in self:  # loaded for a pipeline that names its precision
            loaded.engine.close()
            self._loaded.move_to_end(chosen)
        else:
            self._loaded[chosen] = loaded
        return self._loaded[chosen]

    def close_one(self, key: ModelKey) -> None:
        """Close the model, if it is loaded. Waits for its batches in flight."""
        if (loaded := self._loaded.pop(self._as_chosen(key), None)) is not None:
            loaded.engine.close()

    def fit(self, needed: Collection[ModelKey] = ()) -> None:
        """Close those used longest ago until the others fit, but not the newest.

        Those ``needed`` for chunks in hand are never closed, even where they do not fit: they would
        be loaded again for each chunk. Waits for batches in flight.
        """
        kept = {self._as_chosen(key) for key in needed}
        sizes = {key: self._bytes_of(model) for key, model in self._loaded.items()}
        *others, newest = self._loaded
        for key in others:
            if sum(sizes.values()) <= self._budget_bytes:
                return
            if key not in kept:
                del sizes[key]
                self._say_closed(key, newest)
                self.close_one(key)

    def _bytes_of(self, model: LoadedModel) -> int:
        # A class may load more with its first batch, so its process is measured each time.
        known = getattr(model.engine, "resident_bytes", None) or model.memory_bytes
        return int(CLASS_SHARE * self._budget_bytes) if known is None else known

    def _say_closed(self, key: ModelKey, newest: ModelKey) -> None:
        if key not in self._said_closed:
            self._said_closed.append(key)
            log.info(
                "model '%s' is closed to make room for '%s'", key.model.name, newest.model.name
            )

    def close(self) -> None:
        """Close every engine."""
        while self._loaded:
            self._loaded.popitem()[1].engine.close()

    def _as_chosen(self, key: ModelKey) -> ModelKey:
        """The key in the precision that was chosen for it here, where it leaves that open."""
        if key.precision == "auto" and (choice := self._choices.get(key)) is not None:
            return key.in_precision(choice.precision)
        return key

    def _remember(self, key: ModelKey, choice: EngineChoice) -> None:
        self._choices[key] = choice
        if len(self._choices) > REMEMBERED_MODELS:
            self._choices.popitem(last=False)

    def _raise_if_refused(self, key: ModelKey) -> None:
        now = time.monotonic()
        self._refused = {k: v for k, v in self._refused.items() if now - v[0] < REFUSED_SECONDS}
        if key in self._refused:
            error = self._refused[key][1]
            raise type(error)(error.message, error.hint)
