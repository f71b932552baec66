"""``similar`` and ``styles`` on the parts of a job, up to the process that draws."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from producer import stages_process
from producer.cli.exits import run
from producer.search import style_files
from shared.contact_sheets import ContactSheets
from shared.job import Accounting, Closing, JobSpec
from shared.keys import part_key
from shared.pipeline import Pipeline
from tests.support import samples
from tests.support.fake_connections import Fake, fake_connections
from tests.support.vector_rows import FAILED, key_of, palette, part, pipeline_of, shades, vector

VECTORS: list[Any] = np.random.default_rng(0).standard_normal((10, 8)).tolist()
COLOURS = [shades(("#c00000", 0.6), ("#0000c0", 0.4))] * 10


def job(fake: Fake, pipeline: Pipeline, *parts: dict[str, list[Any]], name: str = "job") -> None:
    """A job in the store that has these parts, and has ended."""
    spec = JobSpec(
        job_id=name,
        bucket="photos",
        output_bucket="results",
        pipeline=pipeline,
        pipeline_sha256=pipeline.sha256,
        headrace_version="1.2.3",
    )
    fake.connections.jobs.create_spec(spec)
    first = 0
    for number, columns in enumerate(parts):
        data = part(pipeline, first, **columns)
        fake.store.put("results", part_key(spec, number), data)
        first += len(next(iter(columns.values())))
    accounting = Accounting(listed=first, succeeded=first)
    fake.connections.jobs.create_closing(name, Closing(state="succeeded", accounting=accounting))


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """A job with vectors and palettes in two parts, of which image 3 failed."""
    fake = fake_connections(tmp_path)
    fake.store.make_bucket("results")
    pipeline = pipeline_of(embedding=vector(8), colours=palette())
    vectors = [*VECTORS[:3], FAILED, *VECTORS[4:]]
    first = {"embedding": vectors[:4], "colours": [*COLOURS[:3], FAILED]}
    job(fake, pipeline, first, {"embedding": vectors[4:], "colours": COLOURS[4:]})
    monkeypatch.setattr("producer.connections.connect_stack", lambda: fake.connections)
    monkeypatch.chdir(tmp_path)
    return fake


def cosines(number: int) -> list[tuple[str, float]]:
    units = np.array(VECTORS) / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    scores = units @ units[number]
    others = [n for n in np.argsort(-scores).tolist() if n not in (number, 3)]
    return [(key_of(n), scores[n]) for n in others]


def test_similar_answers_in_json(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["similar", "job", key_of(5), "--top", "4", "--json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    wanted = cosines(5)[:4]
    assert [(image["key"], image["etag"]) for image in found] == [
        (key, f"e{int(key[3:7])}") for key, _ in wanted
    ]
    assert [image["score"] for image in found] == pytest.approx([s for _, s in wanted], abs=2e-6)
    assert printed.err == ""


def test_similar_shows_ten_by_default(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["similar", "job", key_of(5)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[1:]] == [[f"{s:.4f}", key] for key, s in cosines(5)]


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (["job", key_of(3)], "image_failed", 1),
        (["job", "no such.jpg"], "no_such_image", 2),
        (["job", "."], "no_such_image", 2),
        (["job", key_of(1), "--column", "colours"], "which_column", 2),
        (["plain", "a.jpg"], "no_vectors", 2),
        (["no-such-job", "a.jpg"], "no_such_job", 1),
        (["job", "./shape.yaml"], "try_failed", 1),
        (["job", "shape.yaml"], "try_failed", 1),
    ],
)
def test_errors_of_similar(
    fake: Fake,
    arguments: list[str],
    code: str,
    exit_code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(stages_process, "MODULE", "workers.no_such_module")
    job(fake, samples.pipeline(), name="plain")
    assert run(["similar", *arguments, "--json"]) == exit_code
    printed = capsys.readouterr()
    assert json.loads(printed.err)["error"]["code"] == code
    assert printed.out == ""


def test_a_file_is_compared_by_what_the_jobs_pipeline_says_of_it(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stages_process, "PROJECT_ROOT", tmp_path)
    monkeypatch.setattr(stages_process, "MODULE", "own.child")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "child.py").write_text(
        "import json, pathlib, sys\n"
        "asked = json.load(sys.stdin)\n"
        "assert 'embedding' in asked['pipeline']['analyses']\n"
        "assert asked['store'] is None\n"
        "words = pathlib.Path(asked['images'][0]['key']).read_text().split()\n"
        "row = {'embedding': json.loads(words[0]), 'error_code': None}\n"
        "failed = {'embedding': None, 'error_code': 'corrupt', 'error_message': 'It is cut.'}\n"
        "if words[1:] == ['ends']: sys.exit('it ends')\n"
        "print(json.dumps({'rows': [failed if words[1:] else row], 'timings_ms': {}}))\n"
    )
    file = tmp_path / key_of(5)  # also a key: a path that begins with a dot is a file
    file.parent.mkdir()
    text = json.dumps(VECTORS[7], separators=(",", ":"))
    file.write_text(text)
    assert run(["similar", "job", f"./{key_of(5)}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found[0]["key"], found[0]["score"]) == (key_of(7), 1.0)
    for said, code in (("fails", "image_failed"), ("ends", "try_failed")):
        file.write_text(f"{text} {said}")
        assert run(["similar", "job", str(file), "--json"]) == 1
        assert json.loads(capsys.readouterr().err)["error"]["code"] == code


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[ContactSheets]:
    asked = []

    def draw(request: ContactSheets, progress: Callable[[int], None]) -> int:
        asked.append(request)
        for sheet in request.sheets:
            sheet.path.write_bytes(b"a sheet")
        return 2

    monkeypatch.setattr(style_files, "draw_sheets", draw)
    return asked


def test_styles_writes_groups_and_names_the_sheets(
    fake: Fake,
    drawn: list[ContactSheets],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["styles", "job", "--groups", "2", "-o", "styles.csv"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert [line.split()[0] for line in lines] == ["GROUP", "1", "2"]
    assert lines[1].endswith("styles.csv.sheets/group-01.jpg")
    assert "2 of 9 images could not be fetched" in printed.err
    assert "9 rows in styles.csv" in printed.err
    assert (tmp_path / "styles.csv").read_text().startswith('"key","group"\n')
    (asked,) = drawn
    assert asked.bucket == "photos"
    assert asked.home == tmp_path


def test_styles_by_colours_alone(fake: Fake, drawn: list[ContactSheets], tmp_path: Path) -> None:
    job(fake, pipeline_of(colours=palette()), {"colours": COLOURS}, name="colours")
    assert run(["styles", "colours", "-o", "styles.jsonl"]) == 0
    rows = (tmp_path / "styles.jsonl").read_text().splitlines()
    assert {json.loads(row)["group"] for row in rows} == {1}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["job", "-o", "styles.txt"], ".csv, .jsonl, .parquet"),
        (["job", "-o", "styles"], ".csv, .jsonl, .parquet"),
        (["job", "-o", "s3://results/styles.csv"], "a path here"),
        (["job", "-o", "no-such-folder/styles.csv"], "no folder 'no-such-folder'"),
        (["plain", "-o", "styles.csv"], "embed or catalogue"),
        (["job", "-o", "styles.csv", "--column", "colours"], "Say --column embedding"),
        (["job", "-o", "styles.csv", "--groups", "0"], "groups"),
        (["job"], "output"),
    ],
)
def test_errors_of_styles(
    fake: Fake, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    job(fake, samples.pipeline(), name="plain")
    assert run(["styles", *arguments]) == 2
    assert said in capsys.readouterr().err
