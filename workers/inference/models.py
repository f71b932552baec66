"""Loaded models: as many as memory allows of those that were used last, ready to run."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Collection

from shared.job import EngineChoice
from workers.inference.engines.hardware import memory_bytes
from workers.inference.errors import ClassUnusable, ModelUnusable
from workers.inference.model_types import LoadedModel, LoadModel, ModelKey

# Of the memory of the machine, or of the device. The rest is for batches, and on a machine without
# a device for the decoders, the staging ring and the pages of files.
MODELS_SHARE = 0.5
# What a user's class takes is not known, and may be on the device: four of them fill the share.
CLASS_SHARE = 0.25
# Models whose choice of engine is remembered. Each takes about 1 KB.
REMEMBERED_CHOICES = 256
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
        """Close those used longest ago until the others fit, the newest aside.

        Those ``needed`` next are the last to be closed. Waits for batches in flight.
        """
        kept = {self._as_chosen(key) for key in needed}
        *others, _ = self._loaded
        for key in sorted(others, key=kept.__contains__):
            if sum(map(self._bytes_of, self._loaded.values())) <= self._budget_bytes:
                return
            self._loaded.pop(key).engine.close()

    def _bytes_of(self, model: LoadedModel) -> int:
        if model.memory_bytes is None:
            return int(CLASS_SHARE * self._budget_bytes)
        return model.memory_bytes

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
        if len(self._choices) > REMEMBERED_CHOICES:
            self._choices.popitem(last=False)

    def _raise_if_refused(self, key: ModelKey) -> None:
        now = time.monotonic()
        self._refused = {k: v for k, v in self._refused.items() if now - v[0] < REFUSED_SECONDS}
        if key in self._refused:
            error = self._refused[key][1]
            raise type(error)(error.message, error.hint)
