"""A stage that the product does not have, and its message, as a new stage would add them."""

from __future__ import annotations

from pydantic import Field

from shared.item import Item
from shared.messages import BucketName, Chunk, Message
from shared.stages import Stage

STAGE = Stage("drawing", role="painter", task="headrace.drawing", per_host=True)
# What the stage's function reads, and where it puts the picture that it makes of both.
COLOUR_KEY, BRUSH_KEY = "colours:sky", "brush"
# The job whose chunks are held until the worker stops.
HELD_JOB = "hold"


class Drawing(Message):
    """preprocess -> drawing: draw these.

    ``pictures``: the bucket to put a picture into, if any.
    """

    to_draw: list[Item] = Field(min_length=1)
    pictures: BucketName | None = None

    @classmethod
    def of(cls, chunk: Chunk, pictures: str | None = None) -> Drawing:
        """The message that follows the one for preprocess."""
        return chunk.onward(cls, to_draw=chunk.items, pictures=pictures)

    def as_chunk(self) -> Chunk:
        """The message that was preprocessed."""
        return self.onward(Chunk, items=self.to_draw)

    def picture_key(self) -> str:
        """Where this chunk's picture is."""
        return f"{self.job_id}/pictures/{self.chunk}"
