"""A model's releases in the models bucket: ``<name>/releases/<number>.json``.

They are numbered from 1 and create-only. The highest number is current: the version that the bare
name of a model means which has no file in ``config/models``. Other objects in that folder are not
ours, and nobody looks at them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from shared.catalog.objects import NotOurs, folders, listed
from shared.catalog.published import PublishedModel, published
from shared.fields import Frozen, Name, Sha256
from shared.storage import ObjectMissing, Store

_FOLDER = "releases"
_NUMBER = re.compile(r"([0-9]{8,})\.json")
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
        names = filter(_is_name, folders(self.store, self.bucket))
        return sorted(each for each in names if _numbers(self.store, self.bucket, each))


def release_key(name: str, number: int) -> str:
    """Where a release lies in the models bucket."""
    return f"{name}/{_FOLDER}/{number:08d}.json"


def releases(store: Store, bucket: str, name: str) -> list[Release]:
    """All of a model's, the oldest first. Raises NotOurs."""
    found = (_read(store, bucket, name, number) for number in _numbers(store, bucket, name))
    return [each for each in found if each is not None]


def released(store: Store, bucket: str, name: str) -> dict[int, str | None]:
    """The sha256 that each release means, by its number; None for one that cannot be read."""
    found = dict[int, str | None]()
    for number in _numbers(store, bucket, name):
        try:
            each = _read(store, bucket, name, number)
        except NotOurs:
            found[number] = None
        else:
            if each is not None:
                found[number] = each.sha256
    return found


def current_release(store: Store, bucket: str, name: str) -> Release | None:
    """The newest; None where there is none. Raises NotOurs."""
    newest_first = reversed(_numbers(store, bucket, name))
    found = (_read(store, bucket, name, number) for number in newest_first)
    return next((each for each in found if each is not None), None)


def release(store: Store, bucket: str, name: str, sha256: str) -> tuple[Release, bool]:
    """Make a version, which is complete, the current one. Returns its release, and if it is new."""
    while True:
        current = current_release(store, bucket, name)
        if current is not None and current.sha256 == sha256:
            return current, False
        number = current.number + 1 if current else 1
        made = Release(number=number, sha256=sha256, created_at=datetime.now(UTC))
        text = made.model_dump_json(indent=2).encode()
        if store.create(bucket, release_key(name, number), text):
            return made, True


def _numbers(store: Store, bucket: str, name: str) -> list[int]:
    folder = f"{name}/{_FOLDER}/"
    files = (info.key.removeprefix(folder) for info in listed(store, bucket, folder))
    return sorted(int(found[1]) for file in files if (found := _NUMBER.fullmatch(file)))


def _read(store: Store, bucket: str, name: str, number: int) -> Release | None:
    """None where it was removed since it was listed."""
    key = release_key(name, number)
    try:
        return Release.model_validate_json(store.get(bucket, key))
    except ObjectMissing:
        return None
    except ValidationError as error:
        raise NotOurs(
            "bad_release",
            f"The bucket '{bucket}' has a {key} that is not ours.",
            f"Run 'headrace models rm {name}', then add the model again.",
        ) from error


def _is_name(text: str) -> bool:
    try:
        _NAME.validate_python(text)
    except ValidationError:
        return False
    return True
