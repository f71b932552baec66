"""``results`` and ``errors``: what came of every image."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal, cast

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
    warn,
)
from producer.cli.row_table import show_rows
from producer.cli.streams import writing_answer
from producer.exports.formats import FORMATS, Format, format_of
from shared.errors import UsageError

if TYPE_CHECKING:
    from shared.job import JobSpec, PastJob

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
        int | None,
        typer.Option(min=1, help=f"The most rows to print or write; a table shows {TABLE_ROWS}."),
    ] = None,
) -> None:
    """Print a job's rows, one for each image, as far as there are any yet.

    An image that was retried has its newest row. FILE is replaced if it is there.
    """
    from producer.connections import connect_stack
    from producer.exports.merged import place_for, write_object
    from producer.exports.writing import write_file, write_rows
    from producer.job_rows import iter_rows, schema_of
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
    schema = schema_of(spec)
    if chosen == "table":
        found = [row for part in rows for row in part.to_pylist()]
        _show(found, limit or TABLE_ROWS, spec)
    elif file is None:
        with writing_answer():
            out = Terminal() if sys.stdout.isatty() else sys.stdout.buffer
            write_rows(rows, schema, chosen, cast("IO[bytes]", out))
    else:
        path = Path(file)
        count = (
            write_object(rows, schema, chosen, place)
            if place
            else write_file(rows, schema, chosen, path)
        )
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
    chosen = form or format_of(file or "") or "table"
    if file and chosen == "table":
        raise UsageError(
            "which_format",
            f"A table is not written to {file}.",
            f"Say --format {'|'.join(FORMATS)}.",
        )
    return chosen


def _show(rows: list[dict[str, Any]], limit: int, spec: JobSpec | PastJob) -> None:
    from shared.job import JobSpec

    pipeline = spec.pipeline if isinstance(spec, JobSpec) else None
    show_rows([(row["key"], row) for row in rows[:limit]], pipeline)
    if len(rows) > limit:
        say(f"These are the first {limit} rows. Say --limit N or --format csv for more.")
