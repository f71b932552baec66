"""Which engine ``auto`` takes: what is offered, how it is tried, what is picked and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from shared.errors import PermanentError
from shared.model import EnginePolicy, Model, PrecisionPolicy
from workers.inference import selection
from workers.inference.calibration import IMAGES, calibration_images
from workers.inference.engines import Engine, Images, Outputs
from workers.inference.engines.choose import Candidate, SelfTestResult, candidates, pick
from workers.inference.errors import ModelUnusable
from workers.inference.heads import NetworkOutputs
from workers.inference.layouts import LAYOUTS, layout_of
from workers.inference.model_types import ModelKey
from workers.inference.selection import SelfTest

MODEL = Model(
    name="tiny", sha256="a" * 64, architecture="mobilenet_v3_small", outputs=("scores", "features")
)
CANVAS = (8, 6)
KEY = ModelKey(MODEL, "auto", "auto", CANVAS, ("classes",))
CLASSES = 16


# what is offered


@pytest.mark.parametrize(
    ("engine", "precision", "cuda", "expected"),
    [
        ("auto", "auto", False, "onnxruntime float32, openvino float32, openvino bfloat16"),
        ("auto", "auto", True, "torch float32, torch float16, torch bfloat16"),
        ("auto", "float32", False, "onnxruntime float32, openvino float32"),
        ("auto", "bfloat16", False, "openvino bfloat16, torch bfloat16"),
        ("auto", "float16", False, "openvino float16, torch float16"),
        ("auto", "bfloat16", True, "torch bfloat16"),
        ("openvino", "auto", False, "openvino float32, openvino bfloat16"),
        ("openvino", "auto", True, "openvino float32"),
        ("torch", "auto", False, "torch float32"),
        ("torch", "float16", False, "torch float16"),
        ("onnxruntime", "auto", False, "onnxruntime float32"),
        ("onnxruntime", "float32", True, "onnxruntime float32"),
    ],
)
def test_what_policies_leave_to_choose_from(
    engine: EnginePolicy, precision: PrecisionPolicy, cuda: bool, expected: str
) -> None:
    left = candidates(MODEL, engine, precision, cuda=cuda)
    assert ", ".join(f"{c.engine} {c.precision}" for c in left) == expected


GRAPH = Model(name="own", sha256="a" * 64, outputs=("scores",))
TORCH_ALONE = Model(
    name="torch", sha256="a" * 64, architecture="x", outputs=("scores",), has_graph=False
)


@pytest.mark.parametrize(
    ("model", "engine", "precision", "cuda", "expected"),
    [
        (GRAPH, "auto", "auto", False, "onnxruntime float32, openvino float32, openvino bfloat16"),
        (GRAPH, "auto", "auto", True, "onnxruntime float32"),
        (GRAPH, "auto", "bfloat16", False, "openvino bfloat16"),
        (GRAPH, "auto", "bfloat16", True, "openvino bfloat16"),
        (GRAPH, "auto", "float16", False, "openvino float16"),
        (GRAPH, "openvino", "auto", False, "openvino float32, openvino bfloat16"),
        (GRAPH, "openvino", "auto", True, "openvino float32"),
        (GRAPH, "onnxruntime", "auto", False, "onnxruntime float32"),
        (TORCH_ALONE, "auto", "auto", False, "torch float32"),
        (TORCH_ALONE, "auto", "auto", True, "torch float32, torch float16, torch bfloat16"),
        (TORCH_ALONE, "auto", "float16", False, "torch float16"),
        (TORCH_ALONE, "auto", "bfloat16", False, "torch bfloat16"),
        (TORCH_ALONE, "torch", "bfloat16", False, "torch bfloat16"),
    ],
)
def test_what_is_left_of_a_graph_or_a_network_alone(
    model: Model, engine: EnginePolicy, precision: PrecisionPolicy, cuda: bool, expected: str
) -> None:
    left = candidates(model, engine, precision, cuda=cuda)
    assert ", ".join(f"{c.engine} {c.precision}" for c in left) == expected


@pytest.mark.parametrize(
    ("model", "engine", "precision", "reason"),
    [
        (GRAPH, "torch", "auto", "'own' is a graph, which torch does not run"),
        (GRAPH, "torch", "float16", "'own' is a graph, which torch does not run"),
        (GRAPH, "onnxruntime", "float16", "not in float16"),
        (TORCH_ALONE, "onnxruntime", "auto", "'torch' was not exported, so onnxruntime cannot"),
        (TORCH_ALONE, "openvino", "auto", "'torch' was not exported, so openvino cannot"),
        (TORCH_ALONE, "openvino", "float16", "'torch' was not exported, so openvino cannot"),
    ],
)
@pytest.mark.parametrize("cuda", [True, False])
def test_an_engine_that_does_not_have_the_model_is_refused(
    model: Model, engine: EnginePolicy, precision: PrecisionPolicy, cuda: bool, reason: str
) -> None:
    with pytest.raises(ModelUnusable, match=reason):
        candidates(model, engine, precision, cuda=cuda)


DETECTOR = MODEL.model_copy(update={"layout": "boxes_and_scores", "outputs": ("boxes",)})
IN_CELLS = GRAPH.model_copy(update={"layout": "yolox", "outputs": ("boxes",)})


@pytest.mark.parametrize(
    ("model", "precision", "expected"),
    [
        (DETECTOR, "auto", "onnxruntime float32, openvino float32"),
        (DETECTOR, "bfloat16", "openvino bfloat16, torch bfloat16"),
        (DETECTOR, "float16", "openvino float16, torch float16"),
        (IN_CELLS, "auto", "onnxruntime float32, openvino float32, openvino bfloat16"),
    ],
)
def test_places_that_the_graph_works_out_are_in_float32_unless_asked_otherwise(
    model: Model, precision: PrecisionPolicy, expected: str
) -> None:
    left = candidates(model, "auto", precision, cuda=False)
    assert ", ".join(f"{c.engine} {c.precision}" for c in left) == expected


def test_every_layout_says_where_places_are_worked_out() -> None:
    in_cells = {name for name in LAYOUTS if not layout_of(name).is_decoded}
    assert in_cells == {"yolox"}


def test_an_engine_that_answers_otherwise_in_float32_is_not_picked() -> None:
    results = [trial(FLOAT32, 100), trial(OTHER32, 400, agreement=0.5), trial(BFLOAT16, 50)]
    assert pick(results)[0] == FLOAT32


def test_a_precision_that_the_engine_has_not_is_refused() -> None:
    with pytest.raises(ModelUnusable, match="not in bfloat16"):
        candidates(MODEL, "onnxruntime", "bfloat16", cuda=False)


# what is picked


FLOAT32 = Candidate(engine="onnxruntime", precision="float32")
OTHER32 = Candidate(engine="openvino", precision="float32")
FLOAT16 = Candidate(engine="openvino", precision="float16")
BFLOAT16 = Candidate(engine="openvino", precision="bfloat16")


def trial(candidate: Candidate, images_per_second: float, agreement: float = 1.0) -> SelfTestResult:
    return SelfTestResult(
        candidate=candidate, images_per_second=images_per_second, agreement=agreement
    )


@pytest.mark.parametrize(
    ("float16", "bfloat16", "expected"),
    [
        ((200, 1.0), (400, 1.0), BFLOAT16),
        ((200, 1.0), (400, 0.99), BFLOAT16),
        ((200, 1.0), (400, 0.989), FLOAT16),
        ((105, 1.0), (400, 0.98), FLOAT32),  # not worth other digits
        ((90, 1.0), (80, 1.0), FLOAT32),
    ],
)
def test_the_fastest_that_agrees_is_taken(
    float16: tuple[float, float], bfloat16: tuple[float, float], expected: Candidate
) -> None:
    lower = [trial(FLOAT16, *float16), trial(BFLOAT16, *bfloat16)]
    best, reason = pick([trial(FLOAT32, 100), trial(OTHER32, 90), *lower])
    assert best == expected
    assert reason.startswith("the fastest of 4 tried here")
    assert ("bfloat16 refused" in reason) == (bfloat16[1] < 0.99)
    assert "top-1" not in reason


def test_between_two_that_are_exact_speed_decides() -> None:
    assert pick([trial(FLOAT32, 100), trial(OTHER32, 101)])[0] == OTHER32


# how it is tried


class Guesser:
    """An engine whose scores follow from the pixels, and are others for ``wrong`` images.

    Its features are the same in any precision.
    """

    device = "cpu"

    def __init__(self, candidate: Candidate, wrong: int) -> None:
        self.name, self.precision = candidate.engine, candidate.precision
        self._wrong = {image.tobytes() for image in calibration_images(CANVAS)[:wrong]}
        self.images = 0
        self.closed = False

    def run(self, images: Images) -> Outputs:
        self.images += len(images)
        sums = images.reshape(len(images), -1).astype(int).sum(axis=1)
        top = sums + [image.tobytes() in self._wrong for image in images]
        return np.eye(CLASSES, dtype=np.float32)[top % CLASSES], sums[:, None].astype(np.float32)

    def close(self) -> None:
        self.closed = True


class FakeEngines:
    """Opens guessers, and says which."""

    def __init__(self, **wrong: int) -> None:
        self._wrong = wrong
        self.opened: list[Guesser] = []
        self.fails: dict[Candidate, Exception] = {}

    def open(self, candidate: Candidate) -> Engine:
        if candidate in self.fails:
            raise self.fails[candidate]
        self.opened.append(Guesser(candidate, self._wrong.get(str(candidate.precision), 0)))
        return self.opened[-1]


class FakeHead:
    """Compares one output."""

    def __init__(self, output: str) -> None:
        self._output = output

    def agreement(
        self, exact: NetworkOutputs, other: NetworkOutputs
    ) -> npt.NDArray[np.bool_] | None:
        if self._output not in exact.arrays:
            return None
        return np.all(exact.array(self._output) == other.array(self._output), axis=1)


HEADS = {"classes": FakeHead("scores"), "vector": FakeHead("features"), "boxes": FakeHead("boxes")}


def agreements(folder: Path, engines: FakeEngines, key: ModelKey = KEY) -> dict[Candidate, float]:
    self_test = SelfTest(folder, HEADS.__getitem__)  # type: ignore[arg-type]
    results = self_test.results(key, engines.open, cuda=False)
    return {result.candidate: result.agreement for result in results}


def test_agreement_is_counted_and_a_hopeless_one_ends_early(tmp_path: Path) -> None:
    close, far = FakeEngines(bfloat16=2), FakeEngines(bfloat16=30)
    found = agreements(tmp_path / "close", close)
    assert list(found) == [FLOAT32, OTHER32, BFLOAT16]
    assert (found[OTHER32], found[BFLOAT16]) == (1, 1 - 2 / IMAGES)
    assert agreements(tmp_path / "far", far)[BFLOAT16] < 0.5
    assert far.opened[-1].images < close.opened[-1].images
    assert all(engine.closed for engine in close.opened + far.opened)


def test_what_came_of_it_is_kept_for_the_model_and_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = agreements(tmp_path, FakeEngines(bfloat16=2))
    again = FakeEngines(bfloat16=30)
    assert agreements(tmp_path, again) == found
    assert again.opened == []
    other = replace(KEY, model=MODEL.model_copy(update={"sha256": "b" * 64}))
    agreements(tmp_path, again, other)
    assert len(again.opened) == 3
    monkeypatch.setattr("workers.inference.selection.machine", lambda: {"cpu": "another"})
    assert agreements(tmp_path, again) != found


def test_each_kind_of_analysis_has_its_own_measure_and_its_own_result(tmp_path: Path) -> None:
    by_kind = {
        kind: agreements(tmp_path, FakeEngines(bfloat16=30), replace(KEY, kinds=(kind,)))[BFLOAT16]
        for kind in ("classes", "vector", "classes")
    }
    assert by_kind["classes"] < 0.5
    assert by_kind["vector"] == 1
    assert len(list(tmp_path.iterdir())) == 2
    both = replace(KEY, kinds=("classes", "vector"))
    # A run for both has to be good enough for the stricter one.
    found = agreements(tmp_path, FakeEngines(bfloat16=30), both)
    assert found[BFLOAT16] == by_kind["classes"]


def test_without_a_kind_only_float32_is_tried_and_no_head_is_asked(tmp_path: Path) -> None:
    engines = FakeEngines(bfloat16=30, float32=0)
    found = agreements(tmp_path, engines, KEY.in_precision("float32"))
    assert list(found) == [FLOAT32, OTHER32]


def test_a_kind_that_reads_what_the_model_does_not_give_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match="kind boxes needs more than 'tiny' gives"):
        agreements(tmp_path, FakeEngines(), replace(KEY, kinds=("boxes",)))
    assert list(tmp_path.iterdir()) == []


def test_the_first_that_is_written_stands(tmp_path: Path) -> None:
    """Two workers of one machine try at once."""
    inner: list[dict[Candidate, float]] = []

    class Racer(FakeEngines):
        def open(self, candidate: Candidate) -> Engine:
            if not inner:
                inner.append(agreements(tmp_path, FakeEngines(float16=1)))
            return super().open(candidate)

    assert agreements(tmp_path, Racer(float16=30)) == inner[0]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_damaged_file_is_written_again(tmp_path: Path) -> None:
    found = agreements(tmp_path, FakeEngines())
    (file,) = tmp_path.iterdir()
    file.write_text('{"results": [{')
    assert agreements(tmp_path, FakeEngines()) == found


def test_a_folder_that_takes_nothing_only_costs_the_next_test(tmp_path: Path) -> None:
    (tmp_path / "engines").write_text("in the way")
    assert len(agreements(tmp_path / "engines" / "here", FakeEngines())) == 3


def test_what_cannot_be_opened_is_no_candidate(tmp_path: Path) -> None:
    engines = FakeEngines()
    engines.fails = {FLOAT16: PermanentError("no_such_precision", "No."), BFLOAT16: MemoryError()}
    assert list(agreements(tmp_path, engines)) == [FLOAT32, OTHER32]
    engines.fails = {FLOAT32: PermanentError("wrong_export", "It is another's.")}
    with pytest.raises(PermanentError, match="another's"):
        agreements(tmp_path / "other", engines)


class LargeAnswers(FakeEngines):
    """Each image's features are ``floats`` numbers."""

    def __init__(self, floats: int, **wrong: int) -> None:
        super().__init__(**wrong)
        self._floats = floats

    def open(self, candidate: Candidate) -> Engine:
        engine = super().open(candidate)
        assert isinstance(engine, Guesser)
        run = engine.run

        def run_large(images: Images) -> Outputs:
            scores, _ = run(images)
            return scores, np.zeros((len(images), self._floats), np.float32)

        engine.run = run_large  # type: ignore[method-assign]
        return engine


