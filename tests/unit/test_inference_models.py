"""Getting a model ready: engines chosen, files fetched and checked, users' classes imported."""

from __future__ import annotations

import hashlib
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from shared.errors import TransientError
from shared.pipeline import Model, Pipeline
from shared.storage import AccessDenied, ObjectMissing, StoreUnavailable
from tests.fake_engine import images_of
from workers.inference.artefacts import Artefacts
from workers.inference.errors import ModelUnusable
from workers.inference.models import LoadedModel, ModelKey, load_model
from workers.inference.selection import SelfTest

WEIGHTS = b"some weights"
MODEL = Model(
    name="tiny", sha256=hashlib.sha256(WEIGHTS).hexdigest(), architecture="mobilenet_v3_small"
)


class MemoryStore:
    """As much of a store as artefacts need; ``answer`` is raised where it is set."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.gets: list[str] = []
        self.answer: Exception | None = None

    def get(self, bucket: str, key: str) -> bytes:
        self.gets.append(f"{bucket}/{key}")
        if self.answer:
            raise self.answer
        if key not in self.objects:
            raise ObjectMissing("object_missing", f"There is no {key}.")
        return self.objects[key]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def artefacts(store: MemoryStore, tmp_path: Path) -> Artefacts:
    return Artefacts(store, "models", tmp_path / "cache")  # type: ignore[arg-type]


def put(store: MemoryStore, file: str, data: bytes) -> None:
    store.objects[f"tiny/{MODEL.sha256}/{file}"] = data


# files


def test_weights_are_fetched_once_and_verified(store: MemoryStore, artefacts: Artefacts) -> None:
    put(store, "weights.pth", WEIGHTS)
    assert artefacts.weights(MODEL).read_bytes() == WEIGHTS
    assert artefacts.weights(MODEL).read_bytes() == WEIGHTS
    assert store.gets == [f"models/tiny/{MODEL.sha256}/weights.pth"]


def test_weights_of_another_sha256_are_refused_and_not_kept(
    store: MemoryStore, artefacts: Artefacts
) -> None:
    put(store, "weights.pth", b"other weights")
    with pytest.raises(ModelUnusable, match="sha256"):
        artefacts.weights(MODEL)
    put(store, "weights.pth", WEIGHTS)
    assert artefacts.weights(MODEL).read_bytes() == WEIGHTS


def test_a_missing_file_says_what_to_do(artefacts: Artefacts) -> None:
    with pytest.raises(ModelUnusable, match="headrace models pull tiny"):
        artefacts.weights(MODEL)


def test_labels_are_lines_and_may_be_missing(store: MemoryStore, artefacts: Artefacts) -> None:
    assert artefacts.labels(MODEL) == ()
    put(store, "labels.txt", "cat\nChihuahua \r\ncafé\u2028bar\n".encode())
    assert artefacts.labels(MODEL) == ("cat", "Chihuahua", "café\u2028bar")


def one_tensor(*, external: bool) -> bytes:
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    if external:
        tensor.ClearField("float_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="/etc/passwd")
    node = helper.make_node("Constant", [], ["y"], value=tensor)
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    return helper.make_model(helper.make_graph([node], "g", [], [output])).SerializeToString()


def test_onnx_files_that_name_other_files_are_refused(
    store: MemoryStore, artefacts: Artefacts
) -> None:
    put(store, "model.onnx", one_tensor(external=True))
    with pytest.raises(ModelUnusable, match="other files"):
        artefacts.onnx(MODEL)
    put(store, "model.onnx", b"\xff\xff\xff")
    with pytest.raises(ModelUnusable, match="not an ONNX file"):
        artefacts.onnx(MODEL)
    put(store, "model.onnx", one_tensor(external=False))
    assert onnx.load(artefacts.onnx(MODEL)).graph.name == "g"


def test_a_full_disk_is_nobodys_fault(
    store: MemoryStore, artefacts: Artefacts, tmp_path: Path
) -> None:
    put(store, "weights.pth", WEIGHTS)
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(TransientError):
        artefacts.weights(MODEL)


# users' classes


@pytest.fixture
def plugins(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "plug ins"
    folder.mkdir()
    before, path = set(sys.modules), list(sys.path)
    yield folder
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    sys.path[:] = path


def user_key(plugins: Path, source: str, name: str = "brightness:Brightness") -> ModelKey:
    """Write the plugin, and name it as a job that is enqueued now would."""
    path = plugins.joinpath(*name.partition(":")[0].split(".")).with_suffix(".py")
    path.parent.mkdir(exist_ok=True)
    path.write_text(textwrap.dedent(source))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    model = Model(name="brightness", sha256=sha256, python_class=name)
    return ModelKey.of(Pipeline(name="brightness", model=model))


BRIGHTNESS = """
    class Brightness:
        def __call__(self, images):
            images //= 2
            return ["bright" if image.mean() > 50 else "dark" for image in images]
