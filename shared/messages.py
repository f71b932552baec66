"""The three messages between the stages. References and results travel here, pixels never.

Every field is bounded and unknown fields are refused: what does not validate is a dead letter.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, model_validator

from shared.errors import ItemErrorCode
from shared.job import EngineUsed, JobId
from shared.ledger.records import ChunkRef
from shared.limits import MAX_CHUNK_ITEMS
from shared.pipeline import Frozen, Pipeline

MAX_MESSAGE_BYTES = 8 * 2**20
MAX_IMAGE_SIDE_PIXELS = 10**6
# A caption is a label, too.
MAX_LABEL_CHARACTERS = 10_000
MAX_ERROR_MESSAGE_CHARACTERS = 500

Key = Annotated[str, Field(min_length=1, max_length=1024)]
BucketName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
# Of sums over all chunks of a job, too; as a Unix time it is the year 5138.
MAX_SECONDS = 10**11
# What one chunk may say of a step: 115 days.
MAX_CHUNK_SECONDS = 10**7
Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)]
ShortText = Annotated[str, Field(max_length=200)]
# ``damaged_data``: parts of the picture are garbled, or were filled up by the decoder.
ImageWarning = Literal["damaged_data"]


class Item(Frozen):
    """One listed object."""

    key: Key
    etag: ShortText
    size: int = Field(ge=0, le=5 * 2**40)


class ItemFailure(Frozen):
    """Why one item failed."""

    error_code: ItemErrorCode
    error_message: str = Field(max_length=MAX_ERROR_MESSAGE_CHARACTERS)

    @classmethod
    def of(cls, code: ItemErrorCode, text: str) -> ItemFailure:
        """The failure whose message is one printable line that fits, whatever ``text`` is."""
        printable = "".join(c if c.isprintable() else " " for c in text)
        line = " ".join(printable.split())[:MAX_ERROR_MESSAGE_CHARACTERS]
        return cls(error_code=code, error_message=line)


class StagedItem(Frozen):
    """An item after preprocessing: its row in the slot, or its failure.

    ``width`` and ``height`` are pixels after orientation, null where they were never known.
    ``warning`` says what is doubtful about pixels that were decoded all the same.
    """

    item: Item
    width: int | None = Field(default=None, ge=1, le=MAX_IMAGE_SIDE_PIXELS)
    height: int | None = Field(default=None, ge=1, le=MAX_IMAGE_SIDE_PIXELS)
    failure: ItemFailure | None = None
    warning: ImageWarning | None = None


class Prediction(Frozen):
    """One label with its score."""

    label: str = Field(max_length=MAX_LABEL_CHARACTERS)
    score: float = Field(allow_inf_nan=False)


class ResultItem(StagedItem):
    """An item after inference; empty predictions where it failed."""

    predictions: list[Prediction] = Field(default=[], max_length=100)


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

    The pixels are uint8 of shape (images, height, width, 3), C order, from the slot's first byte.
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
    """What every message begins with."""

    schema_version: Literal[3] = 3
    job_id: JobId
    pipeline: Pipeline

    def onward(self, kind: type[M], **fields: Any) -> M:
        """The next message about the same attempt: this one's head, with ``fields`` of its own."""
        head = {name: getattr(self, name) for name in Message.model_fields}
        return kind(**{**head, **fields})

    def as_chunk(self) -> Chunk | None:
        """The first stage's message about this attempt; None where this one knows too little."""
        return None


class Chunk(Message):
    """producer -> preprocess: fetch and decode these."""

    bucket: BucketName
    items: list[Item] = Field(min_length=1, max_length=MAX_CHUNK_ITEMS)

    def as_chunk(self) -> Chunk:
        """This message."""
        return self


class Batch(Message):
    """preprocess -> inference: the pixels are staged here; failed items have none."""

    bucket: BucketName
    items: list[StagedItem] = Field(min_length=1, max_length=MAX_CHUNK_ITEMS)
    staged: Slot | Parcel | None
    timings: ChunkTimings

    @model_validator(mode="after")
    def _pixels_for_all(self) -> Batch:
        good = sum(item.failure is None for item in self.items)
        if good != (self.staged.images if self.staged else 0):
            raise ValueError("the staged images must equal the items that did not fail")
        return self

    def as_chunk(self) -> Chunk:
        """The message that was preprocessed."""
        items = [staged.item for staged in self.items]
        return self.onward(Chunk, bucket=self.bucket, items=items)


class Result(EngineUsed, Message):
    """inference -> collector: the rows of one chunk."""

    items: list[ResultItem] = Field(min_length=1, max_length=MAX_CHUNK_ITEMS)
    timings: ChunkTimings
