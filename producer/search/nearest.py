"""The images that are most like one: by the cosine of their vectors, exactly."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from producer.connections import Connections
from producer.few_images import run_images
from producer.search.faiss_library import load_faiss
from producer.search.vectors import (
    BATCH_ROWS,
    ReadRows,
    Vectors,
    answered,
    scaled_to_unit,
    unit_vectors,
)
from producer.stages_process import stages_process
from shared.errors import PermanentError, UsageError
from shared.job import JobSpec
from shared.job_store import JobStore
from shared.pipeline import Pipeline

_SHOWN_KEYS = 3


@dataclass(frozen=True, slots=True)
class SimilarImage:
    """An image of the job. ``score``: from 1 for the same direction to -1 for the opposite."""

    key: str
    etag: str
    score: float


def vector_of_key(read_rows: ReadRows, column: str, key: str) -> Vectors | None:
    """The unit vector of the image with that key, of shape (1, numbers); None where none has it.

    Raises PermanentError ``image_failed``.
    """
    for table in read_rows():
        place = pc.index(table["key"], key).as_py()
        if place < 0:
            continue
        row = table.slice(place, 1)
        if not row[column][0].is_valid:
            raise PermanentError(
                "image_failed",
                f"The image {key!r} has no vector, since it failed: "
                f"{row['error_code'][0]}: {row['error_message'][0]}",
                "Choose another, or see 'headrace retry --help'.",
            )
        return unit_vectors(row[column].combine_chunks())
    return None


def vector_of_image(connections: Connections, spec: JobSpec, column: str, image: str) -> Vectors:
    """The unit vector of a file or an ``s3://`` object, as the job computes it.

    Its shape is (1, numbers). Raises PermanentError ``image_failed``, and what ``run_images``
    raises.
    """
    settings, pipeline = connections.settings, _as_computed(connections.jobs, spec, column)
    with stages_process() as process:
        found = run_images(
            process, pipeline, [image], settings.home, models_bucket=settings.models_bucket
        )
    (row,) = found.rows
    if row["error_code"]:
        reason = f"{row['error_code']}: {row['error_message']}"
        raise PermanentError("image_failed", f"{image!r} has no vector: {reason}")
    return scaled_to_unit(np.array([row[column]], np.float32))


def _as_computed(jobs: JobStore, spec: JobSpec, column: str) -> Pipeline:
    """The job's pipeline with that column alone, in the engine and precision of the job."""
    whole = spec.pipeline
    analysis = whole.network_analyses[column]
    choice = jobs.engine(spec.job_id, spec.job_uid, column)
    options = analysis.model_dump()
    if choice is not None and choice.precision is not None:  # a class has no precision
        options |= {"engine": choice.engine, "precision": choice.precision}
    models = {analysis.model: whole.models[analysis.model].model_dump()}
    return Pipeline.model_validate(
        whole.model_dump() | {"models": models, "analyses": {column: options}}
    )


def no_such_key(read_rows: ReadRows, key: str) -> UsageError:
    """The error where no row of the job has the key; it names similar keys."""
    name = key.rpartition("/")[2]
    same_name: list[str] = []
    first: list[str] = []
    for table in read_rows():
        keys = table["key"]
        ends = pc.ends_with(keys, name, ignore_case=True)
        same_name += keys.filter(ends).slice(0, _SHOWN_KEYS).to_pylist()
        # A closer look at a million keys would take a minute.
        first += keys.slice(0, BATCH_ROWS - len(first)).to_pylist()
        if len(same_name) >= _SHOWN_KEYS:
            break
    near = same_name[:_SHOWN_KEYS] or difflib.get_close_matches(key, first, n=_SHOWN_KEYS)
    shown = near or first[:_SHOWN_KEYS]
    problem = f"{key!r} is no key of the job's rows, and no file."
    if not shown:
        return UsageError("no_such_image", problem, "There are no rows yet.")
    lead = "Did you mean" if near else "There are, for example,"
    end = "?" if near else "."
    return UsageError("no_such_image", problem, f"{lead} {', '.join(map(repr, shown))}{end}")


def most_similar(
    read_rows: ReadRows, column: str, vector: Vectors, count: int, *, without: str | None = None
) -> list[SimilarImage]:
    """The ``count`` images whose vectors have the largest cosine with ``vector``, best first.

    ``vector``: of length 1, of shape (1, numbers). ``without``: the key of an image to leave out.
    Of those that are equally like it, the first rows come first. The rows are read once, and no
    more of them than a part is held.
    """
    faiss = load_faiss()
    best: list[SimilarImage] = []
    for batch in answered(read_rows(), [column]):
        vectors = unit_vectors(batch[column])
        cosines = faiss.pairwise_distances(vector, vectors, metric=faiss.METRIC_INNER_PRODUCT)[0]
        # Of what is computed in float32, more digits mean nothing, and would part equal images.
        scores = np.clip(cosines.astype(np.float64).round(6), -1, 1)
        places = np.argsort(-scores, kind="stable")[: count + 1]  # one of them may be left out
        found = [
            SimilarImage(batch["key"][place].as_py(), batch["etag"][place].as_py(), score)
            for place, score in zip(places.tolist(), scores[places].tolist(), strict=True)
        ]
        best += [image for image in found if image.key != without]
        best.sort(key=lambda image: -image.score)
        del best[count:]
    return best
