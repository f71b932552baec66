"""Values of a user's own, as typed columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from shared.analyses.base import NetworkAnalysis
from shared.limits import MAX_LABEL_CHARACTERS

if TYPE_CHECKING:
    import pyarrow as pa

ScalarType = Literal["text", "int", "float", "bool"]
ValueType = Literal[ScalarType, "list of text", "list of int", "list of float", "list of bool"]
FieldName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
MAX_FIELDS = 64
MAX_LIST_ENTRIES = 1000


class Values(NetworkAnalysis):
    """What a user's class gives for an image: ``{field: value}``, of types that are said here."""

    kind: Literal["values"] = "values"
    fields: dict[FieldName, ValueType] = Field(
        min_length=1,
        max_length=MAX_FIELDS,
        description="The fields that the class gives for each image, with their types: `text`, "
        "`int`, `float`, `bool`, or `list of` one of them. A field may be None.",
    )

    def answer_type(self) -> pa.DataType:
        """A struct of the fields, each nullable."""
        import pyarrow as pa

        scalars = {
            "text": pa.string(),
            "int": pa.int64(),
            "float": pa.float64(),
            "bool": pa.bool_(),
        }
        kinds = scalars | {f"list of {name}": pa.list_(kind) for name, kind in scalars.items()}
        return pa.struct([(name, kinds[kind]) for name, kind in self.fields.items()])

    def max_answer_bytes(self) -> int:
        """See ``Analysis``."""
        return 128 * len(self.fields)

    def check(self, answers: pa.Array) -> str | None:
        """See ``Analysis``."""
        import pyarrow as pa
        import pyarrow.compute as pc

        for name in self.fields:
            values = pc.struct_field(answers, name)
            if pa.types.is_list(values.type):
                if (pc.max(pc.list_value_length(values)).as_py() or 0) > MAX_LIST_ENTRIES:
                    return f"{name}: more than {MAX_LIST_ENTRIES} entries"
                values = values.flatten()
            if pa.types.is_string(values.type):
                if (pc.max(pc.utf8_length(values)).as_py() or 0) > MAX_LABEL_CHARACTERS:
                    return f"{name}: a text of more than {MAX_LABEL_CHARACTERS} characters"
            elif (
                pa.types.is_floating(values.type) and pc.all(pc.is_finite(values)).as_py() is False
            ):
                return f"{name}: a number that is not finite"
        return None
