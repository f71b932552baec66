"""What goes between a host and its worker is checked as what anybody might have sent."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared.limits import MAX_LABEL_CHARACTERS
from workers.inference.class_host import values
from workers.inference.class_host.values import Foreign, pack, type_name, unpack

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False)
    | st.text()
)
OUTPUTS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(OUTPUTS)
def test_plain_values_arrive_as_they_were(value: Any) -> None:
    assert unpack(*pack(_shallow(value))) == _shallow(value)


def _shallow(value: Any, depth: int = 0) -> Any:
    """The same without what nests deeper than answers do."""
    if depth == 6:
        return None
    if isinstance(value, list | tuple):
        return type(value)(_shallow(entry, depth + 1) for entry in value)
    if isinstance(value, dict):
        return {key: _shallow(entry, depth + 1) for key, entry in value.items()}
    return value


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "i1", "i8", "u2", "?", ">f4"])
@pytest.mark.parametrize("shape", [(0,), (3,), (2, 0), (2, 3)])
def test_arrays_arrive_with_their_type_and_shape(kind: str, shape: tuple[int, ...]) -> None:
    array = np.arange(int(np.prod(shape)), dtype=np.int8).reshape(shape).astype(kind)
    found = unpack(*pack([array]))[0]
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert np.array_equal(found, array)


class Loudly(str):
    """Its ``str()`` is not its text."""

    def __str__(self) -> str:
        return "RED"


@pytest.mark.parametrize(
    ("scalar", "plain"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.longdouble(0.25), 0.25),
        (Fraction(1, 4), 0.25),
        (Decimal("0.25"), 0.25),
        (2**200, 2**200),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.array(3, np.int16), 3),
        (np.array(0.25, np.float16), 0.25),
        (np.array("cat"), "cat"),
        (np.str_("cat"), "cat"),
        (np.ma.array(0.25), 0.25),
        (Loudly("red"), "red"),
        (torch.tensor(3), 3),
        (torch.tensor(True), True),
        (torch.tensor(0.25, dtype=torch.float64, requires_grad=True), 0.25),
        (torch.tensor(0.25, dtype=torch.bfloat16, requires_grad=True), 0.25),
        (torch.tensor(0.25, dtype=torch.float16), 0.25),
        (np.array([("cat", 0.25)], dtype="U3,f8")[0], ("cat", 0.25)),
    ],
)
def test_scalars_arrive_as_plain_values(scalar: Any, plain: Any) -> None:
    found = unpack(*pack([scalar]))[0]
    assert type(found) is type(plain)
    assert found == plain


def test_many_scalars_are_packed_in_the_time_of_as_many_numbers() -> None:
    """It once took a minute, in which a class met its deadline."""
    outputs = [[(f"label {n}", np.float32(n)) for n in range(1000)] for _ in range(64)]
    tree_bytes, packed = pack(outputs)
    assert tree_bytes == len(packed)
    assert len(unpack(tree_bytes, packed)) == 64


class Loud:
    def __repr__(self) -> str:
        return "Loud" * 1000


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError


FOREIGN = [
    (object(), "object", ""),
    (b"bytes", "bytes", "b'bytes'"),
    (np.bytes_(b"bytes"), "bytes", "b'bytes'"),
    (bytes(10**8), "bytes", repr(bytes(60))[:60]),
    ({1, 2}, "set", ""),
    (10**400, "int", "an integer of 1329 bits"),
    (10**400_000, "int", "an integer of 1328772 bits"),
    (1 + 2j, "complex", "(1+2j)"),
    (Decimal("sNaN"), "Decimal", "Decimal('sNaN')"),
    (date(2026, 11, 28), "date", "datetime.date(2026, 11, 28)"),
    (np.datetime64("2026-11-28"), "date", "datetime.date(2026, 11, 28)"),
    (np.array(["a"]), "ndarray", "<U1 of shape (1,)"),
    (np.array([None]), "ndarray", "object of shape (1,)"),
    (np.zeros(2, "U9,f4"), "ndarray", "[('f0', '<U9'), ('f1', '<f4')] of shape (2,)"),
    (np.ma.array([0.5, 0.5], mask=[0, 1]), "MaskedArray", "float64 of shape (2,)"),
    (np.ma.masked, "MaskedConstant", "float64 of shape ()"),
    (torch.eye(2).to_sparse(), "Tensor", ""),
    (torch.eye(2, device="meta"), "Tensor", ""),
    ((n for n in ()), "generator", ""),
    (Loud(), "Loud", "Loud" * 15),
    (Broken(), "Broken", ""),
]


@pytest.mark.parametrize(("value", "name", "text"), FOREIGN, ids=[each[1] for each in FOREIGN])
def test_of_anything_else_the_type_arrives_and_a_short_text(
    value: Any, name: str, text: str
) -> None:
    found = unpack(*pack([value]))[0]
    assert isinstance(found, Foreign)
    assert (type_name(found), found.text) == (name, text)


@pytest.mark.parametrize("key", [(1, 2), frozenset({1}), torch.tensor([1, 2]), 10**400, b"cat"])
def test_a_key_that_is_no_label_arrives_as_foreign(key: Any) -> None:
    ((found, value),) = unpack(*pack([{key: 0.5}]))[0].items()
    assert isinstance(found, Foreign)
    assert value == 0.5


def test_a_batch_of_the_longest_captions_is_within_the_bound() -> None:
    captions = [chr(0x1F40E) * MAX_LABEL_CHARACTERS] * 256
    assert unpack(*pack(captions)) == captions


def test_what_never_ends_is_cut() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert "deeper nest" in type_name(_innermost(unpack(*pack(endless))))


def _innermost(value: Any) -> Any:
    while isinstance(value, list):
        value = value[0]
    return value


@pytest.mark.parametrize("bound", ["MAX_PACKED_BYTES", "MAX_TREE_BYTES"])
def test_answers_are_bounded(monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    monkeypatch.setattr(values, bound, 1000)
    with pytest.raises(ValueError, match="the class gave 0 MiB for one batch"):
        pack([np.zeros(1000), "x" * 1000])


ARRAY = {"array": "<f4", "shape": [2], "at": 0}


@pytest.mark.parametrize(
    "tree",
    [
        {"strange": 1},
        {"array": "O", "shape": [1], "at": 0},
        {"array": "V8", "shape": [1], "at": 0},
        {**ARRAY, "shape": [-1]},
        {**ARRAY, "shape": [2**62, 2**62]},
        {**ARRAY, "shape": "ab"},
        {**ARRAY, "at": 5},
        {**ARRAY, "at": -1},
        {**ARRAY, "array": "no type"},
        {**ARRAY, "array": 5},
        {"pairs": [1]},
        {"pairs": [[[], 1]]},
        {"tuple": 5},
        "not closed",
    ],
)
def test_what_nobody_packed_is_refused(tree: Any) -> None:
    text = json.dumps(tree).encode() if tree != "not closed" else b"[["
    with pytest.raises(ValueError):
        unpack(len(text), text + bytes(8))


def test_deep_nests_from_outside_are_refused() -> None:
    text = b"[" * 100_000 + b"]" * 100_000
    with pytest.raises(ValueError):
        unpack(len(text), text)
