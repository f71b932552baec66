"""What is known of the items of a chunk so far, as it travels: one Arrow record batch.

Row i is about item i of the chunk, which the manifest names. Columns: ``width`` and ``height`` in
pixels, upright, null where they were never known; ``error_code`` and ``error_message``, null unless
the item failed; ``warning``; and one for each analysis that was computed so far, under its name,
null where the item failed.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from shared import record_batches
from shared.errors import ItemErrorCode
from shared.item import IMAGE_WARNINGS, ItemFailure
from shared.limits import MAX_CHUNK_ITEMS, MAX_ERROR_MESSAGE_CHARACTERS, MAX_IMAGE_SIDE_PIXELS
from shared.measures import are_within, longest_text
from shared.pipeline import Pipeline
from shared.stages import Stage

# What is left of ``shared.messages.MAX_MESSAGE_BYTES``, of which base64 takes a third, is for the
# pipeline.
MAX_ANSWER_BYTES = 5 * 2**20

_ABOUT_ITEMS = (
    pa.field("width", pa.int32()),
    pa.field("height", pa.int32()),
    pa.field("error_code", pa.string()),
    pa.field("error_message", pa.string()),
    pa.field("warning", pa.string()),
)
_ERROR_CODES = {None, *(code.value for code in ItemErrorCode)}
_WARNINGS = {None, *IMAGE_WARNINGS}


def answer_schema(pipeline: Pipeline, stage: Stage) -> pa.Schema:
    """The columns of what leaves ``stage``."""
    done = pipeline.route[: pipeline.route.index(stage) + 1]
    own = [
        pa.field(name, analysis.answer_type())
        for name, analysis in pipeline.analyses.items()
        if analysis.stage in done
    ]
    return pa.schema([*_ABOUT_ITEMS, *own])


def decode_answers(data: bytes, pipeline: Pipeline, stage: Stage) -> pa.RecordBatch:
    """The answers that left ``stage``, as a message has them: ``record_batches.encode`` made them.

    Raises ValueError for all that is not answers of that pipeline, each within its bounds.
    """
    answers = record_batches.decode(data, answer_schema(pipeline, stage))
    if not 1 <= len(answers) <= MAX_CHUNK_ITEMS:
        raise ValueError(f"{len(answers)} items in a chunk")
    if problem := problem_of(answers, pipeline):
        raise ValueError(problem)
    return answers


def problem_of(answers: pa.RecordBatch, pipeline: Pipeline) -> str | None:
    """What is wrong with answers of the right columns, in a few words; None where all is well."""
    if problem := _problem_of_items(answers):
        return problem
    failed = answers["error_code"].is_valid()
    for name in answers.schema.names[len(_ABOUT_ITEMS) :]:
        column = answers[name]
        if not _have_nulls_in(column, failed):
            return f"{name}: an item that failed has an answer, or one that did not has none"
        if problem := pipeline.analyses[name].check(column):
            return f"{name}: {problem}"
    return None


def _have_nulls_in(column: pa.Array, is_null: pa.BooleanArray) -> bool:
    """Whether a column is null in just these rows."""
    count = column.null_count
    return count == is_null.true_count and (
        count in (0, len(column)) or bool(column.is_null().equals(is_null))
    )


def _have_nulls_in_failed(column: pa.Array, error_codes: pa.Array) -> bool:
    """Whether a column is null only where the item failed."""
    if error_codes.null_count == 0:
        return True
    return not pc.any(pc.and_(column.is_null(), error_codes.is_null())).as_py()


def _problem_of_items(answers: pa.RecordBatch) -> str | None:
    for name in ("width", "height"):
        sides = answers[name]
        if sides.null_count and not _have_nulls_in_failed(sides, answers["error_code"]):
            return f"{name}: missing for an item that did not fail"
        if not are_within(sides, 1, MAX_IMAGE_SIDE_PIXELS):
            return f"{name}: not from 1 to {MAX_IMAGE_SIDE_PIXELS}"
    for name, allowed in (("error_code", _ERROR_CODES), ("warning", _WARNINGS)):
        column = answers[name]
        if column.null_count < len(column) and not allowed.issuperset(column.to_pylist()):
            return f"{name}: not a known {name.replace('_', ' ')}"
    messages = answers["error_message"]
    if not _have_nulls_in(messages, answers["error_code"].is_null()):
        return "error_message: an item that failed has none, or one that did not has one"
    limit = MAX_ERROR_MESSAGE_CHARACTERS
    if longest_text(messages, limit) > limit:
        return f"error_message: more than {MAX_ERROR_MESSAGE_CHARACTERS} characters"
    return None


def about_items(
    sizes: list[tuple[int, int] | None],
    failures: Mapping[int, ItemFailure],
    warnings: Mapping[int, str],
) -> dict[str, pa.Array]:
    """The columns that every chunk has. ``failures`` and ``warnings``: by row."""
    rows = range(len(sizes))
    failed = [failures.get(row) for row in rows]
    values = (
        [size and size[0] for size in sizes],
        [size and size[1] for size in sizes],
        [failure and failure.error_code.value for failure in failed],
        [failure and failure.error_message for failure in failed],
        [warnings.get(row) for row in rows],
    )
    return {
        field.name: pa.array(column, field.type)
        for field, column in zip(_ABOUT_ITEMS, values, strict=True)
    }


def all_failed(count: int, schema: pa.Schema, failure: ItemFailure) -> pa.RecordBatch:
    """Answers of a chunk of ``count`` items that all failed, of which nothing else is known."""
    found = about_items([None] * count, dict.fromkeys(range(count), failure), {})
    arrays = [found.get(field.name, pa.nulls(count, field.type)) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def good_rows(answers: pa.RecordBatch) -> pa.Array:
    """The numbers of the rows that have not failed."""
    return pc.indices_nonzero(answers["error_code"].is_null())


def with_answers(
    answers: pa.RecordBatch,
    schema: pa.Schema,
    columns: Mapping[str, pa.Array],
    failures: Mapping[int, ItemFailure],
) -> pa.RecordBatch:
    """``answers`` with more ``columns``, as ``schema`` has them, and more ``failures``, by row.

    A column has a value for each row of ``good_rows(answers)``, in their order.
    """
    found = dict(zip(answers.schema.names, answers.columns, strict=True))
    is_good = answers["error_code"].is_null()
    if answers["error_code"].null_count < len(answers):
        # Which of the good rows a row is; null for those that failed before.
        places = pc.subtract(pc.cumulative_sum(is_good.cast(pa.int32())), 1)
        places = pc.if_else(is_good, places, pa.scalar(None, places.type))
        columns = {name: column.take(places) for name, column in columns.items()}
    found.update(columns)
    whole = pa.RecordBatch.from_arrays([found[name] for name in schema.names], schema=schema)
    return failed_also(whole, failures) if failures else whole


def failed_also(answers: pa.RecordBatch, failures: Mapping[int, ItemFailure]) -> pa.RecordBatch:
    """``answers`` in which the rows of ``failures`` have failed, and so have no other answer."""
    rows = range(len(answers))
    fails = pa.array([row in failures for row in rows])
    kept = [None if row in failures else row for row in rows]
    texts = {
        "error_code": [failures[row].error_code.value if row in failures else None for row in rows],
        "error_message": [failures[row].error_message if row in failures else None for row in rows],
    }
    columns = []
    for number, field in enumerate(answers.schema):
        column = answers.columns[number]
        if field.name in texts:
            column = pc.if_else(fails, pa.array(texts[field.name], pa.string()), column)
        elif number >= len(_ABOUT_ITEMS):
            column = column.take(pa.array(kept, pa.int32()))
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=answers.schema)


def fitting(answers: pa.RecordBatch) -> pa.RecordBatch:
    """The answers, of which the largest have failed where all of them do not fit into a message."""
    if answers.nbytes <= MAX_ANSWER_BYTES:
        return answers
    sizes = [answers.slice(row, 1).nbytes for row in range(len(answers))]
    failures, taken = {}, 0
    for row in sorted(range(len(answers)), key=sizes.__getitem__):
        taken += sizes[row]
        if taken > MAX_ANSWER_BYTES:
            text = (
                f"Its answers take {sizes[row]:,} bytes, and the chunk's {len(answers)} images "
                f"have {MAX_ANSWER_BYTES:,} together, of which the smaller ones took theirs first: "
                "give fewer or shorter answers, as by a lower max_boxes or top_k, or enqueue with "
                "a smaller --chunk-items."
            )
            failures[row] = ItemFailure.of(ItemErrorCode.MODEL_ERROR, text)
    return failed_also(answers, failures)
