"""``models add``: a file of one's own becomes a model in the bucket, which a pipeline can name."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from producer import Echo
from producer.models.export import Export, export_model
from producer.models.first_run import FirstRun, run_once
from producer.models.given import Given, require_file, view_of
from producer.models.labels import about_labels, labels_of, labels_text, read_labels
from producer.models.lost import tell_lost
from producer.models.publish import (
    ModelPublisher,
    file_sha256,
    hashes_of,
    version_of,
    workplace,
)
from producer.models.pull import ModelsPlace
from producer.models.removal import require_standing
from producer.models.usual_pipeline import usual_pipeline
from producer.pins import Pin
from shared.catalog import (
    BucketModels,
    Catalog,
    ModelConstants,
    PublishedModel,
    current_release,
    release,
    release_key,
)
from shared.catalog.exports import ExportedModel, ExportRequest, ModelInput
from shared.catalog.files import FORMS
from shared.catalog.published import CONFIG_FILE, LABELS, ONNX, WEIGHTS
from shared.errors import HeadraceError, UsageError
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
            _require_same(standing, version, BucketModels(store, place.models_bucket))
            version = standing
    tell_lost(version, given, BucketModels(store, place.models_bucket), echo)
    number = _released(Pin(name, version.sha256), store, place.models_bucket)
    echo(f"'{name}' is now {version.sha256[:12]}, its release {number}")
    return AddedModel(
        name=name,
        sha256=version.sha256,
        format=version.constants.format,
        inputs=version.inputs,
        outputs=version.outputs,
        pipeline=usual_pipeline(name, version.outputs),
    )


def _released(pin: Pin, store: Store, bucket: str) -> int:
    """The number of its release. Raises PermanentError where the version is being removed."""
    made, is_new = release(store, bucket, pin.folder, pin.sha256)
    try:
        require_standing(store, bucket, pin)
    except HeadraceError:
        if is_new:  # a removal that listed the releases before leaves it behind
            store.delete(bucket, release_key(pin.folder, made.number))
        raise
    return made.number


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
    if given.view is None:
        width, height = exported.view.canvas
        publisher.echo(f"An image becomes {width}x{height} pixels, by {exported.view.kind}.")
    files = {WEIGHTS: file}
    if given.config is not None:
        files[CONFIG_FILE] = given.config
    if exported.has_graph:
        files[ONNX] = folder / ONNX
    named = labels_of(exported, labels)
    for sentence in about_labels(exported, named):
        publisher.echo(sentence)
    if named:
        files[LABELS] = folder / LABELS
        files[LABELS].write_bytes(labels_text(named))
    hashes = hashes_of(files, sha256)
    constants = ModelConstants(
        **exported.model_dump(include={"format", "architecture", "mean", "std", "channels"}),
        view=exported.view,
        labels_sha256=hashes.get(LABELS),
        config_sha256=hashes.get(CONFIG_FILE),
    )
    licence, source = given.licence, file.name
    return version_of(name, constants, exported, hashes, licence=licence, source=source), files


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
    if given.size is not None and given.size != (width, height):
        asked_width, asked_height = given.size
        raise UsageError(
            "wrong_size",
            f"{file.name} does not take images of {asked_width}x{asked_height} pixels, but of "
            f"{width}x{height}.",
            "Leave --size out.",
        )
    if given.view is None or given.view == exported.view.kind:
        return exported
    return exported.model_copy(update={"view": view_of(given.view, (width, height))})


def _require_same(standing: PublishedModel, made: PublishedModel, models: BucketModels) -> None:
    """Raise UsageError where the bucket has the same file with other constants or licence."""
    there, here = (dict(one.constants) | {"layout": one.layout} for one in (standing, made))
    differ = [each.removesuffix("_sha256") for each in there if there[each] != here[each]]
    if made.licence not in ("", standing.licence):
        differ.append("licence")
    if differ:
        name, sha256 = standing.name, standing.sha256
        current = current_release(models.store, models.bucket, name)
        is_current = current is not None and current.sha256 == sha256
        which = f"all of it first: headrace models rm {name}"
        if not is_current:
            which = f"that version first: headrace models rm {name}@{sha256}"
        raise UsageError(
            "model_differs",
            f"'{name}' has this file in the bucket already, with other values for "
            f"{' and '.join(differ)}. A version never changes.",
            f"Take another name, or remove {which}",
        )