"""


def load(key: ModelKey, artefacts: Artefacts, plugins: Path) -> LoadedModel:
    return load_model(key, artefacts, plugins, SelfTest(plugins.parent / "engines"))


def test_a_users_class_is_run_on_a_batch_of_its_own(artefacts: Artefacts, plugins: Path) -> None:
    model = load(user_key(plugins, BRIGHTNESS), artefacts, plugins)
    images = images_of(0, 250)
    assert list(model.engine.run(images)) == ["dark", "bright"]
    assert images.max() == 250
    assert (model.engine.name, model.engine.precision, model.engine.device) == (
        "python",
        None,
        "cpu",
    )


def test_an_edited_class_serves_the_next_job_and_not_this_one(
    artefacts: Artefacts, plugins: Path
) -> None:
    before = user_key(plugins, BRIGHTNESS)
    running = load(before, artefacts, plugins)
    after = user_key(plugins, BRIGHTNESS.replace("dark", "DARK"))
    assert running.engine.run(images_of(0)) == ["dark"]
    assert load(after, artefacts, plugins).engine.run(images_of(0)) == ["DARK"]
    with pytest.raises(ModelUnusable, match="not the version"):
        load(before, artefacts, plugins)


def test_a_class_in_a_package_may_import_its_neighbours(
    artefacts: Artefacts, plugins: Path
) -> None:
    (plugins / "mine").mkdir()
    (plugins / "mine" / "__init__.py").touch()
    (plugins / "mine" / "words.py").write_text("WORD = 'hello'")
    source = """
        from .words import WORD
        class Greeting:
            def __call__(self, images):
                return [WORD for _ in images]
    """
    for _ in range(2):
        model = load(user_key(plugins, source, "mine.model:Greeting"), artefacts, plugins)
        assert model.engine.run(images_of(0)) == ["hello"]


@pytest.mark.parametrize(
    "answer", ["['one']", "'xy'", "None", "{1: 2, 3: 4}", "images.mean()", "5", "iter(['a'])"]
)
def test_a_wrong_count_of_outputs_is_an_error(
    artefacts: Artefacts, plugins: Path, answer: str
) -> None:
    source = f"class Brightness:\n    def __call__(self, images):\n        return {answer}\n"
    model = load(user_key(plugins, source), artefacts, plugins)
    with pytest.raises(ValueError, match="the class gave"):
        model.engine.run(images_of(1, 2))


def test_arrays_and_tensors_are_outputs_by_row(artefacts: Artefacts, plugins: Path) -> None:
    source = """
        import torch
        class Brightness:
            def __call__(self, images):
                return torch.from_numpy(images).flatten(1).to(torch.bfloat16)[:, :2]
    """
    model = load(user_key(plugins, source), artefacts, plugins)
    assert np.array_equal(np.stack(list(model.engine.run(images_of(1, 2)))), [[1, 1], [2, 2]])


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import not_there_at_all", "ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("raise SystemExit(1)", "SystemExit"),
        ("def f(:", "SyntaxError"),
        ("Brightness = 3", "defines no class 'Brightness'"),
        ("class Brightness:\n    def __init__(self):\n        1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_class_that_cannot_be_had_says_why(
    artefacts: Artefacts, plugins: Path, source: str, reason: str
) -> None:
    with pytest.raises(ModelUnusable, match=reason):
        load(user_key(plugins, source), artefacts, plugins)


@pytest.mark.parametrize("name", ["json", "sys", "numpy.linalg"])
def test_nothing_outside_the_plugins_folder_is_imported(
    artefacts: Artefacts, plugins: Path, name: str
) -> None:
    model = Model(name="evil", sha256="a" * 64, python_class=f"{name}:JSONDecoder")
    with pytest.raises(ModelUnusable, match="no module"):
        load(ModelKey.of(Pipeline(name="evil", model=model)), artefacts, plugins)


def test_a_plugin_may_not_replace_a_module_in_use(artefacts: Artefacts, plugins: Path) -> None:
    with pytest.raises(ModelUnusable, match="name of an installed module"):
        load(user_key(plugins, BRIGHTNESS, "json:Brightness"), artefacts, plugins)


# what loading makes of errors


def test_a_store_that_does_not_answer_is_no_verdict(
    store: MemoryStore, artefacts: Artefacts, plugins: Path
) -> None:
    store.answer = StoreUnavailable("store_unavailable", "It does not answer.")
    key = ModelKey.of(Pipeline(name="p", model=MODEL))
    with pytest.raises(TransientError):
        load(key, artefacts, plugins)
    store.answer = AccessDenied("access_denied", "It refuses.", "Check the keys.")
    with pytest.raises(ModelUnusable, match=r"It refuses\. Check the keys\."):
        load(key, artefacts, plugins)


def test_weights_that_do_not_fit_are_a_verdict(
    store: MemoryStore, artefacts: Artefacts, plugins: Path
) -> None:
    put(store, "weights.pth", WEIGHTS)
    key = ModelKey.of(Pipeline(name="p", model=MODEL, engine="torch"))
    with pytest.raises(ModelUnusable, match="do not fit torchvision's mobilenet_v3_small"):
        load(key, artefacts, plugins)
