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
from producer.exports.formats import ANY_FORMAT, LABEL_FORMATS, AnyFormat, format_of
from shared.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import timedelta

    import pyarrow as pa

    from producer.connections import Connections
    from producer.exports.merged import Place
    from shared.job import JobSpec, PastJob
    from shared.pipeline import Pipeline

app = typer.Typer()

TABLE_ROWS = 20
NO_ROWS = "No rows."
Shown = Literal["table", AnyFormat]


@app.command(
    epilog=example(
        "results classify-20261121-101502-3f9a --status failed",
        "results classify-20261121-101502-3f9a -o rows.csv",
        "results classify-20261121-101502-3f9a -o s3://results/merged.parquet",
        "results classify-20261121-101502-3f9a --where label=tabby --sort -score --limit 50",
        "results detect-20261121-101502-3f9a --where objects.label=cat --min-score 0.6",
        "results detect-20261121-101502-3f9a --format coco -o boxes.json",
        "results detect-20261121-101502-3f9a --format labelstudio --links signed -o tasks.json",
    )
)
def results(
    job_id: JobArgument,
    given: Annotated[
        Shown | None,
        typer.Option(
            "--format",
            help="Default: as the ending of FILE says, else a table. 'coco' has boxes; "
            "'labelstudio' has tasks with boxes and classes as predictions.",
        ),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Write there: a path, or s3://BUCKET/KEY."
        ),
    ] = None,
    status: Annotated[Literal["ok", "failed"] | None, typer.Option(help="Only such rows.")] = None,
    min_score: Annotated[
        float | None,
        typer.Option(
            metavar="SCORE",
            help="Only rows with this score or more. In the long form only such boxes and "
            "predictions, of all rows.",
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE",
            help="Only such rows; FIELD!=VALUE for all others. May be repeated: all must hold. "
            "FIELD is a column, or COLUMN.FIELD below one; 'label' in the long form is that of any "
            "box or best prediction. Of 'key', 'name' and 'uri', VALUE is a pattern as in '*.png'.",
        ),
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="So many rows, drawn from all of these at random.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=2**31 - 1, help="For --sample: another seed draws another sample."),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD",
            help="Sort by it; -FIELD: the largest first. Rows without it come last. Of several "
            "boxes the largest value counts; with --where label=cat, that of the cats.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help=f"The most rows to print or write; a table shows {TABLE_ROWS}."),
    ] = None,
    analysis: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The only analysis that coco or labelstudio writes."),
    ] = None,
    links: Annotated[
        Literal["uri", "signed"],
        typer.Option(help="Images as s3:// addresses, or as links that anyone can open."),
    ] = "uri",
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="How long signed links work: 12h, or 7d.")
    ] = None,
) -> None:
    """Print a job's rows, one for each image, as far as there are any yet.

    An image that was retried has its newest row. FILE is replaced if it is there. Options apply in
    the order in which they are listed: --status, --min-score, --where, --sample, --sort, --limit.
    """
    from producer.connections import connect_stack
    from producer.exports.labelled import labelled, numbered
    from producer.exports.links import link_time
    from producer.exports.merged import place_for
    from producer.job_rows import iter_rows, schema_of
    from producer.selecting.selection import Selection
    from shared.job import JobSpec
    from shared.storage import is_s3_url

    chosen = _format(given, file)
    if chosen == "parquet" and file is None and sys.stdout.isatty():
        raise UsageError("binary", "Parquet is not for terminals.", "Say -o FILE.")
    if analysis is not None and chosen not in LABEL_FORMATS:
        raise UsageError("usage", "--analysis is for --format coco and labelstudio.", "")
    if chosen == "table" and links == "signed":
        raise UsageError("usage", "A table has no links.", f"Say --format {'|'.join(ANY_FORMAT)}.")
    time = link_time(links == "signed", expires)
    connections = connect_stack()
    spec = connections.jobs.any_spec(job_id)
    schema, pipeline = schema_of(spec), spec.pipeline if isinstance(spec, JobSpec) else None
    shown = (limit or TABLE_ROWS) + 1 if chosen == "table" else limit
    selection = Selection.parse(
        schema,
        status=status,
        min_score=min_score,
        where=where or (),
        sample=sample,
        seed=seed,
        sort=sort,
        limit=shown,
        pipeline=pipeline,
    )
    of_labels = None
    if chosen in LABEL_FORMATS:
        of_labels = labelled(schema_of(_present(spec)), chosen, analysis)
    if connections.jobs.closing(job_id) is None:
        warn(f"the job '{job_id}' has not ended: these are its rows so far.")
    place = place_for(connections, file) if file and is_s3_url(file) else None
    all_rows = iter_rows(connections.store_of, connections.jobs, spec)
    rows = selection.of(numbered(all_rows) if of_labels else all_rows)
    if time is not None:
        rows = _signed(rows, connections, _present(spec).bucket, time)
    if chosen == "table":
        _show([row for part in rows for row in part.to_pylist()], limit or TABLE_ROWS, pipeline)
        return
    _write(of_labels.written(rows) if of_labels else rows, schema, chosen, file, place)
    if of_labels and of_labels.failed:
        count = of_labels.failed
        say(f"{count} failed {'image is' if count == 1 else 'images are'} left out.")


def _write(
    rows: Iterable[pa.Table],
    schema: pa.Schema,
    form: AnyFormat,
    file: str | None,
    place: Place | None,
) -> None:
    from producer.exports.merged import write_object
    from producer.exports.writing import write_file, write_rows

    if file is None:
        with writing_answer():
            out = Terminal() if sys.stdout.isatty() else sys.stdout.buffer
            count = write_rows(rows, schema, form, cast("IO[bytes]", out))
        if not count:
            say(NO_ROWS)
        return
    count = (
        write_object(rows, schema, form, place)
        if place
        else write_file(rows, schema, form, Path(file))
    )
    one = "image" if form in LABEL_FORMATS else "row"
    say(f"{count} {one if count == 1 else f'{one}s'} in {file}")


def _present(spec: JobSpec | PastJob) -> JobSpec:
    """The spec; raises UsageError for that of another version, whose rows may lack any column."""
    from shared.job import PastJob

    if isinstance(spec, PastJob):
        raise UsageError(
            "past_job",
            "Labels and links are not written for a job of another version of headrace.",
            "Say --format csv, jsonl or parquet, without --links.",
        )
    return spec


def _signed(
    rows: Iterable[pa.Table], connections: Connections, bucket: str, time: timedelta
) -> Iterator[pa.Table]:
    """The rows with links, and a warning where those work here alone."""
    from producer.exports.links import local_host, with_links

    store = connections.store_of(bucket)
    if host := local_host(store.signed_url(bucket, "any", time)):
        warn(f"the links lead to {host}, so they work on this machine only.")
    return with_links(rows, store, bucket, time)


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


def _format(form: Shown | None, file: str | None) -> Shown:
    chosen = form or format_of(file or "") or "table"
    if file and chosen == "table":
        raise UsageError(
            "which_format",
            f"A table is not written to {file}.",
            f"Say --format {'|'.join(ANY_FORMAT)}.",
        )
    return chosen


def _show(rows: list[dict[str, Any]], limit: int, pipeline: Pipeline | None) -> None:
    if not rows:
        say(NO_ROWS)
        return
    show_rows([(row["key"], row) for row in rows[:limit]], pipeline)
    if len(rows) > limit:
        say(f"These are the first {limit} rows. Say --limit N or --format csv for more.")
