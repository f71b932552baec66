"""``models rm`` and ``prune``: what they take, what they leave, and why."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from producer.jobs import JobRequest, retry, submit
from producer.models import parse_age, prune, removable, remove_model, unused
from producer.pins import CODE, FILES, Pin, cancel_without_pins, pins_of
from shared.catalog import Catalog, ModelConstants, PublishedModel
from shared.errors import HeadraceError, PermanentError, UsageError
from shared.job import Accounting, Closing, JobSpec
from shared.keys import code_key, file_key
from shared.model import Model, PackedFile
from shared.views.crop import Crop
from tests.support import samples
from tests.support.fake_connections import Fake, fake_connections
from tests.support.interleaving import Killed
from tests.support.memory_store import MemoryStore

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
WEEK = timedelta(days=7)
VIEW = Crop(resize_shorter_pixels=64, crop_pixels=64)


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return fake_connections(tmp_path)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    (tmp_path / "config" / "models").mkdir(parents=True)
    return Catalog(tmp_path / "config")


def put_version(fake: Fake, name: str, sha256: str, age_days: float = 30) -> Pin:
    version = PublishedModel(
        name=name,
        sha256=sha256,
        constants=ModelConstants(view=VIEW, mean=(0, 0, 0), std=(1, 1, 1)),
        outputs={"scores": 2},
        created_at=datetime.now(UTC) - timedelta(days=age_days),
        files={"weights": sha256, "labels.txt": sha256},
        licence="MIT",
        source="a test",
    )
    for file in version.files:
        fake.store.put("models", f"{name}/{sha256}/{file}", b"0123456789")
    fake.store.put("models", f"{name}/{sha256}/model.json", version.model_dump_json().encode())
    return Pin(name, sha256)


def put_release(fake: Fake, name: str, number: int, sha256: str) -> str:
    key = f"{name}/releases/{number:08d}.json"
    release = {"number": number, "sha256": sha256, "created_at": "2026-01-01T00:00:00Z"}
    fake.store.put("models", key, json.dumps(release).encode())
    return key


def put_job(fake: Fake, job_id: str, model: Model, ended_days_ago: float | None = None) -> JobSpec:
    pipeline = samples.pipeline(model=model)
    spec = JobSpec(
        job_id=job_id,
        bucket="photos",
        output_bucket="results",
        pipeline=pipeline,
        pipeline_sha256=pipeline.sha256,
        headrace_version="0",
    )
    fake.connections.jobs.create_spec(spec)
    if ended_days_ago is not None:
        ended_at = datetime.now(UTC) - timedelta(days=ended_days_ago)
        counts = Accounting(listed=1, failed=1)
        fake.connections.jobs.create_closing(
            job_id, Closing(state="failed", accounting=counts, closed_at=ended_at)
        )
    return spec


def network(sha256: str, name: str = "pets") -> Model:
    return samples.MODEL.model_copy(update={"name": name, "sha256": sha256})


def keys(fake: Fake) -> set[str]:
    return set(fake.store.buckets["models"])


def keys_of(pin: Pin) -> set[str]:
    return {f"{pin.folder}/{pin.sha256}/{file}" for file in ("weights", "labels.txt", "model.json")}


def test_a_version_goes_whole_and_others_stay(fake: Fake) -> None:
    put_version(fake, "pets", A)
    kept = {*keys_of(put_version(fake, "pets", B)), *keys_of(put_version(fake, "pets-2", A))}
    older, newer = put_release(fake, "pets", 1, A), put_release(fake, "pets", 2, B)
    assert older in keys(fake)
    remove_model(fake.connections, f"pets@{A}")
    assert keys(fake) == {*kept, newer}


def test_all_of_a_model_goes_with_its_releases(fake: Fake) -> None:
    put_version(fake, "pets", A)
    put_version(fake, "pets", B)
    put_release(fake, "pets", 1, B)
    put_release(fake, "pets", 2, C)  # of a version that is gone
    other = put_version(fake, "pets.v2", A)
    assert [pin.sha256 for pin in remove_model(fake.connections, "pets")] == [A, B, C]
    assert keys(fake) == keys_of(other)


def test_the_current_release_goes_with_the_whole_model_only_and_last(fake: Fake) -> None:
    put_version(fake, "pets", A)
    put_version(fake, "pets", B)
    put_release(fake, "pets", 1, A)
    with pytest.raises(PermanentError, match=r"aaaaaaaaaaaa… is the current release of the model"):
        remove_model(fake.connections, f"pets@{A}")
    assert keys_of(Pin("pets", A)) < keys(fake)
    assert [pin.sha256 for pin in removable(fake.connections, "pets")] == [B, A]


@pytest.mark.parametrize("reference", ["pets", f"pets@{A}"])
def test_what_an_open_job_needs_is_refused_and_the_job_is_named(fake: Fake, reference: str) -> None:
    put_version(fake, "pets", A)
    put_version(fake, "pets", B)
    put_job(fake, "mine", network(A))
    before = keys(fake)
    with pytest.raises(PermanentError, match="The job 'mine' needs the version aaaaaaaaaaaa…"):
        remove_model(fake.connections, reference)
    assert keys(fake) == before
    remove_model(fake.connections, f"pets@{B}")


@pytest.mark.parametrize(
    "reference", ["", "Pets", "pets@", "pets@123", f"pets@{A}x", "../x", "_code"]
)
def test_what_names_no_model_is_refused(fake: Fake, reference: str) -> None:
    with pytest.raises(UsageError, match="does not name a model"):
        remove_model(fake.connections, reference)


@pytest.mark.parametrize("reference", ["cats", f"pets@{C}"])
def test_what_is_not_there_is_refused(fake: Fake, reference: str) -> None:
    put_version(fake, "pets", A)
    with pytest.raises(UsageError, match="There is no"):
        remove_model(fake.connections, reference)


def test_a_killed_removal_is_finished_by_the_next_of_either_kind(
    fake: Fake, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    for finish in ("rm", "prune"):
        for requests in range(1, 30):
            fake.store.buckets["models"].clear()
            put_version(fake, "pets", A, age_days=30)
            put_version(fake, "pets", B, age_days=30)
            put_release(fake, "pets", 1, A)
            left = iter(range(requests))

            def dying(self: MemoryStore, name: str, key: str, action, left=left):
                if name != "get" and next(left, None) is None:
                    raise Killed
                return action()

            with monkeypatch.context() as patch:
                patch.setattr(MemoryStore, "request", dying)
                try:
                    remove_model(fake.connections, "pets")
                except Killed:
                    pass
            if finish == "rm":
                if keys(fake):
                    remove_model(fake.connections, "pets")
                assert keys(fake) == set()
            else:
                prune(fake.connections, unused(fake.connections, WEEK, catalog), WEEK)
                left_keys = keys(fake)
                whole = Pin("pets", A).key in left_keys
                assert keys_of(Pin("pets", A)) <= left_keys if whole else not left_keys


def test_prune_takes_what_nothing_has_used_for_long(fake: Fake, catalog: Catalog) -> None:
    gone = put_version(fake, "pets", A)
    put_version(fake, "pets", B, age_days=6)
    put_version(fake, "cats", A)
    put_release(fake, "cats", 1, A)
    put_version(fake, "dogs", A)
    put_job(fake, "open", network(A, "dogs"))
    put_version(fake, "birds", A)
    put_job(fake, "lately", network(A, "birds"), ended_days_ago=6)
    put_version(fake, "fish", A)
    (catalog._models / "fish.yaml").write_text(
        f"architecture: resnet18\nsha256: {A}\nmean: [0, 0, 0]\nstd: [1, 1, 1]\nlicence: MIT\n"
    )
    put_job(fake, "long-ago", network(A), ended_days_ago=8)
    (found,) = unused(fake.connections, WEEK, catalog)
    assert (found.kind, found.name, found.sha256) == ("version", "pets", A)
    size = sum(len(fake.store.buckets["models"][key]) for key in keys_of(gone))
    assert found.bytes == size
    before = keys(fake)
    assert prune(fake.connections, [found], WEEK) == [found]
    assert before - keys(fake) == keys_of(gone)
    assert not unused(fake.connections, WEEK, catalog)


def test_prune_takes_code_and_files_that_no_job_needs(fake: Fake, catalog: Catalog) -> None:
    for sha256 in (A, B):
        fake.store.put("models", code_key(sha256), b"zip")
        fake.store.put("models", file_key(sha256), b"data")
    fake.store.put("models", "_code/notes.txt", b"not ours")
    used = samples.class_model(
        "own:Own", code_sha256=A, files=(PackedFile(name="w", sha256=B, bytes=4),)
    )
    assert pins_of(put_job(fake, "job", used).pipeline) == {Pin(CODE, A), Pin(FILES, B)}
    found = unused(fake.connections, WEEK, catalog)
    assert [(each.kind, each.sha256, each.bytes) for each in found] == [
        ("code", B, 3),
        ("file", A, 4),
    ]
    assert prune(fake.connections, found, WEEK) == found
    assert keys(fake) == {code_key(A), file_key(B), "_code/notes.txt"}


def test_prune_keeps_what_came_into_use_after_it_looked(fake: Fake, catalog: Catalog) -> None:
    for name in ("pets", "cats", "dogs"):
        put_version(fake, name, A)
    found = unused(fake.connections, WEEK, catalog)
    put_job(fake, "job", network(A, "cats"))
    put_release(fake, "dogs", 1, A)
    assert [each.name for each in prune(fake.connections, found, WEEK)] == ["pets"]
    assert not [key for key in keys(fake) if key.startswith("_removing")]


def test_prune_leaves_what_it_cannot_read_and_what_is_on_its_way(
    fake: Fake, catalog: Catalog
) -> None:
    fake.store.put("models", f"pets/{A}/model.json", b"not ours")
    fake.store.put("models", f"pets/{B}/weights", b"a pull that goes on")
    assert unused(fake.connections, WEEK, catalog) == []
    fake.store.buckets.pop("models")
    assert unused(fake.connections, WEEK, catalog) == []


@pytest.mark.parametrize("text", ["30m", "12h", "7d", "0d"])
def test_ages(text: str) -> None:
    units = {"m": "minutes", "h": "hours", "d": "days"}
    assert parse_age(text) == timedelta(**{units[text[-1]]: int(text[:-1])})


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "1.5d", "7 d", "7w", "99999d", "7d "])
def test_what_is_no_age_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--older-than cannot be"):
        parse_age(text)


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
