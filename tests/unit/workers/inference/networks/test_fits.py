"""Which architecture a state dict is of, and of how many classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from shared.errors import PermanentError
from workers.inference.networks.architectures import (
    Shapes,
    _WithoutData,
    build,
    detectors,
    families,
    shapes_of,
)
from workers.inference.networks.checkpoints import StateDict
from workers.inference.networks.fits import fit, guess


@pytest.fixture(scope="module", autouse=True)
def _each_network_is_built_once() -> Iterator[None]:
    """A guess builds one of every family, which takes a second."""
    known: dict[str, Shapes] = {}

    def shapes_of_known(architecture: str, options: dict[str, Any]) -> Shapes:
        key = f"{architecture} {sorted(options.items())}"
        if key not in known:
            known[key] = shapes_of(architecture, options)
        return known[key]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("workers.inference.networks.fits.shapes_of", shapes_of_known)
        yield


def state_of(architecture: str, classes: int, **options: Any) -> StateDict:
    with _WithoutData():
        return build(architecture, {"num_classes": classes, **options}).state_dict()


@pytest.mark.parametrize("architecture", [family[0] for family in families()])
def test_the_number_of_classes_is_found_for_every_kind_of_network(architecture: str) -> None:
    found = fit(architecture, state_of(architecture, 7))
    assert (found.problem, found.options["num_classes"]) == (None, 7)


VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("googlenet", {"aux_logits": False}),
    ("inception_v3", {"aux_logits": False}),
    ("vit_b_16", {"image_size": 384}),
    ("ssdlite320_mobilenet_v3_large", {"full_tail": True}),
    ("keypointrcnn_resnet50_fpn", {"num_keypoints": 4}),
]


@pytest.mark.parametrize(("architecture", "options"), VARIANTS)
def test_what_else_a_network_was_built_with_is_found(
    architecture: str, options: dict[str, Any]
) -> None:
    found = fit(architecture, state_of(architecture, 3, **options))
    assert found.options == {**options, "num_classes": 3}


def test_the_architecture_is_found_by_names_and_shapes() -> None:
    prefix = "model._orig_mod."
    given = state_of("resnet18", 5)
    # Before torch 0.4 batch norms did not count, and frozen ones do not.
    named = {prefix + k: v for k, v in given.items() if not k.endswith("num_batches_tracked")}
    found = guess(named)
    assert (found.architecture, found.options) == ("resnet18", {"num_classes": 5})


def test_weights_of_two_architectures_name_both() -> None:
    with pytest.raises(PermanentError, match="320_fpn and fasterrcnn_mobilenet_v3_large_fpn"):
        guess(state_of("fasterrcnn_mobilenet_v3_large_fpn", 3))


def test_weights_of_another_architecture_say_which() -> None:
    with pytest.raises(PermanentError) as caught:
        fit("resnet18", state_of("mobilenet_v3_small", 5))
    assert "do not fit torchvision's resnet18: 102 tensors are missing (conv1" in str(caught.value)
    assert caught.value.hint == "They fit mobilenet_v3_small: give that architecture."


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"fc.weight": (5, 8)}, r"fc.weight has the shape \[5, 8\], and \[5, 512\] is needed"),
        ({"fc.bias": (4,)}, r"fc.bias has the shape \[4\], and \[5\] is needed"),
        ({"fc.weight": ()}, r"fc.weight has the shape \[\]"),
        ({"fc.\x1b[31m": (5,)}, r"1 belong to another network \(fc\.\?\[31m\)"),
    ],
)
def test_tensors_that_do_not_fit_are_named(change: dict[str, tuple[int, ...]], reason: str) -> None:
    changed = {name: torch.zeros(shape) for name, shape in change.items()}
    with pytest.raises(PermanentError, match=reason):
        fit("resnet18", {**state_of("resnet18", 5), **changed})


def test_tensors_of_no_network_are_refused() -> None:
    with pytest.raises(PermanentError, match=r"no network of torchvision's: layer\."):
        guess({"layer": torch.zeros(3)})


@pytest.mark.parametrize("architecture", detectors()[:1])
def test_a_detector_of_the_background_alone_is_refused(architecture: str) -> None:
    with pytest.raises(PermanentError, match="they tell 1 classes apart"):
        fit(architecture, state_of(architecture, 1))
