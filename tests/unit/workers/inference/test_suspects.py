"""The inference stage's suspect run: a real engine of ours in a real child, which is killed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from shared.analyses import Analysis
from shared.analyses.classes import Classes
from shared.catalog.published import LABELS, ONNX
from shared.errors import TransientError
from shared.job import EngineChoice
from shared.model import Model, Precision
from shared.pipeline import Pipeline
from shared.placement import Size
from shared.staging.pixel_layout import PixelLayout
from shared.views.crop import Crop
from shared.views.stretch import Stretch
from tests.support.dying_engine_child import HELD_GIL, KILLED, LOOP, RAISES, SEGFAULT
from tests.support.fake_engine import images_of
from tests.support.samples import long_pipeline, pipeline, save_settings, settings
from tests.support.staged_batches import pixels_of
from workers.inference.analyst import Request, Settle
from workers.inference.answering import Answers
from workers.inference.engines import Images
from workers.inference.engines.exported import METADATA_KEY, provenance
from workers.inference.errors import HostUnable, ModelUnusable
from workers.inference.suspects import ChildAnalyst
from workers.suspects import MAX_LOST_RUNS

PIXELS = 2
MODEL = Model(name="tiny", sha256="a" * 64, architecture="mobilenet_v3_small", outputs=("scores",))

# Of images that are twice as wide.
WIDE = MODEL.model_copy(update={"name": "wide", "sha256": "c" * 64})


def graph(model: Model = MODEL, canvas: Size = (PIXELS, PIXELS)) -> bytes:
    """Gives the image's first value as the score of class 0, and 100 as that of class 1."""
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["floats", "flat"], ["values"]),
        helper.make_node("Slice", ["values", "zero", "one", "axis"], ["firsts"]),
        helper.make_node("Sub", ["firsts", "hundred"], ["centred"]),
        helper.make_node("Sub", ["firsts", "firsts"], ["zeros"]),
        helper.make_node("Concat", ["centred", "zeros"], ["scores"], axis=1),
    ]
    (width, height), inputs = canvas, canvas[0] * canvas[1] * 3
    numbers = {"flat": [-1, inputs], "zero": [0], "one": [1], "axis": [1]}
    constants = [
        helper.make_tensor(name, TensorProto.INT64, [len(values)], values)
        for name, values in numbers.items()
    ]
    constants.append(helper.make_tensor("hundred", TensorProto.FLOAT, [1], [100.0]))
    shape = ["batch", height, width, 3]
    given = helper.make_tensor_value_info("images", TensorProto.UINT8, shape)
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 2])
    made = helper.make_model(
        helper.make_graph(nodes, "g", [given], [scores], constants),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    said = provenance(model.sha256, model.mean, model.std, model.outputs)
    helper.set_model_props(made, {METADATA_KEY: said})
    return bytes(made.SerializeToString())


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_settings(settings(tmp_path))
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    for model, made, labels in (
        (MODEL, graph(), "dark\nbright\n"),
        (WIDE, graph(WIDE, (4, PIXELS)), "low\nhigh\n"),
    ):
        cache = tmp_path / "cache" / "models" / model.name / model.sha256
        cache.mkdir(parents=True)
        (cache / ONNX).write_bytes(made)
        (cache / LABELS).write_text(labels)
    return tmp_path


def pipeline_of(*, batch_seconds: float = 30.0, model: Model = MODEL) -> Pipeline:
    sizes = {"resize_shorter_pixels": PIXELS, "crop_pixels": PIXELS}
    options = {"engine": "onnxruntime", "batch_seconds": batch_seconds}
    return pipeline(model=model, preprocess=sizes, **options)


def settle(analysis: str, choice: EngineChoice) -> Precision | None:
    """As the worker that chooses first."""
    return choice.precision


class Trials:
    """Notes which image is on trial; on ``lost`` workers were lost."""

    def __init__(self, lost: int | None = None) -> None:
        self.lost = lost
        self.noted: list[int | None] = []

    def note(self, item: int | None) -> int:
        self.noted.append(item)
        return MAX_LOST_RUNS if item is not None and item == self.lost else 0


def request_of(
    pipeline: Pipeline, images: Images, trials: Trials, settle: Settle = settle
) -> Request:
    layout = PixelLayout(pipeline.staged_views, len(images))
    pixels = pixels_of(pipeline, *images[:, 0, 0, 0].tolist())
    views = [layout.array(pixels, view) for view in range(len(pipeline.staged_views))]
    sizes = [(9, 9)] * len(images)
    return Request(pipeline, views, sizes, [], "job", "1", settle, trials.note)


def answer(request: Request) -> Answers:
    return ChildAnalyst(threading.Event()).answer(request)


def outcomes(tried: Answers, name: str = "classes") -> list[str]:
    """Each image's label, or its error code."""
    values = tried.columns[name].to_pylist()
    return [
        tried.failures[image].error_code.value
        if image in tried.failures
        else value["predictions"][0]["label"]
        for image, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("deadly", "reason"),
    [
        (KILLED, "SIGKILL"),
        (SEGFAULT, "SIGSEGV"),
        (LOOP, "longer than 1 s"),
        (HELD_GIL, "longer than 1 s"),
    ],
)
def test_only_the_killer_fails(home: Path, deadly: int, reason: str) -> None:
    trials, images = Trials(), images_of(1, deadly, 150)
    request = request_of(pipeline_of(batch_seconds=1), images, trials)
    tried = ChildAnalyst(threading.Event(), "tests.support.dying_engine_child").answer(request)
    assert outcomes(tried) == ["bright", "killed_worker", "dark"]
    used = tried.engines["classes"]
    assert (used.engine, used.device) == ("onnxruntime", "cpu")
    assert reason in tried.failures[1].error_message
    assert trials.noted == [0, None, 1, None, 2, None]


def test_an_image_on_which_workers_were_lost_is_tried_no_more(home: Path) -> None:
    trials = Trials(lost=1)
    tried = answer(request_of(pipeline_of(), images_of(1, 50, 200), trials))
    assert outcomes(tried) == ["bright", "killed_worker", "dark"]
    assert trials.noted == [0, None, 1, 2, None]


def test_a_model_that_cannot_be_had_says_so(home: Path) -> None:
    (home / "cache" / "models" / MODEL.name / MODEL.sha256 / ONNX).write_bytes(b"nonsense")
    with pytest.raises(ModelUnusable, match="'tiny' cannot be loaded"):
        answer(request_of(pipeline_of(), images_of(1), Trials()))


def test_a_store_that_does_not_answer_accuses_nobody(home: Path) -> None:
    other = pipeline_of(model=MODEL.model_copy(update={"sha256": "b" * 64}))
    with pytest.raises(TransientError):
        answer(request_of(other, images_of(1), Trials()))


def test_the_precision_is_settled_before_the_child_runs_an_image(home: Path) -> None:
    """Where another worker chose otherwise, a child that computes so is begun."""
    asked: list[Precision | None] = []

    def settle_as_bfloat16(analysis: str, choice: EngineChoice) -> Precision:
        assert trials.noted == []
        asked.append(choice.precision)
        return "bfloat16"

    trials = Trials()
    with pytest.raises(ModelUnusable, match="not in bfloat16"):
        answer(request_of(pipeline_of(), images_of(1), trials, settle_as_bfloat16))
    assert asked == ["float32"]
    assert trials.noted == []


def two_models(**changes: Any) -> Pipeline:
    square, wide = Crop(resize_shorter_pixels=2, crop_pixels=2), Stretch(width=4, height=2)
    asked: dict[str, Analysis] = {
        "heights": Classes(model="wide", view=wide, engine="onnxruntime"),
        "tones": Classes(model="tiny", view=square, engine="onnxruntime"),
        "best": Classes(model="tiny", view=square, engine="onnxruntime", top_k=1),
    }
    return long_pipeline(asked, (MODEL, WIDE), **changes)


def test_the_child_answers_all_analyses_of_each_image(home: Path) -> None:
    trials = Trials()
    request = request_of(two_models(), images_of(1, KILLED, 150), trials)
    tried = ChildAnalyst(threading.Event(), "tests.support.dying_engine_child").answer(request)
    assert outcomes(tried, "heights") == ["high", "killed_worker", "low"]
    assert (
        outcomes(tried, "tones") == outcomes(tried, "best") == ["bright", "killed_worker", "dark"]
    )
    assert "It killed its process twice" in tried.failures[1].error_message
    assert {name: used.engine for name, used in tried.engines.items()} == dict.fromkeys(
        ("heights", "tones", "best"), "onnxruntime"
    )
    assert trials.noted == [0, None, 1, None, 2, None]


def test_an_image_on_which_an_engine_raises_in_the_child_fails_in_that_analysis(
    home: Path,
) -> None:
    request = request_of(two_models(), images_of(1, RAISES, 150), Trials())
    tried = ChildAnalyst(threading.Event(), "tests.support.dying_engine_child").answer(request)
    assert outcomes(tried, "best") == ["bright", "model_error", "dark"]
    assert tried.failures[1].error_message == "heights: ValueError: it raised"


def test_a_child_that_lacks_one_of_its_models_says_which_analysis_wants_it(home: Path) -> None:
    (home / "cache" / "models" / MODEL.name / MODEL.sha256 / ONNX).write_bytes(b"nonsense")
    with pytest.raises(ModelUnusable, match="'tiny' cannot be loaded") as caught:
        answer(request_of(two_models(), images_of(1), Trials()))
    assert caught.value.analyses == ("tones",)
    assert not isinstance(caught.value, HostUnable)
