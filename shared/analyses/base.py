"""What every analysis is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field

from shared.fields import FileDefault, Frozen
from shared.model import EnginePolicy, ModelReference, PrecisionPolicy
from shared.stages import INFERENCE, Stage
from shared.views import AnyView, View

if TYPE_CHECKING:
    import pyarrow as pa


class Analysis(Frozen):
    """One question that is asked of every image. It owns a column of the result table.

    A kind is a class with a ``kind: Literal[...]`` in a file of its own in this folder, and what
    computes it in ``workers/inference/heads`` or ``workers/preprocess/analyses``, in a file of the
    same name. ``stage``: where it is computed. ``own_view``: which view it takes unless the
    pipeline says another; None: the model's.
    """

    stage: ClassVar[Stage]
    own_view: ClassVar[View | None] = None

    kind: str
    view: Annotated[AnyView | None, FileDefault("the model's, or the kind's own")] = Field(
        None, description="How an image becomes what is looked at."
    )

    def answer_type(self) -> pa.DataType:
        """The Arrow type of one answer, as it travels between the stages."""
        raise NotImplementedError

    def max_answer_bytes(self) -> int:
        """The most bytes that one image's answer usually takes, from which a chunk's size follows.

        An answer with long texts may take more: a chunk's largest answers fail where all of them
        together do not fit into a message.
        """
        raise NotImplementedError

    def check(self, answers: pa.Array) -> str | None:
        """What is wrong with answers of the right type, in a few words; None where all is well.

        ``answers`` comes from a message, and may hold anything that its type allows.
        """

    def column_type(self) -> pa.DataType:
        """The type of its column in a pipeline's long form."""
        return self.answer_type()

    def column(self, answers: pa.Array) -> pa.Array:
        """Answers as that column has them."""
        return answers

    def in_short(self, value: Any) -> str:
        """A value of its column in a few words, as a table on a terminal shows it."""
        return json.dumps(value, ensure_ascii=False, default=str)

    def fixed_columns(self, answers: pa.Array) -> dict[str, Any]:
        """Answers as the fixed columns ``label``, ``score``, ``predictions`` and ``class_index``.

        By name, and only of a kind that the short form has.
        """
        raise NotImplementedError(f"{self.kind} has no short form: {answers.type}")


class WrongOption(ValueError):
    """An option does not go with the model. ``field``: its name."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem)
        self.field = field


class NetworkAnalysis(Analysis):
    """An analysis by a model. ``view`` is set wherever the pipeline has been resolved.

    ``reads``: the outputs of a network that it is worked out from. The first has to be there, the
    others are read where a network has them. None for a kind that only a user's class can give.
    """

    stage: ClassVar[Stage] = INFERENCE
    reads: ClassVar[tuple[str, ...]] = ()

    model: ModelReference = Field(
        description="The model: its name, `NAME@SHA256` for one version of it, or a class."
    )
    engine: EnginePolicy = Field(
        "auto",
        description="What runs the weights. `auto` takes the fastest here whose answers agree "
        "with float32 in torch. A class always runs in Python.",
    )
    precision: PrecisionPolicy = Field(
        "auto",
        description="The floating-point type that the weights are computed in. `auto` takes the "
        "fastest whose answers agree with float32.",
    )

    @classmethod
    def main_output(cls) -> str | None:
        """The output that a network has to give; None where no network gives the analysis."""
        return cls.reads[0] if cls.reads else None

    def for_model(self, length: int | None, *, is_class: bool) -> Self:  # noqa: ARG002 - for kinds
        """The same, with the options that were left out as they follow from the model.

        ``length``: how many numbers the first output that it reads has for an image; None for a
        class, and for a network that nobody looked at. Raises WrongOption.
        """
        return self
