"""The three messages between the stages. References and answers travel here, pixels never.

Every field is bounded and unknown fields are refused: what does not validate is a dead letter.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    Field,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from shared.fields import Frozen
from shared.item import Item, Key, ShortText
from shared.job import EngineUsed, JobId
from shared.ledger.records import ChunkRef
from shared.limits import MAX_CHUNK_ITEMS
from shared.pipeline import MAX_ANALYSES, AnalysisName, Pipeline
from shared.stages import INFERENCE, PREPROCESS, Stage

if TYPE_CHECKING:
    import pyarrow as pa

MAX_MESSAGE_BYTES = 8 * 2**20

BucketName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
# Of sums over all chunks of a job, too; as a Unix time it is the year 5138.
MAX_SECONDS = 10**11
# What one chunk may say of a step: 115 days.
MAX_CHUNK_SECONDS = 10**7
Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)]


class Timings(Frozen):
    """Where the time of a chunk, or of several together, went, in seconds.

    ``*_at`` are Unix times of the hosts that did it, 0 where nothing ran on a device: of the first
    run's start and of the last one's end.
    """

    fetch_seconds: Seconds = 0.0
    slot_wait_seconds: Seconds = 0.0
    decode_seconds: Seconds = 0.0
    device_wait_seconds: Seconds = 0.0
    device_seconds: Seconds = 0.0
    device_started_at: Seconds = 0.0
    device_ended_at: Seconds = 0.0


def _of_one_chunk(timings: Timings) -> Timings:
    steps = {name: value for name, value in timings if name.endswith("_seconds")}
    if max(steps.values()) > MAX_CHUNK_SECONDS:
        raise ValueError(f"a step of a chunk may take {MAX_CHUNK_SECONDS} seconds at most")
    return timings


ChunkTimings = Annotated[Timings, AfterValidator(_of_one_chunk)]


class Slot(Frozen):
    """A staged chunk's place: slot ``index`` of the ring of ``host_id``, ``images`` rows of it.

    Its pixels lie from the slot's first byte on, as ``shared.staging.pixel_layout`` has them: for
    each view uint8 of shape (images, height, width, 3), C order.
    """

    host_id: ShortText
    index: int = Field(ge=0, le=10_000)
    images: int = Field(ge=0, le=MAX_CHUNK_ITEMS)


class Parcel(Frozen):
    """A chunk staged over the network, ``images`` rows of it, by the name of the message's attempt.

    The pixels are as those of a slot.
    """

    images: int = Field(ge=1, le=MAX_CHUNK_ITEMS)


class Address(Frozen):
    """Which attempt at which chunk of which job a message is about."""

    incarnation: str = Field(pattern=r"^[0-9a-f]{16}$")
    job_uid: str = Field(pattern=r"^[0-9a-f]{16}$")
    chunk: int = Field(ge=0, lt=2**31)
    attempt: int = Field(ge=1, lt=2**31)

    @property
    def ref(self) -> ChunkRef:
        """The ledger's name for this attempt."""
        return ChunkRef(self.incarnation, self.job_uid, self.chunk, self.attempt)


M = TypeVar("M", bound="Message")


class Message(Address):
    """What every message begins with. ``bucket`` has the job's objects."""

    schema_version: Literal[5] = 5
    job_id: JobId
    bucket: BucketName
    pipeline: Pipeline

    def onward(self, kind: type[M], **fields: Any) -> M:
        """The next message about the same attempt: this one's head, with ``fields`` of its own."""
        head = {name: getattr(self, name) for name in Message.model_fields}
        return kind(**{**head, **fields})

    def as_chunk(self) -> Chunk | None:
        """The first stage's message about this attempt; None where this one knows no items."""
        return None


class Chunk(Message):
    """producer -> preprocess: fetch and decode these."""

    items: list[Item] = Field(min_length=1, max_length=MAX_CHUNK_ITEMS)

    def as_chunk(self) -> Chunk:
        """This message."""
        return self


def _as_text(answers: Any) -> str:
    from shared.record_batches import encode

    return b64encode(encode(answers)).decode()


class _AnswersMessage(Message):
    """What is known of the items after a stage.

    ``answers``: an Arrow record batch, as ``shared.answers`` has it; in JSON its stream in base64,
    which is checked to the last value. One that is given as a record batch is taken as it is.
    """

    answers: Annotated[
        Any,
        PlainSerializer(_as_text, return_type=str),
        WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
    ]
    timings: ChunkTimings

    @staticmethod
    def stage_before(pipeline: Pipeline) -> Stage:
        """The stage whose answers these are."""
        raise NotImplementedError

    @field_validator("answers", mode="plain")
    @classmethod
    def _checked(cls, given: Any, info: ValidationInfo) -> pa.RecordBatch:
        # These bring pyarrow, which enqueueing can do without.
        import pyarrow as pa

        from shared.answers import decode_answers

        if isinstance(given, pa.RecordBatch):
            return given
        if not isinstance(given, str):
            raise ValueError("not a text in base64")
        if "pipeline" not in info.data:
            raise ValueError("answers without a valid pipeline")
        pipeline = info.data["pipeline"]
        return decode_answers(b64decode(given, validate=True), pipeline, cls.stage_before(pipeline))


class Batch(_AnswersMessage):
    """preprocess -> inference: the pixels are staged here; failed items have none.

    ``answers`` are those of the preprocess stage. ``keys``: of the items, where the pipeline has a
    user's class, which may ask for them; none for other pipelines.
    """

    staged: Slot | Parcel | None
    keys: list[Key] = Field(default=[], max_length=MAX_CHUNK_ITEMS)

    @staticmethod
    def stage_before(pipeline: Pipeline) -> Stage:  # noqa: ARG004 - the same for all
        """See ``_AnswersMessage``."""
        return PREPROCESS

    @model_validator(mode="after")
    def _fits_together(self) -> Batch:
        if INFERENCE not in self.pipeline.route:
            raise ValueError("the pipeline needs no inference")
        good = self.answers["error_code"].null_count
        if good != (self.staged.images if self.staged else 0):
            raise ValueError("the staged images must equal the items that did not fail")
        if len(self.keys) != (len(self.answers) if self.pipeline.has_class else 0):
            raise ValueError("keys are those of all items, for a user's class, or none")
        return self


class Result(_AnswersMessage):
    """inference or preprocess -> collector: the rows of one chunk.

    ``computed``: what computed each analysis by a model, null where nothing did.
    ``scored_at``: Unix time of the last answer.
    """

    computed: dict[AnalysisName, EngineUsed | None] = Field(max_length=MAX_ANALYSES)
    scored_at: Seconds

    @staticmethod
    def stage_before(pipeline: Pipeline) -> Stage:
        """See ``_AnswersMessage``."""
        return pipeline.route[-2]

    @model_validator(mode="after")
    def _fits_together(self) -> Result:
        if self.computed.keys() != self.pipeline.network_analyses.keys():
            raise ValueError("computed does not name the analyses by a model, or names others")
        return self
