"""``try``: a pipeline over a few images, without a stack."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from producer.cli.output import AsJson, answer, answer_json, example, printable, say

app = typer.Typer()
_SHOWN_CHARACTERS = 100


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
    images: Annotated[list[str], typer.Argument(metavar="FILE|s3://BUCKET/KEY...")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the rows and what each model sees there."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a pipeline over a few images here and now, and print their rows.

    Needs no stack: the stages run in one process, with the same code as in the workers. What a
    class prints is shown, and the whole traceback of what it raises.
    """
    from producer.try_out import try_out
    from shared.settings import default_home

    found = try_out(pipeline, images, default_home(), say, out)
    if as_json:
        answer_json(found)
        return
    for row in found.rows:
        answer(printable(row["name"]))
        for name, value in row.items():
            if value is not None and name not in _LEFT_OUT:
                answer(printable(f"  {name}: {_short(value)}"))
    steps = [f"{step} {value:.0f}" for step, value in found.timings_ms.items() if value >= 1]
    say(f"milliseconds: {', '.join(steps)}")


# What is the same for all rows, or said already.
_LEFT_OUT = frozenset(("job_id", "key", "etag", "size", "name", "pipeline", "uri", "scored_at"))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
