"""Getting a model ready: engines chosen, files fetched and checked, users' classes imported."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from shared.errors import TransientError
from shared.keys import code_key, file_key
from shared.model import Model, PackedFile
from shared.storage import AccessDenied, StoreUnavailable
from tests.support.fake_engine import images_of
from tests.support.memory_store import MemoryStore
from tests.support.packed_class import packed
from tests.support.samples import class_model, pipeline
from workers.inference.artefacts import Artefacts
from workers.inference.errors import ClassUnusable, EngineError, HostUnable, ModelUnusable
from workers.inference.loading import load_model
from workers.inference.model_types import LoadedModel, LoadModel, ModelKey
from workers.inference.selection import SelfTest
from workers.inference.user_code import UserCode

_T = TypeVar("_T")

WEIGHTS = b"some weights"
MODEL = Model(
    name="tiny",
    sha256=hashlib.sha256(WEIGHTS).hexdigest(),
    architecture="mobilenet_v3_small",
    outputs=("scores",),
)


class Store(MemoryStore):
    """``gets``: what was asked for; ``answer`` is raised where it is set."""

    def __init__(self) -> None:
        super().__init__("models")
        self.gets: list[str] = []
        self.answer: Exception | None = None

    def request(self, name: str, key: str, action: Callable[[], _T]) -> _T:
        if name == "get":
            self.gets.append(key)
        if self.answer:
            raise self.answer
        return action()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def artefacts(store: Store, tmp_path: Path) -> Artefacts:
    return Artefacts(store, "models", tmp_path / "cache")


def put(store: Store, file: str, data: bytes) -> None:
    store.put("models", f"tiny/{MODEL.sha256}/{file}", data)


# files


def test_weights_are_fetched_once_and_verified(store: Store, artefacts: Artefacts) -> None:
    put(store, "weights", WEIGHTS)
    assert artefacts.weights(MODEL).read_bytes() == WEIGHTS
    assert artefacts.weights(MODEL).read_bytes() == WEIGHTS
    assert store.gets == [f"tiny/{MODEL.sha256}/weights"]


def test_weights_of_another_sha256_are_refused_and_not_kept(
    store: Store, artefacts: Artefacts
) -> None:
    put(store, "weights", b"other weights")
    with pytest.raises(ModelUnusable, match="sha256"):
        artefacts.weights(MODEL)
    put(store, "weights", WEIGHTS)
    assert artefacts.weights(MODEL).read_bytes() == WEIGHTS


def test_a_missing_file_says_what_to_do(artefacts: Artefacts) -> None:
    with pytest.raises(ModelUnusable, match="headrace models pull tiny"):
        artefacts.weights(MODEL)


def test_labels_are_lines_and_may_be_missing(store: Store, artefacts: Artefacts) -> None:
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


def test_onnx_files_that_name_other_files_are_refused(store: Store, artefacts: Artefacts) -> None:
    put(store, "model.onnx", one_tensor(external=True))
    with pytest.raises(ModelUnusable, match="other files"):
        artefacts.onnx(MODEL)
    put(store, "model.onnx", b"\xff\xff\xff")
    with pytest.raises(ModelUnusable, match="not an ONNX file"):
        artefacts.onnx(MODEL)
    put(store, "model.onnx", one_tensor(external=False))
    assert onnx.load(artefacts.onnx(MODEL)).graph.name == "g"


def test_a_full_disk_is_nobodys_fault(store: Store, artefacts: Artefacts, tmp_path: Path) -> None:
    put(store, "weights", WEIGHTS)
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(TransientError):
        artefacts.weights(MODEL)


# users' classes


def user_key(store: Store, source: str, name: str = "brightness:Brightness") -> ModelKey:
    """Put the code into the bucket, and name it as a job that is enqueued now would."""
    model, archive = packed(name, source)
    return key_of(store, model, archive)


def key_of(store: Store, model: Model, archive: bytes) -> ModelKey:
    store.put("models", code_key(str(model.code_sha256)), archive)
    return ModelKey.of(pipeline(model=model), "classes")


BRIGHTNESS = """
    class Brightness:
        def __call__(self, images):
            images //= 2
            return ["bright" if image.mean() > 50 else "dark" for image in images]
"""


@pytest.fixture
def load(store: Store, artefacts: Artefacts, tmp_path: Path) -> Iterator[LoadModel]:
    user_code = UserCode(store, "models", tmp_path / "code")
    with ExitStack() as loaded:

        def load(key: ModelKey) -> LoadedModel:
            model = load_model(key, artefacts, user_code, SelfTest(tmp_path / "engines"))
            loaded.callback(model.engine.close)
            return model

        yield load


def test_a_users_class_is_run_on_a_batch_of_its_own(store: Store, load: LoadModel) -> None:
    model = load(user_key(store, BRIGHTNESS))
    images = images_of(0, 250)
    assert list(model.engine.run(images)) == ["dark", "bright"]
    assert images.max() == 250
    assert (model.engine.name, model.engine.precision, model.engine.device) == (
        "python",
        None,
        "cpu",
    )


HELPED = """
    from helper import WORD

    class Brightness:
        def __call__(self, images):
            return [WORD for _ in images]
