"""What a job's status says of each of its analyses."""

from __future__ import annotations

from producer.jobs import JobStatus, job_status
from shared.job import Accounting, Closing, EngineChoice, JobSpec, ModelUsed
from shared.pipeline import Pipeline
from tests.support import samples
from tests.support.fake_connections import Fake


def look(fake: Fake, job: str) -> JobStatus:
    return job_status(fake.connections, job, fake.warnings.append)


def long_job(fake: Fake, pipeline: Pipeline) -> JobSpec:
    """A job of the long form, whose model is not in the bucket."""
    spec = JobSpec(
        job_id="long",
        bucket="photos",
        output_bucket="results",
        pipeline=pipeline,
        pipeline_sha256=pipeline.sha256,
        headrace_version="0",
    )
    return fake.connections.jobs.create_spec(spec)


def test_the_long_form_says_for_each_analysis_what_computes_it_and_why(fake: Fake) -> None:
    spec = long_job(fake, samples.catalogue())
    choice = EngineChoice(engine="openvino", precision="bfloat16", device="cpu", reason="fastest")
    fake.connections.jobs.settle_engine("long", spec.job_uid, "embedding", choice)
    status = look(fake, "long")
    single = (status.model, status.model_version, status.engine, status.engine_reason)
    assert single == (None,) * 4
    assert (status.precision, status.device, status.code_sha256) == (None,) * 3
    assert [(used.analysis, used.model, used.version) for used in status.models] == [
        ("kinds", "tiny", "a" * 64),
        ("embedding", "tiny", "a" * 64),
        ("extra", "other", "c" * 64),
    ]
    assert [used.engine for used in status.models] == [None, "openvino", None]
    assert [used.reason for used in status.models] == [None, "fastest", None]
    used = ModelUsed.of(spec.pipeline, "embedding", choice).model_copy(update={"engine": "torch"})
    closing = Closing(state="succeeded", accounting=Accounting(), models=(used,))
    fake.connections.jobs.create_closing("long", closing)
    ended = look(fake, "long").models[1]
    assert (ended.engine, ended.reason) == ("torch", "fastest")


def test_a_job_of_palettes_alone_has_no_models(fake: Fake) -> None:
    spec = long_job(fake, samples.palettes())
    assert look(fake, spec.job_id).models == []
