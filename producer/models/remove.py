"""``models rm``: one version of a model, or all of it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from producer.connections import Connections
from producer.models.removal import Removal, needed_by_jobs
from producer.pins import Pin, marked
from shared.catalog import current_release, listed, release_key, released
from shared.errors import PermanentError, UsageError
from shared.fields import is_sha256

_REFERENCE = re.compile(r"([a-z0-9][a-z0-9_.-]{0,63})(?:@([0-9a-f]{1,64}))?")


def removable(connections: Connections, reference: str) -> list[Pin]:
    """The versions that ``NAME`` or ``NAME@SHA256`` means, the current release last.

    Of a version, the first digits will do. Complete or not: what a removal that was killed has
    left counts. There are none where the name has nothing but releases that cannot be read. Raises
    UsageError ``bad_model`` or ``no_such_model``, PermanentError ``model_needed``, and NotOurs
    where one version is meant and nobody can say which is current.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise UsageError(
            "bad_model",
            f"{reference!a} does not name a model.",
            "Give its name, or NAME@SHA256: 'headrace models list'.",
        )
    name, digits = match.groups()
    bucket = connections.settings.models_bucket
    releases = released(connections.store_of(bucket), bucket, name)
    versions = _versions(connections, name, filter(None, releases.values()))
    found = {pin for pin in versions if pin.sha256.startswith(digits or "")}
    if not found and (digits or not releases):
        raise UsageError(
            "no_such_model",
            f"There is no {reference} in the models bucket.",
            "See 'headrace models list'.",
        )
    if digits and len(found) > 1:
        raise UsageError(
            "no_such_model", f"Several versions begin as {reference}.", "Give more digits."
        )
    if error := _refusal(connections, found, is_whole=not digits):
        raise error
    newest = next(reversed(releases.values()), None)
    return sorted(found, key=lambda pin: (pin.sha256 == newest, pin))


def remove_model(connections: Connections, reference: str, pins: Collection[Pin]) -> None:
    """Remove what ``removable`` found. Repeat both if interrupted. Raises as that does."""
    name, _, digits = reference.partition("@")

    def keeping() -> dict[Pin, PermanentError]:
        """If one version has to stay, all do."""
        error = _refusal(connections, pins, is_whole=not digits)
        return dict.fromkeys(pins, error) if error else {}

    for error in Removal(connections).remove(list(pins), keeping).values():
        raise error
    if not digits:
        bucket = connections.settings.models_bucket
        store = connections.store_of(bucket)
        for number, sha256 in released(store, bucket, name).items():
            if sha256 is None:
                store.delete(bucket, release_key(name, number))


def _versions(connections: Connections, name: str, shas: Iterable[str]) -> set[Pin]:
    """Those that something is left of, and ``shas``."""
    bucket = connections.settings.models_bucket
    store = connections.store_of(bucket)
    folders = (info.key.split("/")[1] for info in listed(store, bucket, f"{name}/"))
    there = {Pin(name, sha) for sha in (*shas, *filter(is_sha256, folders))}
    return there | {pin for pin in marked(store, bucket) if pin.folder == name}


def _refusal(
    connections: Connections, pins: Collection[Pin], *, is_whole: bool
) -> PermanentError | None:
    """Why these may not be removed. ``is_whole``: all of a model, with the current release."""
    bucket = connections.settings.models_bucket
    for pin in () if is_whole else pins:
        current = current_release(connections.store_of(bucket), bucket, pin.folder)
        if current is not None and current.sha256 == pin.sha256:
            return PermanentError(
                "model_needed",
                f"{pin.sha256[:12]}… is the current release of the model '{pin.folder}'.",
                "Make another one current first, or remove all of its versions: "
                f"'headrace models rm {pin.folder}'.",
            )
    needed = needed_by_jobs(connections)
    return next((needed[pin] for pin in sorted(pins) if pin in needed), None)
