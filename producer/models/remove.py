"""``models rm``: one version of a model, or all of it."""

from __future__ import annotations

import re
from collections.abc import Collection

from producer.connections import Connections
from producer.models.removal import Removal, current_release, listed, needed_by_jobs, releases
from producer.pins import Pin, marked
from shared.errors import PermanentError, UsageError

_REFERENCE = re.compile(r"([a-z0-9][a-z0-9_.-]{0,63})(?:@([0-9a-f]{64}))?")


def removable(connections: Connections, reference: str) -> list[Pin]:
    """The versions that ``NAME`` or ``NAME@SHA256`` means, the current release last.

    Complete or not: what a removal that was killed has left counts. Raises UsageError
    ``bad_model`` or ``no_such_model``, and PermanentError ``model_needed``.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise UsageError(
            "bad_model",
            f"{reference!a} does not name a model.",
            "Give its name, or NAME@SHA256 with all 64 digits: 'headrace models list --json'.",
        )
    name, sha256 = match.groups()
    found = {pin for pin in _versions(connections, name) if sha256 in (None, pin.sha256)}
    if not found:
        raise UsageError(
            "no_such_model",
            f"There is no {reference} in the models bucket.",
            "See 'headrace models list'.",
        )
    current = _current(connections, name)
    if error := _refusal(connections, found, current if sha256 else None):
        raise error
    return sorted(found, key=lambda pin: (pin == current, pin))


def remove_model(connections: Connections, reference: str) -> list[Pin]:
    """Remove it, and return what was removed. Repeat it if interrupted. Raises as ``removable``."""
    pins = removable(connections, reference)
    name, _, sha256 = reference.partition("@")

    def keeping() -> dict[Pin, PermanentError]:
        """If one version has to stay, all do."""
        current = _current(connections, name) if sha256 else None
        error = _refusal(connections, pins, current)
        return dict.fromkeys(pins, error) if error else {}

    for error in Removal(connections).remove(pins, keeping).values():
        raise error
    return pins


def _versions(connections: Connections, name: str) -> set[Pin]:
    bucket = connections.settings.models_bucket
    store = connections.store_of(bucket)
    parts = (info.key.split("/") for info in listed(store, bucket, f"{name}/"))
    shas = {part[1] for part in parts if re.fullmatch(r"[0-9a-f]{64}", part[1])}
    shas.update(releases(store, bucket, name).values())
    return {Pin(name, sha) for sha in shas} | {
        pin for pin in marked(store, bucket) if pin.folder == name
    }


def _current(connections: Connections, name: str) -> Pin | None:
    bucket = connections.settings.models_bucket
    return current_release(connections.store_of(bucket), bucket, name)


def _refusal(
    connections: Connections, pins: Collection[Pin], current: Pin | None
) -> PermanentError | None:
    """Why these may not be removed. ``current``: the release that may not be among them."""
    if current in pins:
        assert current is not None
        return PermanentError(
            "model_needed",
            f"{current.sha256[:12]}… is the current release of the model '{current.folder}'.",
            "Make another one current first, or remove all of its versions: "
            f"'headrace models rm {current.folder}'.",
        )
    needed = needed_by_jobs(connections)
    return next((needed[pin] for pin in sorted(pins) if pin in needed), None)
