"""``models show``: one version of a model, with all that was found out about it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from producer.models.usual_pipeline import usual_pipeline
from shared.catalog import (
    Catalog,
    PublishedModel,
    current_release,
    model_key,
    published_versions,
    releases,
    weights_model,
)
from shared.catalog.documents import one_line, suggestion
from shared.catalog.exports import ModelInput
from shared.catalog.published import LABELS
from shared.catalog.releases import BucketModels
from shared.errors import UsageError
from shared.fields import Frozen
from shared.storage import Store

_SHOWN_LABELS = 5


class ModelDetails(Frozen):
    """One version of a model.

    ``view``: how an image becomes what it takes. ``mean`` and ``std`` are per RGB channel, of
    pixels scaled to 0..1, and ``channels`` is the order that the network takes them in.
    ``inputs``: as its file has them. ``outputs``: what it gives, with how many numbers for an
    image. ``labels``: how many there are; ``first_labels``: the first of them. ``bytes``: of its
    files in the bucket. ``releases``: the numbers of those that mean this version. ``pipeline``: a
    pipeline's file that uses it, as YAML.
    """

    name: str
    sha256: str
    is_default: bool
    format: str
    architecture: str | None
    layout: str | None
    view: dict[str, Any]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channels: str
    inputs: tuple[ModelInput, ...]
    outputs: dict[str, int]
    labels: int
    first_labels: tuple[str, ...]
    bytes: int
    created_at: datetime
    licence: str
    source: str
    releases: tuple[int, ...]
    pipeline: str


def show_model(
    reference: str, store: Store, bucket: str, catalog: Catalog | None = None
) -> ModelDetails:
    """The current version of NAME, or the one that ``NAME@SHA256`` begins.

    Raises UsageError where it is not in the bucket, and the store's errors.
    """
    catalog = catalog or Catalog()
    name, _, wanted = reference.partition("@")
    default = _default(name, store, bucket, catalog)
    is_in_config = name in catalog.model_names()
    version = _version(name, wanted or default, store, bucket, is_in_config=is_in_config)
    baked, labels = version.constants, _labels(version, store, bucket)
    folder = model_key(name, version.sha256, "")
    return ModelDetails(
        **baked.model_dump(include={"format", "architecture", "view", "mean", "std", "channels"}),
        **version.model_dump(include={"name", "sha256", "layout", "outputs", "created_at"}),
        **version.model_dump(include={"licence", "source"}),
        inputs=version.inputs,
        is_default=version.sha256 == default,
        labels=len(labels),
        first_labels=labels[:_SHOWN_LABELS],
        bytes=sum(info.size for info in store.list(bucket, folder)),
        releases=tuple(
            each.number for each in releases(store, bucket, name) if each.sha256 == version.sha256
        ),
        pipeline=usual_pipeline(name, version.outputs),
    )


def _default(name: str, store: Store, bucket: str, catalog: Catalog) -> str:
    """The version that the bare name means."""
    if name in catalog.model_names():
        return weights_model(catalog.model(name)).content.sha256
    release = current_release(store, bucket, name)
    if release is not None:
        return release.sha256
    known = suggestion(name, sorted({*catalog.model_names(), *BucketModels(store, bucket).names()}))
    raise UsageError(
        "no_such_model",
        f"There is no model '{one_line(name)}': {known}",
        "See 'headrace models list'.",
    )


def _version(
    name: str, wanted: str, store: Store, bucket: str, *, is_in_config: bool
) -> PublishedModel:
    found = [
        each for each in published_versions(store, bucket, name) if each.sha256.startswith(wanted)
    ]
    if len(found) == 1:
        return found[0]
    which = "several versions" if found else "no version"
    bring = f"run 'headrace models pull {name}'" if is_in_config else "add it again"
    raise UsageError(
        "model_not_pulled",
        f"The bucket has {which} {one_line(wanted[:12])}… of the model '{name}'.",
        f"See 'headrace models list', and {'say more digits' if found else bring}.",
    )


def _labels(version: PublishedModel, store: Store, bucket: str) -> tuple[str, ...]:
    if LABELS not in version.files:
        return ()
    data = store.get(bucket, model_key(version.name, version.sha256, LABELS))
    return tuple(data.decode("utf-8", "replace").rstrip("\n").split("\n"))