@pytest.mark.parametrize(
    ("images", "expected"), [(250, [FLOAT32, OTHER32, BFLOAT16]), (20, [FLOAT32, OTHER32])]
)
def test_large_answers_have_fewer_images_and_no_precision_is_judged_by_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: int, expected: list[Candidate]
) -> None:
    floats = 10_000
    monkeypatch.setattr(selection, "host_memory_bytes", lambda: images * 4 * floats * 8)
    engines = LargeAnswers(floats)
    assert list(agreements(tmp_path, engines)) == expected
    assert all(engine.images <= images + 33 for engine in engines.opened)


def test_a_slow_engine_has_fewer_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_SECONDS", 0)
    engines = FakeEngines()
    assert list(agreements(tmp_path, engines)) == [FLOAT32, OTHER32]
    assert max(engine.images for engine in engines.opened) == 1 + 32 + 32


# the images


def test_the_images_are_the_same_each_time_and_none_is_like_another() -> None:
    for width, height in ((8, 8), (8, 6), (6, 8)):
        images = calibration_images((width, height))
        assert (images.dtype, images.shape) == (np.uint8, (IMAGES, height, width, 3))
        assert np.array_equal(images, calibration_images((width, height)))
        assert len({image.tobytes() for image in images}) == IMAGES
    assert calibration_images((33, 33), 6).shape == (6, 33, 33, 3)
