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
# More numbers than that for an image are a vector, which packs them better.
MAX_LIST_ENTRIES = 1000
# A page of print. The longest text allowed takes five times that, or more outside ASCII: texts so
# long fail only where most images of a large chunk have them.
_USUAL_TEXT_BYTES = 2000
# A word or two, as tags are, with where it ends.
_USUAL_ENTRY_BYTES = 20
_NUMBER_BYTES = 8
# Where a text or a list ends, and whether there is one.
_OVERHEAD_BYTES = 8
_USUAL_BYTES = {
    "text": _USUAL_TEXT_BYTES,
    "int": _NUMBER_BYTES,
    "float": _NUMBER_BYTES,
    "bool": 1,
    # Lists have no usual length: a class that gives one entry for each of its 1,000 labels always
    # fills them.
    "list of text": MAX_LIST_ENTRIES * _USUAL_ENTRY_BYTES,
    "list of int": MAX_LIST_ENTRIES * _NUMBER_BYTES,
    "list of float": MAX_LIST_ENTRIES * _NUMBER_BYTES,
    "list of bool": MAX_LIST_ENTRIES,
}


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
        return sum(_OVERHEAD_BYTES + _USUAL_BYTES[kind] for kind in self.fields.values())

    def check(self, answers: pa.Array) -> str | None:
        """See ``Analysis``."""
        import pyarrow as pa

        from shared.measures import are_finite, longest_list, longest_text

        given = answers.drop_null() if answers.null_count else answers
        for name in self.fields:
            values = given.field(name)
            if pa.types.is_list(values.type):
                if longest_list(values) > MAX_LIST_ENTRIES:
                    return f"{name}: more than {MAX_LIST_ENTRIES} entries"
                values = values.flatten()
            if pa.types.is_string(values.type):
                if longest_text(values, MAX_LABEL_CHARACTERS) > MAX_LABEL_CHARACTERS:
                    return f"{name}: a text of more than {MAX_LABEL_CHARACTERS} characters"
            elif pa.types.is_floating(values.type) and not are_finite(
                values.drop_null() if values.null_count else values
            ):
                return f"{name}: a number that is not finite"
        return None
