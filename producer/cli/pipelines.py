"""``pipelines``: what there is to run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from producer.cli.output import AsJson, answer, answer_json, example, say, table

app = typer.Typer(help="The pipelines in config/pipelines, and files of your own.")


@app.command("list", epilog=example("pipelines list"))
def list_pipelines(as_json: AsJson = False) -> None:
    """List the pipelines."""
    from shared.catalog import list_pipelines as summaries

    found = summaries()
    if as_json:
        answer_json(found)
    else:
        table(("PIPELINE", "MODEL", "ABOUT"), [(p.name, p.model, p.description) for p in found])


@app.command(epilog=example("pipelines show classify", "pipelines show ./mine.yaml --json"))
def show(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE")], as_json: AsJson = False
) -> None:
    """Show a pipeline with all that follows from its model and from defaults."""
    from producer.models.in_bucket import StackModels
    from shared.catalog import show_pipeline

    shown = show_pipeline(name, models=StackModels())
    if as_json:
        answer_json(shown)
        return
    import yaml

    first = dict.fromkeys(("name", "path", "description"))
    fields = first | shown.model_dump(mode="json", exclude_none=True)
    answer(yaml.safe_dump(fields, sort_keys=False, allow_unicode=True).rstrip())


@app.command(epilog=example("pipelines validate ./mine.yaml"))
def validate(file: Annotated[Path, typer.Argument(metavar="FILE")]) -> None:
    """Check a pipeline's file; what is wrong is named with its line."""
    from producer.models.in_bucket import StackModels
    from shared.catalog import validate_file

    validate_file(file, models=StackModels())
    answer(f"{file} is fine.")


@app.command(epilog=example("pipelines new mood", "pipelines new mood --gives values"))
def new(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    gives: Annotated[
        str, typer.Option("--gives", metavar="KIND", help="classes, vector or values.")
    ] = "classes",
) -> None:
    """Write a pipeline and a class of yours to start from, into the current folder."""
    from producer.cli.new_pipeline import GIVES, new_pipeline
    from shared.errors import UsageError

    chosen = next((kind for kind in GIVES if kind == gives), None)
    if chosen is None:
        raise UsageError(
            "bad_option", f"--gives {gives!r} is not one of {', '.join(GIVES)}.", "Choose one."
        )
    pipeline, module = new_pipeline(name, chosen, Path())
    say(f"Wrote {pipeline} and {module}. Next:")
    answer(f"headrace pipelines validate {pipeline}")
    answer(f"headrace try {pipeline} PHOTO.jpg")
    answer(f"headrace enqueue s3://BUCKET/PREFIX --pipeline {pipeline} --wait")