"""


def test_each_job_has_its_own_code_and_helpers(store: Store, load: LoadModel) -> None:
    keys = [
        key_of(store, *packed("own:Brightness", {"own.py": HELPED, "helper.py": f"WORD = '{n}'"}))
        for n in range(2)
    ]
    for number in (0, 1, 0):
        assert load(keys[number]).engine.run(images_of(0)) == [str(number)]


def test_a_class_in_a_package_may_import_its_neighbours(store: Store, load: LoadModel) -> None:
    sources = {
        "mine/__init__.py": "",
        "mine/words.py": "WORD = 'hello'",
        "mine/model.py": HELPED.replace("from helper", "from .words"),
    }
    for _ in range(2):
        model = load(key_of(store, *packed("mine.model:Brightness", sources)))
        assert model.engine.run(images_of(0)) == ["hello"]


@pytest.mark.parametrize(
    "answer", ["['one']", "'xy'", "None", "{1: 2, 3: 4}", "images.mean()", "5", "iter(['a'])"]
)
def test_a_wrong_count_of_outputs_is_an_error(store: Store, load: LoadModel, answer: str) -> None:
    source = f"class Brightness:\n    def __call__(self, images):\n        return {answer}\n"
    model = load(user_key(store, source))
    with pytest.raises(EngineError, match="the class gave"):
        model.engine.run(images_of(1, 2))


def test_arrays_and_tensors_are_outputs_by_row(store: Store, load: LoadModel) -> None:
    source = """
        import torch
        class Brightness:
            def __call__(self, images):
                return torch.from_numpy(images).flatten(1).to(torch.bfloat16)[:, :2]
    """
    model = load(user_key(store, source))
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
    store: Store, load: LoadModel, source: str, reason: str
) -> None:
    with pytest.raises(ModelUnusable, match=reason):
        load(user_key(store, source))


def test_code_that_is_not_in_the_bucket_is_not_looked_for_elsewhere(load: LoadModel) -> None:
    model, _ = packed("json:JSONDecoder", "")
    with pytest.raises(ModelUnusable, match=r"no .*_code/.*\.zip"):
        load(ModelKey.of(pipeline(model=model), "classes"))


def test_files_lie_beside_the_class_and_are_its_current_directory(
    store: Store, load: LoadModel
) -> None:
    source = """
        from pathlib import Path
        HERE = Path(__file__).parent
        class Own:
            def __call__(self, images):
                return [open("data/words.txt").read() + (HERE / "data" / "words.txt").read_text()]
    """
    model, archive = packed("own:Own", source, {"data/words.txt": b"word"})
    store.put("models", file_key(model.files[0].sha256), b"word")
    assert load(key_of(store, model, archive)).engine.run(images_of(1)) == ["wordword"]


def test_a_class_sees_the_variables_that_its_pipeline_names(
    store: Store, load: LoadModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (
        "import os\nclass Own:\n    def __call__(self, images):\n        return [dict(os.environ)]"
    )
    model, archive = packed("own:Own", source)
    monkeypatch.setenv("HEADRACE_SHELL_TOKEN", "secret")
    monkeypatch.setenv("HEADRACE_SHELL_OTHER", "hidden")
    monkeypatch.setenv("HEADRACE_BROKER_URL", "redis://:password@broker")
    named = model.model_copy(update={"environment": ("TOKEN",)})
    (seen,) = load(key_of(store, named, archive)).engine.run(images_of(1))
    assert seen["TOKEN"] == "secret"
    assert not [name for name in seen if "OTHER" in name or name.startswith("HEADRACE")]


@pytest.mark.parametrize("name", ["NOT_SET_ANYWHERE", "HEADRACE_BROKER_URL"])
def test_a_variable_that_is_not_to_be_had_is_said(
    store: Store, load: LoadModel, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("HEADRACE_BROKER_URL", "redis://:password@broker")
    model, archive = packed("own:Own", "class Own: pass")
    asking = model.model_copy(update={"environment": (name,)})
    with pytest.raises(ClassUnusable, match=f"variable {name}, which is not set"):
        load(key_of(store, asking, archive))


def test_large_files_have_the_time_that_a_slow_line_takes() -> None:
    large = PackedFile(name="weights.pt", sha256="c" * 64, bytes=2**31)
    small, slow = class_model("own:Own"), class_model("own:Own", files=(large,))
    seconds = [ModelKey.of(pipeline(model=m), "classes").load_seconds for m in (small, slow)]
    assert seconds[0] == 600
    assert seconds[1] > 600 + 1700


# what loading makes of errors


def test_a_store_that_does_not_answer_is_no_verdict(store: Store, load: LoadModel) -> None:
    store.answer = StoreUnavailable("store_unavailable", "It does not answer.")
    key = ModelKey.of(pipeline(model=MODEL), "classes")
    with pytest.raises(TransientError):
        load(key)
    store.answer = AccessDenied("access_denied", "It refuses.", "Check the keys.")
    with pytest.raises(HostUnable, match=r"It refuses\. Check the keys\."):
        load(key)


def test_weights_that_do_not_fit_are_a_verdict(store: Store, load: LoadModel) -> None:
    put(store, "weights", WEIGHTS)
    key = ModelKey.of(pipeline(model=MODEL, engine="torch"), "classes")
    with pytest.raises(ModelUnusable, match="is no file of torch or safetensors"):
        load(key)
