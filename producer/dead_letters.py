"""Dead letters as the command line shows them."""

from __future__ import annotations

import base64

from pydantic import BaseModel

from shared.broker import dead_letters
from shared.broker.dead_letters import QUARANTINE, DeadLetter, DeadLetters
from shared.settings import load_settings
from shared.storage import resolve_store

__all__ = [
    "QUARANTINE",
    "DeadLetterCount",
    "DeadLetterDetail",
    "DeadLetterRow",
    "detail",
    "purge",
    "row",
    "stack_dead_letters",
]


class DeadLetterRow(BaseModel):
    """One dead letter, without its bytes."""

    id: str
    queue: str
    layer: str
    reason: str
    size: int
    received_at: str
    replays: int


class DeadLetterDetail(DeadLetterRow):
    """One dead letter with the bytes as they lay in the queue, in base64."""

    raw_base64: str


class DeadLetterCount(BaseModel):
    """How many dead letters a command was about."""

    count: int


def stack_dead_letters() -> DeadLetters:
    """The dead letters of this home's broker. Raises UsageError where no stack is set up."""
    return dead_letters.connect_dead_letters(load_settings())


def purge() -> int:
    """Throw away those in the broker and those in the bucket. Returns how many there were.

    Raises UsageError where no stack is set up, TransientError where broker or store is away.
    """
    settings, letters = load_settings(), stack_dead_letters()
    store, bucket = resolve_store(settings, settings.state_bucket), settings.state_bucket
    moved = letters.moved()
    if moved:
        store.delete_many(bucket, [found.key for found in store.list(bucket, QUARANTINE)])
    return letters.purge() + moved


def row(letter: DeadLetter) -> DeadLetterRow:
    """Without the bytes."""
    return DeadLetterRow.model_validate(letter, from_attributes=True)


def detail(letter: DeadLetter) -> DeadLetterDetail:
    """With the bytes."""
    raw = base64.b64encode(letter.raw).decode()
    return DeadLetterDetail(**row(letter).model_dump(), raw_base64=raw)
