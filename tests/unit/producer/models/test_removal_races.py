"""What a job pins stands, whatever removes and enqueues at once: every order is tried."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from producer.models.publish import ModelPublisher, file_sha256
from producer.models.removal import Removal, needed_by_jobs
from producer.pins import Pin, cancel_without_pins, pins_of
from shared.catalog import Catalog, PublishedModel, model_key, weights_model
from shared.catalog.exports import ExportedModel, ExportRequest
from shared.errors import HeadraceError, PermanentError
from shared.job import JobSpec
from tests.support import samples
from tests.support.fake_connections import Fake, fake_connections
from tests.support.interleaving import SteppedStore, every_order

PIPELINE = samples.pipeline()
(PIN,) = pins_of(PIPELINE)
# In no order in which one might delete them by chance.
FILES = {
    PIN.key.replace("model.json", "labels.txt"): b"cat",
    PIN.key.replace("model.json", "weights"): b"w",
    PIN.key: b"{}",
}
SPEC = JobSpec(
    job_id="job",
    bucket="photos",
    output_bucket="results",
    pipeline=PIPELINE,
    pipeline_sha256=PIPELINE.sha256,
    headrace_version="0",
)
SAMPLES = 300


class World:
    """A version in the bucket; what removes it, and what enqueues a job that pins it."""

    def __init__(self, fake: Fake) -> None:
        self.connections = fake.connections
        assert isinstance(fake.store, SteppedStore)
        self.store = fake.store
        self.accepted = False
        self.failed: list[HeadraceError] = []

    def reset(self) -> None:
        self.store.buckets = {"state": {}, "models": dict(FILES)}
        self.accepted, self.failed = False, []

    def remove(self) -> None:
        try:
            Removal(self.connections).remove([PIN], lambda: needed_by_jobs(self.connections))
        except HeadraceError as error:
            self.failed.append(error)

    def enqueue(self) -> None:
        with suppress(PermanentError):
            self.connections.jobs.create_spec(SPEC)
            cancel_without_pins(self.connections, SPEC)
            self.accepted = True

    def check(self) -> None:
        left = self.store.buckets["models"].keys()
        if self.accepted:
            assert FILES.keys() <= left, "the job has lost its model"
        if PIN.key in left:
            assert FILES.keys() <= left, "a version is half removed"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("tests.support.fake_connections.MemoryStore", SteppedStore)
    return World(fake_connections(tmp_path))


def play_all(world: World, *actions: Callable[[], object], die_at: int | None = None) -> int:
    """Returns how many orders there are."""
    count = 0
    for turns in every_order():
        world.reset()
        world.store.play(turns, *actions, die_at=die_at)
        world.check()
        count += 1
    return count


def test_a_job_that_is_enqueued_during_a_removal_has_its_model_or_is_cancelled(
    world: World,
) -> None:
    assert play_all(world, world.remove, world.enqueue) > 100


def test_a_killed_removal_leaves_no_half_version_and_the_next_finishes_it(world: World) -> None:
    for die_at in range(14):
        world.reset()
        world.store.play([], world.remove, die_at=die_at)
        world.check()
        world.remove()
        assert not world.failed
        assert world.store.buckets["models"] == {}


def test_of_two_removals_one_killed_and_a_job_the_job_has_its_model(world: World) -> None:
    chance = random.Random(17)
    for _ in range(SAMPLES):
        world.reset()
        turns = [chance.randrange(6) for _ in range(60)]
        die_at = chance.choice((None, *range(14)))
        world.store.play(turns, world.remove, world.remove, world.enqueue, die_at=die_at)
        world.check()


def test_a_version_that_is_brought_while_it_is_removed_is_whole_or_not_there(
    world: World, tmp_path: Path
) -> None:
    models = tmp_path / "config" / "models"
    models.mkdir(parents=True)
    (weights := tmp_path / "w.pth").write_bytes(b"weights")
    sha256 = file_sha256(weights)
    (models / "pets.yaml").write_text(
        f"architecture: resnet18\nsha256: {sha256}\nmean: [0, 0, 0]\nstd: [1, 1, 1]\nlicence: MIT\n"
    )
    entry = weights_model(Catalog(tmp_path / "config").model("pets"))
    publisher = ModelPublisher(world.store, "models", str, exported)

    def bring() -> None:
        if publisher.existing("pets", sha256) is None:
            with suppress(HeadraceError):  # says that it was removed meanwhile
                publisher.publish(entry, weights, "a test", tmp_path)

    def remove() -> None:
        with suppress(HeadraceError):
            Removal(world.connections).remove([pin], dict)

    pin, chance, whole = Pin("pets", sha256), random.Random(17), 0
    for _ in range(SAMPLES):
        world.store.buckets = {"state": {}, "models": {}}
        turns = [chance.randrange(6) for _ in range(60)]
        world.store.play(turns, remove, bring, bring, die_at=chance.choice((None, *range(14))))
        left = world.store.buckets["models"]
        is_marked = any(key.startswith(pin.marks) for key in left)  # so no job may use it
        if pin.key in left and not is_marked:
            version = PublishedModel.model_validate_json(left[pin.key])
            assert {model_key("pets", sha256, file) for file in version.files} <= left.keys()
            whole += 1
    assert 0 < whole < SAMPLES


def exported(request: ExportRequest) -> ExportedModel:
    request.output.write_bytes(b"onnx")
    assert request.view is not None
    return ExportedModel(
        format="torchvision",
        architecture="resnet18",
        view=request.view,
        mean=(0, 0, 0),
        std=(1, 1, 1),
        outputs={"scores": 2},
    )
