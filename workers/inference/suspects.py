"""Analysts for a batch of which one image may kill a process: each image runs alone."""

from __future__ import annotations

import struct
import threading
from collections.abc import Mapping
from dataclasses import replace

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, TypeAdapter

from shared import record_batches
from shared.errors import ItemErrorCode, TransientError
from shared.item import ItemFailure
from shared.job import EngineChoice
from shared.limits import MAX_CHUNK_ITEMS
from shared.model import Precision
from shared.pipeline import Pipeline
from shared.placement import Size
from workers.inference.analyst import Analyst, Request
from workers.inference.answering import Answers, grouped
from workers.inference.engines import Images
from workers.inference.errors import HostUnable, ModelUnusable, of_analyses
from workers.inference.model_types import ModelKey
from workers.suspects import ChildUnstartable, KillVerdict, Note, SuspectTrial
from workers.suspects.packet import Packet

CHILD = "workers.inference.suspect_child"
# What the child may take to import its libraries, beyond loading the models.
_IMPORT_SECONDS = 60.0
# Width and height of the original, before an image's pixels.
SIZE = struct.Struct("!II")

_ENGINES = TypeAdapter(dict[str, EngineChoice])


class Unusable(BaseModel):
    """Why the child has no model. ``transient``: it may have one later."""

    model_config = ConfigDict(extra="forbid")

    message: str
    hint: str = ""
    transient: bool = False
    other_hosts_may_work: bool = False
    analyses: tuple[str, ...] = ()


class SuspectAnalyst:
    """Networks in a child, where a killer dies without us; then users' classes in our sight.

    A class has a process of its own. It gets no image that has killed the child. The two trials of
    an image are counted apart: a class that takes the worker along is no fault of the image.
    """

    def __init__(self, in_child: Analyst, here: Analyst) -> None:
        self._in_child, self._here = in_child, here

    def answer(self, request: Request) -> Answers:
        """See ``Analyst``."""
        keys = request.model_keys
        classes = {name for name, key in keys.items() if key.model.python_class is not None}
        found = Answers()
        if networks := keys.keys() - classes:
            found = self._in_child.answer(replace(request, analyses=networks))
        if not classes:
            return found
        alone = self._here.answer(
            replace(
                request,
                analyses=classes,
                failed=found.failures,
                note=_with_classes(request.note or _unnoted),
            )
        )
        return Answers(
            found.columns | alone.columns,
            alone.failures | found.failures,
            found.engines | alone.engines,
            alone.runs,
        )


class ChildAnalyst:
    """Runs each image alone in ``module``'s process; one that kills it twice fails.

    For networks alone.
    """

    def __init__(self, stopping: threading.Event, module: str = CHILD) -> None:
        self._stopping = stopping
        self._module = module

    def answer(self, request: Request) -> Answers:
        """See ``Analyst``. A child that cannot be started is this machine's own trouble.

        Where another worker chose another precision, a child that computes in it is begun.
        """
        with self._trial(request) as trial:
            try:
                engines = _engines(trial.ready())
                precisions = {name: request.settle(name, each) for name, each in engines.items()}
                if all(precisions[name] == each.precision for name, each in engines.items()):
                    payloads = map(_payload, request.sizes, zip(*request.views, strict=True))
                    tried = [trial.run(row, payload) for row, payload in enumerate(payloads)]
                    return _answers(request, tried, engines)
            except ChildUnstartable as error:
                used = dict.fromkeys(key.model.name for key in _distinct(request))
                names = " and ".join(f"'{name}'" for name in used)
                raise HostUnable(f"{names} cannot be loaded. {error}") from error
        return self.answer(replace(request, pipeline=in_precisions(request.pipeline, precisions)))

    def _trial(self, request: Request) -> SuspectTrial[pa.RecordBatch | ItemFailure]:
        pipeline, analyses = request.pipeline, list(request.model_keys)
        schema = row_schema(pipeline, analyses)

        def read(answer: Packet) -> pa.RecordBatch | ItemFailure:
            if "failure" in answer.header:
                return ItemFailure.model_validate(answer.header["failure"])
            return _row(answer.payload, pipeline, schema)

        keys = _distinct(request)
        return SuspectTrial(
            self._module,
            Packet({"pipeline": pipeline.model_dump(mode="json"), "analyses": analyses}),
            read,
            start_seconds=sum(key.load_seconds for key in keys) + _IMPORT_SECONDS,
            item_seconds=pipeline.batch_seconds * len(grouped(pipeline, request.model_keys)),
            note=request.note or _unnoted,
            stopping=self._stopping,
        )


def _with_classes(note: Note) -> Note:
    """Notes an image's trial with the classes, under a number that no image of a chunk has."""
    return lambda image: note(None if image is None else image + MAX_CHUNK_ITEMS)


def in_precisions(pipeline: Pipeline, precisions: Mapping[str, Precision | None]) -> Pipeline:
    """The pipeline with analyses in these precisions, so that no model is loaded in another.

    None: of a user's class, which names none.
    """
    changed = {
        name: analysis.model_copy(update={"precision": precisions[name]})
        for name, analysis in pipeline.network_analyses.items()
        if precisions.get(name) not in (None, analysis.precision)
    }
    if not changed:
        return pipeline
    return pipeline.model_copy(update={"analyses": {**pipeline.analyses, **changed}})


def row_schema(pipeline: Pipeline, analyses: list[str]) -> pa.Schema:
    """Of the child's answers."""
    return pa.schema([pa.field(name, pipeline.analyses[name].answer_type()) for name in analyses])


def _distinct(request: Request) -> list[ModelKey]:
    return list(dict.fromkeys(request.model_keys.values()))


def _unnoted(_: int | None) -> int:
    return 0


def _payload(size: Size, views: tuple[Images, ...]) -> bytes:
    """One image: its original size, and its pixels in all views."""
    return b"".join([SIZE.pack(*size), *(pixels.tobytes() for pixels in views)])


def _engines(ready: Packet) -> dict[str, EngineChoice]:
    """What computes each analysis in the child."""
    if "unusable" not in ready.header:
        return _ENGINES.validate_python(ready.header["engines"])
    unusable = Unusable.model_validate(ready.header["unusable"])
    if unusable.transient:
        raise TransientError("model_unavailable", unusable.message)
    kind = HostUnable if unusable.other_hosts_may_work else ModelUnusable
    with of_analyses(*unusable.analyses):
        raise kind(unusable.message, unusable.hint)


def _row(data: bytes, pipeline: Pipeline, schema: pa.Schema) -> pa.RecordBatch:
    """The child's answer, with a column for each analysis. Raises ValueError for what is none."""
    row = record_batches.decode(data, schema)
    if len(row) != 1 or any(column.null_count for column in row.columns):
        raise ValueError("not one answer")
    for name, column in zip(schema.names, row.columns, strict=True):
        if problem := pipeline.analyses[name].check(column):
            raise ValueError(f"{name}: {problem}")
    return row


def _answers(
    request: Request,
    tried: list[pa.RecordBatch | ItemFailure | KillVerdict],
    engines: dict[str, EngineChoice],
) -> Answers:
    found = Answers(engines=engines)
    for image, each in enumerate(tried):
        if isinstance(each, KillVerdict):
            each = ItemFailure.of(ItemErrorCode.KILLED_WORKER, each.reason)
        if isinstance(each, ItemFailure):
            found.failures[image] = each
    for name in engines:
        kind = request.pipeline.analyses[name].answer_type()
        none = pa.nulls(1, kind)
        values = [each[name] if isinstance(each, pa.RecordBatch) else none for each in tried]
        found.columns[name] = pa.concat_arrays(values)
    return found
