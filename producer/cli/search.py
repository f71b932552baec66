"""``similar`` and ``styles``: a job's images by what its rows say of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from producer.cli.output import (
    AsJson,
    JobArgument,
    answer_json,
    example,
    say,
    table,
    warn,
)
from producer.cli.progress import Counter
from producer.exports.formats import FORMATS, Format, format_of
from shared.errors import UsageError

if TYPE_CHECKING:
    from producer.connections import Connections
    from producer.search.vectors import ReadRows
    from shared.job import JobSpec

app = typer.Typer()

MAX_SIMILAR = 10_000
MAX_GROUPS = 100
Column = Annotated[
    str | None, typer.Option(metavar="NAME", help="Which column of vectors, if there are several.")
]


@app.command(
    epilog=example(
        "similar catalogue-20261121-101502-3f9a 2026/cat.jpg",
        "similar catalogue-20261121-101502-3f9a ./photo.jpg --top 3 --json",
    )
)
def similar(
    job_id: JobArgument,
    image: Annotated[
        str,
        typer.Argument(
            metavar="KEY|FILE|s3://BUCKET/KEY",
            help="An image of the job, a file here, or any object.",
        ),
    ],
    top: Annotated[int, typer.Option(min=1, max=MAX_SIMILAR, help="How many images to show.")] = 10,
    column: Column = None,
    as_json: AsJson = False,
) -> None:
    """Find the images of a job that are most like one, by the cosine of their vectors.

    The job's pipeline has an analysis of kind 'vector', as embed and catalogue have. If there is an
    image of the job and a file of that name, the image of the job is taken; to take the file, begin
    with '.', '/' or '~'.
    """
    from producer.connections import connect_stack
    from producer.search.nearest import (
        most_similar,
        no_such_key,
        vector_of_image,
        vector_of_key,
    )
    from producer.search.vectors import vector_column
    from shared.paths import exists, expanded, is_folder
    from shared.storage import is_s3_url

    connections = connect_stack()
    spec = connections.jobs.spec(job_id)
    chosen = vector_column(spec.pipeline, column)
    read_rows = _rows_of(connections, spec, [chosen])
    path = expanded(image)
    is_file = is_s3_url(image) or (exists(path) and not is_folder(path))
    is_key = not (is_file and image.startswith((".", "/", "~")))
    vector = vector_of_key(read_rows, chosen, image) if is_key else None
    without = None if vector is None else image
    if vector is None:
        if not is_file:
            raise no_such_key(read_rows, image)
        vector = vector_of_image(connections, spec, chosen, image)
    found = most_similar(read_rows, chosen, vector, top, without=without)
    if as_json:
        answer_json(found)
    elif found:
        table(("SCORE", "KEY"), [(f"{each.score:.4f}", each.key) for each in found])
    else:
        say("The job has no other image with a vector.")


@app.command(
    epilog=example(
        "styles catalogue-20261121-101502-3f9a -o styles.csv",
        "styles catalogue-20261121-101502-3f9a --groups 20 -o styles.parquet",
    )
)
def styles(
    job_id: JobArgument,
    output: Annotated[
        str,
        typer.Option(
            "-o", "--output", metavar="FILE", help=f"Write there, as .{', .'.join(FORMATS)}."
        ),
    ],
    groups: Annotated[
        int,
        typer.Option(min=1, max=MAX_GROUPS, help="How many groups to make; there may be fewer."),
    ] = 12,
    column: Column = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**31 - 1, help="Another seed gives other groups.")
    ] = 0,
) -> None:
    """Group the images of a job by style: by their vectors and the colours of their palettes.

    FILE has the columns 'key' and 'group', of all images but those that failed. In the folder
    FILE.sheets, group-01.jpg and so on show the most typical images of each group, the largest
    group first. FILE and the folder are replaced if they are there; a folder that holds anything
    else is an error.
    """
    from producer.connections import connect_stack
    from producer.search.groups import StyleColumns, group_by_style
    from producer.search.style_files import sheet_name, sheets_folder, write_styles
    from producer.search.vectors import columns_of_kind, vector_column
    from shared.paths import is_folder

    form, file = _format(output), Path(output)
    if not is_folder(file.parent):
        problem = f"There is no folder {str(file.parent)!r}."
        raise UsageError("no_such_folder", problem, "Make it first, or choose another path.")
    connections = connect_stack()
    spec = connections.jobs.spec(job_id)
    palettes = tuple(columns_of_kind(spec.pipeline, "palette"))
    by_colours_alone = palettes and not column and not columns_of_kind(spec.pipeline, "vector")
    vectors = () if by_colours_alone else (vector_column(spec.pipeline, column),)
    compared = StyleColumns(vectors, palettes)
    read_rows = _rows_of(connections, spec, vectors)
    closing = connections.jobs.closing(job_id)
    twice = 2 * closing.accounting.rows if closing else 0
    with Counter(job_id, "images read, each twice") as counter:
        found = group_by_style(
            read_rows, compared, groups, seed, lambda done: counter.update(done, twice or done)
        )
    drawn = sum(len(group.typical) for group in found.groups)
    with Counter("contact sheets", "images") as counter:
        missing = write_styles(
            found,
            spec,
            connections.settings.home,
            file,
            form,
            lambda done: counter.update(done, drawn),
        )
    if missing:
        warn(f"{missing} of {drawn} images could not be fetched or decoded: they are gray tiles.")
    table(
        ("GROUP", "IMAGES", "CONTACT SHEET"),
        [
            (group.number, group.images, sheets_folder(file) / sheet_name(group.number))
            for group in found.groups
        ],
    )
    say(f"{found.table.num_rows} rows in {file}")


def _rows_of(connections: Connections, spec: JobSpec, vectors: Sequence[str]) -> ReadRows:
    """The job's rows; ``vectors``: the columns that are to be compared."""
    from producer.job_rows import iter_rows
    from producer.search.vectors import by_models_of

    if connections.jobs.closing(spec.job_id) is None:
        warn(f"the job '{spec.job_id}' has not ended: these are its rows so far.")
    return lambda: by_models_of(
        spec.pipeline, vectors, iter_rows(connections.store_of, connections.jobs, spec)
    )


def _format(output: str) -> Format:
    from shared.storage import is_s3_url

    found = format_of(output)
    if is_s3_url(output) or found is None:
        raise UsageError(
            "which_format",
            f"Groups are not written to {output!r}.",
            "Say a path here that ends in " + ", ".join(f".{form}" for form in FORMATS) + ".",
        )
    return found
