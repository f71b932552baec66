"""A job whose model or class is removed while it is enqueued."""

from __future__ import annotations

import pytest

from producer.jobs import JobRequest, retry, submit
from producer.pins import cancel_without_pins
from shared.errors import HeadraceError, PermanentError
from tests.support.fake_connections import Fake
from tests.support.models_bucket import A, keys, network, put_job, put_version


def test_a_job_is_cancelled_whose_class_was_pruned_while_it_was_enqueued(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.put_images("photos", "a.jpg")
    create = type(fake.connections.jobs).create_spec

    def create_late(jobs, spec):
        stands = create(jobs, spec)
        for key in [key for key in keys(fake) if key.startswith("_code")]:
            fake.store.delete("models", key)
        return stands

    monkeypatch.setattr(type(fake.connections.jobs), "create_spec", create_late)
    request = JobRequest("s3://photos", str(fake.pipeline), job_id="job")
    with pytest.raises(PermanentError, match=r"any more\. The job 'job' was cancelled\.") as caught:
        submit(fake.connections, request, fake.warnings.append)
    assert caught.value.code == "model_removed"
    assert fake.connections.jobs.is_cancelled("job")
    assert not fake.ledger.hints


def test_a_retry_of_a_job_whose_version_was_removed_is_not_enqueued(fake: Fake) -> None:
    put_job(fake, "job", network(A), ended_days_ago=8)
    with pytest.raises(PermanentError, match="Nothing was enqueued"):
        retry(fake.connections, "job", fake.warnings.append)
    assert list(fake.connections.jobs.job_ids()) == ["job"]


def test_a_job_is_refused_while_its_version_is_being_removed(fake: Fake) -> None:
    spec = put_job(fake, "job", network(A))
    pin = put_version(fake, "pets", A)
    fake.store.put("models", f"{pin.marks}token", b"")
    with pytest.raises(HeadraceError, match=r"The version aaaaaaaaaaaa… .* is being removed"):
        cancel_without_pins(fake.connections, spec)
