"""The fields of rows that ``--where`` and ``--sort`` name: columns, and what lies in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from shared.catalog.documents import suggestion
from shared.columns import FIXED_COLUMNS, MODELS_COLUMN
from shared.errors import UsageError

# Fixed columns that are null in the long form.
_SHORT_ONLY = frozenset(
    ("model", "model_version", "engine", "label", "score", "predictions", "class_index")
)
_OF_SCORES = frozenset(("label", "score"))
_OF_BOXES = frozenset(("label", "score", "x1", "y1", "x2", "y2"))


Numbers = npt.NDArray[np.int64]


class Values(NamedTuple):
    """The values in one column, with the number of the row, and of the element among all of the
    column's lists, that each belongs to. Without lists an element is a row.
    """

    column: str
    values: pa.Array
    rows: Numbers
    elements: Numbers


@dataclass(frozen=True, slots=True)
class Field:
    """One name, and where its values lie: ``paths`` are columns with what is below them, or None.

    ``type``: of one value. ``is_single``: a row has one value at most.
    """

    name: str
    paths: tuple[tuple[str, str | None], ...]
    type: pa.DataType
    is_single: bool

    def values(self, table: pa.Table) -> Iterator[Values]:
        """Every value, column by column."""
        for column, below in self.paths:
            yield _values(column, table[column].combine_chunks(), below)


def is_long(schema: pa.Schema) -> bool:
    """Whether these are rows of a pipeline's long form."""
    return MODELS_COLUMN in schema.names


def boxes_columns(schema: pa.Schema) -> list[str]:
    """The columns of analyses that hold boxes."""
    return [f.name for f in _own(schema) if pa.types.is_list(f.type) and _has(f, _OF_BOXES)]


def classes_columns(schema: pa.Schema) -> list[str]:
    """The columns of analyses that hold classes, in the long form."""
    wanted = _OF_SCORES | {"predictions"}
    return [f.name for f in _own(schema) if pa.types.is_struct(f.type) and _has(f, wanted)]


def find_field(name: str, schema: pa.Schema, option: str) -> Field:
    """The field of that name. ``option``: what named it, for the error. Raises UsageError."""
    known = {field.name: field for field in _fields(schema)}
    if name not in known:
        below = [field for field in known if field.startswith(f"{name}.")]
        if below:
            raise UsageError(
                "no_such_field",
                f"{option}: {name} has several fields.",
                f"Name one of them: {', '.join(below)}.",
            )
        raise UsageError(
            "no_such_field", f"{option}: the rows have no field {name!r}.", _hint(name, list(known))
        )
    return known[name]


def _hint(wrong: str, known: list[str]) -> str:
    # A column with fields is listed alone: an error that names it lists its fields.
    columns = list(dict.fromkeys(name.split(".")[0] for name in known))
    hint = suggestion(wrong, [*columns, *known])
    if not hint.endswith("?"):
        hint = f"{suggestion(wrong, columns)}."
    return f"{hint[0].upper()}{hint[1:]}"


def _fields(schema: pa.Schema) -> Iterator[Field]:
    whole = [f for f in schema if not (is_long(schema) and f.name in _SHORT_ONLY)]
    if is_long(schema):
        columns = [*classes_columns(schema), *boxes_columns(schema)]
        for below, kind in (("label", pa.string()), ("score", pa.float32())):
            if columns:
                is_single = len(columns) == 1 and pa.types.is_struct(schema.field(columns[0]).type)
                yield Field(below, tuple((column, below) for column in columns), kind, is_single)
    for column in whole:
        kind = _innermost(column.type)
        if pa.types.is_struct(kind):
            for field in kind:
                inner = _innermost(field.type)
                if not pa.types.is_nested(inner):
                    is_single = not any(map(pa.types.is_list, (column.type, field.type)))
                    path = (column.name, field.name)
                    yield Field(".".join(path), (path,), inner, is_single)
        elif not pa.types.is_nested(column.type):
            yield Field(column.name, ((column.name, None),), column.type, is_single=True)


def _innermost(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_list(kind) else kind


def _own(schema: pa.Schema) -> list[pa.Field]:
    return [field for field in schema if field.name not in FIXED_COLUMNS]


def _has(column: pa.Field, names: frozenset[str]) -> bool:
    kind = _innermost(column.type)
    return pa.types.is_struct(kind) and names <= {field.name for field in kind}


def _values(name: str, column: pa.Array, below: str | None) -> Values:
    values, rows = _flat(column)
    if below is None:
        return Values(name, values, rows, np.arange(len(values)))
    values, elements = _flat(pc.struct_field(values, below))
    return Values(name, values, rows[elements], elements)


def _flat(column: pa.Array) -> tuple[pa.Array, Numbers]:
    """What is in lists, or else all, and the place in ``column`` that each comes from."""
    if not pa.types.is_list(column.type):
        return column, np.arange(len(column))
    return pc.list_flatten(column), pc.list_parent_indices(column).to_numpy()
