"""The self-test: every candidate runs the same images once on this machine, and that is kept."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from importlib import metadata
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from shared.errors import PermanentError
from shared.fields import Frozen
from workers.inference.calibration import IMAGES, calibration_images
from workers.inference.engines import Engine
from workers.inference.engines.choose import (
    MIN_AGREEMENT,
    Candidate,
    SelfTestResult,
    device_candidates,
)
from workers.inference.engines.core_pool import SLICE_IMAGES, groups_and_threads
from workers.inference.engines.hardware import cores, host_memory_bytes, machine
from workers.inference.errors import ModelUnusable
from workers.inference.heads import Head, NetworkOutputs, head_of
from workers.inference.model_types import ModelKey, network_outputs

Open = Callable[[Candidate], Engine]

_BATCH_IMAGES = 32
# What the first engine gives is kept for the others, and RetinaNet gives 45 MB for an image of 800
# pixels. There are fewer images where they and what is kept of them would take more of the
# machine's memory than this, or the first engine longer: a chunk has 600 s for loading.
_MEMORY_SHARE = 1 / 8
_SECONDS = 60.0
# Of fewer, no single one may differ, and that none does says too little of a lower precision.
_LEAST_IMAGES = 100
_LIBRARIES = ("numpy", "onnxruntime", "openvino", "torch")

log = logging.getLogger(__name__)


class _SelfTestResults(Frozen):
    results: tuple[SelfTestResult, ...]


class SelfTest:
    """Tries candidates, once for a model, kinds of analysis, this machine and the libraries.

    What came of it lies in ``folder``, where the first that is written stands: two workers of one
    machine do not decide differently. It is kept in memory, too: however full the disk, a worker
    decides once.
    """

    def __init__(self, folder: Path, heads: Callable[[str], Head] = head_of) -> None:
        self._folder = folder
        self._heads = heads
        self._kept: dict[Path, _SelfTestResults] = {}

    def results(self, key: ModelKey, open_engine: Open, *, cuda: bool) -> Sequence[SelfTestResult]:
        """How each candidate that works here did, whichever a pipeline asks for.

        The heads of the key's kinds say which answers agree. Without kinds, only those in float32
        are tried. Raises PermanentError where the first, which is float32, cannot be opened, and
        ModelUnusable where the model does not give what a head reads.
        """
        offered = [c for c in device_candidates(key.model, cuda=cuda) if key.kinds or c.is_exact]
        path = self._folder / f"{key.model.name}-{_name(key, offered)}.json"
        known = self._kept.get(path) or _read(path)
        if known is None:
            started = time.monotonic()
            log.info("model '%s': trying engines, once on this machine", key.model.name)
            heads = {kind: self._heads(kind) for kind in key.kinds}
            test = _Test(key, open_engine, heads, cuda=cuda)
            known = _write_once(path, _SelfTestResults(results=tuple(test.of(offered))))
            kinds, seconds = ", ".join(key.kinds), time.monotonic() - started
            log.info("model '%s' %s: tried in %.1f s", key.model.name, kinds, seconds)
        self._kept[path] = known
        return known.results


class _Test:
    """One run over the images with each candidate in turn. ``heads``: by the key's kinds."""

    def __init__(
        self, key: ModelKey, open_engine: Open, heads: Mapping[str, Head], *, cuda: bool
    ) -> None:
        self._key = key
        self._open = open_engine
        self._heads = heads
        width, height = key.canvas
        self._room_bytes = int(_MEMORY_SHARE * host_memory_bytes())
        most = max(1, self._room_bytes // (3 * width * height))
        self._images = calibration_images(key.canvas, min(IMAGES, most))
        self._batch_images = _BATCH_IMAGES
        # Decoders need a CPU's cores too: there an engine's speed is what it leaves of them, and
        # what else runs during the test does not count.
        self._clock = time.perf_counter if cuda else time.process_time
        self._cores = 1 if cuda else cores()
        self._expected: list[NetworkOutputs] = []  # batch by batch

    def of(self, offered: Sequence[Candidate]) -> Iterator[SelfTestResult]:
        """How those that work did; the first has to, and is what others are compared with."""
        first, *others = offered
        yield self._try(first)
        for candidate in others:
            possible = len(self._images)
            if not candidate.is_exact and possible < _LEAST_IMAGES:
                log.info("%s is not tried: %d images were possible", candidate.precision, possible)
                continue
            try:
                yield self._try(candidate)
            except PermanentError as error:
                log.info("%s %s is not tried: %s", candidate.engine, candidate.precision, error)
            except Exception:  # such as too little device memory; the first one works all the same
                log.warning("%s %s failed", candidate.engine, candidate.precision, exc_info=True)

    def _try(self, candidate: Candidate) -> SelfTestResult:
        """Ends early once the agreement can no longer be reached."""
        is_first, tried, misses, seconds = not self._expected, 0, 0, float("inf")
        started = time.monotonic()
        with closing(self._open(candidate)) as engine:
            if is_first:
                self._bound(engine)
            engine.run(self._images[: self._batch_images])  # compiles, which is not its speed
            for start in range(0, len(self._images), self._batch_images):
                batch = self._images[start : start + self._batch_images]
                began = self._clock()
                given = engine.run(batch)
                seconds = min(seconds, (self._clock() - began) / len(batch))
                assert isinstance(given, tuple)
                outputs = network_outputs(self._key, given)
                if is_first:
                    self._expected.append(outputs)
                tried += len(batch)
                misses += self._misses(self._expected[start // self._batch_images], outputs)
                if is_first and time.monotonic() - started > _SECONDS:
                    break
                if misses > (1 - MIN_AGREEMENT) * len(self._images):
                    break
        if is_first:
            self._images = self._images[:tried]
        return SelfTestResult(
            candidate=candidate,
            images_per_second=self._cores / max(seconds, 1e-9),
            agreement=1 - misses / tried,
        )

    def _bound(self, engine: Engine) -> None:
        """Take as many images, and as many at once, as there is memory for what it gives."""
        given = engine.run(self._images[:1])
        assert isinstance(given, tuple)
        output_bytes = sum(array.nbytes for array in given)
        most = max(1, self._room_bytes // (output_bytes + self._images[0].nbytes))
        self._images = self._images[:most]
        # An engine may join what it gives for a batch, and so hold it twice.
        self._batch_images = max(1, min(_BATCH_IMAGES, most // 2))

    def _misses(self, expected: NetworkOutputs, found: NetworkOutputs) -> int:
        """How many images some head answers otherwise."""
        missed: npt.NDArray[np.bool_] = np.zeros(
            len(next(iter(expected.arrays.values()))), np.bool_
        )
        for kind, head in self._heads.items():
            agrees = head.agreement(expected, found)
            if agrees is None:
                raise ModelUnusable(
                    f"An analysis of kind {kind} needs more than '{self._key.model.name}' gives, "
                    f"which is {', '.join(expected.arrays)}.",
                    "Choose another model for it.",
                )
            missed |= ~agrees
        return 0 if found is expected else int(np.count_nonzero(missed))


def _name(key: ModelKey, offered: Sequence[Candidate]) -> str:
    """Another for whatever could lead to another outcome."""
    versions = {}
    for library in _LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    candidates = [candidate.model_dump() for candidate in offered]
    used = [SLICE_IMAGES, *groups_and_threads()]
    form = list(_SelfTestResults.model_fields)
    tried = [key.model.model_dump(mode="json"), key.canvas, key.kinds, candidates]
    facts = [form, *tried, machine(), used, versions]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def _read(path: Path) -> _SelfTestResults | None:
    try:
        return _SelfTestResults.model_validate_json(path.read_bytes())
    except ValidationError:
        log.warning("%s is damaged and is made again", path)
        path.unlink(missing_ok=True)
    except OSError as error:
        log.debug("%s is not read: %s", path, error)
    return None


def _write_once(path: Path, results: _SelfTestResults) -> _SelfTestResults:
    """Write the file unless there is one. Returns what it says, or ours on a full disk."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent) as file:
            file.write(results.model_dump_json(indent=1).encode())
            file.flush()
            os.link(file.name, path)
    except FileExistsError:
        return _read(path) or results
    except OSError as error:
        log.warning("cannot keep %s: %s", path, error)
    return results
