"""Everything is checked before anything is written, and what is written is one object."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from producer.jobs import JobRequest, submit
from shared.errors import HeadraceError
from shared.job import JobSpec
from shared.keys import spec_key
from shared.storage import AccessDenied
from tests.support.fake_connections import Fake, fake_connections
from tests.support.memory_store import MemoryStore


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    fake = fake_connections(tmp_path)
    fake.put_images("photos", "2026/a.jpg", "2026/b.png", "2026/c.jpg")
    return fake


def enqueue(fake: Fake, source: str = "s3://photos/2026", **options: object) -> JobSpec:
    request = JobRequest(source, str(fake.pipeline))
    return submit(fake.connections, dataclasses.replace(request, **options), fake.warnings.append)


def refused(fake: Fake, **options: object) -> HeadraceError:
    """The error of a request that must leave no trace."""
    before = {bucket: dict(objects) for bucket, objects in fake.store.buckets.items()}
    with pytest.raises(HeadraceError) as caught:
        enqueue(fake, **options)  # type: ignore[arg-type]
    before.setdefault("results", {})
    assert {"results": {}, **fake.store.buckets} == before
    assert fake.ledger.hints == []
    return caught.value


def test_writes_the_spec_and_hints(fake: Fake) -> None:
    spec = enqueue(fake)
    assert list(fake.store.buckets["state"]) == [spec_key(spec.job_id)]
    assert fake.connections.jobs.spec(spec.job_id) == spec
    assert fake.ledger.hints == [spec.job_id]
    assert (spec.bucket, spec.prefix, spec.output_bucket) == ("photos", "2026", "results")
    assert spec.chunk_items == 64
    assert spec.pipeline_sha256 == spec.pipeline.sha256
    assert fake.warnings == []
    assert fake.store.buckets["results"] == {}


@pytest.mark.parametrize(
    ("options", "code", "exit_code"),
    [
        ({"source": "photos/2026"}, "bad_s3_url", 2),
        ({"source": "s3://nothing-here/2026"}, "bucket_missing", 1),
        ({"source": "s3://photos/2025"}, "no_images", 1),
        ({"include": ("*.gif",)}, "no_images", 1),
        ({"exclude": ("*",)}, "no_images", 1),
        ({"pipeline": "nope"}, "no_such_pipeline", 2),
        ({"pipeline": "./nope.yaml"}, "bad_yaml", 2),
        ({"pipeline": "classify"}, "model_not_pulled", 2),
        ({"output": "s3://not-there/x"}, "bucket_missing", 1),
        ({"output": "results"}, "bad_s3_url", 2),
        ({"job_id": "a/b"}, "bad_job_id", 2),
    ],
)
def test_refuses_what_cannot_run(
    fake: Fake, options: dict[str, object], code: str, exit_code: int
) -> None:
    error = refused(fake, **options)
    assert (error.code, error.exit_code) == (code, exit_code)
    assert "\n" not in str(error)


def test_refuses_an_output_that_cannot_be_written(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(_self: MemoryStore, bucket: str, _key: str, _data: bytes) -> bool:
        raise AccessDenied("access_denied", f"{bucket} is read-only.")

    fake.store.make_bucket("readonly")
    monkeypatch.setattr(MemoryStore, "create", create)
    assert refused(fake, output="s3://readonly/x").code == "output_not_writable"


def test_a_chunk_must_fit_a_slot(fake: Fake) -> None:
    fake.pipeline.write_text(
        fake.pipeline.read_text().replace("64", "600")  # 1.08 MB an image, 9 to a slot of 10 MiB
    )
    assert enqueue(fake).chunk_items == 9
    assert enqueue(fake, chunk_items=9).chunk_items == 9
    with pytest.raises(HeadraceError, match="--chunk-items 9 or less"):
        enqueue(fake, chunk_items=10)
    fake.pipeline.write_text(fake.pipeline.read_text().replace("600", "4000"))
    with pytest.raises(HeadraceError, match="Lower the pipeline's crop_pixels"):
        enqueue(fake)


LONG = """\
analyses:
  a: {kind: classes, model: {python: shape:Shape}, view: {kind: stretch, width: W, height: 600}}
  b: {kind: classes, model: {python: shape:Shape}, view: {kind: stretch, width: 600, height: 600}}
  c: {kind: palette}
