"""A user's own values, ``{field: value}`` for each image, as typed columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from shared.analyses.values import MAX_LIST_ENTRIES, Values
from shared.item import ItemFailure
from shared.limits import MAX_LABEL_CHARACTERS
from shared.placement import Size
from workers.inference.class_host.values import scalar
from workers.inference.class_outputs import UnusableOutput, shown
from workers.inference.heads.port import ClassOutputs, HeadAnswers, NetworkOutputs

# A bool is no number here, though Python counts it as an int.
_TYPES: dict[str, frozenset[type]] = {
    "text": frozenset({str}),
    "int": frozenset({int}),
    "float": frozenset({float, int}),
    "bool": frozenset({bool}),
}
# numpy's letters for what an array of each type may hold.
_ARRAY_KINDS = {"text": "U", "int": "iu", "float": "fiu", "bool": "b"}
_MAX_INT = 2**63


class ValuesHead:
    """Checks every value against the type that the pipeline says."""

    def answers(
        self,
        analysis: Values,
        outputs: NetworkOutputs | ClassOutputs,
        labels: Sequence[str],  # noqa: ARG002 - values have none
        sizes: Sequence[Size],  # noqa: ARG002 - and no place in the image
    ) -> HeadAnswers:
        """See ``Head``. An image with a value that does not fit fails, and the others stand."""
        failures: dict[int, ItemFailure] = {}
        rows: list[dict[str, Any] | None] = []
        assert not isinstance(outputs, NetworkOutputs)
        for number, output in enumerate(outputs):
            try:
                rows.append(_row(output, analysis))
            except UnusableOutput as refused:
                failures[number] = refused.as_failure()
                rows.append(None)
        return HeadAnswers(pa.array(rows, analysis.answer_type()), failures)

    def agreement(self, exact: NetworkOutputs, other: NetworkOutputs) -> None:
        """None: no network gives values."""


HEAD = ValuesHead()


def _row(output: Any, analysis: Values) -> dict[str, Any]:
    """The values of one image, each of its field's type, or None. Raises UnusableOutput."""
    fields = analysis.fields
    if not isinstance(output, Mapping):
        raise UnusableOutput(
            f"{shown(output)}, and the pipeline needs {{field: value}} for each image"
        )
    for name in output:
        if name not in fields:
            named = repr(name[:60]) if isinstance(name, str) else shown(name)
            raise UnusableOutput(f"{named} is none of the pipeline's fields: {', '.join(fields)}")
    return {name: _value(name, kind, output.get(name)) for name, kind in fields.items()}


def _value(name: str, kind: str, value: Any) -> Any:
    value = scalar(value)
    if value is None:
        return None
    if kind in _TYPES:
        _require_fit(f"value of '{name}'", kind, kind, value)
        return float(value) if kind == "float" else value
    entry_kind = kind.removeprefix("list of ")
    if not isinstance(value, list | tuple) and not _is_list(value, entry_kind):
        raise UnusableOutput(f"value of '{name}' is {shown(value)}, and the pipeline says {kind}")
    if len(value) > MAX_LIST_ENTRIES:
        raise UnusableOutput(
            f"value of '{name}' has {len(value):,} entries, at most {MAX_LIST_ENTRIES:,}"
        )
    entries = value.tolist() if isinstance(value, np.ndarray) else value
    if not _all_fit(entry_kind, entries):
        entries = list(map(scalar, entries))
        for number, entry in enumerate(entries, 1):
            _require_fit(f"entry {number} of '{name}'", entry_kind, kind, entry)
    return list(map(float, entries)) if entry_kind == "float" else list(entries)


def _is_list(value: Any, kind: str) -> bool:
    """Is it a 1-D array of that type? An empty one has numpy's type of nothing in particular."""
    if not isinstance(value, np.ndarray) or value.ndim != 1:
        return False
    return not value.size or value.dtype.kind in _ARRAY_KINDS[kind]


def _all_fit(kind: str, entries: Sequence[Any]) -> bool:
    """Is nothing wrong with any entry? Quick, since lists may be long."""
    if not _TYPES[kind].issuperset(map(type, entries)):
        return False
    if kind == "float":
        return all(map(_is_finite, entries))
    if kind == "int":
        return min(entries, default=0) >= -_MAX_INT and max(entries, default=0) < _MAX_INT
    return kind == "bool" or (
        max(map(len, entries), default=0) <= MAX_LABEL_CHARACTERS and _is_unicode("".join(entries))
    )


def _require_fit(where: str, kind: str, said: str, value: Any) -> None:
    """Raise UnusableOutput for a value that is none of a type.

    ``said``: the field's type, by the pipeline.
    """
    if type(value) not in _TYPES[kind]:
        raise UnusableOutput(f"{where} is {shown(value)}, and the pipeline says {said}")
    if kind == "float" and not _is_finite(value):
        raise UnusableOutput(f"{where} is {shown(value)}: give a finite number or None")
    if kind == "int" and not -_MAX_INT <= value < _MAX_INT:
        raise UnusableOutput(f"{where} is {shown(value)}, which does not fit into 64 bits")
    if kind == "text" and len(value) > MAX_LABEL_CHARACTERS:
        raise UnusableOutput(
            f"{where} has {len(value):,} characters, at most {MAX_LABEL_CHARACTERS:,}"
        )
    if kind == "text" and not _is_unicode(value):
        raise UnusableOutput(f"{where} is {shown(value)}, with half a character of Unicode")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond a float's range
        return False


def _is_unicode(text: str) -> bool:
    """False for half a character, which no row can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
