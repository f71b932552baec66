"""A model's versions in the models bucket: ``<name>/<sha256>/``, never changed once complete."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import ValidationError

from shared.errors import PermanentError
from shared.fields import Channels, Frozen, Name, Sha256
from shared.storage import BucketMissing, ObjectMissing, Store

WEIGHTS = "weights.pth"
ONNX = "model.onnx"
LABELS = "labels.txt"
MARKER = "model.json"


class ModelConstants(Frozen):
    """What is baked into a version beside its weights. ``labels_sha256`` is of ``labels.txt``."""

    architecture: str
    image_pixels: int
    mean: Channels
    std: Channels
    labels_sha256: Sha256 | None = None


class PublishedModel(Frozen):
    """``model.json``, written last: a version that has it is complete.

    ``sha256`` is that of the weights; ``files`` has each file's; ``source`` says in words where
    the weights came from.
    """

    version: Literal[1] = 1
    name: Name
    sha256: Sha256
    constants: ModelConstants
    files: dict[str, Sha256]
    licence: str
    source: str


def model_key(name: str, sha256: str, file: str) -> str:
    """Where one file of a version lies in the models bucket."""
    return f"{name}/{sha256}/{file}"


def published(store: Store, bucket: str, name: str, sha256: str) -> PublishedModel | None:
    """The version, or None unless it is complete.

    Raises PermanentError ``bad_model_marker``, and the store's other errors.
    """
    key = model_key(name, sha256, MARKER)
    try:
        return PublishedModel.model_validate_json(store.get(bucket, key))
    except (ObjectMissing, BucketMissing):
        return None
    except ValidationError as error:
        raise PermanentError(
            "bad_model_marker",
            f"The bucket '{bucket}' has a {key} that is not ours.",
            "Remove what is in its folder, then pull or push the model again.",
        ) from error


def published_versions(store: Store, bucket: str, name: str) -> Iterator[PublishedModel]:
    """Every complete version of a model, in no promised order."""
    try:
        folders = list(store.list_folders(bucket, f"{name}/"))
    except BucketMissing:
        return
    for sha256 in folders:
        if found := published(store, bucket, name, sha256):
            yield found


def publish(store: Store, bucket: str, model: PublishedModel) -> PublishedModel:
    """Declare a version complete, after its files are there. Returns the one that stands."""
    key = model_key(model.name, model.sha256, MARKER)
    if store.create(bucket, key, model.model_dump_json(indent=2).encode()):
        return model
    return PublishedModel.model_validate_json(store.get(bucket, key))