"""


def test_a_chunk_must_fit_a_slot_with_all_views_of_its_images(fake: Fake) -> None:
    fake.pipeline.write_text(LONG.replace("W", "300"))  # 540 and 1,080 kB an image
    assert enqueue(fake).chunk_items == 6
    fake.pipeline.write_text(LONG.replace("W", "600"))  # equal views are staged once
    assert enqueue(fake).chunk_items == 9
    with pytest.raises(HeadraceError, match="--chunk-items 9 or less"):
        enqueue(fake, chunk_items=10)
    fake.pipeline.write_text(LONG.replace("W", "4096").replace("height: 600", "height: 1500"))
    with pytest.raises(HeadraceError, match="in its 2 views takes 21132000 bytes") as caught:
        enqueue(fake)
    assert caught.value.hint == "Make the views of its analyses smaller or equal."


def test_the_answers_of_a_chunk_must_fit_a_message(fake: Fake) -> None:
    long = "analyses: {a: {kind: vector, model: {python: shape:Shape}, length: 8192, view: VIEW}}\n"
    fake.pipeline.write_text(long.replace("VIEW", "{kind: stretch, width: 9, height: 9}"))
    assert enqueue(fake).chunk_items == 64
    assert enqueue(fake, chunk_items=128).chunk_items == 128  # of 32 KiB, in 4 MiB
    with pytest.raises(HeadraceError, match=r"answers for 129 images .* Use --chunk-items 128 or"):
        enqueue(fake, chunk_items=129)


def test_a_pipeline_that_stages_nothing_needs_no_slot(fake: Fake) -> None:
    fake.pipeline.write_text("analyses: {a: {kind: palette}}\n")
    assert enqueue(fake, chunk_items=512).chunk_items == 512
    assert fake.store.buckets["models"] == {}


def test_the_same_id_and_spec_continues(fake: Fake) -> None:
    first = enqueue(fake, job_id="mine")
    fake.store.buckets["photos"].clear()  # what has been listed may be gone
    assert enqueue(fake, job_id="mine") == first
    assert fake.ledger.hints == ["mine", "mine"]


def test_the_same_id_with_another_spec_is_refused_with_the_difference(fake: Fake) -> None:
    enqueue(fake, job_id="mine")
    fake.ledger.hints.clear()
    fake.pipeline.write_text(
        fake.pipeline.read_text().replace("resize_shorter_pixels: 64", "resize_shorter_pixels: 72")
    )
    error = refused(fake, job_id="mine", limit=7)
    assert error.exit_code == 2
    assert (
        "limit: None -> 7; pipeline.analyses.classes.view.resize_shorter_pixels: 64 -> 72."
        in str(error)
    )
    assert "sha256" not in str(error)


def test_a_race_for_an_id_has_one_winner(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another job of that id is written between our look and our write."""
    other = enqueue(fake, limit=1)
    taken = other.model_copy(update={"job_id": "mine"})
    key = spec_key("mine")
    create = MemoryStore.create

    def late(self: MemoryStore, bucket: str, name: str, data: bytes) -> bool:
        if name == key:
            self.buckets[bucket].setdefault(key, taken.model_dump_json().encode())
        return create(self, bucket, name, data)

    monkeypatch.setattr(MemoryStore, "create", late)
    with pytest.raises(HeadraceError, match="another spec: limit: 1 -> None"):
        enqueue(fake, job_id="mine")


def test_a_cancelled_job_is_not_continued(fake: Fake) -> None:
    enqueue(fake, job_id="mine")
    fake.connections.jobs.cancel("mine")
    with pytest.raises(HeadraceError, match="is cancelled"):
        enqueue(fake, job_id="mine")


def test_without_a_producer_it_waits_and_says_so(fake: Fake) -> None:
    fake.ledger.live.clear()
    assert enqueue(fake)
    assert fake.warnings == ["queued; no producer is running: headrace up"]


def test_without_a_ledger_it_is_written_all_the_same(fake: Fake) -> None:
    fake.ledger.down = True
    spec = enqueue(fake)
    assert fake.connections.jobs.spec(spec.job_id) == spec
    assert "does not answer" in fake.warnings[0]
