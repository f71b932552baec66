"""Documents that an earlier commit wrote, in ``stored/``: read, and written with all they had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from producer.jobs import JobStatus
from shared.job import Closing, EngineChoice
from shared.messages import MAX_SECONDS, Result, Timings
from workers.collector import durations
from workers.collector.output_manifest import OutputManifest
from workers.collector.part import PartFooter

STORED = json.loads((Path(__file__).parent / "stored" / "documents.json").read_text())
MODELS: dict[str, type[BaseModel]] = {
    "result": Result,
    "closing": Closing,
    "manifest": OutputManifest,
    "engine": EngineChoice,
    "status": JobStatus,
}
# These are shown to users as they lie, so their fields keep their order, too.
IN_ORDER = {"manifest", "engine", "status"}


def cases(names: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(name, document) for name in names for document in STORED[name]]


@pytest.mark.parametrize(("name", "document"), cases(MODELS))
def test_documents_are_read_and_written_as_before(name: str, document: dict[str, Any]) -> None:
    written = json.loads(MODELS[name].model_validate_json(json.dumps(document)).model_dump_json())
    kept = {field: value for field, value in written.items() if field in document}
    assert kept == document
    if name in IN_ORDER:
        assert json.dumps(kept) == json.dumps(document)


@pytest.mark.parametrize("metadata", STORED["part"])
def test_footers_are_read_and_written_as_before(metadata: dict[str, str]) -> None:
    written = PartFooter.of_metadata(metadata).metadata()
    assert {name: written[name] for name in metadata} == metadata


@pytest.mark.parametrize("name", ["bucket", "answers", "computed", "scored_at", "timings"])
def test_a_result_must_have_each_of_its_fields(name: str) -> None:
    for document in STORED["result"]:
        spoilt = {key: value for key, value in document.items() if key != name}
        with pytest.raises(ValidationError):
            Result.model_validate(spoilt)


def test_sums_stay_within_the_bounds_of_their_type() -> None:
    longest = Timings(**{f"{step}_seconds": MAX_SECONDS for step in durations.STEPS})
    assert durations.total([longest, longest]) == longest
    assert durations.total([]) == Timings()
    assert durations.device_busy(Timings()) is None
