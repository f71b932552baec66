"""A command line's connections without servers, and a job in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from producer.jobs import JobRequest, submit
from tests.support.fake_connections import Fake, fake_connections


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    fake = fake_connections(tmp_path)
    fake.put_images("photos", "a.jpg")
    return fake


@pytest.fixture
def job(fake: Fake) -> str:
    request = JobRequest("s3://photos", str(fake.pipeline), job_id="job", chunk_items=2)
    return submit(fake.connections, request, fake.warnings.append).job_id
