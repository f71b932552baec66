"""Messages between the stages: what one says fits together, and what comes in went out."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from shared.analyses.classes import Classes
from shared.analyses.palette import Palette
from shared.messages import Batch, Message, Result, Slot
from shared.stages import INFERENCE, PREPROCESS
from shared.views.crop import Crop
from tests.support import samples
from tests.support.malformed.answers import FAILED
from tests.support.samples import answers, class_model, long_pipeline

VIEW = Crop(resize_shorter_pixels=8, crop_pixels=8)
COLOURS = long_pipeline({"colours": Palette(view=VIEW)})
OF_CLASS = long_pipeline({"what": Classes(model="own", view=VIEW)}, (class_model("own:Own"),))
SLOT = Slot(host_id="testhost", index=0, images=1)
FOUND = {"colours": [{"hex": "#000000", "share": 1.0, "name": "black"}]}


def changed(message: Message, **changes: Any) -> Any:
    """The message with other fields, as it is made and as it comes in."""
    fields = {name: getattr(message, name) for name in type(message).model_fields}
    made = type(message)(**{**fields, **changes})
    read = type(message).model_validate_json(made.model_dump_json(), strict=True)
    assert read == made
    return read


@pytest.mark.parametrize(
    "message", [samples.chunk(), samples.batch(), samples.result()], ids=lambda m: type(m).__name__
)
def test_messages_come_in_as_they_went_out(message: Message) -> None:
    changed(message)


def test_a_result_of_preprocessing_needs_no_engine() -> None:
    found = answers(COLOURS, PREPROCESS, FOUND, FAILED)
    result = changed(samples.result(), pipeline=COLOURS, answers=found, computed={})
    assert result.answers["colours"].to_pylist() == [FOUND["colours"], None]


def test_a_pipeline_without_a_model_has_no_batch() -> None:
    found = answers(COLOURS, PREPROCESS, FOUND)
    with pytest.raises(ValidationError, match="needs no inference"):
        changed(samples.batch(), pipeline=COLOURS, answers=found, staged=None)


@pytest.mark.parametrize("staged", [None, SLOT.model_copy(update={"images": 2})])
def test_a_batch_has_the_pixels_of_the_items_that_did_not_fail(staged: Slot | None) -> None:
    with pytest.raises(ValidationError, match="staged images must equal"):
        changed(samples.batch(), staged=staged)


def test_a_batch_of_failures_is_staged_nowhere() -> None:
    batch = samples.batch()
    failed = answers(batch.pipeline, PREPROCESS, FAILED, FAILED)
    assert changed(batch, answers=failed, staged=None).staged is None


@pytest.mark.parametrize(
    ("pipeline", "keys", "fits"),
    [
        (OF_CLASS, ["a", "b"], True),
        (OF_CLASS, ["a"], False),
        (OF_CLASS, [], False),
        (None, ["a", "b"], False),
        (None, [], True),
    ],
)
def test_keys_travel_on_for_a_users_class_alone(pipeline: Any, keys: list[str], fits: bool) -> None:
    given = pipeline or samples.batch().pipeline
    found = answers(given, PREPROCESS, {}, FAILED)
    changes = {"pipeline": given, "answers": found, "staged": SLOT, "keys": keys}
    if fits:
        assert changed(samples.batch(), **changes).keys == keys
    else:
        with pytest.raises(ValidationError, match="keys are those"):
            changed(samples.batch(), **changes)


@pytest.mark.parametrize("names", [[], ["other"], ["classes", "other"]])
def test_a_result_says_of_each_analysis_what_computed_it(names: list[str]) -> None:
    with pytest.raises(ValidationError, match="computed does not name the analyses"):
        changed(samples.result(), computed=dict.fromkeys(names))


@pytest.mark.parametrize("kind", [Batch, Result])
def test_answers_of_another_stage_or_pipeline_are_refused(kind: type[Message]) -> None:
    message: Any = samples.batch() if kind is Batch else samples.result()
    other = INFERENCE if kind is Batch else PREPROCESS
    found = answers(message.pipeline, other, {"classes": samples.prediction("cat")})
    with pytest.raises(ValidationError, match="columns are not those of the pipeline"):
        changed(message, answers=found)
