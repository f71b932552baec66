"""What users get wrong: one line that says what to do, the right exit code, nothing left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.stack import Stack, small_images


@pytest.fixture(scope="module")
def bucket(stack: Stack) -> str:
    stack.put("plain", small_images(20, prefix="in/"))
    return "s3://plain/in/"


MISTAKES = {
    "missing bucket": (["s3://no-such-bucket/x"], 1, "no-such-bucket"),
    "nothing under the prefix": (["s3://plain/nothing/here"], 1, "nothing/here"),
    "nothing left by the patterns": (["s3://plain/in/", "--include", "*.webp"], 1, "webp"),
    "no URL": (["/home/me/photos"], 2, "s3://"),
    "chunk items zero": (["s3://plain/in/", "--chunk-items", "0"], 2, "chunk-items"),
    "chunk items too large": (["s3://plain/in/", "--chunk-items", "100000"], 2, "chunk-items"),
    "unknown pipeline": (["s3://plain/in/", "--pipeline", "clasify"], 2, "classify"),
    "bad job id": (["s3://plain/in/", "--job-id", "a b"], 2, "job"),
    "missing output bucket": (
        ["s3://plain/in/", "--output", "s3://no-such-output/x"],
        1,
        "no-such",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_the_right_exit_code(
    stack: Stack, bucket: str, mistake: str
) -> None:
    arguments, code, hint = MISTAKES[mistake]
    if "--pipeline" not in arguments:
        arguments = [*arguments, "--pipeline", "classify"]
    jobs = stack.json("jobs")
    plain = stack.run("enqueue", *arguments, check=False)
    assert (plain.returncode, plain.stdout) == (code, "")
    assert len(plain.stderr.strip().splitlines()) == 1, plain.stderr
    assert hint in plain.stderr
    as_json = stack.run("enqueue", *arguments, "--json", check=False)
    error = json.loads(as_json.stderr)["error"]
    assert set(error) == {"code", "message", "hint"}
    assert stack.json("jobs") == jobs


def test_a_wrong_field_in_a_pipeline_names_the_line(
    stack: Stack, bucket: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nmodel: mobilenet_v2\npreprocess:\n  crop_pixel: 224\n")
    done = stack.run("enqueue", bucket, "--pipeline", str(file), check=False)
    assert done.returncode == 2
    assert "mine.yaml:4" in done.stderr
    assert "crop_pixels" in done.stderr


def test_the_same_job_id_continues_or_is_refused(stack: Stack, bucket: str) -> None:
    first = stack.enqueue(bucket, "--job-id", "nightly", "--limit", "5")
    assert stack.enqueue(bucket, "--job-id", "nightly", "--limit", "5") == first == "nightly"
    other = stack.run(
        *("enqueue", bucket, "--pipeline", "classify", "--job-id", "nightly", "--limit", "6"),
        check=False,
    )
    assert other.returncode == 2
    assert "limit" in other.stderr
    assert stack.finish("nightly")["images"]["listed"] == 5


def test_no_stack_is_said_in_one_line(tmp_path: Path) -> None:
    nowhere = Stack(tmp_path / "nowhere")
    for command in (["status"], ["info"], ["jobs"], ["results", "x"]):
        done = nowhere.run(*command, check=False)
        assert done.returncode == 2, command
        assert "headrace up" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert not nowhere.home.exists()


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    done = Stack(tmp_path / "home").run("up", check=False)
    assert done.returncode != 0
    assert str(tmp_path / "home") in done.stderr


def test_a_store_or_broker_that_does_not_answer(stack: Stack, bucket: str) -> None:
    deaf = Stack(stack.home, {**stack.environment, "HEADRACE_S3__ENDPOINT": "127.0.0.1:9"})
    done = deaf.run("enqueue", bucket, "--pipeline", "classify", check=False)
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr
    wrong = Stack(stack.home, {**stack.environment, "HEADRACE_S3__SECRET_KEY": "wrong"})
    done = wrong.run("enqueue", bucket, "--pipeline", "classify", check=False)
    assert done.returncode == 1
    assert "credentials" in done.stderr.lower()


def test_cancel_accounts_for_what_was_not_done(stack: Stack) -> None:
    stack.put("cancelled", small_images(2000, seed=4))
    job = stack.enqueue("s3://cancelled/", "--chunk-items", "8")
    stack.run("cancel", job)
    status = stack.finish(job)
    images = status["images"]
    assert status["state"] == "cancelled"
    assert images["listed"] == images["succeeded"] + images["failed"] + images["cancelled"]
    assert images["cancelled"] > 0
    stack.run("rm", job, "--yes")
    assert stack.run("status", job, check=False).returncode != 0
