"""Which models there are, and which of them are ready."""

from __future__ import annotations

from collections.abc import Iterator

from producer import Echo
from shared.catalog import (
    BucketModels,
    Catalog,
    ClassModelFile,
    Entry,
    NotOurs,
    PublishedModel,
    WeightsModelFile,
    current_release,
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

_ENGINES: tuple[EngineName, ...] = ("torch", "onnxruntime", "openvino")


class ModelStatus(Frozen):
    """One version of a model. ``pulled``: a job may use it; ``is_default``: by its bare name.

    ``sha256`` is null for a class that is in none of the folders looked at. ``outputs``: what the
    network gives, with how many numbers for an image; null for a class, and before it is pulled.
    ``format``: of its file; null for a class. ``is_added``: it is in the bucket alone, with no file
    in config/models. ``layout``: how a detector's outputs become boxes.
    """

    name: str
    sha256: str | None
    licence: str
    pulled: bool
    engines: tuple[EngineName, ...]
    is_default: bool = True
    outputs: dict[str, int] | None = None
    format: str | None = None
    is_added: bool = False
    layout: str | None = None


def list_models(
    store: Store, settings: Settings, catalog: Catalog | None = None, *, warn: Echo
) -> list[ModelStatus]:
    """Every model in ``config/``, then those that were added, with their versions, current first.

    ``warn``: told of models whose objects in the bucket cannot be read; the others are listed.
    Raises UsageError for a file that is wrong, and the store's errors.
    """
    catalog, bucket = catalog or Catalog(), settings.models_bucket
    found: list[ModelStatus] = []
    for entry in map(catalog.model, catalog.model_names()):
        if isinstance(entry.content, ClassModelFile):
            found.append(_class_status(entry.name, entry.content))
        else:
            found.extend(_versions(weights_model(entry), store, bucket, warn))
    for name in BucketModels(store, bucket).names():
        if name not in catalog.model_names():
            found.extend(_added(name, store, bucket, warn))
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


def _readable(name: str, store: Store, bucket: str, warn: Echo) -> Iterator[PublishedModel]:
    return published_versions(store, bucket, name, skipped=lambda error: warn(str(error)))


def _versions(
    entry: Entry[WeightsModelFile], store: Store, bucket: str, warn: Echo
) -> list[ModelStatus]:
    content, default = entry.content, entry.content.sha256
    ready = {each.sha256: each for each in _readable(entry.name, store, bucket, warn)}
    missing = ModelStatus(
        name=entry.name,
        sha256=default,
        licence=content.licence,
        pulled=False,
        engines=_ENGINES if content.architecture else _ENGINES[1:],
        format=content.format,
    )
    first = _status(ready.pop(default), is_default=True) if default in ready else missing
    others = (_status(ready[sha256], is_default=False) for sha256 in sorted(ready))
    return [first, *others]


def _added(name: str, store: Store, bucket: str, warn: Echo) -> list[ModelStatus]:
    """The current version, then the others, the newest first."""
    try:
        release = current_release(store, bucket, name)
    except NotOurs as error:
        warn(str(error))
        release = None
    current = release.sha256 if release else None
    newest_first = sorted(
        _readable(name, store, bucket, warn),
        key=lambda each: (each.sha256 == current, each.created_at),
        reverse=True,
    )
    return [
        _status(each, is_default=each.sha256 == current, is_added=True) for each in newest_first
    ]


def _status(version: PublishedModel, *, is_default: bool, is_added: bool = False) -> ModelStatus:
    constants = version.constants
    torch = _ENGINES[:1] if constants.architecture else ()
    return ModelStatus(
        name=version.name,
        sha256=version.sha256,
        licence=version.licence,
        pulled=True,
        engines=torch + (_ENGINES[1:] if version.has_graph else ()),
        is_default=is_default,
        outputs=version.outputs,
        format=constants.format,
        is_added=is_added,
        layout=version.layout,
    )
