"""One small tree of errors. Every error has a stable code, a message, and a hint on what to do.

``HeadraceError`` is what a command line prints in one line and a program may match on by code.
``ItemError`` is about one image and becomes a ``failed`` row; everything else is about the system.
"""

from __future__ import annotations

from enum import StrEnum

# What a message may end with before a hint; quotes and brackets may follow.
_ENDS = (".", "?", "!", ":", ";", "…")


def sentences(message: str, hint: str) -> str:
    """A message and what to do, with a full stop between them if the message has no end."""
    message, hint = message.rstrip(), hint.strip()
    if not message or not hint:
        return message or hint
    stop = "" if message.rstrip("'\")]").endswith(_ENDS) else "."
    return f"{message}{stop} {hint}"


class HeadraceError(Exception):
    """Base of every error we raise on purpose. Survives pickling."""

    exit_code = 1

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(code, message, hint)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return sentences(self.message, self.hint)


class UsageError(HeadraceError):
    """The user asked for something that cannot be; exit code 2."""

    exit_code = 2


class TransientError(HeadraceError):
    """A service did not answer or is short of something: trying again may help."""


class PermanentError(HeadraceError):
    """Trying again will give the same answer."""


class ItemErrorCode(StrEnum):
    """Why one image failed. Stable: users filter on these, so values are only ever added."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    MISSING = "missing"
    CHANGED = "changed"
    UNREADABLE = "unreadable"
    ARCHIVED = "archived"
    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED = "unsupported"
    CORRUPT = "corrupt"
    TRUNCATED = "truncated"
    BOMB = "bomb"
    TIMED_OUT = "timed_out"
    KILLED_WORKER = "killed_worker"
    MODEL_ERROR = "model_error"
    UNDELIVERABLE = "undeliverable"


ITEM_ERROR_ADVICE: dict[ItemErrorCode, str] = {
    ItemErrorCode.EMPTY: "The object has no bytes: upload it again, or exclude it with --exclude.",
    ItemErrorCode.TOO_LARGE: "The object is over the pipeline's max_object_bytes: raise it there.",
    ItemErrorCode.MISSING: "The object was deleted after it was listed: nothing to do.",
    ItemErrorCode.CHANGED: "The object was replaced after it was listed: retry JOB --failed.",
    ItemErrorCode.UNREADABLE: "The store refused the object: check its permissions.",
    ItemErrorCode.ARCHIVED: "The object is archived: restore it, then retry JOB --failed.",
    ItemErrorCode.NOT_AN_IMAGE: "The bytes are not an image: exclude them with --exclude.",
    ItemErrorCode.UNSUPPORTED: "A kind of file that is not decoded: convert it, or exclude it.",
    ItemErrorCode.CORRUPT: "The image is damaged: restore it from its source.",
    ItemErrorCode.TRUNCATED: "The image ends early, often a broken upload: upload it again.",
    ItemErrorCode.BOMB: "The image is over a limit on pixels or memory: its message says "
    "which, and what would change it.",
    ItemErrorCode.TIMED_OUT: "The store gave other objects and not this one: retry JOB --failed.",
    ItemErrorCode.KILLED_WORKER: "The image killed the process that it ran in, alone and twice.",
    ItemErrorCode.MODEL_ERROR: "The model raised on this image, or gave what no row can hold: "
    "see error_message.",
    ItemErrorCode.UNDELIVERABLE: "Its chunk's messages were refused: see 'headrace dead-letters "
    "list' and the workers' logs, then retry JOB --failed.",
}


class ItemError(PermanentError):
    """One image cannot be processed; its neighbours can."""

    def __init__(self, item_code: ItemErrorCode, message: str) -> None:
        super().__init__(item_code.value, message)
        # Exception.__reduce__ calls the class with ``args``; keep them equal to our signature.
        self.args = (item_code, message)
        self.item_code = item_code
