"""Measures of Arrow arrays: of whole ones and of parts, with nulls, of nothing."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest

from shared.measures import are_finite, are_within, longest_list, longest_text


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], 0), ([None, None], 0), ([""], 0), (["é" * 9, "", None], 9), (["a" * 12, "é" * 11], 12)],
)
def test_texts_are_measured_in_characters_where_that_matters(
    values: list[Any], expected: int
) -> None:
    texts = pa.array(values, pa.string())
    assert (longest_text(texts, limit=10) > 10) == (expected > 10)
    assert longest_text(texts, limit=0) == expected
    padded = pa.array(["x" * 99, *values, "x" * 99], pa.string())
    assert longest_text(padded.slice(1, len(values)), limit=0) == expected


@pytest.mark.parametrize(
    ("values", "expected"), [([], 0), ([None], 0), ([[]], 0), ([[1], None, [1, 2, 3], []], 3)]
)
def test_lists_are_measured(values: list[Any], expected: int) -> None:
    kind = pa.list_(pa.int32())
    assert longest_list(pa.array(values, kind)) == expected
    padded = pa.array([[0] * 9, *values, [0] * 9], kind)
    assert longest_list(padded.slice(1, len(values))) == expected


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, None])
def test_what_is_not_finite_or_not_there_is_found(bad: float | None) -> None:
    assert are_finite(pa.array([], pa.float32()))
    assert are_finite(pa.array([0.5, 3e38, -3e38], pa.float32()))
    for place in range(3):
        values = [1.0, 2.0, 3.0]
        numbers = pa.array([*values[:place], bad, *values[place:]], pa.float32())
        assert not are_finite(numbers)
        assert are_finite(numbers.slice(place + 1))


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], True), ([None], True), ([1, None, 9], True), ([0], False), ([5, 10], False)],
)
def test_numbers_within_bounds(values: list[Any], expected: bool) -> None:
    numbers = pa.array(values, pa.int32())
    assert are_within(numbers, 1, 9) == expected
    padded = pa.array([0, *values, 10], pa.int32())
    assert are_within(padded.slice(1, len(values)), 1, 9) == expected
