"""A user's values: each of the type that the pipeline says, or its image alone fails."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared.analyses.values import MAX_LIST_ENTRIES, Values
from shared.errors import ItemErrorCode
from shared.limits import MAX_LABEL_CHARACTERS
from tests.support.fake_engine import images_of
from tests.support.hosted_class import OpenClass
from workers.inference.class_host.values import pack, unpack
from workers.inference.heads import HeadAnswers, head_of

KINDS = ("text", "int", "float", "bool")
ALL: Any = {kind: kind for kind in KINDS} | {f"{kind}s": f"list of {kind}" for kind in KINDS}
GOOD = {"text": "a", "int": 1, "float": 0.5, "bool": True}


def answered(outputs: Any, fields: Any = ALL) -> HeadAnswers:
    """As they arrive from a host."""
    analysis = Values(model="own", fields=fields)
    found = head_of("values").answers(analysis, unpack(*pack(outputs)), (), ())
    assert found.values.type == analysis.answer_type()
    assert len(found.values) == len(outputs)
    assert analysis.check(found.values) is None
    assert found.values.is_null().to_pylist() == [n in found.failures for n in range(len(outputs))]
    return found


def refused(kind: str, value: Any) -> str:
    """What is said of one image's value, between two that stand."""
    fields = {"value": kind, "other": "int"}
    found = answered([{"other": 1}, {"value": value, "other": 2}, {"other": 3}], fields)
    rows = found.values.to_pylist()
    assert [rows[0]["other"], rows[1], rows[2]["other"]] == [1, None, 3]
    failure = found.failures.pop(1)
    assert not found.failures
    assert failure.error_code is ItemErrorCode.MODEL_ERROR
    return failure.error_message


def accepted(kind: str, value: Any) -> Any:
    found = answered([{"value": value}], {"value": kind})
    assert not found.failures
    return found.values.to_pylist()[0]["value"]


SCALARS = {
    "text": st.text(),
    "int": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "bool": st.booleans(),
}
ROWS = st.fixed_dictionaries(
    {},
    optional={kind: st.none() | each for kind, each in SCALARS.items()}
    | {f"{kind}s": st.none() | st.lists(each, max_size=20) for kind, each in SCALARS.items()},
)


@given(st.lists(ROWS, max_size=4))
def test_values_of_the_right_types_arrive_and_what_is_missing_is_null(rows: Any) -> None:
    found = answered(rows)
    assert not found.failures
    assert found.values.to_pylist() == [{name: row.get(name) for name in ALL} for row in rows]


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        ("float", 3, 3.0),
        ("float", 2**200, 2.0**200),
        ("float", np.float32(0.5), 0.5),
        ("float", np.int8(3), 3.0),
        ("float", torch.tensor(0.5), 0.5),
        ("int", np.uint8(3), 3),
        ("int", np.array(3), 3),
        ("bool", np.bool_(False), False),
        ("text", np.str_("a"), "a"),
        ("text", "\N{SNOWMAN}" * MAX_LABEL_CHARACTERS, "\N{SNOWMAN}" * MAX_LABEL_CHARACTERS),
        ("list of float", np.array([1, 2], np.float16), [1.0, 2.0]),
        ("list of float", np.array([1, 2]), [1.0, 2.0]),
        ("list of float", [2**53 + 1, 0.5], [2.0**53, 0.5]),
        ("list of float", torch.tensor([0.5, 1.5], requires_grad=True), [0.5, 1.5]),
        ("list of int", np.array([1, 2], np.uint64), [1, 2]),
        ("list of int", (1, np.int64(2)), [1, 2]),
        ("list of int", np.array([]), []),
        ("list of bool", np.array([True, False]), [True, False]),
        ("list of text", np.array(["a", "b"]), ["a", "b"]),
        ("list of text", np.array(["a", "b"], object), ["a", "b"]),
        ("list of text", ["a"] * MAX_LIST_ENTRIES, ["a"] * MAX_LIST_ENTRIES),
    ],
)
def test_numbers_and_arrays_of_any_library_are_taken(kind: str, value: Any, wanted: Any) -> None:
    found = accepted(kind, value)
    assert repr(found) == repr(wanted)


