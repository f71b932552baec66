"""Models that are in the bucket and have no file: releases, and pipelines that name them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.catalog import (
    BucketModels,
    Catalog,
    ModelConstants,
    PublishedModel,
    current_release,
    publish,
    release,
    releases,
    resolve,
    show_pipeline,
    validate_file,
)
from shared.catalog.published import published_versions
from shared.errors import PermanentError, UsageError
from shared.model import Model
from shared.views.letterbox import Letterbox
from tests.support.memory_store import MemoryStore
from tests.support.pets_catalog import pets_catalog, publish_pets, written
from tests.support.shown_pipelines import short

FIRST, SECOND = "11" * 32, "22" * 32
DETECTOR = {"boxes": 8400 * 4, "box_scores": 8400}


class Bench:
    """A catalog with the model ``pets``, and a bucket with two versions of ``birds``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.catalog, self.store = pets_catalog(folder), MemoryStore("models")
        self.models = BucketModels(self.store, "models")
        publish_pets(self.store, self.catalog)
        self.add("birds", FIRST, {"scores": 7, "features": 64})
        self.add("birds", SECOND, {"scores": 8, "features": 64})

    def add(self, name: str, sha256: str, outputs: dict[str, int]) -> None:
        view = Letterbox(width=320, height=200)
        constants = ModelConstants(format="onnx", view=view, mean=(0, 0, 0), std=(1, 1, 1))
        version = PublishedModel(
            name=name,
            sha256=sha256,
            constants=constants,
            outputs=outputs,
            layout="yolox" if "boxes" in outputs else None,
            files={"model.onnx": sha256},
            created_at=datetime(2026, 11, 28, tzinfo=UTC),
            licence="MIT",
            source="birds.onnx",
        )
        publish(self.store, "models", version)
        release(self.store, "models", name, sha256)

    def model(self, text: str, column: str = "classes") -> Model:
        path = str(written(self.folder, text))
        return resolve(path, "models", self.store, self.catalog).pipeline.model_of(column)

    def refused(self, text: str) -> str:
        """What is said of a file: the same by ``enqueue`` and by ``validate``."""
        path = written(self.folder, text)
        with pytest.raises(UsageError) as caught:
            self.model(text)
        with pytest.raises(UsageError) as again:
            validate_file(path, self.catalog, self.models)
        assert str(caught.value) == str(again.value)
        return str(caught.value).removeprefix(str(path))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_bare_name_is_the_current_release_and_a_version_stays(bench: Bench) -> None:
    assert bench.model("model: birds\n").sha256 == SECOND
    pinned = bench.model(f"model: birds@{FIRST}\n")
    assert (pinned.name, pinned.sha256, pinned.outputs) == ("birds", FIRST, ("scores",))
    assert (pinned.architecture, pinned.has_graph) == (None, True)
    release(bench.store, "models", "birds", FIRST)
    assert bench.model("model: birds\n").sha256 == FIRST
    numbers = [(each.number, each.sha256) for each in releases(bench.store, "models", "birds")]
    assert numbers == [(1, FIRST), (2, SECOND), (3, FIRST)]


def test_the_same_version_again_makes_no_release(bench: Bench) -> None:
    assert release(bench.store, "models", "birds", SECOND)[0].number == 2
    assert len(releases(bench.store, "models", "birds")) == 2


def test_a_name_in_config_models_stays_what_its_file_says(bench: Bench) -> None:
    bench.add("pets", FIRST, {"scores": 2})
    assert bench.model("model: pets\n").sha256 == "ab" * 32


def test_a_lost_race_takes_the_next_number(bench: Bench) -> None:
    create = bench.store.create
    raced: list[str] = []

    def race(bucket: str, key: str, data: bytes) -> bool:
        if not raced:
            raced.append(key)
            other = data.replace(FIRST.encode(), b"33" * 32)
            create(bucket, key, other)
        return create(bucket, key, data)

    bench.store.create = race  # type: ignore[method-assign]
    assert release(bench.store, "models", "birds", FIRST)[0].number == 4
    assert raced == ["birds/releases/00000003.json"]


