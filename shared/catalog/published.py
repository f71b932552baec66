"""A model's versions in the models bucket: ``<name>/<sha256>/``, never changed once complete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

from pydantic import AwareDatetime, ValidationError
from pydantic_core import from_json

from shared.catalog.exports import ChannelOrder, ModelInput
from shared.catalog.objects import NotOurs, folders
from shared.errors import HeadraceError, UsageError
from shared.fields import Channels, Frozen, Name, Sha256, is_sha256
from shared.model import FormatName, LayoutName, OutputName
from shared.storage import BucketMissing, ObjectMissing, Store
from shared.views import AnyView

WEIGHTS = "weights"
CONFIG_FILE = "config"
ONNX = "model.onnx"
LABELS = "labels.txt"
MARKER = "model.json"
_OUTDATED = "model_outdated"


class ModelConstants(Frozen):
    """What is said of a version, beside its weights.

    ``format``: of the weights' file. ``architecture``: torchvision's name of the network, where it
    is one of torchvision's. ``view``: how images become what it takes. ``mean`` and ``std`` are per
    RGB channel, of pixels scaled to 0..1; ``channels`` is the order that the network takes them in.
    ``labels_sha256`` is of ``labels.txt``, ``config_sha256`` of a second file that the format has.
    """

    format: FormatName = "torchvision"
    architecture: str | None = None
    view: AnyView
    mean: Channels
    std: Channels
    channels: ChannelOrder = "rgb"
    labels_sha256: Sha256 | None = None
    config_sha256: Sha256 | None = None


class PublishedModel(Frozen):
    """``model.json``, written last: a version that has it is complete.

    ``sha256`` is that of the weights; ``files`` has each file's; ``source`` says in words where
    the weights came from. ``outputs``: what the network gives for a batch, in the order of its
    graph, with how many numbers each has for an image. ``layout``: how those of a detector become
    boxes. ``inputs``: as the weights' file has them, where it says them.
    """

    version: Literal[3] = 3
    name: Name
    sha256: Sha256
    constants: ModelConstants
    outputs: dict[OutputName, int]
    layout: LayoutName | None = None
    inputs: tuple[ModelInput, ...] = ()
    created_at: AwareDatetime
    files: dict[str, Sha256]
    licence: str
    source: str

    @property
    def has_graph(self) -> bool:
        """Whether it was exported; without a graph only torch runs it."""
        return ONNX in self.files


def model_key(name: str, sha256: str, file: str) -> str:
    """Where one file of a version lies in the models bucket."""
    return f"{name}/{sha256}/{file}"


def bring_again(name: str) -> str:
    """What to do where a version is missing or wrong. Both ways by which a model comes are named:
    a worker cannot tell which it was."""
    return (
        f"Run 'headrace models pull {name}' again, or 'headrace models add {name} FILE' for a file "
        "of your own."
    )


def published(store: Store, bucket: str, name: str, sha256: str) -> PublishedModel | None:
    """The version, or None unless it is complete.

    Raises UsageError ``model_outdated`` for one that an older Headrace published, NotOurs
    ``bad_model_marker``, and the store's other errors.
    """
    key = model_key(name, sha256, MARKER)
    try:
        return _read(store.get(bucket, key), bucket, key)
    except (ObjectMissing, BucketMissing):
        return None


def current(store: Store, bucket: str, name: str, sha256: str) -> PublishedModel | None:
    """The same, with None for what an older Headrace published."""
    try:
        return published(store, bucket, name, sha256)
    except HeadraceError as error:
        if error.code != _OUTDATED:
            raise
        return None


def published_versions(
    store: Store, bucket: str, name: str, *, skipped: Callable[[NotOurs], object] | None = None
) -> Iterator[PublishedModel]:
    """Every complete version of a model, in no promised order. Raises as ``published`` does.

    ``skipped``: told of a version whose marker is not ours, which is an error otherwise.
    """
    for sha256 in filter(is_sha256, folders(store, bucket, f"{name}/")):
        try:
            found = current(store, bucket, name, sha256)
        except NotOurs as error:
            if skipped is None:
                raise
            skipped(error)
            continue
        if found is not None:
            yield found


def publish(store: Store, bucket: str, model: PublishedModel) -> PublishedModel:
    """Declare a version complete, after its files are there. Returns the one that stands."""
    key, text = model_key(model.name, model.sha256, MARKER), model.model_dump_json(indent=2)
    if store.create(bucket, key, text.encode()):
        return model
    standing = current(store, bucket, model.name, model.sha256)
    if standing is None:  # of an older Headrace
        store.put(bucket, key, text.encode())
    return standing or model


def _read(text: bytes, bucket: str, key: str) -> PublishedModel:
    try:
        return PublishedModel.model_validate_json(text)
    except ValidationError as error:
        name, sha256, _ = key.split("/")
        if _version(text) in (1, 2):
            raise UsageError(
                _OUTDATED,
                f"An older Headrace published the version {sha256[:12]}… of the model '{name}'.",
                bring_again(name),
            ) from error
        raise NotOurs(
            "bad_model_marker",
            f"The bucket '{bucket}' has a {key} that is not ours.",
            f"Run 'headrace models rm {name}', then pull or add the model again.",
        ) from error


def _version(text: bytes) -> object:
    try:
        marker = from_json(text)
    except ValueError:
        return None
    return marker.get("version") if isinstance(marker, dict) else None
