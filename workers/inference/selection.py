"""The self-test: every candidate runs the same images once on this machine, and that is kept."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from shared.errors import PermanentError
from shared.pipeline import Frozen, Model
from workers.inference.calibration import calibration_images
from workers.inference.engines import Engine, Images
from workers.inference.engines.choose import LEAST_AGREEMENT, Candidate, Trial
from workers.inference.engines.hardware import machine

Open = Callable[[Candidate], Engine]

_BATCH_IMAGES = 32
# What an engine in float32 is tried on: it is not its digits that are in question.
_EXACT_IMAGES = 2 * _BATCH_IMAGES
_LIBRARIES = ("numpy", "onnxruntime", "openvino", "torch")

log = logging.getLogger(__name__)


class _Trials(Frozen):
    trials: tuple[Trial, ...]


class SelfTest:
    """Tries candidates, once for a model, this machine and the libraries' versions.

    What came of it lies in ``folder``, where the first that is written stands: two workers of one
    machine do not decide differently.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def trials(
        self, model: Model, image_pixels: int, offered: Sequence[Candidate], open_engine: Open
    ) -> Sequence[Trial]:
        """A trial of each candidate that works here; the first of ``offered`` is float32.

        Raises PermanentError where the first cannot be opened.
        """
        path = self._folder / f"{model.name}-{_name(model, image_pixels, offered)}.json"
        known = _read(path)
        if known is None:
            started = time.monotonic()
            images = calibration_images(image_pixels)
            known = _stand(path, _Trials(trials=tuple(_try_all(offered, open_engine, images))))
            log.info("model '%s': tried in %.1f s", model.name, time.monotonic() - started)
        return known.trials


def _try_all(offered: Sequence[Candidate], open_engine: Open, images: Images) -> list[Trial]:
    first, *others = offered
    trial, expected = _try(first, open_engine, images, None)
    trials = [trial]
    for candidate in others:
        few = images[:_EXACT_IMAGES] if candidate.is_exact else images
        try:
            trials.append(_try(candidate, open_engine, few, expected)[0])
        except PermanentError as error:
            log.info("%s %s is not tried: %s", candidate.engine, candidate.precision, error)
        except Exception:  # as for want of device memory: the first one works all the same
            log.warning("%s %s failed", candidate.engine, candidate.precision, exc_info=True)
    return trials


def _try(
    candidate: Candidate, open_engine: Open, images: Images, expected: Any
) -> tuple[Trial, Any]:
    """The trial, and each image's top-1. Ends early once the agreement cannot be reached."""
    found: list[Any] = []
    misses, seconds = 0, float("inf")
    with closing(open_engine(candidate)) as engine:
        engine.run(images[:_BATCH_IMAGES])  # what is compiled on the first batch is not its speed
        for start in range(0, len(images), _BATCH_IMAGES):
            batch = images[start : start + _BATCH_IMAGES]
            began = time.perf_counter()
            scores = np.asarray(engine.run(batch))
            seconds = min(seconds, (time.perf_counter() - began) / len(batch))
            found.append(scores.argmax(axis=1))
            if expected is not None:
                misses += int((found[-1] != expected[start : start + len(batch)]).sum())
            if misses > (1 - LEAST_AGREEMENT) * len(images):
                break
    top = np.concatenate(found)
    agreement = 1 - misses / len(top)
    return Trial(candidate=candidate, images_per_second=1 / seconds, agreement=agreement), top


def _name(model: Model, image_pixels: int, offered: Sequence[Candidate]) -> str:
    """Another for whatever could lead to another outcome."""
    versions = {}
    for library in _LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    candidates = [candidate.model_dump() for candidate in offered]
    facts = [model.model_dump(mode="json"), image_pixels, candidates, machine(), versions]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def _read(path: Path) -> _Trials | None:
    try:
        return _Trials.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        log.warning("%s cannot be read, and is made anew: %s", path, error)
        path.unlink(missing_ok=True)
        return None


def _stand(path: Path, trials: _Trials) -> _Trials:
    """Write the file unless there is one. Returns what it says, or ours on a full disk."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent) as file:
            file.write(trials.model_dump_json(indent=1).encode())
            file.flush()
            os.link(file.name, path)
    except FileExistsError:
        return _read(path) or trials
    except OSError as error:
        log.warning("cannot keep %s: %s", path, error)
    return trials
