"""``try``: a pipeline over a few images, without a stack."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from producer.cli.output import AsJson, answer_json, example, say
from producer.cli.row_table import show_rows
from shared.errors import HeadraceError

app = typer.Typer()


@app.command(
    name="try",
    epilog=example(
        "try classify cat.jpg",
        "try ./mine.yaml *.jpg --json",
        "try catalogue s3://photos/cat.jpg --out ./seen",
    ),
)
def try_pipeline(
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE", help="Its name, or its file.")],
    images: Annotated[
        list[str], typer.Argument(metavar="FILE|s3://BUCKET/KEY...", help="Files here, or objects.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the rows and what each model sees there."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a pipeline over a few images here and now, and print their rows.

    Needs no stack: the stages run in one process, with the same code as in the workers. What a
    class prints is shown, and the whole traceback of what it raises. Exit 1 where all images
    failed.
    """
    from producer.stages_process import stages_process

    with stages_process() as process:
        from producer.try_out import try_out  # while the process imports what it needs
        from shared.settings import default_home

        resolved, found = try_out(process, pipeline, images, default_home(), say, out)
    if as_json:
        answer_json(found)
    else:
        show_rows(list(zip(images, found.rows, strict=True)), resolved, "IMAGE")
        steps = [f"{step} {value:.0f}" for step, value in found.timings_ms.items() if value >= 1]
        say(f"milliseconds: {', '.join(steps)}")
    if all(row["status"] != "ok" for row in found.rows):
        which = "The image" if len(images) == 1 else f"All {len(images)} images"
        raise HeadraceError("images_failed", f"{which} failed.", "See the rows for why.")
