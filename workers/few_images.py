"""``python -m workers.few_images``: a pipeline over a few images in one process, without a stack.

The stages are those of the workers. It reads ``FewImages`` as JSON from stdin, and writes
``ImageRows`` as JSON to stdout. What a user's class prints goes to stderr.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TextIO, cast

from shared.environment import settle

if __name__ == "__main__":
    settle()

import pyarrow as pa
from PIL import Image

from shared.errors import HeadraceError, PermanentError
from shared.few_images import LOCAL_FILES, FewImages, GivenImage, writing_to
from shared.item import Item
from shared.job_store import JobStore
from shared.messages import Batch, Chunk, Message, Result
from shared.rows import iso_time, table_of
from shared.settings import RingSettings, load_settings
from shared.staging import create_ring, open_ring
from shared.staging.pixel_layout import PixelLayout
from shared.storage import ObjectInfo, ObjectMissing, Store, connect_store, resolve_store
from shared.storage.folder import FolderStore
from workers.inference import selection
from workers.inference.analyst import Analyst, DeviceAnalyst
from workers.inference.device import DeviceLoop
from workers.inference.loading import loader_from
from workers.inference.model_types import LoadedModel, LoadModel, ModelKey
from workers.inference.models import LoadedModels
from workers.inference.pins import JobPins
from workers.inference.stage import InferenceStage
from workers.preprocess.fetch import Fetcher
from workers.preprocess.resize import imported_torch
from workers.preprocess.routes import Routes
from workers.preprocess.stage import PreprocessStage
from workers.runtime import Forward, Outcome
from workers.suspects.disposable import be_disposable

HOST = "here"
JOB = "try"
STATE = "state"
PATIENCE_SECONDS = 30.0
# A name of more than 255 bytes can be no file's.
_NAME_CHARACTERS = 50
PROGRESS_SECONDS = 1.0
# A file of a user's class, where its host has it, in quotes as a traceback has it.
_HOSTED_FILE = re.compile(r'(?<=")/[^"]*/headrace-class-[^/"]*/code/([^"]+)')


class _LocalFiles:
    """The part of a store that fetching needs, over files by their paths."""

    def get_object(
        self,
        bucket: str,  # noqa: ARG002 - there is one
        key: str,
        *,
        max_bytes: int | None = None,  # noqa: ARG002 - checked by the size before
        etag: str | None = None,  # noqa: ARG002 - it was made a moment ago
    ) -> tuple[ObjectInfo, bytes]:
        """The file. Raises ObjectMissing."""
        try:
            data = Path(key).read_bytes()
        except OSError as error:
            raise ObjectMissing("object_missing", f"Cannot read it: {error.strerror}.") from error
        return ObjectInfo(key, "", len(data)), data


def run(request: FewImages) -> dict[str, Any]:
    """``ImageRows``: one row an image, in their order, and where the time went.

    Raises HeadraceError where the pipeline itself cannot be run.
    """
    started = time.monotonic()
    rows: list[dict[str, Any]] = []
    spent: dict[str, float] = {}
    with (
        _device(request, spent) as analyst,
        tempfile.TemporaryDirectory(prefix="headrace-") as folder,
    ):
        stages = _Stages(request, analyst, Path(folder))
        imported = time.monotonic()
        imported_torch()  # while models are loaded; decoding is not to pay for it
        spent["import"] = 1000 * (time.monotonic() - imported)
        next_line = started + PROGRESS_SECONDS
        for number, image in enumerate(request.images):
            if number and sys.stderr.isatty() and time.monotonic() >= next_line:
                _say(f"{number} of {len(request.images)} images")
                next_line = time.monotonic() + PROGRESS_SECONDS
            result = stages.result(number, image)
            listed = pa.table({name: [getattr(image, name)] for name in ("key", "etag", "size")})
            (row,) = table_of(result, listed).to_pylist()
            rows.append(_with_file_uri(row) if image.bucket == LOCAL_FILES else row)
            for name, value in result.timings:
                step, _, unit = name.rpartition("_")
                if unit == "seconds":
                    spent[step] = spent.get(step, 0.0) + 1000 * value
    spent["total"] = 1000 * (time.monotonic() - started)
    return {"rows": rows, "timings_ms": {step: round(value, 3) for step, value in spent.items()}}


class _Stages:
    """The preprocess and the inference stage over a ring of one slot, for one image at a time."""

    def __init__(self, request: FewImages, analyst: Analyst, folder: Path) -> None:
        self._request = request
        self._stopping = threading.Event()
        self._stopped: list[str] = []
        slot_bytes = max(1, request.pipeline.staged_image_bytes)
        settings = RingSettings(directory=folder, slot_bytes=(slot_bytes,), slot_counts=(1,))
        create_ring(settings)
        ring = self._ring = open_ring(settings, HOST)
        state = FolderStore(folder)
        state.make_bucket(STATE)
        fetcher = Fetcher(partial(_store_of, request.home), self._stopping, PATIENCE_SECONDS)
        self._preprocess = PreprocessStage(
            fetcher,
            ring,
            None,
            Routes(HOST, dict),
            lambda refs: [False] * len(refs),
            _note,
            self._stopping,
        )
        self._inference = InferenceStage(
            ring,
            None,
            analyst,
            analyst,
            JobPins(JobStore(state, STATE)),
            _note,
            lambda _batch, error: self._stopped.append(error),
            self._stopping,
            PATIENCE_SECONDS,
        )

    def result(self, number: int, image: GivenImage) -> Result:
        """What the collector would get. Raises HeadraceError."""
        chunk = Chunk(
            incarnation="0" * 16,
            job_uid="0" * 16,
            job_id=JOB,
            chunk=number,
            attempt=1,
            bucket=image.bucket,
            pipeline=self._request.pipeline,
            items=[Item(key=image.key, etag=image.etag, size=image.size)],
        )
        message = self._onward(self._preprocess(chunk))
        if isinstance(message, Batch):
            if self._request.out is not None and message.staged is not None:
                self._draw_views(self._request.out, number, image)
            message = self._onward(self._inference(message))
        assert isinstance(message, Result)
        return message

    def _draw_views(self, out: Path, number: int, image: GivenImage) -> None:
        """What each model sees, as ``NUMBER-NAME-VIEW.png``; numbers are from 1."""
        views = self._request.pipeline.staged_views
        name = f"{number + 1}-{Path(image.key).name[:_NAME_CHARACTERS]}"
        for view in range(len(views)):
            pixels = PixelLayout(views, 1).array(self._ring.pixels, view)[0]
            with writing_to(out):
                Image.fromarray(pixels).save(out / f"{name}-{view + 1}.png")

    def _onward(self, outcome: Outcome) -> Message:
        if isinstance(outcome, Forward):
            outcome.release()
            return outcome.message
        reason = self._stopped[-1] if self._stopped else "The store does not answer."
        raise PermanentError("cannot_compute", reason)


def _note(_ref: object, _item: int | None) -> int:
    """No image of a try is on trial."""
    return 0


def _store_of(home: Path, bucket: str) -> Store:
    if bucket == LOCAL_FILES:
        return cast("Store", _LocalFiles())
    return resolve_store(load_settings(home), bucket)


def _with_file_uri(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "uri": Path(row["key"]).absolute().as_uri()}


@contextmanager
def _device(request: FewImages, spent: dict[str, float]) -> Iterator[Analyst]:
    """The networks are being loaded already, while the first image is decoded."""
    store = (
        FolderStore(request.store)
        if request.store
        else connect_store(load_settings(request.home).s3)
    )
    load = loader_from(store, request.models_bucket, request.home / "cache")
    models = LoadedModels(partial(_load, load, spent))
    device = DeviceLoop(models, batch_images=1, max_wait_seconds=0.0)
    try:
        for name in request.pipeline.network_analyses:
            key = ModelKey.of(request.pipeline, name)
            if key.model.python_class is None:
                device.prepare(key)
        yield DeviceAnalyst(device, threading.Event())
    finally:
        device.close()


def _load(load: LoadModel, spent: dict[str, float], key: ModelKey) -> LoadedModel:
    """Load a model, and say so. Adds to the milliseconds that ``load`` has taken."""
    _say(f"Loading {key.model.name}")
    started = time.monotonic()
    try:
        return load(key)
    finally:
        spent["load"] = spent.get("load", 0.0) + 1000 * (time.monotonic() - started)


def _text(value: Any) -> str:
    return iso_time(value) if isinstance(value, datetime) else str(value)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201


class _Lines(logging.Formatter):
    """Of the user's own files, which lie in a folder of their host's, it names the originals."""

    def __init__(self, code: Sequence[Path]) -> None:
        super().__init__("%(message)s")
        self._code = code

    def format(self, record: logging.LogRecord) -> str:
        return _HOSTED_FILE.sub(self._original, super().format(record))

    def _original(self, match: re.Match[str]) -> str:
        files = (folder / match[1] for folder in self._code)
        return str(next(filter(Path.is_file, files), match[0]))


def _log_to_stderr(code: Sequence[Path]) -> None:
    """What a class prints, with its tracebacks, and warnings of ours.

    ``code``: the folders that the user's code comes from.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(code))
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.WARNING)
    for name in ("headrace.class", selection.__name__):  # the latter says what takes so long
        logging.getLogger(name).setLevel(logging.INFO)


def _take_stdout() -> TextIO:
    """stdout for the answer alone: what a library prints there goes to stderr."""
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answer


def main() -> int:
    """Returns the exit code: 1 with an error as JSON on stdout."""
    be_disposable(os.getppid())
    with _take_stdout() as stdout:
        try:
            request = FewImages.model_validate_json(sys.stdin.buffer.read())
            _log_to_stderr(request.code)
            answer = run(request)
        except HeadraceError as error:
            answer = {"error": {"code": error.code, "message": error.message, "hint": error.hint}}
        stdout.write(json.dumps(answer, default=_text))
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main())
