"""Which models there are, and which of them are ready."""

from __future__ import annotations

from shared.catalog import (
    Catalog,
    ClassModelFile,
    Entry,
    WeightsModelFile,
    published_versions,
    weights_model,
)
from shared.catalog.classes import PackedClass, class_folders
from shared.catalog.packing import pack_class
from shared.catalog.reading import Reader
from shared.errors import UsageError
from shared.fields import Frozen
from shared.model import EngineName
from shared.settings import Settings
from shared.storage import Store


class ModelStatus(Frozen):
    """One version of a model. ``pulled``: a job may use it; ``is_default``: by its bare name.

    ``sha256`` is null for a class that is in none of the folders looked at. ``outputs``: what the
    network gives, with how many numbers for an image; null for a class, and before it is pulled.
    """

    name: str
    sha256: str | None
    licence: str
    pulled: bool
    engines: tuple[EngineName, ...]
    is_default: bool = True
    outputs: dict[str, int] | None = None


def list_models(
    store: Store, settings: Settings, catalog: Catalog | None = None
) -> list[ModelStatus]:
    """Every model in ``config/``, and the versions of it that were pushed, defaults first.

    Raises UsageError for a file that is wrong, and the store's errors.
    """
    catalog = catalog or Catalog()
    found: list[ModelStatus] = []
    for entry in map(catalog.model, catalog.model_names()):
        if isinstance(entry.content, ClassModelFile):
            found.append(_class_status(entry.name, entry.content))
        else:
            found.extend(_versions(weights_model(entry), store, settings.models_bucket))
    return found


def _class_status(name: str, content: ClassModelFile) -> ModelStatus:
    sha256: str | None
    try:
        code = pack_class(content.python, class_folders(), Reader())
        sha256 = PackedClass(content.python, code).sha256
    except UsageError:
        sha256 = None
    return ModelStatus(
        name=name,
        sha256=sha256,
        licence=content.licence or "",
        pulled=sha256 is not None,
        engines=("python",),
    )


def _versions(entry: Entry[WeightsModelFile], store: Store, bucket: str) -> list[ModelStatus]:
    default = entry.content.sha256
    ready = {each.sha256: each.outputs for each in published_versions(store, bucket, entry.name)}
    return [
        ModelStatus(
            name=entry.name,
            sha256=sha256,
            licence=entry.content.licence,
            pulled=sha256 in ready,
            engines=("torch", "onnxruntime", "openvino"),
            is_default=sha256 == default,
            outputs=ready.get(sha256),
        )
        for sha256 in (default, *sorted(ready.keys() - {default}))
    ]
