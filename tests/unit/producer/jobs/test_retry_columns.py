"""A retry's rows have the columns of the job that it retries, or it is not enqueued."""

from __future__ import annotations

from pathlib import Path

import pytest

from producer.jobs import retry
from producer.pins import pins_of
from shared.analyses.vector import Vector
from shared.catalog import Resolved
from shared.errors import UsageError
from shared.job import Accounting, Closing, JobSpec
from shared.pipeline import Pipeline
from tests.support import samples
from tests.support.fake_connections import Fake, fake_connections


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    """With a job of which an image failed."""
    fake = fake_connections(tmp_path)
    fake.put_images("photos", "a.jpg")
    pipeline = samples.catalogue()
    spec = JobSpec(
        job_id="job",
        bucket="photos",
        output_bucket="results",
        pipeline=pipeline,
        pipeline_sha256=pipeline.sha256,
        headrace_version="0",
    )
    fake.connections.jobs.create_spec(spec)
    for pin in pins_of(pipeline):
        fake.store.put("models", pin.key, b"")
    closing = Closing(state="succeeded", accounting=Accounting(listed=2, succeeded=1, failed=1))
    fake.connections.jobs.create_closing("job", closing)
    return fake


def with_analyses(**changes: object) -> Pipeline:
    """The catalogue with other analyses; None: without that one."""
    whole = samples.catalogue()
    analyses = {**whole.analyses, **changes}
    kept = {name: each for name, each in analyses.items() if each is not None}
    return Pipeline.model_validate({**dict(whole), "analyses": kept})


def longer() -> Vector:
    found = samples.catalogue().analyses["embedding"]
    assert isinstance(found, Vector)
    return found.model_copy(update={"length": 4})


@pytest.mark.parametrize(
    ("pipeline", "says"),
    [
        (with_analyses(embedding=longer()), "[3] -> fixed_size_list<item: float>[4]"),
        (with_analyses(colours=None), "name: string>> -> none"),
        (with_analyses(more=longer()), "more: none -> fixed_size_list<item: float>[4]"),
        (samples.pipeline(), "embedding: fixed_size_list<item: float>[3] -> none"),
    ],
)
def test_other_columns_are_refused(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, pipeline: Pipeline, says: str
) -> None:
    resolve_to(monkeypatch, pipeline)
    before = dict(fake.store.buckets["state"])
    with pytest.raises(UsageError, match="other columns than those of the job 'job'") as caught:
        retry(fake.connections, "job", fake.warnings.append, update=True)
    assert says in caught.value.message
    assert "\n" not in str(caught.value)
    assert fake.store.buckets["state"] == before


def test_the_same_columns_from_another_pipeline_are_fine(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = samples.catalogue().analyses["kinds"].model_copy(update={"top_k": 9})
    resolve_to(monkeypatch, with_analyses(kinds=kinds))
    spec = retry(fake.connections, "job", fake.warnings.append, update=True)
    assert spec.pipeline.analyses["kinds"] == kinds


def resolve_to(monkeypatch: pytest.MonkeyPatch, pipeline: Pipeline) -> None:
    resolved = Resolved(pipeline)
    monkeypatch.setattr("producer.jobs.lifecycle.resolved", lambda *_: resolved)
