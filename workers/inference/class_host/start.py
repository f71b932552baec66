"""Starting a host for a user's class, in a scratch folder with its code."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from pathlib import Path

from shared.model import Model
from workers.inference.class_host.environment import class_environment
from workers.inference.engines.python_engine import PythonEngine
from workers.inference.errors import ClassUnusable, HostDied, HostNotStarted
from workers.inference.user_code import UserCode

_PREFIX = "headrace-class-"
# One that ends its process as it starts may have met the OOM killer: it is tried once more.
_STARTS = 2

log = logging.getLogger(__name__)


def open_class(model: Model, user_code: UserCode, load_seconds: float) -> PythonEngine:
    """The model's class, constructed in a host.

    Raises ClassUnusable where it cannot be constructed within ``load_seconds``, HostNotStarted
    where this machine has no room for a process now, and what laying out its code raises.
    """
    deadline = time.monotonic() + load_seconds
    for left in reversed(range(_STARTS)):
        try:
            return _open(model, user_code, max(1.0, deadline - time.monotonic()))
        except HostDied as death:
            if not left or time.monotonic() > deadline:
                raise ClassUnusable(
                    f"'{model.python_class}' ended its process while it was constructed: "
                    f"{death.message}.",
                    prints=death.prints,
                ) from death
            log.warning("'%s' is constructed again: %s", model.python_class, death)
    raise AssertionError


def _open(model: Model, user_code: UserCode, load_seconds: float) -> PythonEngine:
    assert model.python_class is not None
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        for inner in (folder / "code", folder / "tmp"):
            inner.mkdir()
        started = time.monotonic()
        user_code.lay_out(model, folder / "code")
        environment = class_environment(model.environment, folder / "tmp")
        left = max(1.0, load_seconds - (time.monotonic() - started))
        return PythonEngine(model.python_class, folder, environment, left, model.arguments)
    except BaseException as error:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise HostNotStarted(
                f"No process can be started for '{model.python_class}': {error.strerror or error}."
            ) from error
        raise


def sweep() -> None:
    """Remove the folders of workers that are gone, and this one's own from before it was started.

    A host removes its folder itself, unless it died together with its worker.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}[0-9]*-*"):
        pid = int(folder.name.removeprefix(_PREFIX).partition("-")[0])
        if pid == os.getpid() or not _lives(pid):
            shutil.rmtree(folder, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
