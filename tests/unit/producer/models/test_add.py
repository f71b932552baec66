"""``models add``: from a file to a model that a pipeline can name, or one sentence why not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from producer.models import list_models, push_model, removable, remove_model, show_model
from producer.models.given import channels_of, size_of
from producer.models.usual_pipeline import usual_pipeline
from shared.catalog import releases, resolve
from shared.errors import PermanentError, UsageError
from shared.model import MAX_FILE_BYTES
from tests.support.adding import SCORES, Bench
from tests.support.fake_connections import fake_connections

T = TypeVar("T")
BOXES = {"boxes": 400, "box_scores": 300}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_pipeline_that_is_printed_runs_what_was_added(bench: Bench) -> None:
    added = bench.add(labels=bench.labels(b"cat\ndog\nhen\n"), licence="MIT")
    assert (added.name, added.sha256, added.outputs) == ("cats", bench.sha256, SCORES)
    file = bench.folder / "cats.yaml"
    file.write_text(added.pipeline)
    pipeline = resolve(str(file), "models", bench.store, bench.catalog).pipeline
    assert (pipeline.name, pipeline.model_of("classes").sha256) == ("cats", bench.sha256)
    assert bench.stored("weights") == b"my weights"
    assert bench.stored("labels.txt") == b"cat\ndog\nhen\n"
    assert bench.first_runs == [
        {"weights": b"my weights", "model.onnx": b"graph", "labels.txt": b"cat\ndog\nhen\n"}
    ]


def test_the_marker_and_then_the_release_come_last(bench: Bench) -> None:
    keys: list[str] = []

    def note(name: str, key: str, action: Callable[[], T]) -> T:
        if name in ("put", "create"):
            keys.append(key)
        return action()

    bench.store.request = note  # type: ignore[method-assign]
    bench.add()
    assert keys[-2:] == [f"cats/{bench.sha256}/model.json", "cats/releases/00000001.json"]


def test_the_same_file_again_is_there_already(bench: Bench) -> None:
    first = bench.add(mean=(0.5, 0.5, 0.5))
    before = dict(bench.store.buckets["models"])
    assert bench.add(mean=(0.5, 0.5, 0.5)) == first
    assert bench.store.buckets["models"] == before
    assert any("in the bucket already" in line for line in bench.said)
    assert len(bench.first_runs) == 1


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"mean": (0.4, 0.5, 0.5)}, "mean"),
        ({"channels": "bgr"}, "channels"),
        ({"view": "stretch"}, "view"),
        ({"labels": b"cat\ndog\nhen\n"}, "labels"),
        ({"config": b"[net]"}, "config"),
        ({"licence": "MIT"}, "licence"),
        ({"licence": "MIT", "mean": (0.4, 0.5, 0.5)}, "mean and licence"),
    ],
)
@pytest.mark.parametrize("is_current", [True, False])
def test_the_same_file_with_other_constants_says_what_to_do(
    bench: Bench, given: dict[str, object], field: str, is_current: bool
) -> None:
    bench.add()
    if not is_current:
        weights = bench.file.read_bytes()
        bench.file.write_bytes(b"better weights")
        bench.add()
        bench.file.write_bytes(weights)
    for name, value in given.items():
        if isinstance(value, bytes):
            (bench.folder / f"my.{name}").write_bytes(value)
            given = {name: bench.folder / f"my.{name}"}
    with pytest.raises(UsageError, match=f"with other values for {field}\\. A version") as caught:
        bench.add(**given)  # type: ignore[arg-type]
    reference = caught.value.hint.partition("headrace models rm ")[2]
    connections = replace(
        fake_connections(bench.folder).connections, store_of=lambda _: bench.store
    )
    remove_model(connections, reference, removable(connections, reference))
    bench.add(**given)  # type: ignore[arg-type]


def test_another_file_becomes_current_and_the_first_stays(bench: Bench) -> None:
    first = bench.add().sha256
    bench.file.write_bytes(b"better weights")
    second = bench.add().sha256
    bench.file.write_bytes(b"my weights")
    bench.add()
    made = [each.sha256 for each in releases(bench.store, "models", "cats")]
    assert made == [first, second, first]
    listed = list_models(bench.store, bench.settings, bench.catalog, warn=print)
    assert [(m.name, m.sha256, m.is_default, m.is_added) for m in listed[1:]] == [
        ("cats", first, True, True),
        ("cats", second, False, True),
    ]


@pytest.mark.parametrize(
    "data",
    [
        "Kätzchen\nсобака\n鶏\u2028🐔".encode(),
        "\ufeffKätzchen\r\nсобака\r\n鶏\u2028🐔\r\n\r\n\r\n".encode(),
        " Kätzchen\t\rсобака\r鶏\u2028🐔\r".encode(),
    ],
)
def test_labels_of_any_unicode_and_line_ends(bench: Bench, data: bytes) -> None:
    bench.add(labels=bench.labels(data))
    assert bench.stored("labels.txt").decode() == "Kätzchen\nсобака\n鶏\u2028🐔\n"
    assert bench.requests[0].labels == 3
    shown = show_model("cats", bench.store, "models", bench.catalog)
    assert (shown.labels, shown.first_labels[0]) == (3, "Kätzchen")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"cat\n\ndog\n", "labels.txt has an empty line, 2."),
        (b"caf\xe9\n", "labels.txt is not text in UTF-8."),
        (b"\n \n", "labels.txt has 0 labels."),
        (b"x" * 20_000, "labels.txt has a label of more than 10,000 characters."),
        (b"", "labels.txt is empty."),
    ],
)
def test_labels_that_cannot_be_meant(bench: Bench, data: bytes, expected: str) -> None:
    assert expected in bench.refused(labels=bench.labels(data))


def test_labels_in_the_file_itself_are_taken_where_they_fit(bench: Bench) -> None:
    bench.exported = bench.exported.model_copy(update={"labels": ("a cat", "a\ndog", "hen")})
    bench.add()
    assert bench.stored("labels.txt") == b"a cat\na dog\nhen\n"
    bench.exported = bench.exported.model_copy(update={"labels": ("cat", "", "hen")})
    bench.file.write_bytes(b"others")
    bench.add()
    shown = show_model("cats", bench.store, "models", bench.catalog)
    assert (shown.labels, shown.releases) == (0, (2,))


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (SCORES, "name: a\nmodel: a\n"),
        (BOXES, "name: a\nanalyses:\n  objects: {kind: boxes, model: a}\n"),
        ({"features": 9}, "name: a\nanalyses:\n  vector: {kind: vector, model: a}\n"),
    ],
)
def test_the_pipeline_follows_from_what_the_model_gives(
    bench: Bench, outputs: dict[str, int], expected: str
) -> None:
    layout = "yolox" if "boxes" in outputs else None
    update = {"outputs": outputs, "classes": None, "layout": layout}
    bench.exported = bench.exported.model_copy(update=update)
    assert bench.add("a").pipeline == expected
    (bench.folder / "a.yaml").write_text(expected)
    resolve(str(bench.folder / "a.yaml"), "models", bench.store, bench.catalog)


@pytest.mark.parametrize("name", ["123", "1e5", "null", "on", "1_000", "0x1f", "2026-01-01"])
def test_a_name_that_yaml_takes_for_something_else_is_quoted(bench: Bench, name: str) -> None:
    file = bench.folder / "p.yaml"
    file.write_text(bench.add(name).pipeline)
    assert resolve(str(file), "models", bench.store, bench.catalog).pipeline.name == name


def test_what_no_analysis_reads_is_refused() -> None:
    with pytest.raises(PermanentError, match="gives masks, which no analysis reads"):
        usual_pipeline("a", ["masks"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"name": "pets"}, "The model 'pets' is the installation's. Take another name"),
        ({"name": "My Cats"}, "'My Cats' cannot be the name of a model. Take lower-case"),
        ({"file": Path("/no/such.pth")}, "Cannot read /no/such.pth: No such file"),
        ({"file": Path("/tmp")}, "/tmp is a folder. Name the file"),
        ({"file": Path("/dev/zero")}, "/dev/zero is not a file."),
        ({"file": Path("s3://models/cats.pth")}, "Download it first."),
        ({"size": (640, 640)}, "r18.pth does not take images of 640x640 pixels, but of 320x200."),
        ({"view": "crop"}, "A crop is a square, and the model takes 320x200 pixels."),
    ],
)
def test_what_cannot_be_added(bench: Bench, given: dict[str, object], expected: str) -> None:
    assert expected in bench.refused(**given)


def test_a_file_of_no_bytes_or_of_too_many_is_refused_unread(bench: Bench) -> None:
    bench.file.write_bytes(b"")
    assert "r18.pth is empty" in bench.refused()
    with bench.file.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 2**30)
    assert "r18.pth has 3.0 GiB, 1.9 at most." in bench.refused()
    assert not bench.requests


def test_what_cannot_run_leaves_nothing(bench: Bench) -> None:
    def fail(*_: object) -> None:
        raise PermanentError("first_run_failed", "'cats' runs, and its answers cannot be used")

    bench.first_run = fail  # type: ignore[method-assign, assignment]
    assert "cannot be used" in bench.refused()


def test_a_file_that_changes_meanwhile_is_refused(bench: Bench) -> None:
    def change(*_: object) -> None:
        bench.file.write_bytes(b"MY WEIGHTS")

    bench.first_run = change  # type: ignore[method-assign, assignment]
    with pytest.raises(UsageError, match="changed"):
        bench.add()
    assert not any("model.json" in key for key in bench.store.buckets["models"])
    assert not releases(bench.store, "models", "cats")


def test_pushing_to_it_says_how_versions_are_added(bench: Bench) -> None:
    bench.add()
    with pytest.raises(UsageError, match="is in the bucket alone") as caught:
        push_model(
            "cats", bench.file, bench.settings, bench.store, echo=print, catalog=bench.catalog
        )
    assert "headrace models add cats FILE" in caught.value.hint


def test_show_takes_the_first_digits_and_suggests(bench: Bench) -> None:
    first = bench.add(licence="MIT").sha256
    bench.file.write_bytes(b"better weights")
    bench.add()
    shown = show_model(f"cats@{first[:12]}", bench.store, "models", bench.catalog)
    assert (shown.sha256, shown.is_default, shown.releases) == (first, False, (1,))
    assert (shown.licence, shown.source, shown.view["kind"]) == ("MIT", "r18.pth", "letterbox")
    assert shown.bytes > len(b"my weights" + b"graph")
    for reference, expected in (
        ("cat", "There is no model 'cat': did you mean cats?"),
        ("cats@00", "The bucket has no version 00… of the model 'cats'."),
        ("cats@", None),
        ("pets", "run 'headrace models pull pets'"),
    ):
        if expected is None:
            assert show_model(reference, bench.store, "models", bench.catalog).is_default
            continue
        with pytest.raises(UsageError) as caught:
            show_model(reference, bench.store, "models", bench.catalog)
        assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("text", "size"), [("640x480", (640, 480)), ("640X480", (640, 480)), ("224", (224, 224))]
)
def test_a_size_is_two_sides_or_one(text: str, size: tuple[int, int]) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "0x3", "4097x1", "3x", "1x2x3", "٣x٣", "-1x3", "9" * 5000])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not WIDTHxHEIGHT"):
        size_of(text)


@pytest.mark.parametrize(
    ("option", "text"),
    [("--mean", "123,116,103"), ("--std", "58,57,57"), ("--std", "0,1,1"), ("--mean", "nan")]
    + [("--mean", text) for text in ("", "1,2", "0.1,0.2,0.3,0.4", "a,b,c", "-0.1,0,0", "inf")],
)
def test_what_is_no_normalisation_is_refused(option: str, text: str) -> None:
    with pytest.raises(UsageError, match=r"scaled to 0\.\.1"):
        channels_of(option, text)


def test_normalisation_is_three_numbers_or_one_for_all() -> None:
    assert channels_of("--mean", "0.485, 0.456, 0.406") == (0.485, 0.456, 0.406)
    assert channels_of("--std", "0.5") == (0.5, 0.5, 0.5)
