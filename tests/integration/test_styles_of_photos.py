"""``styles`` on a real store, with the process that draws the contact sheets."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from producer.cli.exits import run
from shared.job import Accounting, Closing, JobSpec
from shared.job_store import JobStore
from shared.keys import part_key
from shared.settings import S3Settings
from shared.storage import resolve_store
from tests.support import samples
from tests.support.servers import start_seaweedfs
from tests.support.vector_rows import key_of, palette, part, pipeline_of, shades

RED, BLUE = "#c81414", "#1414c8"
COLOURS = [shades((colour, 1.0)) for colour in (RED, BLUE, RED, BLUE, RED)]


def test_sheets_show_the_photos_of_each_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weed = start_seaweedfs(tmp_path / "weed")
    try:
        s3 = S3Settings(
            endpoint=weed.endpoint, access_key=weed.access_key, secret_key=weed.secret_key
        )
        settings = samples.settings(tmp_path).model_copy(update={"s3": s3})
        samples.save_settings(settings)
        monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
        store = resolve_store(settings, "photos")
        for bucket in ("photos", "results", settings.state_bucket):
            store.make_bucket(bucket)
        pipeline = pipeline_of(colours=palette())
        spec = JobSpec(
            job_id="job",
            bucket="photos",
            output_bucket="results",
            pipeline=pipeline,
            pipeline_sha256=pipeline.sha256,
            headrace_version="1.2.3",
        )
        for number, ((colour,), name) in enumerate(zip(COLOURS, "abcde", strict=True)):
            path = tmp_path / f"{name}.png"
            Image.new("RGB", (60 + number, 40), colour["hex"]).save(path)
            store.put("photos", key_of(number), path.read_bytes())
        etags = [info.etag for info in store.list("photos")]
        sizes = [info.size for info in store.list("photos")]
        data = part(pipeline, 0, colours=COLOURS, etag=etags, size=sizes)
        store.put("results", part_key(spec, 0), data)
        jobs = JobStore(store, settings.state_bucket)
        jobs.create_spec(spec)
        jobs.create_closing("job", Closing(state="succeeded", accounting=Accounting(listed=5)))
        store.put("photos", key_of(3), b"replaced since")

        assert run(["styles", "job", "--groups", "2", "-o", str(tmp_path / "styles.csv")]) == 0
    finally:
        weed.stop()
    assert "1 of 5 images could not be fetched or decoded" in capsys.readouterr().err
    sheets = tmp_path / "styles.csv.sheets"
    red, blue = (Image.open(sheets / f"group-{number:02}.jpg") for number in (1, 2))
    assert [colour_of(red, tile) for tile in range(3)] == ["red"] * 3
    assert sorted(colour_of(blue, tile) for tile in range(2)) == ["blue", "gray"]


def colour_of(sheet: Image.Image, tile: int) -> str:
    """The strongest channel in the middle of a tile."""
    red, _, blue = sheet.getpixel((100 + 204 * tile, 100))  # type: ignore[misc]
    return "gray" if abs(red - blue) < 10 else "red" if red > blue else "blue"
