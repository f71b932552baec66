"""The likeliest classes of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from shared.analyses.base import NetworkAnalysis
from shared.fields import FileDefault
from shared.limits import MAX_LABEL_CHARACTERS

if TYPE_CHECKING:
    import pyarrow as pa

MAX_PREDICTIONS = 100
MAX_CLASSES = 10**6
# A label of ImageNet has 14 characters in the mean, and 121 at most.
_USUAL_LABEL_BYTES = 128


class Classes(NetworkAnalysis):
    """Labels with scores, the best first."""

    reads: ClassVar[tuple[str, ...]] = ("scores",)

    kind: Literal["classes"] = "classes"
    top_k: int = Field(
        5,
        ge=1,
        le=MAX_PREDICTIONS,
        description="How many predictions a row keeps, the best first.",
    )
    softmax: Annotated[bool, FileDefault("true for weights, false for a class")] = Field(
        False, description="Whether an array of scores goes through softmax."
    )

    def for_model(self, length: int | None, *, is_class: bool) -> Self:  # noqa: ARG002
        """See ``NetworkAnalysis``. A network gives logits; a class gives what it means."""
        if "softmax" in self.model_fields_set:
            return self
        return self.model_copy(update={"softmax": not is_class})

    def answer_type(self) -> pa.DataType:
        """``class_index``: number of the best class among the model's; null for a user's class."""
        import pyarrow as pa

        return pa.struct([("class_index", pa.int32()), ("predictions", predictions_type())])

    def max_answer_bytes(self) -> int:
        """See ``Analysis``."""
        return self.top_k * _USUAL_LABEL_BYTES

    def check(self, answers: pa.Array) -> str | None:
        """See ``Analysis``."""
        from shared.measures import are_finite, are_within, longest_list, longest_text

        given = answers.drop_null() if answers.null_count else answers
        predictions = given.field("predictions")
        flat = predictions.flatten()
        if predictions.null_count or flat.null_count:
            return "an answer without predictions"
        if longest_list(predictions) > self.top_k:
            return f"more than {self.top_k} predictions"
        if not are_within(given.field("class_index"), 0, MAX_CLASSES):
            return f"a class_index that is not from 0 to {MAX_CLASSES}"
        labels = flat.field("label")
        if labels.null_count or not are_finite(flat.field("score")):
            return "a prediction without a label or a finite score"
        if longest_text(labels, MAX_LABEL_CHARACTERS) > MAX_LABEL_CHARACTERS:
            return f"a label of more than {MAX_LABEL_CHARACTERS} characters"
        return None

    def column_type(self) -> pa.DataType:
        """The best prediction, and all of them."""
        import pyarrow as pa

        best = [("label", pa.string()), ("score", pa.float32())]
        return pa.struct([*best, ("predictions", predictions_type())])

    def column(self, answers: pa.Array) -> pa.Array:
        """See ``Analysis``."""
        import pyarrow as pa

        fixed = self.fixed_columns(answers)
        names = ("label", "score", "predictions")
        return pa.StructArray.from_arrays(
            [fixed[name] for name in names],
            fields=list(self.column_type()),
            mask=answers.is_null(),
        )

    def in_short(self, value: Any) -> str:
        """The best prediction."""
        return f"{value['label']} {value['score']:.4f}" if value["predictions"] else ""

    def fixed_columns(self, answers: pa.Array) -> dict[str, Any]:
        """See ``Analysis``."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        predictions = _child(answers, "predictions")
        if predictions.null_count:
            predictions = pc.fill_null(predictions, pa.scalar([], predictions.type))
        offsets = predictions.offsets.to_numpy()
        firsts, is_empty = offsets[:-1], np.diff(offsets) == 0
        best = predictions.values.take(pa.array(firsts, mask=is_empty))
        return {
            "label": _child(best, "label"),
            "score": _child(best, "score"),
            "predictions": predictions,
            "class_index": _child(answers, "class_index"),
        }


def _child(structs: pa.StructArray, name: str) -> pa.Array:
    """A field's values, null where the struct is."""
    import pyarrow.compute as pc

    return pc.struct_field(structs, name) if structs.null_count else structs.field(name)


def predictions_type() -> pa.DataType:
    """Labels with their scores, the best first."""
    import pyarrow as pa

    return pa.list_(pa.struct([("label", pa.string()), ("score", pa.float32())]))
