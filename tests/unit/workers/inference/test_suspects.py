"""The inference stage's suspect run: a real engine of ours in a real child, which is killed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from shared.catalog.published import LABELS, ONNX
from shared.errors import TransientError
from shared.item import ItemFailure
from shared.job import EngineChoice
from shared.model import Model, Precision
from shared.pipeline import Pipeline
from tests.support.dying_engine_child import HELD_GIL, KILLED, LOOP, SEGFAULT
from tests.support.fake_engine import images_of
from tests.support.samples import pipeline, save_settings, settings
from workers.inference.analyst import Answers, Request, Settle
from workers.inference.engines import Images
from workers.inference.engines.exported import METADATA_KEY, provenance
from workers.inference.errors import ModelUnusable
from workers.inference.suspects import ChildAnalyst
from workers.suspects import MAX_LOST_RUNS

PIXELS = 2
MODEL = Model(name="tiny", sha256="a" * 64, architecture="mobilenet_v3_small")


def graph() -> bytes:
    """Gives the image's first value as the score of class 0, and 100 as that of class 1."""
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["floats", "flat"], ["values"]),
        helper.make_node("Slice", ["values", "zero", "one", "axis"], ["firsts"]),
        helper.make_node("Sub", ["firsts", "hundred"], ["centred"]),
        helper.make_node("Sub", ["firsts", "firsts"], ["zeros"]),
        helper.make_node("Concat", ["centred", "zeros"], ["logits"], axis=1),
    ]
    numbers = {"flat": [-1, PIXELS * PIXELS * 3], "zero": [0], "one": [1], "axis": [1]}
    constants = [
        helper.make_tensor(name, TensorProto.INT64, [len(values)], values)
        for name, values in numbers.items()
    ]
    constants.append(helper.make_tensor("hundred", TensorProto.FLOAT, [1], [100.0]))
    given = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", PIXELS, PIXELS, 3])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])
    made = helper.make_model(
        helper.make_graph(nodes, "g", [given], [logits], constants),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    helper.set_model_props(made, {METADATA_KEY: provenance(MODEL.sha256, MODEL.mean, MODEL.std)})
    return bytes(made.SerializeToString())


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_settings(settings(tmp_path))
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    cache = tmp_path / "cache" / "models" / MODEL.name / MODEL.sha256
    cache.mkdir(parents=True)
    (cache / ONNX).write_bytes(graph())
    (cache / LABELS).write_text("dark\nbright\n")
    return tmp_path


def pipeline_of(*, batch_seconds: float = 30.0) -> Pipeline:
    sizes = {"resize_shorter_pixels": PIXELS, "crop_pixels": PIXELS}
    options = {"engine": "onnxruntime", "batch_seconds": batch_seconds}
    return pipeline(model=MODEL, preprocess=sizes, **options)


def settle(choice: EngineChoice) -> Precision | None:
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
    return Request(pipeline, images, "job", "1", settle, trials.note)


def answer(request: Request) -> Answers:
    return ChildAnalyst(threading.Event()).answer(request)


def outcomes(tried: Answers) -> list[str]:
    """Each image's label, or its error code."""
    return [
        answer.error_code.value if isinstance(answer, ItemFailure) else answer[0].label
        for answer in tried.answers
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
    assert tried.engine is not None
    assert (tried.engine.engine, tried.engine.device) == ("onnxruntime", "cpu")
    killed = tried.answers[1]
    assert isinstance(killed, ItemFailure)
    assert reason in killed.error_message
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
    other = pipeline_of().model_copy(
        update={"model": MODEL.model_copy(update={"sha256": "b" * 64})}
    )
    with pytest.raises(TransientError):
        answer(request_of(other, images_of(1), Trials()))


def test_the_precision_is_settled_before_the_child_runs_an_image(home: Path) -> None:
    """Where another worker chose otherwise, a child that computes so is begun."""
    asked: list[Precision | None] = []

    def settle_as_bfloat16(choice: EngineChoice) -> Precision:
        assert trials.noted == []
        asked.append(choice.precision)
        return "bfloat16"

    trials = Trials()
    with pytest.raises(ModelUnusable, match="not in bfloat16"):
        answer(request_of(pipeline_of(), images_of(1), trials, settle_as_bfloat16))
    assert asked == ["float32"]
    assert trials.noted == []
