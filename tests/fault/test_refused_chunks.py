"""A chunk whose answers no message takes fails those images alone, and the job ends."""

from __future__ import annotations

from pathlib import Path

from tests.support.injection.table import Line, note
from tests.support.stack import Stack, small_images

# Longer labels than usual, so many that for so many images no message takes them; a quarter of
# them, which the first chunk has, are not.
FIRST, LARGE, LAST = 64, 256, 8
PLUGIN = """
class Talkative:
    def __call__(self, images):
        return [[(f"{n:0>200}", 0.01) for n in range(100)] for _ in images]
"""
PIPELINE = (
    "name: talkative\n"
    "preprocess: {resize_shorter_pixels: 8, crop_pixels: 8}\n"
    "model: {python: 'talkative:Talkative'}\n"
    "postprocess: {top_k: 100}\n"
)


def test_a_chunk_whose_answers_are_too_large_for_a_message_loses_no_image(
    stack: Stack, plugins: Path, tmp_path: Path
) -> None:
    (plugins / "talkative.py").write_text(PLUGIN)
    pipeline = tmp_path / "talkative.yaml"
    pipeline.write_text(PIPELINE)
    images = small_images(FIRST + LARGE + LAST, seed=11)
    stack.put("talkative", images)
    job = stack.enqueue("s3://talkative/", "--chunk-items", str(LARGE), pipeline=str(pipeline))
    status = stack.finish(job)
    assert status["images"]["listed"] == len(images)
    failed = [row for row in stack.rows(job) if row["status"] == "failed"]
    assert 0 < len(failed) < LARGE
    assert status["images"]["succeeded"] == len(images) - len(failed)
    assert {row["error_code"] for row in failed} == {"model_error"}
    assert all("smaller --chunk-items" in row["error_message"] for row in failed)
    assert {row["key"] for row in failed} <= set(sorted(images)[FIRST : FIRST + LARGE])
    verdict = stack.auditor.audit("talkative", "", job)
    assert verdict.clean, verdict
    line = Line("Answers too large for a message")
    line.add(verdict)
    note(line)
