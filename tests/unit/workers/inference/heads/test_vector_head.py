"""Vectors: of networks and of users' classes, their length, and what is no vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from shared.analyses.vector import Vector
from shared.errors import ItemErrorCode
from shared.item import ItemFailure
from shared.views.crop import Crop
from tests.support.head_answers import answers
from workers.inference.class_host.values import pack, unpack
from workers.inference.errors import ModelUnusable
from workers.inference.heads import NetworkOutputs, head_of
from workers.inference.heads.vector import MIN_COSINE

VIEW = Crop(resize_shorter_pixels=8, crop_pixels=8)
UNIT = Vector(model="m", view=VIEW, length=2)
AS_GIVEN = Vector(model="m", view=VIEW, length=2, unit_length=False)
HALF = [pytest.approx(0.6), pytest.approx(0.8)]


def test_features_of_a_network_are_scaled_to_length_one() -> None:
    features = np.array([[3, 4], [0, -2]], np.float32)
    given = {"scores": features, "features": features}
    assert answers(UNIT, given) == [HALF, [0, -1]]
    assert answers(AS_GIVEN, given) == [[3, 4], [0, -2]]


@pytest.mark.parametrize(
    "output",
    [
        [3, 4],
        (3.0, 4),
        [3.0, 4.0],
        [np.float32(3), torch.tensor(4)],
        np.array([3, 4]),
        np.array([3, 4], np.float16),
        np.array([3, 4], np.uint8),
        np.array([3e37, 4e37]),
        torch.tensor([3, 4], dtype=torch.bfloat16),
        np.ma.array([3.0, 4.0]),
    ],
)
def test_the_forms_that_a_class_may_give(output: Any) -> None:
    assert answers(UNIT, unpack(*pack([output]))) == [HALF]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_one_array_for_all_images_is_taken_as_it_is(dtype: Any) -> None:
    assert answers(UNIT, np.array([[3, 4], [6, 8]], dtype)) == [HALF, HALF]


UNUSABLE = "The model gave an unusable output: "
REFUSED = [
    ([1.0], f"{UNUSABLE}1 instead of 2 numbers."),
    (np.zeros(1280), f"{UNUSABLE}1,280 instead of 2 numbers."),
    ([], f"{UNUSABLE}0 instead of 2 numbers."),
    (np.array([1, np.nan]), f"{UNUSABLE}entry 2 of 2 is NaN."),
    ([1.0, float("nan")], f"{UNUSABLE}entry 2 of 2 is NaN."),
    ([float("-inf"), 1.0], f"{UNUSABLE}entry 1 of 2 is -inf."),
    (np.array([1e39, 1]), f"{UNUSABLE}entry 1 of 2 is 1e+39 (float), beyond 3.4e+38."),
    ([2**200, 1], f"{UNUSABLE}entry 1 of 2 is {2**200} (int), beyond 3.4e+38. Return"),
    ([10**400, 1], f"{UNUSABLE}entry 1 of 2 is an integer of 1329 bits (int). Return"),
    ([1, "x"], f"{UNUSABLE}entry 2 of 2 is 'x' (str). Return for each image a 1-D array or"),
    ([1, None], f"{UNUSABLE}entry 2 of 2 is None. Return"),
    ([True, 1], f"{UNUSABLE}entry 1 of 2 is True (bool). Return"),
    ([[1], [2]], f"{UNUSABLE}entry 1 of 2 is a list of 1. Return"),
    (np.array([True, False]), f"{UNUSABLE}bool of shape (2,) (ndarray). Return"),
    (np.ones((1, 2)), f"{UNUSABLE}float64 of shape (1, 2) (ndarray). Return"),
    (np.array([1, 2], complex), f"{UNUSABLE}complex128 of shape (2,) (ndarray). Return"),
    (0.5, f"{UNUSABLE}0.5 (float). Return"),
    (None, f"{UNUSABLE}None. Return"),
    ("ab", f"{UNUSABLE}'ab' (str). Return"),
    ({"a": 1, "b": 2}, f"{UNUSABLE}a dict of 2. Return"),
    ([0, 0], "The model gave a vector of zeros, which has no direction"),
    (np.zeros(2, np.float32), "The model gave a vector of zeros, which has no direction"),
    (np.array([1e-300, 0]), "The model gave a vector of zeros, which has no direction"),
]


@pytest.mark.parametrize(("output", "said"), REFUSED, ids=[said[-40:] for _, said in REFUSED])
def test_what_is_no_vector_fails_its_image_alone(output: Any, said: str) -> None:
    first, failed, last = answers(UNIT, unpack(*pack([[3, 4], output, [3, 4]])))
    assert (first, last) == (HALF, HALF)
    assert isinstance(failed, ItemFailure)
    assert failed.error_code is ItemErrorCode.MODEL_ERROR
    assert failed.error_message.startswith(said)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0])
def test_a_feature_that_is_no_number_fails_its_image_alone(bad: float) -> None:
    features = np.array([[3, 4], [bad, 0], [3, 4]], np.float32)
    first, failed, last = answers(UNIT, {"features": features})
    assert (first, last) == (HALF, HALF)
    assert isinstance(failed, ItemFailure)


def test_a_network_of_another_length_fails_every_image() -> None:
    for answer in answers(UNIT, {"features": np.ones((2, 3), np.float32)}):
        assert isinstance(answer, ItemFailure)
        assert answer.error_message == f"{UNUSABLE}3 instead of 2 numbers."


def test_zeros_are_a_vector_where_its_length_does_not_matter() -> None:
    assert answers(AS_GIVEN, [[0, 0]]) == [[0, 0]]


@pytest.mark.parametrize("factor", [1e-30, 1.0, 1e30])
def test_vectors_of_any_size_have_length_one(factor: float) -> None:
    random = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    wide = Vector(model="m", view=VIEW, length=8)
    found = np.array(answers(wide, {"features": random * np.float32(factor)}))
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_a_network_without_features_cannot_be_used() -> None:
    with pytest.raises(ModelUnusable, match="gives no features"):
        answers(UNIT, {"scores": np.ones((1, 2), np.float32)})


def test_two_engines_agree_where_their_vectors_point_the_same_way() -> None:
    angle = np.arccos(MIN_COSINE)
    angles = np.array([0, angle - 0.01, angle + 0.01, np.pi, 0])
    other = np.stack([np.cos(angles), np.sin(angles)], axis=1) * 7
    other[4] = np.nan
    exact = np.tile([2, 0], (5, 1))
    other_outputs = NetworkOutputs({"features": other})
    agreement = head_of("vector").agreement(NetworkOutputs({"features": exact}), other_outputs)
    assert agreement is not None
    assert agreement.tolist() == [True, True, False, False, False]
    assert head_of("vector").agreement(NetworkOutputs({"scores": exact}), other_outputs) is None
