"""A head that is wrong: the images fail in plain words, and no chunk comes back for ever."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from shared.item import ItemFailure
from shared.placement import Size
from shared.staging import StagingRing
from tests.support.fake_engine import outputs_of
from tests.support.inference_stages import MakeStage
from tests.support.many_answers import CLASS, MANY, OWN, Engines
from tests.support.samples import long_pipeline
from tests.support.staged_batches import messages, result_of, slot_is_free, staged
from workers.inference import answering
from workers.inference.answering import answers_of, grouped
from workers.inference.errors import ModelUnusable, model_failure
from workers.inference.heads import HeadAnswers, head_of
from workers.inference.model_types import ModelKey
from workers.suspects import SUSPECT_LOSSES

BY_CLASS = long_pipeline(CLASS, (OWN,))
CLASSES = CLASS["own"].answer_type()
EMPTY: dict[str, Any] = {"class_index": None, "predictions": []}
FAILURE: ItemFailure = model_failure("It did.")
SIZES: list[Size] = [(9, 9), (9, 9)]

# A head's answers, by the number of images.
Answer = Callable[[int], Any]
UseHead = Callable[[Answer], None]


@pytest.fixture
def use_head(monkeypatch: pytest.MonkeyPatch) -> UseHead:
    """Puts a head that answers so in the place of the one for classes."""
    real = head_of
    monkeypatch.setattr(answering, "_logged", deque[tuple[str, str]](maxlen=9))

    def use(answer: Answer) -> None:
        def answers(_: Any, __: Any, ___: Any, sizes: Sequence[Size]) -> Any:
            return answer(len(sizes))

        head = SimpleNamespace(answers=answers)
        monkeypatch.setattr(
            answering, "head_of", lambda kind: head if kind == "classes" else real(kind)
        )

    return use


def missing_key(_: int) -> HeadAnswers:
    raise KeyError("boxes")


def out_of_memory(_: int) -> HeadAnswers:
    raise MemoryError("no room")


def empty(count: int) -> pa.Array:
    return pa.array([EMPTY] * count, CLASSES)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (missing_key, "KeyError: 'boxes'"),
        (out_of_memory, "MemoryError: no room"),
        (lambda _: None, "AttributeError: 'NoneType'"),
        (lambda _: HeadAnswers(None), "AttributeError: 'NoneType'|TypeError: "),
        (lambda n: HeadAnswers(empty(n - 1)), "ValueError: [01] answers for [12] images"),
        (lambda n: HeadAnswers(empty(n + 1)), "ValueError: [23] answers for [12] images"),
        (lambda n: HeadAnswers(pa.nulls(n)), "ValueError: answers of type null, not struct<"),
        (lambda n: HeadAnswers(pa.nulls(n, CLASSES)), "ValueError: images without an answer"),
        (lambda n: HeadAnswers(empty(n), {n: FAILURE}), "ValueError: failures of other images"),
        (lambda n: HeadAnswers(empty(n), {-1: FAILURE}), "ValueError: failures of other images"),
    ],
)
@pytest.mark.parametrize("losses", [0, SUSPECT_LOSSES])
def test_all_images_of_the_run_fail_and_say_why(
    use_head: UseHead,
    ring: StagingRing,
    make_stage: MakeStage,
    answer: Answer,
    said: str,
    losses: int,
) -> None:
    use_head(answer)
    result = result_of(make_stage(Engines())(staged(ring, 7, 9, pipeline=BY_CLASS), losses))
    assert result.answers["error_code"].to_pylist() == ["model_error"] * 2
    expected = pa.array(messages(result))
    pattern = f"^own: The model's outputs cannot be read as classes: ({said})"
    assert pc.match_substring_regex(expected, pattern).to_pylist() == [True, True]
    assert slot_is_free(ring)


def answers_to_many(outputs: Any) -> dict[str, HeadAnswers]:
    """Of two images, to the analyses of the first run."""
    keys = {name: ModelKey.of(MANY, name) for name in MANY.analyses}
    return answers_of(MANY, grouped(MANY, keys)[0], outputs, [], SIZES)


def test_the_other_analyses_of_the_run_have_their_answers(use_head: UseHead) -> None:
    use_head(missing_key)
    found = answers_to_many(outputs_of([3, 4]))
    assert found["kinds"].failures.keys() == {0, 1}
    assert found["style"].failures == {}
    assert found["style"].values.to_pylist() == [[3, 1], [4, 1]]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_network_that_gives_other_arrays_than_its_model_says_answers_nothing(count: int) -> None:
    scores, _ = outputs_of([3, 4])
    found = answers_to_many((scores,) * count)
    assert [each.failures.keys() for each in found.values()] == [{0, 1}] * 2
    assert "ValueError: zip()" in found["style"].failures[0].error_message


def test_an_analysis_is_logged_once_and_with_its_traceback(
    use_head: UseHead, caplog: pytest.LogCaptureFixture
) -> None:
    use_head(missing_key)
    for _ in range(3):
        answers_to_many(outputs_of([3, 4]))
    assert caplog.messages == ["the answers to 'kinds' of 'catalogue' cannot be read"]
    assert 'raise KeyError("boxes")' in caplog.text


def test_a_head_may_say_that_the_model_cannot_be_used(use_head: UseHead) -> None:
    def unusable(_: int) -> HeadAnswers:
        raise ModelUnusable("It gives no scores.")

    use_head(unusable)
    with pytest.raises(ModelUnusable) as caught:
        answers_to_many(outputs_of([3, 4]))
    assert caught.value.analyses == ("kinds",)
