"""One thing to process, and why it failed."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from shared.errors import ItemErrorCode
from shared.fields import Frozen
from shared.limits import MAX_ERROR_MESSAGE_CHARACTERS

Key = Annotated[str, Field(min_length=1, max_length=1024)]
ShortText = Annotated[str, Field(max_length=200)]
# ``damaged_data``: parts of the picture are garbled, or were filled up by the decoder.
ImageWarning = Literal["damaged_data"]
IMAGE_WARNINGS: tuple[ImageWarning, ...] = get_args(ImageWarning)


class Item(Frozen):
    """One listed object. ``size`` is in bytes."""

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
