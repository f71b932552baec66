"""Vectors of a class arrive as numbers, in whichever form it gives them: none as JSON."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.fake_engine import images_of
from tests.support.hosted_class import OpenClass
from workers.inference.class_host.values import pack, unpack

VECTORS = np.random.default_rng(0).standard_normal((3, 1280)).astype(np.float32)
SOURCE = """
import numpy as np
{imports}
VECTORS = np.random.default_rng(0).standard_normal((3, 1280)).astype(np.float32)
class Own:
    def __call__(self, images):
        return {given}
"""


@pytest.mark.parametrize(
    "given",
    [
        "VECTORS",
        "VECTORS.astype(np.float64).T.copy().T",
        "list(VECTORS)",
        "tuple(VECTORS)",
        "(vector for vector in VECTORS)",
        "VECTORS.tolist()",
        "[list(vector) for vector in VECTORS]",
        "torch.from_numpy(VECTORS)",
        "list(torch.from_numpy(VECTORS).requires_grad_())",
    ],
)
def test_vectors_arrive_in_every_form(open_class: OpenClass, given: str) -> None:
    imports = "import torch" if "torch" in given else ""
    outputs = open_class(SOURCE.format(imports=imports, given=given)).run(images_of(1, 2, 3))
    assert all(isinstance(vector, np.ndarray) for vector in outputs)
    assert np.array_equal(np.asarray(outputs, np.float32), VECTORS)


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -0.0, 1e-320])
def test_a_long_list_of_floats_keeps_each_of_them(odd: float) -> None:
    (found,) = unpack(*pack([[odd, *range(20), odd]]))
    assert repr(found) == repr([odd, *range(20), odd])  # not all are floats
    (found,) = unpack(*pack([[odd, *map(float, range(20))]]))
    assert repr(found.tolist()) == repr([odd, *map(float, range(20))])


def test_of_a_long_list_only_floats_are_taken_together() -> None:
    mixed = [0.5] * 20 + [True, None, "a", 3]
    assert unpack(*pack([mixed])) == [mixed]
