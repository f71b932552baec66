"""Every form in which a user's class may answer for an image, and what it is told of others.

All go through what lies between a host and its worker.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shared.analyses.classes import Classes
from shared.errors import ItemErrorCode
from shared.item import ItemFailure
from shared.views.crop import Crop
from tests.support.head_answers import answers, predictions
from workers.inference.class_host.values import pack, unpack

BEST = Classes(model="m", view=Crop(resize_shorter_pixels=8, crop_pixels=8), top_k=2)


def answer_to(output: Any) -> Any:
    (answer,) = answers(BEST, unpack(*pack([output])))
    assert answers(BEST, [output]) == [answer] or isinstance(answer, ItemFailure)
    return answer


def scalar(value: Any, dtype: torch.dtype) -> torch.Tensor:
    return torch.tensor(value, dtype=dtype, requires_grad=dtype.is_floating_point)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("owl", [("owl", 1)]),
        ("", [("", 1)]),
        ("ab", [("ab", 1)]),
        ("\U0001f40e" * 10_000, [("\U0001f40e" * 10_000, 1)]),
        (np.str_("owl"), [("owl", 1)]),
        (np.array("owl"), [("owl", 1)]),
        (7, [("7", 1)]),
        (-7, [("-7", 1)]),
        (2**128, [(str(2**128), 1)]),
        (np.uint64(2**64 - 1), [(str(2**64 - 1), 1)]),
        (np.array(7, np.uint8), [("7", 1)]),
        (torch.tensor(7), [("7", 1)]),
        (("owl", 0.5), [("owl", 0.5)]),
        (["owl", 0.5], [("owl", 0.5)]),
        (("owl", np.float32(0.5)), [("owl", 0.5)]),
        (("owl", np.float16(0.5)), [("owl", 0.5)]),
        (("owl", np.array(0.5)), [("owl", 0.5)]),
        (("owl", np.bool_(True)), [("owl", 1)]),
        (("owl", False), [("owl", 0)]),
        (("owl", -0.0), [("owl", 0)]),
        (("owl", Fraction(1, 2)), [("owl", 0.5)]),
        (("owl", Decimal("0.5")), [("owl", 0.5)]),
        (("owl", scalar(0.5, torch.float64)), [("owl", 0.5)]),
        (("owl", scalar(0.5, torch.bfloat16)), [("owl", 0.5)]),
        (("owl", scalar(0.5, torch.float16)), [("owl", 0.5)]),
        (("owl", scalar(True, torch.bool)), [("owl", 1)]),
        ((3, 0.5), [("3", 0.5)]),
        ((3, 4), [("3", 4)]),
        ((scalar(3, torch.int64), scalar(0.5, torch.float32)), [("3", 0.5)]),
        ((np.int32(3), 0.5), [("3", 0.5)]),
        ([("a", 0.1), ("b", 0.7), ("c", 0.2)], [("b", 0.7), ("c", 0.2)]),
        ([(1, 0.1), ("b", 0.7)], [("b", 0.7), ("1", 0.1)]),
        ((("a", 1), ("b", 2)), [("b", 2), ("a", 1)]),
        ([["a", 1], ["b", 2]], [("b", 2), ("a", 1)]),
        ({"a": 0.1, "b": 0.7}, [("b", 0.7), ("a", 0.1)]),
        ({1: 0.1, np.int64(2): torch.tensor(0.75)}, [("2", 0.75), ("1", 0.1)]),
        ([], []),
        ({}, []),
        (np.array([1, 3, 2]), [("1", 3), ("2", 2)]),
        (np.array([0.5, 0.75], np.float16), [("1", 0.75), ("0", 0.5)]),
        (np.array([False, True]), [("1", 1), ("0", 0)]),
        (np.ma.array([0.5, 0.75]), [("1", 0.75), ("0", 0.5)]),
        (torch.tensor([0.5, 0.75], dtype=torch.bfloat16), [("1", 0.75), ("0", 0.5)]),
        ([0.9, 0.08, 0.02], [("0", 0.9), ("1", 0.08)]),
        ([np.float32(0.5), torch.tensor(0.75)], [("1", 0.75), ("0", 0.5)]),
        (np.array([("owl", 0.5)], dtype="U9,f8")[0], [("owl", 0.5)]),
    ],
)
def test_the_forms_that_are_accepted(output: Any, expected: list[tuple[str, float]]) -> None:
    answer = answer_to(output)
    assert predictions(answer) == [(label, np.float32(score)) for label, score in expected]


REFUSED = [
    (None, "None. Return for each image a label"),
    (0.9, "0.9 (float). Return"),
    (True, "True (bool). Return"),
    (np.float32(0.5), "0.5 (float). Return"),
    (b"owl", "b'owl' (bytes). Return"),
    ({"owl"}, "a set. Return"),
    ((n for n in "ab"), "a generator. Return"),
    (1 + 2j, "(1+2j) (complex). Return"),
    (10**400, "an integer of 1329 bits (int). Return"),
    (date(2026, 11, 28), "datetime.date(2026, 11, 28) (date). Return"),
    (np.zeros((2, 2)), "float64 of shape (2, 2) (ndarray). Return"),
    (np.zeros(0), "an empty array"),
    (np.array(["a", "b"]), "<U1 of shape (2,) (ndarray). Return"),
    (np.array([object()]), "object of shape (1,) (ndarray). Return"),
    (np.array([1, 2], complex), "complex128 of shape (2,) (ndarray). Return"),
    (np.ma.array([0.5, 0.5], mask=[0, 1]), "float64 of shape (2,) (MaskedArray). Return"),
    (np.array([0.5, np.nan]), "score is NaN, of class 1"),
    (np.array([0.5, 1e300]), "score is 1e+300 (float), beyond 3.4e+38, of class 1"),
    ([0.5, float("inf")], "score is inf, of class 1"),
    ([3, 4], "entry 1 of 2 is 3 (int), not (label, score)"),
    ([0.5, 4], "entry 1 of 2 is 0.5 (float), not (label, score)"),
    (["ab", "cd"], "entry 1 of 2 is 'ab' (str), not (label, score)"),
    ([("owl", 1, 2)], "entry 1 of 1 is a tuple of 3, not (label, score)"),
    ([None], "entry 1 of 1 is None, not (label, score)"),
    ((("owl", 0.5), None), "entry 2 of 2 is None, not (label, score)"),
    (((("owl", 0.5),),), "entry 1 of 1 is a tuple of 1, not (label, score)"),
    (("owl", float("nan")), "score is NaN"),
    (("owl", torch.tensor(float("nan"))), "score is NaN"),
    (("owl", float("-inf")), "score is -inf"),
    (("owl", 1e300), "score is 1e+300 (float), beyond 3.4e+38"),
    (("owl", 10**400), "score is an integer of 1329 bits (int)"),
    (("owl", "high"), "score is 'high' (str)"),
    (("owl", None), "score is None"),
    (("owl", 1 + 2j), "score is (1+2j) (complex)"),
    (("owl", [0.5]), "score is a list of 1"),
    (("owl", np.ones(2)), "score is float64 of shape (2,) (ndarray)"),
    ((None, 0.5), "label is None"),
    ((True, 0.5), "label is True (bool)"),
    ((0.5, 0.5), "label is 0.5 (float)"),
    ((b"owl", 0.5), "label is b'owl' (bytes)"),
    ((None, None), "label is None, score is None"),
    ((0.9, "cat"), "label is 0.9 (float), score is 'cat' (str): give (label, score)"),
    ((9, "cat"), "label is 9 (int), score is 'cat' (str): give (label, score)"),
    ([("a", 1), ("b", "x")], "score is 'x' (str), in entry 2 of 2"),
    ({"owl": "high"}, "score is 'high' (str), in entry 1 of 1"),
    ({"boxes": [[1, 2]], "scores": [0.5]}, "score is a list of 1, in entry 1 of 2"),
    ({None: 0.5}, "label is None, in entry 1 of 1"),
    ({b"owl": 0.5}, "label is b'owl' (bytes), in entry 1 of 1"),
    ({(1, 2): 0.5}, "label is "),
    ("x" * 12_000, "label has 12,000 characters, at most 10,000"),
    ({"x" * 10_001: 0.5}, "label has 10,001 characters, at most 10,000, in entry 1 of 1"),
    ("\ud800", "label is '\\ud800' (str), half a character of Unicode"),
    (("owl", "\x1b[31m\n"), "score is '\\x1b[31m\\n' (str)"),
    (("owl", "x" * 1000), "score is '" + "x" * 60 + "'… (str)"),
]


@pytest.mark.parametrize(("output", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_is_refused_is_named_with_its_type_and_value(output: Any, said: str) -> None:
    answer = answer_to(output)
    assert isinstance(answer, ItemFailure)
    assert answer.error_code is ItemErrorCode.MODEL_ERROR
    assert answer.error_message.startswith(f"The model gave an unusable output: {said}")
    assert answer.error_message.isprintable()


SCALARS = (
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()),
    *(st.complex_numbers(), st.decimals(allow_nan=False), st.fractions(), st.datetimes()),
    arrays.arrays(arrays.scalar_dtypes(), arrays.array_shapes(min_dims=0, min_side=0)),
)
ANYTHING = st.recursive(
    st.one_of(SCALARS),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.one_of(SCALARS[:-1]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.lists(ANYTHING, max_size=3))
def test_whatever_a_class_gives_each_image_has_a_bounded_answer(outputs: list[Any]) -> None:
    given_answers = answers(BEST, unpack(*pack(outputs)))
    assert len(given_answers) == len(outputs)
    for answer in given_answers:
        if isinstance(answer, ItemFailure):
            assert answer.error_message.isprintable()
