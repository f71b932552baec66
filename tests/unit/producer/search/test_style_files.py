"""The files of ``styles``: whole or not there, replaced, and nothing else is touched."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from producer.exports.formats import Format
from producer.search import contact_sheets, style_files
from producer.search.contact_sheets import draw_sheets
from producer.search.groups import Group, Grouping, StyleColumns, group_by_style
from producer.search.style_files import write_styles
from shared.contact_sheets import ContactSheet, ContactSheets
from shared.errors import HeadraceError
from shared.item import Item
from shared.job import JobSpec
from shared.pipeline import Preprocess
from tests.support.vector_rows import pipeline_of, vector, vector_parts

PIPELINE = pipeline_of(embedding=vector(3))
SPEC = JobSpec(
    job_id="job",
    bucket="photos",
    output_bucket="results",
    pipeline=PIPELINE,
    pipeline_sha256=PIPELINE.sha256,
    headrace_version="1.2.3",
)


def grouping(groups: int) -> Grouping:
    parts = vector_parts(np.random.default_rng(0).random((20, 3)), 20)
    return group_by_style(parts, StyleColumns(("embedding",), ()), groups, 0, lambda _done: None)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[ContactSheets]:
    """Sheets are only empty files; what was asked for."""
    asked = []

    def draw(request: ContactSheets, progress: Callable[[int], None]) -> int:
        asked.append(request)
        for sheet in request.sheets:
            sheet.path.write_bytes(b"a sheet")
        return 3

    monkeypatch.setattr(style_files, "draw_sheets", draw)
    return asked


def write(found: Grouping, file: Path, form: Format = "csv") -> int:
    return write_styles(found, SPEC, file.parent, file, form, lambda _done: None)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read(path: Path, form: Format) -> list[tuple[str, int]]:
    if form == "parquet":
        rows: list[Any] = pq.read_table(path).to_pylist()
    elif form == "jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    else:
        rows = list(csv.DictReader(path.read_text().splitlines()))
    return [(row["key"], int(row["group"])) for row in rows]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_every_format_has_key_and_group(
    form: Format, drawn: list[ContactSheets], tmp_path: Path
) -> None:
    found = grouping(3)
    file = tmp_path / f"my styles.{form}"
    assert write(found, file, form) == 3
    table = found.table.to_pylist()
    assert read(file, form) == [(row["key"], row["group"]) for row in table]
    assert names(tmp_path) == [file.name, f"{file.name}.sheets"]
    sheets = [f"group-0{number}.jpg" for number in (1, 2, 3)]
    assert names(tmp_path / f"{file.name}.sheets") == sheets
    (asked,) = drawn
    assert [sheet.items for sheet in asked.sheets] == [tuple(g.typical) for g in found.groups]


def test_a_folder_of_sheets_is_replaced_as_a_whole_and_nothing_beside_it(
    drawn: list[ContactSheets], tmp_path: Path
) -> None:
    others = ["styles-group-01.jpg", "group-01.jpg", "other.csv.sheets"]
    for name in others:
        (tmp_path / name).write_text("mine")
    write(grouping(5), tmp_path / "styles.csv")
    write(grouping(2), tmp_path / "styles.csv")
    assert names(tmp_path) == sorted(["styles.csv", "styles.csv.sheets", *others])
    assert names(tmp_path / "styles.csv.sheets") == ["group-01.jpg", "group-02.jpg"]


@pytest.mark.parametrize(
    "other",
    ["mine.jpg", "group-1.jpg", "group-01.png", "group-01.jpg/mine", ""],
)
def test_a_folder_with_anything_else_is_an_error_and_kept(
    drawn: list[ContactSheets], tmp_path: Path, other: str
) -> None:
    file = tmp_path / "styles.csv"
    theirs = tmp_path / "styles.csv.sheets" / other
    theirs.parent.mkdir(parents=True, exist_ok=True)
    theirs.write_text("mine")
    with pytest.raises(HeadraceError, match=r"is none of them. Move it away, or choose another"):
        write(grouping(2), file)
    assert theirs.read_text() == "mine"
    assert not file.exists()
    assert drawn == []


def test_a_link_to_a_folder_is_an_error(drawn: list[ContactSheets], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "styles.csv.sheets").symlink_to(tmp_path / "mine")
    with pytest.raises(HeadraceError, match="is none of them"):
        write(grouping(2), tmp_path / "styles.csv")
    assert (tmp_path / "mine").is_dir()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), HeadraceError("sheets_failed", "No.")])
def test_what_is_interrupted_leaves_the_files_as_they_were(
    error: BaseException,
    drawn: list[ContactSheets],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    write(grouping(2), tmp_path / "styles.csv")
    before = contents(tmp_path)

    def interrupted(request: ContactSheets, progress: Callable[[int], None]) -> int:
        request.sheets[0].path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(style_files, "draw_sheets", interrupted)
    with pytest.raises(type(error)):
        write(grouping(3), tmp_path / "styles.csv")
    assert contents(tmp_path) == before


def test_no_groups_are_a_table_without_rows(tmp_path: Path) -> None:
    nothing = Grouping(grouping(1).table.slice(0, 0), [])
    assert write(nothing, tmp_path / "styles.csv") == 0
    assert (tmp_path / "styles.csv").read_text() == '"key","group"\n'


@pytest.mark.parametrize("file", ["no-such-folder/styles.csv", "x" * 300 + ".csv", "a\0b.csv"])
def test_a_place_that_cannot_be_written_is_an_error(
    file: str, drawn: list[ContactSheets], tmp_path: Path
) -> None:
    with pytest.raises(HeadraceError) as raised:
        write(grouping(1), tmp_path / file)
    assert raised.value.code == "file_not_written"
    assert names(tmp_path) == []


def request_in(folder: Path) -> ContactSheets:
    item = Item(key="a.jpg", etag="e", size=3)
    sheets = (ContactSheet(path=folder / "sheet.jpg", items=(item,)),)
    return ContactSheets(home=folder, bucket="photos", preprocess=Preprocess(), sheets=sheets)


def test_why_sheets_are_not_drawn_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(HeadraceError, match="not drawn: No stack is set up") as raised:
        draw_sheets(request_in(tmp_path), lambda _done: None)
    assert raised.value.code == "sheets_failed"


def test_a_process_that_cannot_begin_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_sheets, "MODULE", "workers.no_such_module")
    with pytest.raises(HeadraceError, match="No module named"):
        draw_sheets(request_in(tmp_path), lambda _done: None)


def test_a_group_of_one_image_has_a_sheet(drawn: list[ContactSheets], tmp_path: Path) -> None:
    item = Item(key="a.jpg", etag="", size=0)
    found = Grouping(grouping(1).table.slice(0, 1), [Group(1, 1, [item])])
    write(found, tmp_path / "one.jsonl", "jsonl")
    assert names(tmp_path / "one.jsonl.sheets") == ["group-01.jpg"]


def test_an_interrupt_ends_the_process_that_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid_file = tmp_path / "pid"
    child = f"import os, time\nopen({str(pid_file)!r}, 'w').write(str(os.getpid()))\n"
    (tmp_path / "slow_child.py").write_text(f"{child}print('shown', flush=True)\ntime.sleep(600)\n")
    monkeypatch.setattr(contact_sheets, "PROJECT_ROOT", tmp_path)
    monkeypatch.setattr(contact_sheets, "MODULE", "slow_child")

    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_sheets(request_in(tmp_path), interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
