"""Running images in a child, for a batch of which one may kill an engine of ours."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, TypeAdapter

from shared.errors import ItemErrorCode, TransientError
from shared.job import EngineChoice
from shared.messages import ItemFailure, Prediction
from shared.pipeline import Pipeline
from workers.inference.engines import Images
from workers.inference.errors import HostUnable, ModelUnusable
from workers.inference.models import ModelKey
from workers.inference.postprocess import Answer
from workers.suspects import ChildUnstartable, Deadly, Note, Trial
from workers.suspects.frame import Frame

CHILD = "workers.inference.suspect_child"
# What the child may take to import its libraries, beyond loading the model.
_IMPORT_SECONDS = 60.0

_ANSWER: TypeAdapter[Answer] = TypeAdapter(list[Prediction] | ItemFailure)


class Unusable(BaseModel):
    """Why the child has no model. ``transient``: it may have one later; ``hosts_own``: another
    machine may.
    """

    model_config = ConfigDict(extra="forbid")

    message: str
    hint: str = ""
    transient: bool = False
    hosts_own: bool = False


@dataclass(frozen=True, slots=True)
class Tried:
    """An answer for each image, and what gave it."""

    answers: list[Answer]
    engine: EngineChoice


def try_alone(pipeline: Pipeline, images: Images, note: Note, stopping: threading.Event) -> Tried:
    """Run the ``images``, uint8 (images, height, width, 3), one after the other in a child.

    An image that kills it twice fails as ``killed_worker``; ``note`` notes each. Raises
    ModelUnusable where the model cannot be loaded, HostUnable where that may be this machine's own
    trouble, such as a child that cannot be started, and TransientError.
    """
    trial = Trial(
        CHILD,
        Frame({"pipeline": pipeline.model_dump(mode="json")}),
        lambda answer: _ANSWER.validate_python(answer.header.get("answer")),
        start_seconds=ModelKey.of(pipeline).load_seconds + _IMPORT_SECONDS,
        item_seconds=pipeline.batch_seconds,
        note=note,
        stopping=stopping,
    )
    with trial:
        try:
            engine = _engine(trial.ready())
            tried = (trial.run(row, image.tobytes()) for row, image in enumerate(images))
            return Tried([_verdict(answer) for answer in tried], engine)
        except ChildUnstartable as error:
            raise HostUnable(f"'{pipeline.model.name}' cannot be loaded. {error}") from error


def _engine(ready: Frame) -> EngineChoice:
    if "unusable" not in ready.header:
        return EngineChoice.model_validate(ready.header)
    unusable = Unusable.model_validate(ready.header["unusable"])
    if unusable.transient:
        raise TransientError("model_not_at_hand", unusable.message)
    kind = HostUnable if unusable.hosts_own else ModelUnusable
    raise kind(unusable.message, unusable.hint)


def _verdict(answer: Answer | Deadly) -> Answer:
    if isinstance(answer, Deadly):
        return ItemFailure(error_code=ItemErrorCode.KILLED_WORKER, error_message=answer.reason)
    return answer
