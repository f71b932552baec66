"""Each malformed message is refused in this process, at its layer and in a few words."""

from __future__ import annotations

import json

import pytest

from shared.model import Model
from tests.support import samples
from tests.support.malformed import Target, cases, signed
from tests.support.malformed.boxes import detection
from tests.support.message_judge import TARGETS, judge

# A dead letter keeps so much.
MAX_REASON_CHARACTERS = 500


@pytest.mark.parametrize(
    ("target", "name"),
    [(target, name) for target in TARGETS for name in cases(target.role)],
    ids=lambda value: value if isinstance(value, str) else value.role,
)
def test_a_malformed_message_is_refused_at_its_layer(target: Target, name: str) -> None:
    case = cases(target.role)[name]
    problem = judge(target, case.make(target))
    assert problem is not None
    assert problem.layer == case.layer, problem.reason
    assert 0 < len(problem.reason) <= MAX_REASON_CHARACTERS


@pytest.mark.parametrize(
    "model", [samples.DETECTOR, samples.TORCH_DETECTOR], ids=["graph", "torch"]
)
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.role)
def test_a_sound_message_of_a_detector_is_clean(target: Target, model: Model) -> None:
    text = detection(target, samples.detector(model)).model_dump_json()
    assert judge(target, json.dumps(signed(target, text)).encode()) is None
