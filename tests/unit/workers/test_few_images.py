"""A pipeline over a few images in one process: the rows are those that the workers' stages give."""

from __future__ import annotations

import hashlib
import logging
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
import torchvision
from PIL import Image

from shared.analyses.classes import Classes
from shared.analyses.palette import Palette
from shared.analyses.vector import Vector
from shared.errors import HeadraceError
from shared.few_images import LOCAL_FILES, FewImages, GivenImage
from shared.item import Item
from shared.job_store import JobStore
from shared.keys import code_key
from shared.messages import Batch, Chunk, Result
from shared.model import Model
from shared.pipeline import Pipeline
from shared.rows import table_of
from shared.settings import RingSettings
from shared.staging import create_ring, open_ring
from shared.storage.folder import FolderStore
from shared.views.crop import Crop
from tests.support import samples
from tests.support.memory_store import MemoryStore
from tests.support.packed_class import packed
from tests.support.pictures import encoded, picture
from workers import few_images
from workers.few_images import run
from workers.inference.analyst import DeviceAnalyst
from workers.inference.device import DeviceLoop
from workers.inference.loading import loader_from
from workers.inference.models import LoadedModels
from workers.inference.pins import JobPins
from workers.inference.stage import InferenceStage
from workers.preprocess.fetch import Fetcher
from workers.preprocess.routes import Routes
from workers.preprocess.stage import PreprocessStage
from workers.runtime import Forward

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
PIXELS = 32
VIEW = Crop(resize_shorter_pixels=PIXELS, crop_pixels=PIXELS)
# What says where and when a row was made, and not what is in the image.
OF_THE_JOB = ("job_id", "uri", "scored_at", "key")
CLASS = """
class Own:
    def __call__(self, images):
        print("I see", images.shape)
        for image in images:
            if image.max() < 5:
                raise RuntimeError("too dark for me")
            if image.min() > 250:
                import os
                os._exit(3)
        return [("mean", float(image.mean())) for image in images]
"""


