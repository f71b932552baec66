"""What a model's current release has, and the next one has not."""

from __future__ import annotations

from contextlib import suppress

from producer import Echo
from producer.models.given import Given
from shared.catalog import BucketModels, NotOurs, PublishedModel
from shared.catalog.published import LABELS
from shared.errors import UsageError


def tell_lost(version: PublishedModel, given: Given, models: BucketModels, echo: Echo) -> None:
    """Say what was given for the current release, and not for ``version``, which is the next.

    Raises the store's errors.
    """
    before = None
    with suppress(NotOurs, UsageError):  # UsageError: an older Headrace published it
        before = models.find(version.name, None)
    if before is None or before.sha256 == version.sha256:
        return
    if lost := _lost(before, version, given):
        echo(
            f"'{version.name}' had {_joined(lost)}; this release has not. If it should, remove it "
            "and give the options again."
        )


def _lost(before: PublishedModel, after: PublishedModel, given: Given) -> list[str]:
    """Size and layout are none of it: they follow from most files."""
    was, now = before.constants, after.constants
    found = []
    if LABELS in before.files and LABELS not in after.files:
        found.append("labels")
    if before.licence and not after.licence:
        found.append(f"the licence {before.licence}")
    if given.view is None and was.view.kind != now.view.kind:
        found.append(f"the view {was.view.kind}")
    for field in ("mean", "std"):
        if getattr(given, field) is None and getattr(was, field) != getattr(now, field):
            found.append(f"{field} {','.join(f'{each:g}' for each in getattr(was, field))}")
    if given.channels is None and was.channels != now.channels:
        found.append(f"channels {was.channels}")
    return found


def _joined(words: list[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
