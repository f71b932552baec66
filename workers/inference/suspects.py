"""Running images in a child, for a batch of which one may be a killer."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, TypeAdapter

from shared.errors import ItemErrorCode, TransientError
from shared.job import EngineChoice
from shared.messages import Batch, ItemFailure, Prediction
from workers.inference.engines import Images
from workers.inference.errors import ClassUnusable, ModelUnusable
from workers.inference.models import ModelKey
from workers.inference.postprocess import Answer
from workers.suspects import ChildUnstartable, Deadly, Note, Trial
from workers.suspects.frame import Frame

CHILD = "workers.inference.suspect_child"
# What the child may take to import its libraries, beyond loading the model.
_IMPORT_SECONDS = 60.0

_ANSWER: TypeAdapter[Answer] = TypeAdapter(list[Prediction] | ItemFailure)


class Unusable(BaseModel):
    """Why the child has no model; ``transient``: it may have one later.

    ``is_class``: a user's class is to blame, and its job ends.
    """

    model_config = ConfigDict(extra="forbid")

    message: str
    hint: str = ""
    transient: bool = False
    is_class: bool = False


@dataclass(frozen=True, slots=True)
class Tried:
    """An answer for each image, and what gave it."""

    answers: list[Answer]
    engine: EngineChoice


def try_alone(batch: Batch, images: Images, note: Note, stopping: threading.Event) -> Tried:
    """Run the batch's ``images``, uint8 (images, height, width, 3), one by one in a child.

    An image that kills it twice fails as ``killed_worker``; ``note`` notes each. Raises
    ModelUnusable where the model cannot be loaded, or kills the process that loads it, and
    TransientError.
    """
    pipeline, key = batch.pipeline, ModelKey.of(batch.pipeline)
    # A user's class has a process of its own below the child, which ends it and runs it again.
    patience_seconds = 2 * (key.load_seconds + key.batch_seconds) if key.model.python_class else 0
    trial = Trial(
        CHILD,
        Frame({"job": batch.job_id, "pipeline": pipeline.model_dump(mode="json")}),
        lambda answer: _ANSWER.validate_python(answer.header.get("answer")),
        start_seconds=key.load_seconds + _IMPORT_SECONDS,
        item_seconds=pipeline.batch_seconds + patience_seconds,
        note=note,
        stopping=stopping,
    )
    with trial:
        try:
            engine = _engine(trial.ready())
            tried = (trial.run(row, image.tobytes()) for row, image in enumerate(images))
            return Tried([_verdict(answer) for answer in tried], engine)
        except ChildUnstartable as error:
            raise ModelUnusable(f"'{pipeline.model.name}' cannot be loaded. {error}") from error


def _engine(ready: Frame) -> EngineChoice:
    if "unusable" not in ready.header:
        return EngineChoice.model_validate(ready.header)
    unusable = Unusable.model_validate(ready.header["unusable"])
    if unusable.transient:
        raise TransientError("model_not_at_hand", unusable.message)
    error = ClassUnusable if unusable.is_class else ModelUnusable
    raise error(unusable.message, unusable.hint)


def _verdict(answer: Answer | Deadly) -> Answer:
    if isinstance(answer, Deadly):
        return ItemFailure(error_code=ItemErrorCode.KILLED_WORKER, error_message=answer.reason)
    return answer
