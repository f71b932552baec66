"""``try`` brings a model from the stack's bucket: what it copies, and why it could not."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from producer import connections as producer_connections
from producer.try_out import HomeStore, _bring_models, _copy_from_stack
from shared.catalog import BucketModels, ModelConstants, PublishedModel, publish, published, release
from shared.errors import TransientError, UsageError
from shared.storage.folder import FolderStore
from shared.views.letterbox import Letterbox
from tests.support.fake_connections import Fake, fake_connections

A = "a" * 64
FILES = {name: name.encode() for name in ("weights", "model.onnx", "labels.txt")}


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    (tmp_path / "stack").mkdir()
    fake = fake_connections(tmp_path / "stack")
    monkeypatch.setattr(producer_connections, "connect_stack", lambda _home: fake.connections)
    return fake


@pytest.fixture
def place(tmp_path: Path) -> HomeStore:
    return HomeStore(tmp_path / "home")


@pytest.fixture
def store(place: HomeStore) -> FolderStore:
    store = FolderStore(place.folder)
    store.make_bucket(place.models_bucket)
    return store


def put(fake: Fake, architecture: str | None, *names: str) -> PublishedModel:
    for name in names:
        fake.store.put("models", f"cats/{A}/{name}", FILES[name])
    version = PublishedModel(
        name="cats",
        sha256=A,
        constants=ModelConstants(
            format="onnx",
            architecture=architecture,
            view=Letterbox(width=64, height=64),
            mean=(0, 0, 0),
            std=(1, 1, 1),
        ),
        outputs={"scores": 2},
        created_at=datetime.now(UTC),
        files={name: hashlib.sha256(FILES[name]).hexdigest() for name in names},
        licence="MIT",
        source="a test",
    )
    publish(fake.store, "models", version)
    release(fake.store, "models", "cats", A)
    return version


@pytest.mark.parametrize(
    ("architecture", "names", "copied"),
    [
        (None, ["weights", "model.onnx"], ["model.json", "model.onnx"]),
        (None, list(FILES), ["labels.txt", "model.json", "model.onnx"]),
        ("resnet18", ["weights", "model.onnx"], ["model.json", "model.onnx", "weights"]),
        ("ssd300_vgg16", ["weights"], ["model.json", "weights"]),
    ],
)
def test_weights_are_copied_where_torch_may_run_them(
    fake: Fake,
    place: HomeStore,
    store: FolderStore,
    architecture: str | None,
    names: list[str],
    copied: list[str],
) -> None:
    version = put(fake, architecture, *names)
    assert _copy_from_stack(place, store, "cats", A)
    assert published(store, "models", "cats", A) == version
    found = {info.key.rpartition("/")[2] for info in store.list("models")}
    assert sorted(found) == copied
    for name in found - {"model.json"}:
        assert store.get("models", f"cats/{A}/{name}") == FILES[name]


def test_where_the_stack_has_none_or_there_is_no_stack_it_is_not_copied(
    fake: Fake, place: HomeStore, store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not _copy_from_stack(place, store, "cats", A)

    def no_stack(_home: Path) -> None:
        raise UsageError("no_stack", "There is no stack.")

    monkeypatch.setattr(producer_connections, "connect_stack", no_stack)
    assert not _copy_from_stack(place, store, "cats", A)


def test_why_a_copy_failed_is_said(
    fake: Fake, place: HomeStore, store: FolderStore, tmp_path: Path
) -> None:
    put(fake, None, "weights", "model.onnx")
    fake.store.put("models", f"cats/{A}/model.onnx", b"MODEL.onnx")  # not what was stored
    (file := tmp_path / "cats.yaml").write_text("model: cats\n")
    models = BucketModels(fake.store, "models")
    with pytest.raises(UsageError, match="changed"):
        _bring_models(str(file), place, store, models, print)
    fake.store.delete("models", f"cats/{A}/model.onnx")
    with pytest.raises(Exception, match=r"model\.onnx"):
        _bring_models(str(file), place, store, models, print)
    assert not list(store.list("models"))


def test_a_model_of_the_installation_is_pulled_then_and_the_reason_is_said(
    fake: Fake, place: HomeStore, store: FolderStore, tmp_path: Path, monkeypatch
) -> None:
    pulled: list[str] = []
    said: list[str] = []

    def down(_bucket: str) -> None:
        raise TransientError("store_unavailable", "The store does not answer.")

    def pull(name: str, *_: object, echo: object) -> None:
        pulled.append(name)

    monkeypatch.setattr("producer.models.pull_model", pull)
    object.__setattr__(fake.connections, "store_of", down)
    (file := tmp_path / "own.yaml").write_text("model: mobilenet_v2\n")
    _bring_models(str(file), place, store, BucketModels(store, "models"), said.append)
    assert pulled == ["mobilenet_v2"]
    (line,) = said
    assert line.endswith("is not copied from the stack's bucket: The store does not answer.")