def images(folder: Path) -> list[Path]:
    """Good ones, damaged ones, odd ones; those of the project's data where it is there."""
    good = encoded(picture(90, 61), "JPEG")
    made = {
        "plain.png": encoded(picture()),
        "plain.jpg": good,
        "cut.jpg": good[: len(good) // 2],
        "gray.png": encoded(picture(40, 50).convert("L")),
        "turned.jpg": encoded(picture(), "JPEG", exif=_turned()),
        "palette.gif": encoded(picture(33, 47), "GIF"),
        "long.png": encoded(picture(400, 20)),
        "empty.jpg": b"",
        "text.jpg": b"This is no image.",
    }
    for name, data in made.items():
        (folder / name).write_bytes(data)
    odd = sorted((DATA / "odd" / "images").glob("*.*"))
    small = [path for path in odd if path.stat().st_size < 2**20]
    return [*(folder / name for name in made), *small, *sorted(DATA.glob("orientation/*_6.jpg"))]


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def given(path: Path) -> GivenImage:
    data = path.read_bytes()
    etag = hashlib.md5(data).hexdigest()
    return GivenImage(bucket=LOCAL_FILES, key=str(path), etag=etag, size=len(data))


def tried(
    home: Path, pipeline: Pipeline, paths: list[Path], out: Path | None = None
) -> dict[str, Any]:
    return run(
        FewImages(
            pipeline=pipeline,
            images=[given(path) for path in paths],
            store=home / "store",
            models_bucket="models",
            home=home,
            out=out,
        )
    )


def rows_of_the_workers(home: Path, pipeline: Pipeline, paths: list[Path]) -> list[dict[str, Any]]:
    """All images in one chunk, through a store and a slot, as a worker of each stage has them."""
    store = MemoryStore("photos", "state")
    for path in paths:
        store.put("photos", path.name, path.read_bytes())
    listed = [next(iter(store.list("photos", path.name))) for path in paths]
    slot_bytes = max(1, pipeline.staged_image_bytes * len(paths))
    settings = RingSettings(directory=home / "ring", slot_bytes=(slot_bytes,), slot_counts=(2,))
    settings.directory.mkdir()
    create_ring(settings)
    ring, stopping = open_ring(settings, "here"), threading.Event()

    def note(_ref: object, _item: int | None) -> int:
        return 0

    def stopped(_batch: Batch, error: str) -> None:
        raise AssertionError(error)

    def staged(refs: list[Any]) -> list[bool]:
        return [False] * len(refs)

    fetcher = Fetcher(lambda _: store, stopping, 30.0)
    preprocess = PreprocessStage(fetcher, ring, None, Routes("here", dict), staged, note, stopping)
    load = loader_from(FolderStore(home / "store"), "models", home / "cache")
    device = DeviceLoop(LoadedModels(load), batch_images=64)
    analyst = DeviceAnalyst(device, stopping)
    pins = JobPins(JobStore(store, "state"))
    inference = InferenceStage(ring, None, analyst, analyst, pins, note, stopped, stopping)
    try:
        chunk = Chunk(
            incarnation=samples.INCARNATION,
            job_uid=samples.JOB_UID,
            job_id="job",
            chunk=0,
            attempt=1,
            bucket="photos",
            pipeline=pipeline,
            items=[Item(key=info.key, etag=info.etag, size=info.size) for info in listed],
        )
        outcome = preprocess(chunk)
        assert isinstance(outcome, Forward)
        outcome.release()
        if isinstance(outcome.message, Batch):
            outcome = inference(outcome.message)
            assert isinstance(outcome, Forward)
        assert isinstance(outcome.message, Result)
        columns = {
            name: [getattr(info, name) for info in listed] for name in ("key", "etag", "size")
        }
        return table_of(outcome.message, pa.table(columns)).to_pylist()
    finally:
        device.close()


def of_the_image(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what says of a chunk what computed it: a chunk of failed images has no engine."""
    without = {"ok": OF_THE_JOB, "failed": (*OF_THE_JOB, "engine", "models")}
    return [{name: row[name] for name in row if name not in without[row["status"]]} for row in rows]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    FolderStore(tmp_path / "store").make_bucket("models")
    return tmp_path


def class_pipeline(home: Path, source: str = CLASS) -> Pipeline:
    model, archive = packed("own:Own", source)
    FolderStore(home / "store").create("models", code_key(str(model.code_sha256)), archive)
    return samples.pipeline(name="own", model=model, preprocess={"crop_pixels": PIXELS})


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    """A small classifier of random weights, and the folder with its files."""
    folder = tmp_path_factory.mktemp("network")
    torch.manual_seed(1)
    net = torchvision.models.get_model("mobilenet_v3_small", weights=None)
    torch.save(net.state_dict(), folder / "weights")
    (folder / "labels.txt").write_text("".join(f"class {n}\n" for n in range(1000)))
    model = Model(
        name="small",
        sha256=hashlib.sha256((folder / "weights").read_bytes()).hexdigest(),
        architecture="mobilenet_v3_small",
        outputs=("scores", "features"),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )
    return model, folder


def test_a_class_gives_the_rows_that_the_workers_give(home: Path) -> None:
    pipeline, paths = class_pipeline(home), images(home)
    found = tried(home, pipeline, paths)
    rows = of_the_image(found["rows"])
    assert rows == of_the_image(rows_of_the_workers(home, pipeline, paths))
    statuses = {path.name: row["status"] for path, row in zip(paths, rows, strict=True)}
    assert (statuses["plain.jpg"], statuses["text.jpg"]) == ("ok", "failed")
    assert [row["uri"] for row in found["rows"]] == [path.as_uri() for path in paths]
    assert found["timings_ms"]["total"] > 0


def test_a_palette_is_the_one_that_the_workers_give(home: Path) -> None:
    pipeline = samples.long_pipeline({"colours": Palette(view=Palette.own_view)})
    paths = images(home)
    rows = of_the_image(tried(home, pipeline, paths)["rows"])
    assert rows == of_the_image(rows_of_the_workers(home, pipeline, paths))
    assert rows[0]["colours"]


def test_a_network_gives_the_rows_that_the_workers_give(
    home: Path, network: tuple[Model, Path]
) -> None:
    model, folder = network
    for file in folder.iterdir():
        key = f"{model.name}/{model.sha256}/{file.name}"
        FolderStore(home / "store").put_file("models", key, file)
    analyses = {
        "kinds": Classes(model="small", view=VIEW, engine="torch"),
        "style": Vector(model="small", view=VIEW, length=1024, engine="torch"),
    }
    pipeline, paths = samples.long_pipeline(analyses, (model,)), images(home)
    rows = of_the_image(tried(home, pipeline, paths)["rows"])
    others = of_the_image(rows_of_the_workers(home, pipeline, paths))
    for row, other in zip(rows, others, strict=True):  # batches of other sizes differ by rounding
        for name in ("kinds", "style"):
            mine, theirs = row.pop(name), other.pop(name)
            assert (mine is None) == (theirs is None)
            if mine is not None:
                assert _numbers(mine) == pytest.approx(_numbers(theirs), abs=1e-5)
        assert row == other


def _numbers(value: Any) -> list[float]:
    return value if isinstance(value, list) else [each["score"] for each in value["predictions"]]


def test_what_a_class_prints_and_its_whole_traceback_are_shown(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save = partial(Image.new, "RGB", (40, 40))
    paths = [home / name for name in ("dark.png", "white.png", "gray.png")]
    for path, colour in zip(paths, ("black", "white", "gray"), strict=True):
        save(colour).save(path)
    with caplog.at_level(logging.INFO):
        rows = tried(home, class_pipeline(home), paths)["rows"]
    assert [row["status"] for row in rows] == ["failed", "failed", "ok"]
    assert [row["error_code"] for row in rows[:2]] == ["model_error", "killed_worker"]
    assert "too dark for me" in rows[0]["error_message"]
    assert "I see (1, 32, 32, 3)" in caplog.text
    assert "Traceback (most recent call last)" in caplog.text
    assert 'own.py", line 7, in __call__' in caplog.text
    assert "RuntimeError: too dark for me" in caplog.text


@pytest.mark.parametrize(
    ("constructor", "said", "is_traced"),
    [
        ("def __init__(self):\n        1 / 0", "division by zero", True),
        ("def __init__(self, size): ...", "needs the argument 'size'", False),
    ],
)
def test_a_class_that_cannot_be_constructed_ends_the_run(
    home: Path, constructor: str, said: str, is_traced: bool, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = class_pipeline(home, f"class Own:\n    {constructor}\n")
    path = home / "a.png"
    picture().save(path)
    with caplog.at_level(logging.INFO), pytest.raises(HeadraceError, match=said):
        tried(home, pipeline, [path])
    assert ("Traceback" in caplog.text) == is_traced
    assert "serving.py" not in caplog.text


def test_each_view_is_drawn_under_the_images_number(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(few_images, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    folders = [home / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
        picture().save(folder / "same.png")
    out = home / "out"
    out.mkdir()
    tried(home, class_pipeline(home), [folder / "same.png" for folder in folders], out)
    assert {path.name for path in out.iterdir()} == {"1-same.png-1.png", "2-same.png-1.png"}
    assert Image.open(out / "1-same.png-1.png").size == (PIXELS, PIXELS)
    assert capsys.readouterr().err == "Loading own\n1 of 2 images\n"
    (home / "taken" / "1-same.png-1.png").mkdir(parents=True)
    with pytest.raises(HeadraceError, match=r"Cannot write to .*1-same.png-1.png: Is a directory"):
        tried(home, class_pipeline(home), [folders[0] / "same.png"], home / "taken")