@pytest.mark.parametrize("kind", ["text", "int", "float", "bool"])
@pytest.mark.parametrize("given", ["many", 1, 0.5, True, [1], {"a": 1}, b"a", 1j])
def test_another_type_is_named_with_its_value(kind: str, given: Any) -> None:
    right = {"text": str, "int": int, "float": (int, float), "bool": bool}[kind]
    if isinstance(given, right) and not (kind != "bool" and given is True):
        return
    for value, field, where in (
        (given, kind, "value of 'value'"),
        ([GOOD[kind], given], f"list of {kind}", "entry 2 of 'value'"),
    ):
        said = refused(field, value)
        assert f"{where} is " in said
        assert f"({type(given).__name__})" in said or f"a {type(given).__name__} of" in said
        assert said.endswith(f", and the pipeline says {field}.")


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("int", "many", "value of 'value' is 'many' (str), and the pipeline says int."),
        ("int", 3.0, "value of 'value' is 3.0 (float), and the pipeline says int."),
        ("list of int", 3, "value of 'value' is 3 (int), and the pipeline says list of int."),
        ("list of text", "abc", "value of 'value' is 'abc' (str), and the pipeline says list of"),
        ("list of text", {"a", "b"}, "value of 'value' is a set, and the pipeline says list of"),
        ("list of text", {"a": 1}, "value of 'value' is a dict of 1, and the pipeline says list"),
        ("list of text", ["a", None], "entry 2 of 'value' is None, and the pipeline says list of"),
        ("list of int", np.zeros((2, 2), int), "int64 of shape (2, 2) (ndarray), and the pipeline"),
        ("list of int", np.zeros(2), "value of 'value' is float64 of shape (2,) (ndarray), and"),
        ("list of float", np.ones(2, bool), "is bool of shape (2,) (ndarray), and the pipeline"),
        ("float", math.nan, "value of 'value' is NaN: give a finite number or None."),
        ("float", -math.inf, "value of 'value' is -inf: give a finite number or None."),
        ("float", np.float32("nan"), "value of 'value' is NaN: give a finite number"),
        ("list of float", [0.5] * 20 + [math.inf], "entry 21 of 'value' is inf: give a finite"),
        ("list of float", np.array([0.5, math.nan]), "entry 2 of 'value' is NaN: give a finite"),
        ("int", 2**63, "is 9223372036854775808 (int), which does not fit into 64 bits."),
        ("int", -(2**63) - 1, "is -9223372036854775809 (int), which does not fit into 64"),
        ("int", 10**400, "value of 'value' is an integer of 1329 bits (int), and"),
        ("list of int", np.array([2**63], np.uint64), "entry 1 of 'value' is 9223372036854775808"),
        ("text", "a" * (MAX_LABEL_CHARACTERS + 1), "has 10,001 characters, at most 10,000."),
        ("list of text", ["a" * 10_001], "entry 1 of 'value' has 10,001 characters, at most"),
        ("text", "\ud800", "is '\\ud800' (str), with half a character of Unicode."),
        ("list of text", ["a", "\ud800"], "entry 2 of 'value' is '\\ud800' (str), with half"),
        ("list of int", [0] * 1001, "value of 'value' has 1,001 entries, at most 1,000."),
        ("list of float", np.zeros(1001), "value of 'value' has 1,001 entries, at most 1,000."),
    ],
)
def test_a_value_out_of_its_bounds_is_named(kind: str, value: Any, said: str) -> None:
    assert said in refused(kind, value)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ({"colour": 1}, "'colour' is none of the pipeline's fields: text, int,"),
        ({5: 1}, "5 (int) is none of the pipeline's fields: "),
        ({("a", 1): 1}, "a tuple is none of the pipeline's fields: "),
        ("many", "'many' (str), and the pipeline needs {field: value} for each image."),
        (None, "None, and the pipeline needs {field: value} for each image."),
        ([("text", "a")], "a list of 1, and the pipeline needs {field: value} for each image."),
        (np.zeros(5), "float64 of shape (5,) (ndarray), and the pipeline needs {field: value}"),
        (object(), "a object, and the pipeline needs {field: value} for each image."),
    ],
)
def test_what_is_no_mapping_of_the_fields_is_named(output: Any, said: str) -> None:
    found = answered([GOOD, output, {}])
    assert said in found.failures[1].error_message
    assert list(found.failures) == [1]


def test_an_array_of_scores_fails_image_by_image() -> None:
    assert list(answered(np.zeros((3, 5))).failures) == [0, 1, 2]


def test_a_host_gives_one_chunk_right_and_another_wrong(open_class: OpenClass) -> None:
    source = """
    import numpy as np
    class Own:
        def __call__(self, images):
            firsts = [int(image.flat[0]) for image in images]
            return [{"int": n if n < 5 else str(n), "floats": image.mean((0, 1))}
                    for n, image in zip(firsts, images)]
    """
    engine, head = open_class(source), head_of("values")
    analysis = Values(model="own", fields={"int": "int", "floats": "list of float"})
    first, second = (
        head.answers(analysis, engine.run(images_of(*numbers)), (), ())
        for numbers in ((1, 2), (3, 7, 4))
    )
    assert not first.failures
    assert [row and row["int"] for row in second.values.to_pylist()] == [3, None, 4]
    assert "value of 'int' is '7' (str)" in second.failures[1].error_message


def test_no_network_gives_values() -> None:
    assert head_of("values").agreement({}, {}) is None
