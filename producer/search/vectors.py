"""The vectors in a job's rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from shared.columns import MODELS_COLUMN
from shared.errors import UsageError
from shared.pipeline import Pipeline

Vectors = npt.NDArray[np.float32]
# Gives a job's rows as often as it is called, each time from the first part on: they may be larger
# than memory.
ReadRows = Callable[[], Iterable[pa.Table]]
# What is converted and compared at once: 21 MB for 1,280 numbers an image.
BATCH_ROWS = 4096


def columns_of_kind(pipeline: Pipeline, kind: str) -> list[str]:
    """The columns that analyses of a kind have in the pipeline's rows."""
    return [name for name, each in pipeline.analyses.items() if each.kind == kind]


def vector_column(pipeline: Pipeline, wanted: str | None) -> str:
    """The column of vectors to compare: ``wanted``, or the only one. Raises UsageError."""
    columns = columns_of_kind(pipeline, "vector")
    if not columns:
        raise UsageError(
            "no_vectors",
            f"The job's pipeline '{pipeline.name}' computes no vectors.",
            "Enqueue with one that has an analysis of kind 'vector', such as embed or catalogue.",
        )
    if wanted is None and len(columns) == 1:
        return columns[0]
    if wanted not in columns:
        several = "The job's rows have several columns of vectors."
        problem = several if wanted is None else f"The job's rows have no vectors in {wanted!r}."
        hint = " or ".join(f"--column {name}" for name in columns)
        raise UsageError("which_column", problem, f"Say {hint}.")
    return wanted


def by_models_of(
    pipeline: Pipeline, columns: Sequence[str], tables: Iterable[pa.Table]
) -> Iterator[pa.Table]:
    """The rows without those in which another version of a model computed one of ``columns``.

    ``retry --update`` makes such rows, and their vectors cannot be compared with the others.
    """
    versions = {column: pipeline.model_of(column).sha256 for column in columns}
    for table in tables:
        models = table[MODELS_COLUMN].combine_chunks()
        used = models.flatten()
        keep = np.ones(len(table), bool)
        for column, version in versions.items():
            is_other = pc.and_(
                pc.equal(pc.struct_field(used, "analysis"), column),
                pc.not_equal(pc.struct_field(used, "version"), version),
            )
            keep[pc.list_parent_indices(models).filter(is_other).to_numpy()] = False
        yield table if keep.all() else table.filter(pa.array(keep))


def answered(tables: Iterable[pa.Table], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The rows that have a value in each of ``columns``, in batches of at most ``BATCH_ROWS``."""
    for table in tables:
        for batch in table.to_batches(max_chunksize=BATCH_ROWS):
            for column in columns:
                if batch[column].null_count:
                    batch = batch.filter(batch[column].is_valid())
            if batch.num_rows:
                yield batch


def unit_vectors(vectors: pa.FixedSizeListArray) -> Vectors:
    """The vectors, none of them null, scaled to length 1: float32 of shape (images, numbers).

    One of only zeros stays so, and is like no other.
    """
    numbers = pc.list_flatten(vectors).to_numpy(zero_copy_only=False)
    return scaled_to_unit(numbers.astype(np.float32, copy=False).reshape(len(vectors), -1))


def scaled_to_unit(vectors: Vectors) -> Vectors:
    """The vectors with length 1."""
    # The largest numbers first: the square of one above 1e19 is no float32.
    largest = np.maximum(vectors.max(axis=1), -vectors.min(axis=1))[:, None]
    scaled: Vectors = np.divide(vectors, np.where(largest > 0, largest, 1), dtype=np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", scaled, scaled))[:, None]
    scaled /= np.where(lengths > 0, lengths, 1)
    return scaled
