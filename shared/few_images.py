"""A pipeline over a few images: what the producer's side asks of a process, and its answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from shared.errors import UsageError
from shared.item import Item
from shared.pipeline import Pipeline

# As the bucket of files that lie on this machine: no bucket may have two dots in a row.
LOCAL_FILES = "local..files"


class GivenImage(Item):
    """``bucket``: ``LOCAL_FILES`` where ``key`` is the absolute path of a file."""

    bucket: str


class FewImages(BaseModel):
    """What to do.

    ``store``: the folder with the models and code; None: they are in the stack's store.
    ``home``: for caches, and for the settings of the stack.
    ``out``: a folder for pictures of what each model sees.
    ``code``: the folders that the code of users' classes was packed from.
    """

    pipeline: Pipeline
    images: list[GivenImage]
    store: Path | None
    models_bucket: str
    home: Path
    out: Path | None
    code: list[Path] = []


class ImageRows(BaseModel):
    """A row for each image, in their order, and where the time went, in milliseconds."""

    rows: list[dict[str, Any]]
    timings_ms: dict[str, float]


@contextmanager
def writing_to(out: Path) -> Iterator[None]:
    """Raises UsageError ``bad_output`` where that cannot be done."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            "bad_output",
            f"Cannot write to {error.filename or out}: {error.strerror or error}.",
            "Choose another folder.",
        ) from error
