"""How the inference stage says that a model cannot be had, or raised."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import ItemErrorCode, PermanentError, TransientError
from shared.item import ItemFailure

_MAX_LINE_CHARACTERS = 400
# As torch, CUDA's libraries, ONNX Runtime and C++ say it, in lower case.
_OUT_OF_MEMORY = (
    *("out of memory", "outofmemory", "alloc_failed", "failed to allocate"),
    *("bad_alloc", "bad allocation", "can't allocate memory", "cannot allocate memory"),
    *("not enough memory", "memoryerror"),
)
# As they say that the device or its driver is in trouble.
_DEVICE_TROUBLE = ("cuda error", "cuda driver", "cuda initialization", "cublas_", "cudnn_")


class ModelUnusable(PermanentError):
    """The model cannot be loaded, now or later: no image of the job can be answered.

    ``prints``: what a user's class printed before.
    ``analyses``: those that the model is for, where that is known.
    """

    analyses: tuple[str, ...] = ()

    def __init__(self, message: str, hint: str = "", prints: str = "") -> None:
        super().__init__("model_unusable", message, hint)
        self.args = (message, hint)
        self.prints = prints


@contextmanager
def of_analyses(*names: str) -> Iterator[None]:
    """Note on a ModelUnusable for which analyses the model is."""
    try:
        yield
    except ModelUnusable as error:
        error.analyses = names
        raise


class ClassUnusable(ModelUnusable):
    """A user's class cannot be constructed, or kills every process: its job ends with that."""


class HostUnable(ModelUnusable):
    """This machine cannot load the model, for which the model is not to blame: no job ends."""


class HostNotStarted(TransientError):
    """No process can be started for a user's class now: threads, files or memory are short."""

    def __init__(self, message: str) -> None:
        super().__init__("host_not_started", message)
        self.args = (message,)


class EngineError(PermanentError):
    """The engine raised on a device batch. ``message`` is the exception in one line.

    ``prints``: what a user's class printed before. ``images``: of the batch, where that is known.
    """

    def __init__(self, message: str, prints: str = "", images: int = 0) -> None:
        super().__init__("engine_error", message)
        self.args = (message, "", images)
        self.prints = prints
        self.images = images


class Miscounted(EngineError):
    """A user's class gave another number of outputs than it got images."""


def model_failure(message: str) -> ItemFailure:
    """The failure of an image on which the model raised, or that it answered with nonsense."""
    return ItemFailure.of(ItemErrorCode.MODEL_ERROR, message)


def one_line(error: BaseException) -> str:
    """``ValueError: what it says`` in one bounded line, even where ``str(error)`` raises."""
    return _said(error)[:_MAX_LINE_CHARACTERS].encode("utf-8", "replace").decode()


def is_out_of_memory(error: BaseException) -> bool:
    """Is it that a batch was too large for the device, whichever library says so?"""
    return isinstance(error, MemoryError) or says_out_of_memory(_said(error))


def says_out_of_memory(text: str) -> bool:
    """Does an exception's text say so?"""
    return any(words in text.lower() for words in _OUT_OF_MEMORY)


def load_error(name: str, error: BaseException) -> ModelUnusable:
    """For what a library raised as it loaded the model: is it the model's fault, or the host's?"""
    said = _said(error).lower()
    is_hosts = isinstance(error, (OSError, ImportError)) or is_out_of_memory(error)
    is_hosts |= any(words in said for words in _DEVICE_TROUBLE)
    kind = HostUnable if is_hosts else ModelUnusable
    return kind(f"'{name}' cannot be loaded: {one_line(error)}")


def _said(error: BaseException) -> str:
    return " ".join("".join(traceback.format_exception_only(type(error), error)).split())


class HostDied(EngineError):
    """The process of a user's class ended, or had to be ended, over a batch. ``message``: how."""


class NotBegun(EngineError):
    """The process of a user's class ended before it came to a batch, which is to be run again."""

    def __init__(self) -> None:
        super().__init__("The process that it waited for ended.")
        self.args = ()
