"""The dominant colours of an image."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from shared.analyses.base import Analysis
from shared.stages import PREPROCESS, Stage
from shared.views import View
from shared.views.stretch import Stretch

if TYPE_CHECKING:
    import pyarrow as pa

MAX_COLOURS = 16
_MAX_NAME_CHARACTERS = 64
_HEX = re.compile("#[0-9a-f]{6}")


class Palette(Analysis):
    """Colours with the share of the image that each has, the largest first. Needs no device."""

    stage: ClassVar[Stage] = PREPROCESS
    # The shares of colours do not depend on the shape, and more pixels change no colour visibly.
    own_view: ClassVar[View | None] = Stretch(width=64, height=64)

    kind: Literal["palette"] = "palette"
    count: int = Field(5, ge=1, le=MAX_COLOURS, description="The most colours that a row has.")

    def answer_type(self) -> pa.DataType:
        """``hex`` as in ``#1e90ff``; ``share`` from 0 to 1; ``name``: the nearest of CSS."""
        import pyarrow as pa

        colour = [("hex", pa.string()), ("share", pa.float32()), ("name", pa.string())]
        return pa.list_(pa.struct(colour))

    def max_answer_bytes(self) -> int:
        """See ``Analysis``."""
        return self.count * 32

    def in_short(self, value: Any) -> str:
        """The colours with their names."""
        return ", ".join(f"{colour['hex']} {colour['name']}" for colour in value)

    def check(self, answers: pa.Array) -> str | None:
        """See ``Analysis``."""
        from shared.measures import are_within, longest_list, longest_text

        lists = answers.drop_null() if answers.null_count else answers
        colours = lists.flatten()
        if longest_list(lists) > self.count:
            return f"more than {self.count} colours"
        if colours.null_count or any(colours.field(name).null_count for name in range(3)):
            return "an incomplete colour"
        if not are_within(colours.field("share"), 0, 1):
            return "a share that is not from 0 to 1"
        if not all(map(_HEX.fullmatch, colours.field("hex").to_pylist())):
            return "a colour that is not like #1e90ff"
        if longest_text(colours.field("name"), _MAX_NAME_CHARACTERS) > _MAX_NAME_CHARACTERS:
            return "a colour's name that is too long"
        return None
