"""What the head of a kind makes of outputs, as tests read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shared.analyses import NetworkAnalysis
from shared.item import ItemFailure
from shared.placement import Size
from workers.inference.heads import ClassOutputs, NetworkOutputs, head_of


def answers(
    analysis: NetworkAnalysis,
    outputs: dict[str, Any] | NetworkOutputs | ClassOutputs,
    labels: Sequence[str] = (),
    size: Size = (9, 9),
) -> list[Any]:
    """Each image's answer, or its failure. Answers are of the analysis's type, within bounds.

    ``outputs``: of a network, its arrays by name. ``size``: of all originals.
    """
    given = NetworkOutputs(outputs) if isinstance(outputs, dict) else outputs
    images = next(iter(given.arrays.values())) if isinstance(given, NetworkOutputs) else given
    sizes = [size] * len(images)
    answered = head_of(analysis.kind).answers(analysis, given, labels, sizes)
    values, failures = answered.values, answered.failures
    assert values.type == analysis.answer_type()
    assert [n for n, value in enumerate(values.is_null().to_pylist()) if value] == sorted(failures)
    values.validate(full=True)
    assert analysis.check(values) is None
    return [failures.get(n, value) for n, value in enumerate(values.to_pylist())]


def predictions(answer: Any) -> list[tuple[str, float]]:
    """The labels and scores of an answer of classes."""
    assert not isinstance(answer, ItemFailure), answer
    return [(each["label"], each["score"]) for each in answer["predictions"]]
