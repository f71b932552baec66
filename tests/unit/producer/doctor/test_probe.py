"""What is said of a probe that does not get through: broken, or merely busy."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest

from producer.connections import Connections
from producer.doctor import probe
from producer.doctor.probe import run, send_probe
from producer.doctor.probe.passage import (
    CLOSING,
    ENDED,
    STEPS,
    ProbePosition,
    StepReport,
    overdue_report,
)
from producer.jobs import JobRequest, submit
from shared.errors import HeadraceError
from shared.job import Accounting, Closing
from shared.ledger import ChunkPlace, JobProgress
from shared.stages import INFERENCE, PREPROCESS, RESULTS
from tests.support.fake_connections import Fake, fake_connections

STAGES = {1: PREPROCESS, 2: INFERENCE, 3: RESULTS}
IMAGE = (Path(probe.__file__).parent / "probe.jpg").read_bytes()


class Place:
    """A way that knows where the probe is, and where other chunks are after the wait."""

    def __init__(self, after: dict[tuple[str, int], int], place: ChunkPlace | None = None) -> None:
        self.after, self.place = after, place

    def others(self) -> dict[tuple[str, int], int]:
        return self.after


def said(step: int, before: dict[int, int], after: dict[int, int]) -> StepReport:
    keyed = ({("job", chunk): at for chunk, at in places.items()} for places in (before, after))
    first, second = keyed
    return overdue_report(cast(ProbePosition, Place(second)), step, 30.0, first)


@pytest.mark.parametrize("step", range(ENDED))
def test_a_step_at_which_it_stands_alone_is_broken(step: int) -> None:
    passage = said(step, {}, {})
    assert (passage.step, passage.state) == (STEPS[step], "failed")
    role = "collector" if step == CLOSING else STEPS[step]
    assert f"headrace logs {role}" in passage.hint
    assert f"headrace restart {role}" in passage.hint
    assert "30 s" in passage.detail


@pytest.mark.parametrize("step", [1, 2, 3])
def test_behind_others_that_move_it_is_busy(step: int) -> None:
    passage = said(step, {0: step, 1: step, 2: step}, {1: step, 2: step + 1, 3: step})
    assert passage.state == "warning"
    assert "2 moved on" in passage.detail
    assert "2 are there" in passage.detail


@pytest.mark.parametrize("step", [1, 2, 3])
def test_behind_others_that_stand_it_is_broken(step: int) -> None:
    passage = said(step, {0: step, 1: step}, {0: step, 1: step, 2: step})
    assert passage.state == "failed"
    assert "any of 3 other chunks" in passage.detail


def test_a_chunk_that_was_sent_back_has_not_moved_on() -> None:
    assert said(2, {0: 2}, {0: 1}).state == "failed"


def test_a_job_that_waits_for_room_in_the_first_queue_is_busy() -> None:
    assert said(0, {0: 1, 1: 1}, {1: 1}).state == "warning"


def test_who_holds_it_is_named() -> None:
    place = ChunkPlace("u", 0, "held", INFERENCE, 1, "inference-1@host:7:abcd", 9.0)
    passage = overdue_report(cast(ProbePosition, Place({}, place)), 2, 30.0, {})
    assert "inference-1@host (pid 7) has held the probe image for 30 s." in passage.detail


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    fake = fake_connections(tmp_path, plugins=Path(probe.__file__).parent)
    fake.store.make_bucket("results")
    return fake


def test_the_way_follows_the_ledger_and_the_bucket(fake: Fake) -> None:
    fake.put_images("photos", "a.jpg")
    pipeline = str(Path(probe.__file__).parent / "probe.yaml")
    request = JobRequest("s3://photos", pipeline, "job")
    spec = submit(fake.connections, request, fake.warnings.append)
    uid, way = spec.job_uid, ProbePosition(fake.connections, spec)
    assert way.step() == 0
    for step, stage in STAGES.items():
        for state in ("queued", "held"):
            fake.ledger.held = [ChunkPlace(uid, 0, state, stage, 1, "x", 0.0)]
            assert way.step() == step
    fake.ledger.held = []
    fake.ledger.open_jobs[uid] = JobProgress(uid, "job", 1, 0, False, {})
    assert way.step() == CLOSING
    end(fake.connections, "job")
    assert way.step() == ENDED
    del fake.ledger.open_jobs[uid]
    assert way.step() == ENDED


def end(connections: Connections, job_id: str) -> None:
    accounting = Accounting(listed=1, succeeded=1)
    connections.jobs.create_closing(job_id, Closing(state="succeeded", accounting=accounting))


def leftovers(fake: Fake) -> list[str]:
    return [*fake.store.buckets["state"], *fake.store.buckets["results"]]


def test_a_probe_that_ends_leaves_nothing_behind(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ProbePosition, "step", lambda _: ENDED)
    passed = []
    for passage in send_probe(fake.connections, 5.0, fake.warnings.append):
        if not passed:
            assert IMAGE in fake.store.buckets["results"].values()
            end(fake.connections, next(iter(fake.connections.jobs.job_ids())))
        passed.append((passage.step, passage.state))
    assert passed == [(step, "ok") for step in STEPS]
    assert (leftovers(fake), fake.warnings) == ([], [])


@pytest.mark.parametrize("how", ["it stands", "Ctrl-C", "an error"])
def test_a_probe_that_does_not_end_leaves_nothing_behind_either(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("producer.jobs.lifecycle.CLOSING_SECONDS", 0.0)

    def step(_: ProbePosition) -> int:
        if how == "Ctrl-C":
            raise KeyboardInterrupt
        if how == "an error":
            raise HeadraceError("x", "It does not answer.")
        return 0

    monkeypatch.setattr(ProbePosition, "step", step)
    probing = send_probe(fake.connections, 0.05, fake.warnings.append)
    if how == "it stands":
        assert [passage.state for passage in probing] == ["failed"]
    else:
        with pytest.raises((KeyboardInterrupt, HeadraceError)):
            list(probing)
    assert (leftovers(fake), fake.warnings) == ([], [])
    assert fake.ledger.hints[-1].startswith(run.NAME)  # the producer is to forget it at once


def test_what_cannot_be_removed_is_said(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise HeadraceError("x", "The store does not answer.")

    monkeypatch.setattr(ProbePosition, "step", lambda _: 0)
    monkeypatch.setattr(run, "purge", refuse)
    list(send_probe(fake.connections, 0.05, fake.warnings.append))
    (said,) = fake.warnings
    assert "The store does not answer." in said
    assert "'headrace doctor'" in said
    job_id = next(iter(fake.connections.jobs.job_ids()))
    assert f"headrace-doctor/{job_id}.jpg" in fake.store.buckets["results"]


def test_the_next_probe_removes_what_a_killed_one_has_left_an_hour_ago(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producer.jobs.lifecycle.CLOSING_SECONDS", 0.0)
    monkeypatch.setattr(ProbePosition, "step", lambda _: 0)
    with monkeypatch.context() as killed:
        killed.setattr(run, "_remove", lambda *_: None)
        list(send_probe(fake.connections, 0.05, fake.warnings.append))
    left = leftovers(fake)
    assert len(left) >= 2
    list(send_probe(fake.connections, 0.05, fake.warnings.append))
    assert leftovers(fake) == left  # it may still run
    monkeypatch.setattr(run, "LEFT_AFTER", timedelta(seconds=-1))
    list(send_probe(fake.connections, 0.05, fake.warnings.append))
    assert (leftovers(fake), fake.warnings) == ([], [])
