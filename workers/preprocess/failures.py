"""Why an item failed, as it travels."""

from __future__ import annotations

from shared.errors import ItemError, ItemErrorCode
from shared.messages import ItemFailure

_LONGEST_MESSAGE = 500


def failure(code: ItemErrorCode, text: str) -> ItemFailure:
    """A failure whose message is one printable line that fits, whatever ``text`` is."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return ItemFailure(
        error_code=code, error_message=" ".join(printable.split())[:_LONGEST_MESSAGE]
    )


def failure_of(error: ItemError) -> ItemFailure:
    """What a raised error says about the item."""
    return failure(error.item_code, error.message)
