"""A model that cannot be loaded: is the model to blame, or the machine?"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from shared.errors import PermanentError
from tests.support.samples import pipeline
from workers.inference.analyst import Request
from workers.inference.engines.python_engine import PythonEngine
from workers.inference.errors import ClassUnusable, HostUnable, ModelUnusable
from workers.inference.loading import load_model
from workers.inference.model_types import ModelKey
from workers.inference.models import LoadedModels
from workers.inference.suspects import ChildAnalyst
from workers.suspects import ChildUnstartable

KEY = ModelKey.of(pipeline(), "classes")

HOSTS_OWN = [
    MemoryError(),
    OSError(28, "No space left on device"),
    FileNotFoundError(2, "No such file or directory"),
    PermissionError(13, "Permission denied"),
    ImportError("libcudart.so: cannot open shared object file"),
    RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("CUDA error: no kernel image is available for execution on the device"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("The NVIDIA CUDA driver on your system is too old"),
    HostUnable("There is no room."),
]
MODELS_OWN = [
    ModelUnusable("There are no weights."),
    RuntimeError("size mismatch for classifier.3.weight"),
    KeyError("classifier.3.weight"),
    ValueError("operands could not be broadcast together"),
    EOFError("Ran out of input"),
    PermanentError("bad_weights", "They do not fit."),
]


def loading(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> Callable[[], object]:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr("workers.inference.loading._chosen", fails)
    nothing = cast(Any, None)
    models = LoadedModels(lambda key: load_model(key, nothing, nothing, nothing))
    return lambda: models.get(KEY)


@pytest.mark.parametrize("error", HOSTS_OWN, ids=repr)
def test_what_is_the_machines_own_trouble(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    load = loading(monkeypatch, error)
    for _ in range(2):  # also while it is not tried again
        with pytest.raises(HostUnable):
            load()


@pytest.mark.parametrize("error", MODELS_OWN, ids=repr)
def test_what_is_the_models(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    load = loading(monkeypatch, error)
    for _ in range(2):
        with pytest.raises(ModelUnusable) as caught:
            load()
        assert not isinstance(caught.value, HostUnable)


def test_a_child_that_does_not_start_is_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(_: object) -> None:
        raise ChildUnstartable("The process died before it began.")

    monkeypatch.setattr("workers.suspects.SuspectTrial.ready", dies)
    images = np.zeros((1, 4, 4, 3), np.uint8)
    request = Request(pipeline(), [images], [(4, 4)], [], "job", "1", lambda _, e: e.precision)
    with pytest.raises(HostUnable, match=r"cannot be loaded\. The process died"):
        ChildAnalyst(threading.Event()).answer(request)


@pytest.mark.parametrize(
    ("raises", "kind"),
    [
        ("MemoryError", HostUnable),
        ("RuntimeError('CUDA out of memory.')", HostUnable),
        ("ValueError('no')", ClassUnusable),
    ],
)
def test_a_class_that_has_no_memory_is_not_to_blame(
    tmp_path: Path, raises: str, kind: type[ModelUnusable]
) -> None:
    for folder in ("code", "tmp"):
        (tmp_path / folder).mkdir()
    source = f"class Own:\n    def __init__(self):\n        raise {raises}\n"
    (tmp_path / "code" / "own.py").write_text(source)
    with pytest.raises(kind, match="cannot be constructed") as caught:
        PythonEngine("own:Own", tmp_path, {}, 60)
    assert type(caught.value) is kind
