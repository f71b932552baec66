"""``--where FIELD=VALUE`` and ``--where FIELD!=VALUE``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import translate
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from producer.selecting.fields import Field, Numbers, find_field
from shared.errors import UsageError

_CONDITION = re.compile(r"([^=!]+)(!?=)(.*)", re.DOTALL)
_OTHER_OPERATOR = re.compile(r"[^=!<>]*([<>]=?|!?==)")
# Their values are shell patterns, as those of ``enqueue --include`` are.
_PATTERNS = ("key", "name", "uri")
_TRUTH = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Where:
    """One condition. A row meets ``=`` if any of its values of the field is ``value``.

    ``!=`` keeps exactly the rows that ``=`` drops, those without a value, too.
    """

    field: Field
    is_negated: bool
    value: Any

    def of(self, table: pa.Table) -> pa.Table:
        """The rows that meet it."""
        found = np.zeros(table.num_rows, dtype=np.bool_)
        for each in self.field.values(table):
            found[each.rows[self._are_equal(each.values)]] = True
        return table.filter(pa.array(~found if self.is_negated else found))

    def elements(self, table: pa.Table) -> dict[str, Numbers]:
        """By column, the elements whose value is ``value``."""
        return {
            each.column: each.elements[self._are_equal(each.values)]
            for each in self.field.values(table)
        }

    def _are_equal(self, values: pa.Array) -> npt.NDArray[np.bool_]:
        if isinstance(self.value, re.Pattern):
            texts = values.to_pylist()
            return np.array([t is not None and bool(self.value.fullmatch(t)) for t in texts], bool)
        equal = pc.fill_null(pc.equal(values, self.value), False)
        return np.asarray(equal.to_numpy(zero_copy_only=False), np.bool_)


def parse_where(text: str, schema: pa.Schema) -> Where:
    """Raises UsageError for what is no condition on such rows."""
    if other := _OTHER_OPERATOR.match(text):
        raise UsageError(
            "bad_where",
            f"--where {text!r}: there is no {other[1]}, only = and !=.",
            "For a lowest score say --min-score."
            if other[1][0] in "<>"
            else "Say --where label=cat, for example.",
        )
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise UsageError(
            "bad_where",
            f"--where {text!r} is not FIELD=VALUE or FIELD!=VALUE.",
            "Say --where label=cat, for example.",
        )
    name, operator, value = found.groups()
    field = find_field(name.strip(), schema, "--where")
    return Where(field, operator == "!=", _value(field, value))


def _value(field: Field, text: str) -> Any:
    kind = field.type
    try:
        text.encode()
        if field.name in _PATTERNS:
            return re.compile(translate(text))
        if pa.types.is_boolean(kind):
            return pa.scalar(_TRUTH[text.lower()], kind)
        if pa.types.is_integer(kind):
            return pa.scalar(int(text), kind)
        if pa.types.is_floating(kind):
            return pa.scalar(float(text), kind)
        if pa.types.is_string(kind):
            return pa.scalar(text, kind)
    except UnicodeEncodeError as error:
        raise UsageError("bad_where", f"--where: {text!r} is not UTF-8.", "") from error
    except (KeyError, ValueError, OverflowError, pa.ArrowException) as error:
        wanted = "true or false" if pa.types.is_boolean(kind) else f"a number ({kind})"
        problem = f"--where: {field.name} is {wanted}, and {text!r} is not."
        raise UsageError("bad_where", problem, "") from error
    raise UsageError("bad_where", f"--where cannot compare {field.name}.", "Name another field.")
