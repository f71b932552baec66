"""The inference stage's suspect run, with real users' classes that die and hang in a real child."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from shared.errors import TransientError
from shared.messages import Batch, ItemFailure
from shared.pipeline import Model, Pipeline
from shared.settings import save_settings
from tests.fake_engine import images_of
from tests.packed import packed
from tests.samples import batch, pipeline, settings
from workers.inference.errors import ClassUnusable
from workers.inference.suspects import Tried, try_alone
from workers.suspects import MOST_LOST_RUNS

SOURCE = """
import ctypes, os, sys, time

class Deadly:
    def __call__(self, images):
        answers = []
        for image in images:
            first = int(image.flat[0])
            if first == 200:
                os.kill(os.getpid(), 9)
            if first == 201:
                ctypes.PyDLL(None).sleep(600)
            if first == 202:
                raise SystemExit("enough")
            if first == 203:
                while True:
                    pass
            if first == 204:
                os.kill(os.getppid(), 9)
                time.sleep(600)
            if first == 205:  # the process that its keeper was started by
                with open(f"/proc/{os.getppid()}/stat") as stat:
                    os.kill(int(stat.read().rpartition(")")[2].split()[1]), 9)
                time.sleep(600)
            print("to stdout, where no frame may be", flush=True)
            assert sys.stdin.read() == ""
            answers.append(str(first))
        return answers

class Broken:
    def __init__(self):
        os._exit(7)
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_settings(settings(tmp_path))
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    return tmp_path


def pipeline_of(home: Path, name: str, *, batch_seconds: float = 30.0) -> Pipeline:
    model, archive = packed(f"deadly:{name}", SOURCE)
    code = home / "cache" / "code" / str(model.code_sha256)
    code.parent.mkdir(parents=True, exist_ok=True)
    code.write_bytes(archive)
    preprocess = {"resize_shorter_pixels": 2, "crop_pixels": 2}
    return pipeline(model=model, preprocess=preprocess, batch_seconds=batch_seconds)


def batch_of(pipeline: Pipeline) -> Batch:
    return batch().model_copy(update={"pipeline": pipeline})


def nothing_lost(item: int | None) -> int:
    return 0


def outcomes(tried: Tried) -> list[str]:
    """Each image's label, or its error code."""
    return [
        answer.error_code.value if isinstance(answer, ItemFailure) else answer[0].label
        for answer in tried.answers
    ]


def test_only_the_killer_fails(home: Path) -> None:
    deadly = pipeline_of(home, "Deadly")
    tried = try_alone(
        batch_of(deadly), images_of(1, 2, 200, 3, 202, 4), nothing_lost, threading.Event()
    )
    assert outcomes(tried) == ["1", "2", "killed_worker", "3", "model_error", "4"]
    assert (tried.engine.engine, tried.engine.device) == ("python", "cpu")
    killed = tried.answers[2]
    assert isinstance(killed, ItemFailure)
    assert "SIGKILL" in killed.error_message


def test_an_image_on_which_workers_were_lost_is_tried_no_more(home: Path) -> None:
    noted: list[int | None] = []

    def note(item: int | None) -> int:
        noted.append(item)
        return MOST_LOST_RUNS if item == 1 else 0

    tried = try_alone(
        batch_of(pipeline_of(home, "Deadly")), images_of(1, 200, 3), note, threading.Event()
    )
    assert outcomes(tried) == ["1", "killed_worker", "3"]
    assert noted == [0, None, 1, 2, None]


@pytest.mark.parametrize("hang", [201, 203])
def test_an_endless_loop_fails_alone(home: Path, hang: int) -> None:
    deadly = pipeline_of(home, "Deadly", batch_seconds=2)
    tried = try_alone(batch_of(deadly), images_of(1, hang, 2), nothing_lost, threading.Event())
    assert outcomes(tried) == ["1", "killed_worker", "2"]


@pytest.mark.parametrize("deadly", [204, 205])
def test_a_class_that_kills_more_than_its_process_fails_alone(home: Path, deadly: int) -> None:
    pipeline = pipeline_of(home, "Deadly")
    tried = try_alone(batch_of(pipeline), images_of(1, deadly, 2), nothing_lost, threading.Event())
    assert outcomes(tried) == ["1", "killed_worker", "2"]


def test_a_class_that_kills_whoever_loads_it_is_to_blame(home: Path) -> None:
    with pytest.raises(ClassUnusable, match="while it was constructed: exit status 7"):
        try_alone(
            batch_of(pipeline_of(home, "Broken")), images_of(1), nothing_lost, threading.Event()
        )


def test_a_model_that_is_not_there_says_so(home: Path) -> None:
    missing = pipeline_of(home, "Missing")
    with pytest.raises(ClassUnusable, match="defines no class 'Missing'"):
        try_alone(batch_of(missing), images_of(1), nothing_lost, threading.Event())


def test_a_store_that_does_not_answer_accuses_nobody(home: Path) -> None:
    model = Model(name="tiny", sha256="a" * 64, architecture="mobilenet_v3_small")
    with pytest.raises(TransientError):
        try_alone(batch_of(pipeline(model=model)), images_of(1), nothing_lost, threading.Event())
