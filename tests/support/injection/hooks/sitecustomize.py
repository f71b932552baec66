"""Loaded by every Python process of a stack under test: what is armed happens at its place.

``INJECTION_DIR`` holds a file for each armed place; see ``tests/support/injection/places.py``.
``INJECTION_CLOCK_SECONDS`` is by how much the process's ``time.time`` is wrong.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

_HOOKS = Path(__file__).resolve().parent
sys.path.append(str(_HOOKS.parents[3]))

from shared import environment  # noqa: E402

# The product passes none of these on, and its processes are to load this file, too.
environment.PASSED |= {"INJECTION_DIR", "INJECTION_CLOCK_SECONDS", "LD_PRELOAD"}
environment.PASSED |= {name for name in os.environ if name.startswith("FAKETIME")}
environment.CHOSEN["PYTHONPATH"] += f"{os.pathsep}{_HOOKS}"

_DIRECTORY = Path(os.environ.get("INJECTION_DIR", "/nonexistent"))
_PROCESS = os.environ.get("HEADRACE_PROCESS", "")
_PLACES: dict[str, dict[str, str]] = {}
if (_TABLE := _DIRECTORY / "places.json").exists():
    _PLACES = {
        name: place
        for name, place in json.loads(_TABLE.read_text()).items()
        if _PROCESS.startswith(f"{place['role']}-")
    }


class _Place:
    """One function, and what happens before or after its call while the place is armed."""

    def __init__(self, name: str) -> None:
        self._order_path = _DIRECTORY / name
        self._calls_path = _DIRECTORY / f"{name}.calls"
        self._struck_path = _DIRECTORY / f"{name}.{os.getpid()}.struck"

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            order = self._order()
            if order is not None:
                if order["action"] == "skip":
                    return None
                _act(order)
            return function(*args, **options)

        return call

    def after(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            answer = function(*args, **options)
            order = self._order()
            if order is not None:
                _act(order)
            return answer

        return call

    def _order(self) -> dict[str, Any] | None:
        """The order that this call is to carry out: of all calls, in any process, one gets it."""
        try:
            order: dict[str, Any] = json.loads(self._order_path.read_text())
            with self._calls_path.open("ab") as calls:
                calls.write(b".")
                calls.flush()
                number = calls.tell()  # where this call's own mark ends
            if number != order["passing"] + 1:
                return None
            self._order_path.rename(self._struck_path)
        except FileNotFoundError:
            return None
        return order


def _act(order: dict[str, Any]) -> None:
    if order["action"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    elif order["action"] == "stop" and "seconds" in order:
        threading.Timer(order["seconds"], os.kill, (os.getpid(), signal.SIGSTOP)).start()
    elif order["action"] == "stop":  # all of the process, and this thread no later than the others
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
    elif order["action"] == "hang":
        time.sleep(order["seconds"])
    elif order["action"] == "raise":
        raise _exception(order["exception"], order.get("message", "injected by a test"))


def _exception(name: str, message: str) -> BaseException:
    module, _, attribute = name.rpartition(".")
    kind = getattr(importlib.import_module(module or "builtins"), attribute)
    error = kind(message)
    assert isinstance(error, BaseException)
    return error


def _patch(module: ModuleType) -> None:
    for name, place in _places_in(module.__name__):
        *owners, attribute = place["function"].split(":")[1].split(".")
        owner: Any = functools.reduce(getattr, owners, module)
        original = owner.__dict__[attribute]
        function = original.__func__ if isinstance(original, staticmethod) else original
        patched: Any = getattr(_Place(name), place["when"])(function)
        setattr(owner, attribute, staticmethod(patched) if function is not original else patched)


def _places_in(module: str) -> Iterator[tuple[str, dict[str, str]]]:
    return (
        (name, place)
        for name, place in _PLACES.items()
        if place["function"].split(":")[0] == module
    )


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules that have places, with a loader that patches them once they stand."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if not any(_places_in(fullname)):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_patch(module: ModuleType) -> None:
            execute(module)
            _patch(module)

        spec.loader.exec_module = execute_and_patch  # type: ignore[method-assign]
        return spec


def _shift_clock(by_seconds: float) -> None:
    """Before anybody imports ``time`` from ``time``."""
    true_time = time.time
    time.time = lambda: true_time() + by_seconds


if _SHIFT := os.environ.get("INJECTION_CLOCK_SECONDS"):
    _shift_clock(float(_SHIFT))
if _PLACES:
    sys.meta_path.insert(0, _Finder())
