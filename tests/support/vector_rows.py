"""A job's rows with vectors and palettes, in Parquet parts as they lie in the bucket."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shared.analyses import Analysis
from shared.analyses.palette import Palette
from shared.analyses.vector import Vector
from shared.pipeline import Pipeline
from shared.rows import from_parquet, rows_schema
from shared.views.crop import Crop
from tests.support.row_files import to_parquet
from tests.support.samples import MODEL, long_pipeline

VIEW = Crop(resize_shorter_pixels=256, crop_pixels=224)
FAILED = None


def vector(length: int) -> Vector:
    """An analysis that gives vectors of that length."""
    return Vector(model=MODEL.name, view=VIEW, length=length)


def palette() -> Palette:
    """An analysis that gives palettes."""
    return Palette(view=Palette.own_view)


def pipeline_of(**analyses: Analysis) -> Pipeline:
    """A pipeline in the long form with these analyses."""
    uses_model = any(isinstance(each, Vector) for each in analyses.values())
    return long_pipeline(dict(analyses), (MODEL,) if uses_model else ())


def shades(*colours: tuple[str, float]) -> list[dict[str, Any]]:
    """A palette of colours as ``#rrggbb`` with their shares."""
    return [{"hex": text, "share": share, "name": "a colour"} for text, share in colours]


def part(pipeline: Pipeline, first: int, **columns: Sequence[Any]) -> bytes:
    """A part whose first image is number ``first``: images without an answer have failed."""
    rows = [
        row(first + place, dict(zip(columns, answers, strict=True)))
        for place, answers in enumerate(zip(*columns.values(), strict=True))
    ]
    return to_parquet(pa.Table.from_pylist(rows, schema=rows_schema(pipeline)), {})


def row(number: int, answers: dict[str, Any]) -> dict[str, Any]:
    """The row of one image."""
    failed = any(answer is FAILED for answer in answers.values())
    key = key_of(number)
    return {
        **{"job_id": "job", "key": key, "etag": f"e{number}", "size": 3, "pipeline": "catalogue"},
        **{"uri": f"s3://photos/{key}", "name": key.rpartition("/")[2]},
        "status": "failed" if failed else "ok",
        "error_code": "corrupt" if failed else None,
        "error_message": "It is damaged." if failed else None,
        **answers,
    }


def key_of(number: int) -> str:
    """The key of an image."""
    return f"in/{number:04}.jpg"


class Parts:
    """Parquet parts in memory; called, they are read as a job's rows are. ``reads``: how often."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = parts
        self.reads = 0

    def __call__(self) -> Iterator[pa.Table]:
        self.reads += 1
        for data in self.parts:
            yield from_parquet(data)[0]


def vector_parts(vectors: npt.NDArray[Any], *part_sizes: int) -> Parts:
    """Vectors in a column ``embedding``, in parts of these sizes."""
    pipeline = pipeline_of(embedding=vector(vectors.shape[1]))
    ends = np.cumsum(part_sizes)
    assert ends[-1] == len(vectors)
    starts = [0, *ends[:-1].tolist()]
    return Parts(
        *(
            part(pipeline, start, embedding=[each.tolist() for each in vectors[start:end]])
            for start, end in zip(starts, ends, strict=True)
        )
    )
