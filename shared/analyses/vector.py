"""A vector that stands for an image: similar images have similar vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from shared.analyses.base import NetworkAnalysis, WrongOption
from shared.fields import FileDefault

if TYPE_CHECKING:
    import pyarrow as pa

# Of the models in use, large vision transformers have the longest: 1,664 numbers.
MAX_VECTOR_LENGTH = 8192


class Vector(NetworkAnalysis):
    """A network's features, or the vector that a user's class gives."""

    reads: ClassVar[tuple[str, ...]] = ("features",)

    kind: Literal["vector"] = "vector"
    length: Annotated[int, FileDefault("that of the model's features; a class has to say it")] = (
        Field(
            1,
            ge=1,
            le=MAX_VECTOR_LENGTH,
            description="How many numbers the vector of an image has.",
        )
    )
    unit_length: bool = Field(
        True, description="Whether vectors are scaled to length 1, as `headrace similar` needs."
    )

    def for_model(self, length: int | None, *, is_class: bool) -> Self:
        """See ``NetworkAnalysis``."""
        said = self.length if "length" in self.model_fields_set else None
        if is_class and said is None:
            raise WrongOption("length", "say length: how many numbers the class gives for an image")
        if not is_class and said is not None:
            raise WrongOption("length", "follows from the model's features: leave it out")
        if length is None:
            return self
        if length > MAX_VECTOR_LENGTH:
            raise WrongOption(
                "model",
                f"its features have {length:,} numbers, and a vector {MAX_VECTOR_LENGTH:,} at most",
            )
        return self.model_copy(update={"length": length})

    def answer_type(self) -> pa.DataType:
        """``length`` numbers."""
        import pyarrow as pa

        return pa.list_(pa.float32(), self.length)

    def max_answer_bytes(self) -> int:
        """See ``Analysis``."""
        return 4 * self.length

    def in_short(self, value: Any) -> str:
        """How long it is."""
        return f"{len(value):,} numbers"

    def check(self, answers: pa.Array) -> str | None:
        """See ``Analysis``."""
        from shared.measures import are_finite

        given = answers.drop_null() if answers.null_count else answers
        return None if are_finite(given.flatten()) else "a vector with a number that is not finite"
