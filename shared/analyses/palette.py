"""The dominant colours of an image."""

from __future__ import annotations

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
        import pyarrow.compute as pc

        lists = answers.drop_null()
        colours = lists.flatten()
        if (pc.max(pc.list_value_length(lists)).as_py() or 0) > self.count:
            return f"more than {self.count} colours"
        if colours.null_count or any(colours.field(name).null_count for name in range(3)):
            return "an incomplete colour"
        shares = colours.field("share")
        if pc.all(pc.and_(pc.greater_equal(shares, 0), pc.less_equal(shares, 1))).as_py() is False:
            return "a share that is not from 0 to 1"
        if (
            pc.all(pc.match_substring_regex(colours.field("hex"), "^#[0-9a-f]{6}$")).as_py()
            is False
        ):
            return "a colour that is not like #1e90ff"
        if (pc.max(pc.utf8_length(colours.field("name"))).as_py() or 0) > _MAX_NAME_CHARACTERS:
            return "a colour's name that is too long"
        return None
