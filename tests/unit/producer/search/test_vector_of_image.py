"""An image is computed as its job was: one column, in the engine and precision of the job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from producer.search import nearest
from producer.search.nearest import vector_of_image
from shared.few_images import ImageRows
from shared.job import EngineChoice, JobSpec
from shared.pipeline import Pipeline
from tests.support.fake_connections import fake_connections
from tests.support.vector_rows import palette, pipeline_of, vector

PIPELINE = pipeline_of(colours=palette(), embedding=vector(2), other=vector(3))
SPEC = JobSpec(
    job_id="job",
    bucket="photos",
    output_bucket="results",
    pipeline=PIPELINE,
    pipeline_sha256=PIPELINE.sha256,
    headrace_version="1.2.3",
)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (("openvino", "bfloat16"), ("openvino", "bfloat16")),
        (("torch", "float32"), ("torch", "float32")),
        (("python", None), ("auto", "auto")),
        (None, ("auto", "auto")),
    ],
)
@pytest.mark.parametrize("image", ["./a.jpg", "s3://elsewhere/a.jpg"])
def test_the_pipeline_is_the_jobs_as_it_was_computed(
    choice: Any, expected: Any, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections = fake_connections(tmp_path).connections
    if choice is not None:
        made = EngineChoice(engine=choice[0], precision=choice[1], device="cpu", reason="fast")
        connections.jobs.settle_engine("job", SPEC.job_uid, "embedding", made)
    asked: list[tuple[Pipeline, list[str]]] = []

    def run_images(
        _process: object, pipeline: Pipeline, images: list[str], *_: Any, **__: Any
    ) -> ImageRows:
        asked.append((pipeline, images))
        return ImageRows(rows=[{"error_code": None, "embedding": [3.0, 4.0]}], timings_ms={})

    monkeypatch.setattr(nearest, "run_images", run_images)
    found = vector_of_image(connections, SPEC, "embedding", image)
    assert found.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)]]
    ((pipeline, images),) = asked
    (analysis,) = pipeline.network_analyses.values()
    assert (list(pipeline.analyses), images) == (["embedding"], [image])
    assert (analysis.engine, analysis.precision) == expected
    assert pipeline.staged_views == (analysis.view,)
