"""The commands, group by group, as one application."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from producer.cli import (
    dead_letters,
    doctor,
    jobs,
    models,
    pipelines,
    prune,
    results,
    search,
    stack,
    try_out,
    upload,
)
from shared.environment import PROFILE_VARIABLE, uses_docker

app = typer.Typer(
    name="headrace",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"max_content_width": 100},
)
for group in (stack, upload, jobs, prune, results, search, try_out, doctor):
    app.add_typer(group.app)
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(models.app, name="models")
app.add_typer(pipelines.app, name="pipelines")


def _print_version(wanted: bool) -> None:
    if wanted:
        from producer.version import version

        typer.echo(version())
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="The version.")
    ] = False,
    profile: Annotated[
        str,
        typer.Option(
            metavar="local|docker",
            envvar=PROFILE_VARIABLE,
            help="Which stack: this machine's, or the one in containers.",
        ),
    ] = "local",
) -> None:
    """Run deep-learning models over buckets of images; every image ends in exactly one row.

    The stack lies in $HEADRACE_HOME, or in .headrace beside the project.
    """
    os.environ[PROFILE_VARIABLE] = profile
    if uses_docker():
        from producer.stack.containers.broker_place import refresh_broker_address
        from shared.settings import default_home

        refresh_broker_address(default_home())
