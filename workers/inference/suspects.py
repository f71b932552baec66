"""The analyst in a child, for a batch of which one image may kill the engine."""

from __future__ import annotations

import threading
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, TypeAdapter

from shared.errors import ItemErrorCode, TransientError
from shared.item import ItemFailure
from shared.job import EngineChoice
from shared.messages import Prediction
from workers.inference.analyst import Answers, Request
from workers.inference.errors import HostUnable, ModelUnusable
from workers.inference.model_types import ModelKey
from workers.inference.postprocess import Answer
from workers.suspects import ChildUnstartable, KillVerdict, SuspectTrial
from workers.suspects.packet import Packet

CHILD = "workers.inference.suspect_child"
# What the child may take to import its libraries, beyond loading the model.
_IMPORT_SECONDS = 60.0

_ANSWER: TypeAdapter[Answer] = TypeAdapter(list[Prediction] | ItemFailure)


class Unusable(BaseModel):
    """Why the child has no model. ``transient``: it may have one later."""

    model_config = ConfigDict(extra="forbid")

    message: str
    hint: str = ""
    transient: bool = False
    other_hosts_may_work: bool = False


class ChildAnalyst:
    """Runs each image alone in ``module``'s process; one that kills it twice fails."""

    def __init__(self, stopping: threading.Event, module: str = CHILD) -> None:
        self._stopping = stopping
        self._module = module

    def answer(self, request: Request) -> Answers:
        """See ``Analyst``. A child that cannot be started is this machine's own trouble.

        Where another worker chose another precision, a child that computes in it is begun.
        """
        with self._trial(request) as trial:
            try:
                engine = _engine(trial.ready())
                precision = request.settle(engine)
                if precision == engine.precision:
                    images = enumerate(request.images)
                    tried = [trial.run(row, image.tobytes()) for row, image in images]
                    return Answers(list(map(_answer, tried)), engine=engine)
            except ChildUnstartable as error:
                name = request.pipeline.model.name
                raise HostUnable(f"'{name}' cannot be loaded. {error}") from error
        pinned = request.pipeline.model_copy(update={"precision": precision})
        return self.answer(replace(request, pipeline=pinned))

    def _trial(self, request: Request) -> SuspectTrial[Answer]:
        pipeline = request.pipeline
        return SuspectTrial(
            self._module,
            Packet({"pipeline": pipeline.model_dump(mode="json")}),
            lambda answer: _ANSWER.validate_python(answer.header.get("answer")),
            start_seconds=ModelKey.of(pipeline).load_seconds + _IMPORT_SECONDS,
            item_seconds=pipeline.batch_seconds,
            note=request.note or _unnoted,
            stopping=self._stopping,
        )


def _unnoted(_: int | None) -> int:
    return 0


def _engine(ready: Packet) -> EngineChoice:
    if "unusable" not in ready.header:
        return EngineChoice.model_validate(ready.header)
    unusable = Unusable.model_validate(ready.header["unusable"])
    if unusable.transient:
        raise TransientError("model_unavailable", unusable.message)
    kind = HostUnable if unusable.other_hosts_may_work else ModelUnusable
    raise kind(unusable.message, unusable.hint)


def _answer(tried: Answer | KillVerdict) -> Answer:
    if isinstance(tried, KillVerdict):
        return ItemFailure.of(ItemErrorCode.KILLED_WORKER, tried.reason)
    return tried
