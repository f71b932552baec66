"""What ``status`` prints of what computed a job, in either form of its pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest

from producer.cli.exits import run
from shared.job import Accounting, Closing, EngineChoice, JobSpec, ModelUsed
from shared.pipeline import Pipeline
from tests.support import samples
from tests.support.fake_connections import fake_connections
from tests.support.vector_rows import palette, pipeline_of, vector

ONNX = EngineChoice(engine="onnxruntime", precision="float32", device="cpu", reason="the fastest")


def lines_of(
    pipeline: Pipeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> list[str]:
    """Of an ended job whose analysis ``first`` or ``classes`` was computed, and no other."""
    tmp_path.mkdir(exist_ok=True)
    jobs = (fake := fake_connections(tmp_path)).connections.jobs
    spec = JobSpec(
        job_id="job",
        bucket="photos",
        output_bucket="results",
        pipeline=pipeline,
        pipeline_sha256=pipeline.sha256,
        headrace_version="1.2.3",
    )
    jobs.create_spec(spec)
    names = [name for name in pipeline.network_analyses if name in ("first", "classes")]
    for name in names:
        jobs.settle_engine("job", spec.job_uid, name, ONNX)
    closing = Closing(
        state="succeeded",
        accounting=Accounting(listed=1, succeeded=1),
        models=tuple(ModelUsed.of(pipeline, name, ONNX) for name in names),
        **ONNX.engine_fields(),
    )
    jobs.create_closing("job", closing)
    monkeypatch.setattr("producer.connections.connect_stack", lambda: fake.connections)
    assert run(["status", "job"]) == 0
    return capsys.readouterr().out.splitlines()


def test_the_long_form_has_a_line_for_each_analysis_by_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = pipeline_of(first=vector(2), colours=palette(), a_long_name_of_a_column=vector(3))
    lines = lines_of(pipeline, tmp_path, monkeypatch, capsys)
    model = f"{samples.MODEL.name} {samples.MODEL.sha256[:12]}"
    assert lines[lines.index("models") + 1 :] == [
        f"  first: {model}, onnxruntime float32 cpu: the fastest",
        f"  a_long_name_of_a_column: {model}",
    ]
    others = lines[: lines.index("models")]
    assert all(line[9] == " " and line[:9].strip() for line in others)


def test_the_short_form_has_three_lines_and_palettes_alone_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = lines_of(samples.pipeline(), tmp_path / "short", monkeypatch, capsys)
    model = f"{samples.MODEL.name} {samples.MODEL.sha256[:12]}"
    place = lines.index(f"model     {model}")
    assert lines[place + 1 : place + 3] == [
        "engine    onnxruntime float32 cpu",
        "because   the fastest",
    ]
    assert "models" not in lines
    alone = pipeline_of(colours=palette())
    assert "models" not in lines_of(alone, tmp_path / "alone", monkeypatch, capsys)
