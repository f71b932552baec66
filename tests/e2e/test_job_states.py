"""How a job ends when images fail: the state, the reason, what is said, what a retry turns."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.stack import Stack

DARK, BRIGHT = 12, 108
PIPELINE = (
    "name: bright\n"
    "preprocess: {resize_shorter_pixels: 32, crop_pixels: 32}\n"
    "model: {python: 'bright:Bright'}\n"
)


@pytest.fixture(scope="module", autouse=True)
def images(stack: Stack) -> None:
    """A tenth of the images under ``mixed/`` are dark, and all of those under ``dark/``."""
    stack.put("shades", {f"mixed/{n:03}.png": square(n * 2) for n in range(DARK + BRIGHT)})
    stack.put("shades", {f"dark/{n:03}.png": square(n % DARK) for n in range(400)})


def square(shade: int) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (32, 32), (shade, shade, shade)).save(sink, "PNG")
    return sink.getvalue()


def pipeline(folder: Path, darkest: int = 2 * DARK, seconds: float = 0.0) -> str:
    """A class that raises over darker images, each time after so many seconds."""
    (folder / "bright.py").write_text(
        "import time\n"
        "class Bright:\n"
        "    def __call__(self, images):\n"
        f"        if images.min() < {darkest}:\n"
        f"            time.sleep({seconds})\n"
        "            raise ValueError('too dark')\n"
        "        return ['bright'] * len(images)\n"
    )
    path = folder / "bright.yaml"
    path.write_text(PIPELINE)
    return str(path)


def objects(stack: Stack, job: str) -> set[str]:
    listing = stack.s3.list_objects_v2(Bucket="results", Prefix=f"{job}/")
    return {entry["Key"].split("/")[1] for entry in listing["Contents"]}


def ended(stack: Stack, job: str) -> tuple[str, str | None]:
    status: dict[str, Any] = stack.finish(job)
    return status["state"], status["reason"]


def test_a_job_of_which_nothing_succeeds_has_failed_until_a_retry_succeeds(
    stack: Stack, tmp_path: Path
) -> None:
    waited = stack.run(
        *("enqueue", "s3://shades/dark/", "--pipeline", pipeline(tmp_path), "--limit", "9"),
        *("--job-id", "all-dark", "--wait"),
        check=False,
    )
    assert waited.returncode == 1
    said = (
        "No image succeeded: 9 of 9 failed, all of them as model_error, for example "
        "dark/000.png: bright.py:6: ValueError: too dark. See 'headrace errors all-dark'."
    )
    assert said in waited.stderr
    assert "state     failed: no image succeeded" in waited.stdout
    status = stack.status("all-dark")
    assert (status["state"], status["reason"], status["error"]) == ("failed", "no_success", said)
    assert (status["images"]["failed"], len(stack.rows("all-dark"))) == (9, 9)
    assert objects(stack, "all-dark") == {"rows", "manifest.json"}
    pipeline(tmp_path, darkest=0)
    retried = stack.json("retry", "all-dark", "--failed", "--update", "--wait")
    assert (retried["state"], retried["reason"]) == ("succeeded", None)
    status = stack.json("wait", "all-dark")  # exits 0
    assert (status["state"], status["reason"], status["error"]) == ("succeeded", None, None)
    assert (status["images"]["succeeded"], status["images"]["failed"]) == (9, 0)


def test_a_job_stops_early_when_more_fail_than_may(stack: Stack, tmp_path: Path) -> None:
    given = ("--max-errors", "10", "--chunk-items", "4", "--job-id", "stopped")
    dark = pipeline(tmp_path, seconds=0.1)
    job = stack.enqueue("s3://shades/dark/", *given, pipeline=dark)
    assert ended(stack, job) == ("failed", "too_many_errors")
    status = stack.status(job)
    images = status["images"]
    assert images["failed"] > 10
    assert images["cancelled"] > 0
    assert images["failed"] + images["cancelled"] == images["listed"] == 400
    assert str(status["error"]).startswith("Stopped early: ")
    assert str(status["error"]).endswith("; to run them, enqueue again.")
    assert objects(stack, job) == {"rows", "manifest.json"}
    assert len(stack.rows(job)) == images["failed"]
    other = stack.run("enqueue", "s3://shades/dark/", "--pipeline", dark, *given[2:], check=False)
    assert other.returncode == 2
    assert "max_errors.images: 10 -> None" in other.stderr


def test_a_percentage_of_the_rows_decides_and_retries_decide_again(
    stack: Stack, tmp_path: Path
) -> None:
    path = pipeline(tmp_path)
    limits = ("10%", "9.9%", "12", "11")
    jobs = {
        limit: stack.enqueue("s3://shades/mixed/", "--max-errors", limit, pipeline=path)
        for limit in limits
    }
    ends = {limit: ended(stack, job) for limit, job in jobs.items()}
    failed = ("failed", "too_many_errors")
    assert ends == {
        "10%": ("succeeded", None),
        "9.9%": failed,
        "12": ("succeeded", None),
        "11": failed,
    }
    assert "12 of 120 images failed, and --max-errors allows 9.9%" in str(
        stack.status(jobs["9.9%"])["error"]
    )
    stack.run("retry", jobs["11"], "--failed", "--wait", check=False)
    assert ended(stack, jobs["11"]) == failed
    pipeline(tmp_path, darkest=2)  # all but one
    stack.run("retry", jobs["11"], "--failed", "--update", "--wait")
    assert ended(stack, jobs["11"]) == ("succeeded", None)
    assert stack.run("wait", jobs["11"], "--fail-on-image-errors", check=False).returncode == 1


def test_a_model_that_cannot_be_loaded_ends_its_job_at_once(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text("name: odd\nmodel: mobilenet_v2\nengine: onnxruntime\nprecision: bfloat16\n")
    job = stack.enqueue("s3://shades/mixed/", pipeline=str(path))
    assert ended(stack, job) == ("failed", "no_success")
    status = stack.status(job)
    assert "onnxruntime computes in float32, not in bfloat16" in status["error"]
    assert status["images"]["cancelled"] == status["images"]["listed"]
    assert "to run the" in stack.run("retry", job, "--failed", check=False).stderr.lower()


def test_what_max_errors_cannot_be_is_said_in_one_line(stack: Stack, tmp_path: Path) -> None:
    done = stack.run(
        *("enqueue", "s3://shades/", "--pipeline", pipeline(tmp_path), "--max-errors=101%"),
        check=False,
    )
    assert done.returncode == 2
    assert "Give a number of images, as in 100, or a percentage" in done.stderr
    assert done.stderr.count("\n") == 1
