"""``models add``: a file of one's own becomes a model in the bucket, which a pipeline can name."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from producer import Echo
from producer.models.export import Export, export_model
from producer.models.first_run import FirstRun, run_once
from producer.models.given import Given, require_file, view_of
from producer.models.labels import labels_of, labels_text, read_labels
from producer.models.publish import ModelPublisher, file_sha256, workplace
from producer.models.pull import ModelsPlace
from producer.models.removal import require_unmarked
from producer.models.usual_pipeline import usual_pipeline
from producer.pins import Pin
from shared.catalog import Catalog, ModelConstants, PublishedModel, release
from shared.catalog.exports import ExportedModel, ExportRequest, ModelInput
from shared.catalog.files import FORMS
from shared.catalog.published import CONFIG_FILE, LABELS, ONNX, WEIGHTS
from shared.errors import UsageError
from shared.fields import Frozen, Name
from shared.storage import Store


class AddedModel(Frozen):
    """A model that is in the bucket, and its current release.

    ``inputs``: as the file has them. ``outputs``: what it gives, with how many numbers each has
    for an image. ``pipeline``: a pipeline's file that uses it, as YAML.
    """

    name: str
    sha256: str
    format: str
    inputs: tuple[ModelInput, ...]
    outputs: dict[str, int]
    pipeline: str


def add_model(
    name: str,
    file: Path,
    given: Given,
    place: ModelsPlace,
    store: Store,
    *,
    echo: Echo,
    catalog: Catalog | None = None,
    export: Export = export_model,
    first_run: FirstRun = run_once,
) -> AddedModel:
    """Export the file, run it once, and make it the current release of ``name``.

    Raises UsageError for what cannot be meant, HeadraceError for what is wrong with the file, and
    the store's errors; nothing is in the bucket then.
    """
    catalog = catalog or Catalog()
    _require_free(name, catalog)
    for each in filter(None, (file, given.config, given.labels)):
        require_file(each)
    publisher = ModelPublisher(store, place.models_bucket, echo, export)
    with workplace(place.home) as folder:
        version, files = _made(name, file, given, publisher, folder)
        standing = publisher.existing(name, version.sha256)
        if standing is None:
            echo(f"Running '{name}' once")
            first_run(version, files, folder, catalog)
            version = publisher.upload(version, files)
        else:
            _require_same(standing, version)
            version = standing
    made = release(store, place.models_bucket, name, version.sha256)
    # A removal that had listed the releases before leaves this one behind.
    require_unmarked(store, place.models_bucket, Pin(name, version.sha256))
    echo(f"'{name}' is now {version.sha256[:12]}, its release {made.number}")
    return AddedModel(
        name=name,
        sha256=version.sha256,
        format=version.constants.format,
        inputs=version.inputs,
        outputs=version.outputs,
        pipeline=usual_pipeline(name, version.outputs),
    )


def _require_free(name: str, catalog: Catalog) -> None:
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        raise UsageError(
            "bad_name", f"{name[:100]!r} cannot be the name of a model.", f"Take {FORMS['name']}."
        ) from error
    if name in catalog.model_names():
        raise UsageError(
            "name_taken",
            f"The model '{name}' is the installation's.",
            f"Take another name, or run 'headrace models push {name} FILE' for other weights of "
            "the same network.",
        )


def _made(
    name: str, file: Path, given: Given, publisher: ModelPublisher, folder: Path
) -> tuple[PublishedModel, dict[str, Path]]:
    """The version on this machine, with its files by their names in the bucket."""
    labels = None if given.labels is None else read_labels(given.labels)
    publisher.echo(f"Reading {file.name}")
    sha256, count = file_sha256(file), len(labels) if labels else None
    exported = _exported(file, sha256, given, count, publisher.export, folder)
    for sentence in exported.assumed:
        publisher.echo(sentence)
    files = {WEIGHTS: file}
    if given.config is not None:
        files[CONFIG_FILE] = given.config
    if exported.has_graph:
        files[ONNX] = folder / ONNX
    if named := labels_of(exported, labels):
        files[LABELS] = folder / LABELS
        files[LABELS].write_bytes(labels_text(named))
    others = {each: file_sha256(path) for each, path in files.items() if each != WEIGHTS}
    hashes = {WEIGHTS: sha256, **others}
    constants = ModelConstants(
        **exported.model_dump(include={"format", "architecture", "mean", "std", "channels"}),
        view=exported.view,
        labels_sha256=hashes.get(LABELS),
        config_sha256=hashes.get(CONFIG_FILE),
    )
    version = PublishedModel(
        name=name,
        sha256=sha256,
        constants=constants,
        outputs=exported.outputs,
        layout=exported.layout,
        inputs=exported.inputs,
        created_at=datetime.now(UTC),
        files=hashes,
        licence=given.licence,
        source=file.name,
    )
    return version, files


def _exported(
    file: Path, sha256: str, given: Given, labels: int | None, export: Export, folder: Path
) -> ExportedModel:
    """What the file is, in the view that was asked for."""
    request = ExportRequest(
        weights=file.absolute(),
        sha256=sha256,
        output=(folder / ONNX).absolute(),
        config=given.config and given.config.absolute(),
        architecture=given.architecture,
        layout=given.layout,
        view=view_of(given.view, given.size) if given.view and given.size else None,
        canvas=given.size,
        mean=given.mean,
        std=given.std,
        channels=given.channels,
        labels=labels,
    )
    exported = export(request)
    width, height = exported.view.canvas
    if given.size not in (None, (width, height)):
        raise UsageError(
            "wrong_size",
            f"{file.name} takes images of {width}x{height} pixels, and no others.",
            "Leave --size out.",
        )
    if given.view is None or given.view == exported.view.kind:
        return exported
    return exported.model_copy(update={"view": view_of(given.view, (width, height))})


def _require_same(standing: PublishedModel, made: PublishedModel) -> None:
    """Raise UsageError where the bucket has the same file with other constants."""
    there, here = (dict(one.constants) | {"layout": one.layout} for one in (standing, made))
    differ = [each.removesuffix("_sha256") for each in there if there[each] != here[each]]
    if differ:
        raise UsageError(
            "model_differs",
            f"'{standing.name}' has this file in the bucket already, with another "
            f"{' and '.join(differ)}, and a version never changes.",
            "Take another name, or remove it first: headrace models rm "
            f"{standing.name}@{standing.sha256}",
        )