def test_releases_are_no_versions_and_what_is_not_ours_is_said(bench: Bench) -> None:
    found = {each.sha256 for each in published_versions(bench.store, "models", "birds")}
    assert found == {FIRST, SECOND}
    bench.store.put("models", "birds/releases/readme.txt", b"")
    bench.store.put("models", "birds/releases/00000009.json", b"junk")
    with pytest.raises(PermanentError, match=r"releases/00000009.json that is not ours"):
        current_release(bench.store, "models", "birds")


def test_the_view_and_the_analyses_follow_from_the_version(bench: Bench) -> None:
    bench.add("boxer", FIRST, DETECTOR)
    text = "analyses:\n  objects: {kind: boxes, model: boxer}\n  v: {kind: vector, model: birds}\n"
    path = str(written(bench.folder, text))
    pipeline = resolve(path, "models", bench.store, bench.catalog).pipeline
    assert pipeline.staged_views == (Letterbox(width=320, height=200),)
    assert pipeline.analyses["v"].model_dump()["length"] == 64
    boxer = pipeline.model_of("objects")
    assert (boxer.layout, boxer.outputs) == ("yolox", ("boxes", "box_scores"))


def test_show_and_validate_know_it_where_there_is_a_bucket(bench: Bench) -> None:
    path = written(bench.folder, "model: birds\n")
    validate_file(path, bench.catalog, bench.models)
    shown = short(show_pipeline(str(path), bench.catalog, bench.models))
    assert (shown.model.name, shown.model.sha256, shown.model.licence) == ("birds", SECOND, "MIT")
    assert shown.view["kind"] == "letterbox"


def test_without_a_bucket_it_is_said_what_to_do(bench: Bench) -> None:
    path = written(bench.folder, "model: birds\n")
    with pytest.raises(UsageError) as caught:
        validate_file(path, bench.catalog)
    assert str(caught.value) == (
        f"{path}:1: model: there is no model 'birds'; there is pets. If you added it, start the "
        "stack whose bucket has it: headrace up."
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model: bird\n", ":1: model: there is no model 'bird'; did you mean birds?"),
        ("model: pet\n", ":1: model: there is no model 'pet'; did you mean pets?"),
        (
            "model: zzz\n",
            ":1: model: there is no model 'zzz'; there are birds, pets. To bring one of your own: "
            "headrace models add zzz FILE.",
        ),
        (
            f"model: birds@{'0' * 64}\n",
            ":1: model: the bucket does not have the version 000000000000… of the model 'birds': "
            "see 'headrace models list'.",
        ),
        ("model: birds\nargs: {a: 1}\n", ":2: args: is for Python classes, and 'birds' has wei"),
        (
            "analyses:\n  a: {kind: boxes, model: birds}\n",
            ":2: analyses.a.model: the network 'birds' gives scores and features, and boxes needs "
            "its boxes: name another model.",
        ),
        (
            "analyses:\n  a: {kind: values, model: birds, fields: {a: float}}\n",
            ":2: analyses.a.model: 'birds' has weights, which cannot give values: name a Python",
        ),
        (
            "preprocess: {crop_pixels: 9}\nmodel: birds\n",
            ":1: preprocess.crop_pixels: the model takes letterbox, not a crop",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_line(bench: Bench, text: str, expected: str) -> None:
    assert bench.refused(text).startswith(expected)


def test_a_release_of_a_version_that_is_gone_is_said(bench: Bench) -> None:
    bench.store.delete("models", f"birds/{SECOND}/model.json")
    assert "does not have the current version of the model 'birds'" in bench.refused(
        "model: birds\n"
    )


def test_an_empty_or_missing_bucket_has_no_models(catalog: Catalog, tmp_path: Path) -> None:
    for store in (MemoryStore(), MemoryStore("models")):
        with pytest.raises(UsageError, match="there is no model 'birds'"):
            resolve(str(written(tmp_path, "model: birds\n")), "models", store, catalog)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return pets_catalog(tmp_path)
