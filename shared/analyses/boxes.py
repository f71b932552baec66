"""The objects in an image, each with a box around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from shared.analyses.base import NetworkAnalysis
from shared.limits import MAX_IMAGE_SIDE_PIXELS, MAX_LABEL_CHARACTERS

if TYPE_CHECKING:
    import pyarrow as pa

MAX_BOXES = 1000
# A label of COCO has 14 characters at most; four corners and a score are 20 bytes.
_USUAL_BOX_BYTES = 40
_SIDES = ("x1", "y1", "x2", "y2")


class Boxes(NetworkAnalysis):
    """Labelled boxes with scores, the best first, in pixels of the upright original."""

    reads: ClassVar[tuple[str, ...]] = ("boxes", "box_scores", "box_labels")

    kind: Literal["boxes"] = "boxes"
    min_score: float = Field(
        0.3, ge=0, le=1, description="The lowest score, 0 to 1, of a box that a row keeps."
    )
    overlap: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Of two boxes with one label that overlap by more than this share (the area of "
        "both over the area of either), only the better is kept. A network that does so itself, "
        "and a class, are taken as they are.",
    )
    max_boxes: int = Field(
        300, ge=1, le=MAX_BOXES, description="How many boxes a row keeps, the best first."
    )

    def answer_type(self) -> pa.DataType:
        """x1 < x2 and y1 < y2, in pixels from the top left corner."""
        import pyarrow as pa

        box = [("label", pa.string()), ("score", pa.float32())]
        return pa.list_(pa.struct([*box, *((side, pa.float32()) for side in _SIDES)]))

    def max_answer_bytes(self) -> int:
        """See ``Analysis``."""
        return self.max_boxes * _USUAL_BOX_BYTES

    def in_short(self, value: Any) -> str:
        """How many there are of each label, with the best score of each; the best label first."""
        found: dict[str, list[float]] = {}
        for box in value:
            found.setdefault(box["label"], []).append(box["score"])
        named = (
            f"{f'{len(scores)} × ' if len(scores) > 1 else ''}{label} {scores[0]:.2f}"
            for label, scores in found.items()
        )
        return ", ".join(named) or "nothing"

    def check(self, answers: pa.Array) -> str | None:
        """See ``Analysis``."""
        from shared.measures import are_finite, are_within, longest_list, longest_text

        lists = answers.drop_null() if answers.null_count else answers
        boxes = lists.flatten()
        if longest_list(lists) > self.max_boxes:
            return f"more than {self.max_boxes} boxes"
        labels, score, *sides = (boxes.field(number) for number in range(6))
        if boxes.null_count or labels.null_count or not all(map(are_finite, (score, *sides))):
            return "a box without a label, or with a number that is not finite"
        if longest_text(labels, MAX_LABEL_CHARACTERS) > MAX_LABEL_CHARACTERS:
            return f"a label of more than {MAX_LABEL_CHARACTERS} characters"
        if not all(are_within(side, 0, MAX_IMAGE_SIDE_PIXELS) for side in sides):
            return f"a side that is not from 0 to {MAX_IMAGE_SIDE_PIXELS}"
        x1, y1, x2, y2 = (side.to_numpy() for side in sides)
        if not ((x1 < x2) & (y1 < y2)).all():
            return "a box without an area"
        return None
