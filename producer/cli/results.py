"""``results`` and ``errors``: what came of every image."""

from __future__ import annotations

import sys
from pathlib import Path, PurePosixPath
from typing import IO, Annotated, Literal, cast

import typer

from producer.cli.output import (
    AsJson,
    JobArgument,
    Terminal,
    answer,
    answer_json,
    example,
    printable,
    say,
    table,
    warn,
)
from producer.cli.streams import writing_answer
from producer.exports.formats import FORMATS, Format
from shared.errors import UsageError

app = typer.Typer()

TABLE_ROWS = 20


@app.command(
    epilog=example(
        "results classify-20261121-101502-3f9a --status failed",
        "results classify-20261121-101502-3f9a -o rows.csv",
        "results classify-20261121-101502-3f9a -o s3://results/merged.parquet",
    )
)
def results(
    job_id: JobArgument,
    given: Annotated[
        Literal["table", Format] | None,
        typer.Option("--format", help="Default: as the ending of FILE says, else a table."),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Write there: a path, or s3://BUCKET/KEY."
        ),
    ] = None,
    status: Annotated[Literal["ok", "failed"] | None, typer.Option(help="Only such rows.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help=f"At most so many rows; a table shows {TABLE_ROWS}.")
    ] = None,
) -> None:
    """Print a job's rows, one for each image, as far as there are any yet.

    An image that was retried has its newest row. FILE is replaced if it is there.
    """
    from producer.connections import connect_stack
    from producer.exports.merged import place_for, write_object
    from producer.exports.writing import write_file, write_rows
    from producer.job_rows import iter_rows
    from shared.storage import is_s3_url

    chosen = _format(given, file)
    if chosen == "parquet" and file is None and sys.stdout.isatty():
        raise UsageError("binary", "Parquet is not for terminals.", "Say -o FILE.")
    connections = connect_stack()
    spec = connections.jobs.any_spec(job_id)
    if connections.jobs.closing(job_id) is None:
        warn(f"the job '{job_id}' has not ended: these are its rows so far.")
    place = place_for(connections, file) if file and is_s3_url(file) else None
    shown = (limit or TABLE_ROWS) + 1 if chosen == "table" else limit
    rows = iter_rows(connections.store_of, connections.jobs, spec, status=status, limit=shown)
    if chosen == "table":
        _show([row for part in rows for row in part.to_pylist()], limit or TABLE_ROWS)
    elif file is None:
        with writing_answer():
            out = Terminal() if sys.stdout.isatty() else sys.stdout.buffer
            write_rows(rows, chosen, cast("IO[bytes]", out))
    else:
        path = Path(file)
        count = write_object(rows, chosen, place) if place else write_file(rows, chosen, path)
        say(f"{count} rows in {file}")


@app.command(epilog=example("errors classify-20261121-101502-3f9a"))
def errors(job_id: JobArgument, as_json: AsJson = False) -> None:
    """Count the failed images of a job by error, with an example of each and what to do."""
    from producer.connections import connect_stack
    from producer.exports.error_summary import error_summary
    from producer.job_rows import iter_rows

    connections = connect_stack()
    spec = connections.jobs.any_spec(job_id)
    rows = iter_rows(connections.store_of, connections.jobs, spec, status="failed")
    found = error_summary(rows)
    if as_json:
        answer_json(found)
        return
    for error in found:
        answer(f"{error.code}: {error.count}")
        answer(printable(f"  {error.advice}"))
        answer(printable(f"  for example {error.example_key}: {error.example_message}"))
    if not found:
        say("No image failed.")


def _format(form: Literal["table", Format] | None, file: str | None) -> Literal["table", Format]:
    ending = PurePosixPath(file or "").suffix.removeprefix(".").lower()
    endings: dict[str, Literal["table", Format]] = {known: known for known in FORMATS}
    chosen = form or endings.get(ending, "table")
    if file and chosen == "table":
        raise UsageError(
            "which_format",
            f"A table is not written to {file}.",
            f"Say --format {'|'.join(FORMATS)}.",
        )
    return chosen


def _show(rows: list[dict[str, object]], limit: int) -> None:
    header = ("KEY", "STATUS", "LABEL", "SCORE", "NOTE")
    table(header, [_cells(row) for row in rows[:limit]])
    if len(rows) > limit:
        say(f"These are the first {limit} rows. Say --limit N or --format csv for more.")


def _cells(row: dict[str, object]) -> tuple[object, ...]:
    score = row["score"]
    shown = f"{score:.4f}" if isinstance(score, float) else None
    failed = f"{row['error_code']}: {row['error_message']}" if row["error_code"] else None
    note = failed or (f"warning: {row['warning']}" if row["warning"] else None)
    return row["key"], row["status"], _cut(row["label"]), shown, note


def _cut(label: object) -> object:
    """It may be a whole caption."""
    return f"{label[:59]}…" if isinstance(label, str) and len(label) > 60 else label
