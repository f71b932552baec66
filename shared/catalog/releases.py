"""A model's releases in the models bucket: ``<name>/releases/<number>.json``.

They are numbered from 1 and create-only. The highest number is current: the version that the bare
name of a model means which has no file in ``config/models``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from shared.catalog.published import PublishedModel, published
from shared.errors import PermanentError
from shared.fields import Frozen, Name, Sha256
from shared.storage import BucketMissing, Store

_FOLDER = "releases"
_NUMBER = re.compile(r"/([0-9]{8,})\.json$")
_NAME: TypeAdapter[str] = TypeAdapter(Name)


class Release(Frozen):
    """Which version a model's name means from then on."""

    number: int = Field(ge=1)
    sha256: Sha256
    created_at: AwareDatetime


class Models(Protocol):
    """The models that are in a bucket and may have no file in ``config/models``."""

    def find(self, name: str, sha256: str | None) -> PublishedModel | None:
        """The version of that sha256, or the current release; None where it is not there."""
        ...

    def names(self) -> list[str] | None:
        """Those that have a release, sorted; None where no bucket can be asked."""
        ...


class NoModels(Models):
    """Where no bucket is asked."""

    def find(self, name: str, sha256: str | None) -> None:
        """See ``Models``."""

    def names(self) -> None:
        """See ``Models``."""


@dataclass(frozen=True, slots=True)
class BucketModels(Models):
    """Those of one bucket. Methods raise the store's errors."""

    store: Store
    bucket: str

    def find(self, name: str, sha256: str | None) -> PublishedModel | None:
        """See ``Models``."""
        if sha256 is None:
            current = current_release(self.store, self.bucket, name)
            if current is None:
                return None
            sha256 = current.sha256
        return published(self.store, self.bucket, name, sha256)

    def names(self) -> list[str]:
        """See ``Models``."""
        try:
            folders = [each for each in self.store.list_folders(self.bucket, "") if _is_name(each)]
        except BucketMissing:
            return []
        return sorted(each for each in folders if _numbers(self.store, self.bucket, each))


def release_key(name: str, number: int) -> str:
    """Where a release lies in the models bucket."""
    return f"{name}/{_FOLDER}/{number:08d}.json"


def releases(store: Store, bucket: str, name: str) -> list[Release]:
    """All of a model's, the oldest first. Raises PermanentError ``bad_release``."""
    return [_read(store, bucket, name, number) for number in _numbers(store, bucket, name)]


def current_release(store: Store, bucket: str, name: str) -> Release | None:
    """The newest; None where there is none. Raises PermanentError ``bad_release``."""
    numbers = _numbers(store, bucket, name)
    return _read(store, bucket, name, numbers[-1]) if numbers else None


def release(store: Store, bucket: str, name: str, sha256: str) -> Release:
    """Make a version, which is complete, the current one. Returns its release."""
    while True:
        current = current_release(store, bucket, name)
        if current is not None and current.sha256 == sha256:
            return current
        number = current.number + 1 if current else 1
        made = Release(number=number, sha256=sha256, created_at=datetime.now(UTC))
        text = made.model_dump_json(indent=2).encode()
        if store.create(bucket, release_key(name, number), text):
            return made


def _numbers(store: Store, bucket: str, name: str) -> list[int]:
    try:
        keys = [info.key for info in store.list(bucket, f"{name}/{_FOLDER}/")]
    except BucketMissing:
        return []
    return sorted(int(found[1]) for key in keys if (found := _NUMBER.search(key)))


def _read(store: Store, bucket: str, name: str, number: int) -> Release:
    key = release_key(name, number)
    try:
        return Release.model_validate_json(store.get(bucket, key))
    except ValidationError as error:
        raise PermanentError(
            "bad_release",
            f"The bucket '{bucket}' has a {key} that is not ours.",
            "Remove it, then add the model again.",
        ) from error


def _is_name(text: str) -> bool:
    try:
        _NAME.validate_python(text)
    except ValidationError:
        return False
    return True
