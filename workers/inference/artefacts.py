"""A model's files: in the models bucket under ``name/sha256``, cached below the home."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from shared.catalog.published import LABELS, ONNX, WEIGHTS, bring_again, model_key
from shared.errors import PermanentError, TransientError
from shared.limits import MAX_LABEL_CHARACTERS
from shared.model import Model
from shared.storage import BucketMissing, ObjectMissing, Store
from workers.inference.errors import HostUnable, ModelUnusable


class Artefacts:
    """Fetches each file once and keeps it. Only files that passed their check are ever cached.

    Methods raise ModelUnusable for a file that is missing or fails its check, HostUnable where the
    store refuses it, and TransientError where the store does not answer or the disk is full.
    """

    def __init__(self, store: Store, bucket: str, cache: Path) -> None:
        self._store = store
        self._bucket = bucket
        self._cache = cache

    def weights(self, model: Model) -> Path:
        """The state dict, whose sha256 is the model's."""

        def check(data: bytes) -> None:
            found = hashlib.sha256(data).hexdigest()
            if found != model.sha256:
                raise ModelUnusable(
                    f"The weights of '{model.name}' have sha256 {found}, not {model.sha256}.",
                    bring_again(model.name),
                )

        return self._fetch(model, WEIGHTS, check)

    def onnx(self, model: Model) -> Path:
        """The exported graph, with all its tensors in the one file."""
        return self._fetch(model, ONNX, _refuse_external_data)

    def labels(self, model: Model) -> tuple[str, ...]:
        """The labels in the order of the classes; none where the model has no such file."""
        try:
            path = self._fetch(model, LABELS, _refuse_long_labels)
        except _Missing:
            return ()
        lines = path.read_text(encoding="utf-8", errors="replace").rstrip("\n").split("\n")
        return tuple(line.strip() for line in lines)

    def _fetch(self, model: Model, file: str, check: Callable[[bytes], None]) -> Path:
        path = self._cache / model.name / model.sha256 / file
        if path.exists():
            return path
        key = model_key(model.name, model.sha256, file)
        try:
            data = self._store.get(self._bucket, key)
        except (ObjectMissing, BucketMissing) as error:
            raise _Missing(
                f"There is no {key} in the bucket '{self._bucket}'.",
                bring_again(model.name),
            ) from error
        except PermanentError as error:  # this machine's rights, or its clock
            raise HostUnable(error.message, error.hint) from error
        check(data)
        try:
            _write(path, data)
        except OSError as error:
            raise TransientError(
                "cache_not_written", f"Cannot write {path}: {error.strerror}."
            ) from error
        return path


class _Missing(ModelUnusable):
    """The bucket does not have the file."""


def _write(path: Path, data: bytes) -> None:
    """All or nothing, also across a power failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _refuse_long_labels(data: bytes) -> None:
    """No row could hold them."""
    longest = max(map(len, data.decode(errors="replace").split("\n")))
    if longest > MAX_LABEL_CHARACTERS:
        raise ModelUnusable(
            f"A label in {LABELS} has {longest:,} characters, at most {MAX_LABEL_CHARACTERS:,}.",
            "Shorten it in the file of labels, and pull or add the model again.",
        )


def _refuse_external_data(data: bytes) -> None:
    """An ONNX file may name other files, and would have the worker read them."""
    import onnx

    try:
        graph = onnx.load_model_from_string(data)
    except Exception as error:
        raise ModelUnusable(f"{ONNX} is not an ONNX file.") from error
    if any(tensor.external_data for tensor in _tensors(graph)):
        raise ModelUnusable(f"{ONNX} keeps its weights in other files.", "Export it as one file.")


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor below a protobuf message, wherever the format may have one."""
    import onnx

    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for below in value if field.is_repeated else [value]:
                yield from _tensors(below)
