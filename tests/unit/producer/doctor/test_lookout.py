"""A command that follows a job says what stands still, each thing once."""

from __future__ import annotations

from pathlib import Path

import pytest

from producer.doctor.stalls import lookout
from producer.doctor.stalls.chunks import LIMITS
from producer.doctor.stalls.lookout import Lookout
from producer.jobs import JobRequest, job_status, submit
from shared.ledger import ChunkPlace, JobProgress
from shared.stages import INFERENCE
from tests.support.fake_connections import fake_connections


def test_what_stands_still_is_said_once_and_nothing_while_the_job_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "LOOK_SECONDS", 0.0)
    fake = fake_connections(tmp_path)
    fake.put_images("photos", "a.jpg")
    request = JobRequest("s3://photos", str(fake.pipeline), job_id="job")
    spec = submit(fake.connections, request, fake.warnings.append)
    uid, deadline = spec.job_uid, LIMITS[INFERENCE].seconds(spec)
    fake.ledger.open_jobs[uid] = JobProgress(uid, "job", 0, 1, False, {})
    status = job_status(fake.connections, "job", fake.warnings.append)

    def held(seconds: float) -> None:
        place = ChunkPlace(uid, 0, "held", INFERENCE, 1, "inference-1@h:7:a", seconds)
        fake.ledger.held = [place]

    watch = Lookout(fake.connections)
    held(deadline + 1)
    assert watch.look(status) == []  # it has just begun
    (text,) = watch.look(status)
    assert "has held chunk 0 of job" in text
    held(deadline + 99)
    fake.ledger.stale = {"state": 6}
    (late,) = watch.look(status)
    assert "6 messages came too late" in late
    assert watch.look(status) == []
    assert list(watch.said.values()) == [text, late]
    watch.said.clear()
    moved = status.model_copy(deep=True)
    moved.images.listed += 1
    assert watch.look(moved) == []
