"""What is asked of ``python -m workers.contact_sheet``, as JSON on stdin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from shared.fields import Frozen
from shared.item import Item
from shared.pipeline import Preprocess


class ContactSheet(Frozen):
    """One image that shows many. ``path``: of the JPEG file to write."""

    path: Path
    items: Annotated[tuple[Item, ...], Field(min_length=1)]


class ContactSheets(Frozen):
    """Sheets of images in one bucket, decoded as the pipeline says.

    ``home``: of the stack whose settings name the store.
    """

    home: Path
    bucket: str
    preprocess: Preprocess
    sheets: tuple[ContactSheet, ...]
