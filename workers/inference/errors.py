"""How the inference stage says that a model cannot be had, or raised."""

from __future__ import annotations

import traceback

from shared.errors import PermanentError

_LONGEST_LINE = 400


class ModelUnusable(PermanentError):
    """The model cannot be loaded, now or later: no image of the job can be answered."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__("model_unusable", message, hint)
        self.args = (message, hint)


class EngineError(PermanentError):
    """The engine raised on a device batch. ``message`` is the exception in one line."""

    def __init__(self, message: str) -> None:
        super().__init__("engine_error", message)
        self.args = (message,)


def one_line(error: BaseException) -> str:
    """``ValueError: what it says`` in one bounded line, even where ``str(error)`` raises."""
    said = "".join(traceback.format_exception_only(type(error), error))
    line = " ".join(said.split())[:_LONGEST_LINE]
    return line.encode("utf-8", "replace").decode()
