"""Each malformed message is refused in this process, at its layer and in a few words."""

from __future__ import annotations

import pytest

from tests.support.malformed import Target, cases
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
