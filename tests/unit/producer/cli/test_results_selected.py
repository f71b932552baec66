"""Rows that are selected, sorted and labelled, from a job's parts to what the command prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pycocotools.coco import COCO

from producer.cli.exits import run
from shared.item import Item, ItemFailure
from shared.job_store import JobStore
from tests.support.fake_connections import fake_connections
from tests.support.job_in_memory import MemoryJob
from tests.support.labelled_rows import box, detector
from tests.support.labelstudio_tasks import TASKS

IMAGES = 12


def answer(number: int) -> dict[str, Any]:
    """Of an image: as many cats as its number says, and a dog in every third."""
    cats = [box("cat", 0.9 - number / 100 - n / 1000, n, n) for n in range(number)]
    dogs = [box("dog", 0.4)] if number % 3 == 0 else []
    kind = {"class_index": 1, "predictions": [{"label": "Tier é", "score": number / 100}]}
    return {"width": 640, "height": 480, "objects": [*cats, *dogs], "kind": kind}


def ended(folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> MemoryJob:
    """A job that a collector ended, and that commands reach."""
    keys = [f"a photo {number:02}.jpg" for number in range(IMAGES)]
    items = [Item(key=key, etag=f"e{number}", size=number) for number, key in enumerate(keys)]
    job = MemoryJob([tuple(items[n : n + 3]) for n in range(0, IMAGES, 3)], **options)
    job.seal()
    for chunk, chunk_items in enumerate(job.chunks):
        usual = [job.row_of(item) for item in chunk_items]
        rows = [
            row if isinstance(row, ItemFailure) or options == {} else answer(3 * chunk + place)
            for place, row in enumerate(usual)
        ]
        job.finish(chunk, rows=rows)
    job.collector().once()
    fake = fake_connections(folder)
    state = JobStore(job.store, "state")
    for name, value in (("jobs", state), ("store_of", lambda _bucket: job.store)):
        object.__setattr__(fake.connections, name, value)
    monkeypatch.setattr("producer.connections.connect_stack", lambda: fake.connections)
    return job


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MemoryJob:
    """Twelve images, of which numbers 4 and 9 failed."""
    return ended(tmp_path, monkeypatch, pipeline=detector())


@pytest.fixture
def short_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MemoryJob:
    """The same images in the short form."""
    return ended(tmp_path, monkeypatch)


def printed(capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    assert run(["results", "job", *options]) == 0
    return capsys.readouterr().out.splitlines()


def keys_of(capsys: pytest.CaptureFixture[str], *options: str) -> list[int]:
    rows = printed(capsys, "--format", "jsonl", *options)
    return [json.loads(line)["size"] for line in rows]


def test_a_table_shows_labels_and_the_best_scores_of_boxes(
    job: MemoryJob, capsys: pytest.CaptureFixture[str]
) -> None:
    header, first, second, _, fourth, failed, *_ = printed(capsys)
    assert header.split() == ["KEY", "STATUS", "OBJECTS", "KIND", "NOTE"]
    assert "dog 0.40" in first
    assert "cat 0.89" in second
    assert "Tier é 0.0100" in second
    assert "3 × cat 0.87, dog 0.40" in fourth
    assert "corrupt" in failed


def test_options_select_and_sort(job: MemoryJob, capsys: pytest.CaptureFixture[str]) -> None:
    assert keys_of(capsys, "--where", "objects.label=dog") == [0, 3, 6]
    assert keys_of(capsys, "--where", "label=dog", "--where", "label!=cat") == [0]
    assert keys_of(capsys, "--where", "status=failed") == [4, 9]
    assert keys_of(capsys, "--status", "ok", "--sort", "-objects.score", "--limit", "2") == [1, 2]
    assert keys_of(capsys, "--min-score", "0.85", "--where", "label=cat") == [1, 2, 3, 5]
    assert keys_of(capsys, "--sort", "-key", "--limit", "3") == [11, 10, 9]
    drawn = keys_of(capsys, "--sample", "5", "--seed", "3")
    assert drawn == keys_of(capsys, "--sample", "5", "--seed", "3")
    assert len(drawn) == 5
    assert len(printed(capsys, "--sort", "-score", "--where", "label=cat", "--limit", "4")) == 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--where", "lable=cat"], "Did you mean label?"),
        (["--where", "label"], "FIELD=VALUE"),
        (["--where", "size=x"], "size is a number"),
        (["--min-score", "high"], "--min-score"),
        (["--min-score", "nan"], "not a score"),
        (["--sample", "0"], "--sample"),
        (["--seed", "-1"], "--seed"),
        (["--seed", "3"], "--seed is for --sample"),
        (["--min-score", "50"], "from 0 to 1"),
        (["--where", "label==cat"], "--where label=cat"),
        (["--where", "score>0.5"], "--min-score"),
        (["--links", "signed"], "A table has no links"),
        (["--sort", "kee"], "Did you mean"),
        (["--analysis", "objects"], "--format coco"),
        (["--format", "coco", "--analysis", "kind"], "There is objects."),
        (["--expires", "7d"], "--links signed"),
        (["--format", "csv", "--links", "signed", "--expires", "8d"], "from 1s to 7d"),
        (["-o", "boxes.json"], "coco|labelstudio"),
    ],
)
def test_wrong_options_are_one_line(
    job: MemoryJob, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert run(["results", "job", *options]) == 2
    out = capsys.readouterr()
    assert out.out == ""
    (line,) = out.err.splitlines()
    assert said in line


def test_a_coco_file_of_a_job(
    job: MemoryJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "boxes.json"
    assert run(["results", "job", "--format", "coco", "-o", str(path)]) == 0
    said = capsys.readouterr().err
    assert f"10 images in {path}" in said
    assert "2 failed images are left out." in said
    coco = COCO(str(path))
    assert sorted(coco.imgs) == [1, 2, 3, 4, *range(6, 10), 11, 12]
    assert [each["name"] for each in coco.cats.values()] == ["cat", "dog"]
    assert len(coco.getAnnIds(imgIds=[7])) == 7
    assert coco.imgs[7]["coco_url"] == "s3://photos/a photo 06.jpg"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--where", "key=*0[34].jpg"], "1 failed image is left out."),
        (["--where", "label=cat"], None),
        (["--limit", "4"], None),
        (["--limit", "5"], "1 failed image is left out."),
        (["--status", "failed"], "2 failed images are left out."),
        (["--sample", "12"], "2 failed images are left out."),
    ],
)
def test_failed_images_are_counted_among_those_selected(
    job: MemoryJob, capsys: pytest.CaptureFixture[str], options: list[str], said: str | None
) -> None:
    assert run(["results", "job", "--format", "coco", *options]) == 0
    found = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert found == ([said] if said else [])


@pytest.mark.parametrize("form", ["coco", "labelstudio", "jsonl"])
def test_a_sample_is_of_the_same_images_in_every_format(
    job: MemoryJob, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    sizes = keys_of(capsys, "--sample", "6", "--seed", "1")
    out = "\n".join(printed(capsys, "--sample", "6", "--seed", "1", "--format", form))
    shown = [n for n in range(IMAGES) if f"a photo {n:02}.jpg" in out]
    assert shown == [n for n in sizes if form == "jsonl" or n not in (4, 9)]


@pytest.mark.parametrize("form", ["table", "csv", "jsonl", "coco", "labelstudio"])
def test_no_rows_are_said(job: MemoryJob, capsys: pytest.CaptureFixture[str], form: str) -> None:
    assert run(["results", "job", "--where", "label=zebra", "--format", form]) == 0
    assert capsys.readouterr().err.splitlines() == ["No rows."]


def test_one_row_is_one_row(
    job: MemoryJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["results", "job", "--limit", "1", "-o", str(tmp_path / "rows.csv")]) == 0
    assert "1 row in " in capsys.readouterr().err


def test_tasks_of_a_job_with_links(job: MemoryJob, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--format", "labelstudio", "--links", "signed", "--expires", "2h", "--limit", "3"]
    assert run(["results", "job", *options]) == 0
    out = capsys.readouterr()
    tasks = TASKS.validate_json(out.out)
    assert [task.data.image for task in tasks] == [
        f"http://127.0.0.1:1/photos/a%20photo%20{number:02}.jpg?expires=7200" for number in range(3)
    ]
    assert "127.0.0.1, so they work on this machine only" in out.err


def test_links_are_for_every_format(job: MemoryJob, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = printed(capsys, "--format", "jsonl", "--links", "signed", "--limit", "1")
    assert json.loads(line)["uri"].startswith("http://127.0.0.1:1/photos/a%20photo%2000.jpg?")


def test_the_short_form(short_job: MemoryJob, capsys: pytest.CaptureFixture[str]) -> None:
    assert keys_of(capsys, "--min-score", "0.75", "--where", "label=cat", "--limit", "2") == [0, 1]
    tasks = TASKS.validate_json("\n".join(printed(capsys, "--format", "labelstudio")))
    assert {len(task.predictions[0].result) for task in tasks} == {1}
    assert run(["results", "job", "--format", "coco"]) == 2
    assert "no boxes for --format coco: it has one label for each image" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [["--format", "labelstudio"], ["--format", "csv", "--links", "signed"]], ids=str
)
def test_a_job_of_another_version_has_rows_alone(
    short_job: MemoryJob, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    spec = json.loads(short_job.store.get("state", "jobs/job/spec.json"))
    short_job.store.put("state", "jobs/job/spec.json", json.dumps({**spec, "version": 1}).encode())
    assert run(["results", "job", *options]) == 2
    out = capsys.readouterr()
    assert out.out == ""
    assert "job of another version" in out.err
    assert len(keys_of(capsys, "--where", "label=cat", "--sort", "-score")) == 10


def test_a_job_that_has_not_ended_says_so(
    job: MemoryJob, capsys: pytest.CaptureFixture[str]
) -> None:
    job.store.delete("state", "jobs/job/closed.json")
    assert run(["results", "job", "--format", "coco"]) == 0
    out = capsys.readouterr()
    assert len(json.loads(out.out)["images"]) == 10
    assert "has not ended" in out.err
