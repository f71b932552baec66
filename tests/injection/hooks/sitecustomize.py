"""Loaded by every Python process of a stack under test: what is armed happens at its place.

``INJECTION_DIR`` holds a file for each armed place; see ``tests/injection/places.py``.
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

_DIRECTORY = Path(os.environ.get("INJECTION_DIR", "/nonexistent"))
_PLACES: dict[str, dict[str, str]] = {}
if (_TABLE := _DIRECTORY / "places.json").exists():
    _PLACES = json.loads(_TABLE.read_text())


class _Place:
    """One function, and what happens before or after its call while the place is armed."""

    def __init__(self, name: str, when: str) -> None:
        self._name, self._when = name, when
        self._path = _DIRECTORY / name
        self._passed = 0
        self._turn = threading.Lock()

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            order = self._order()
            if order is not None and self._when == "before":
                if order["action"] == "skip":
                    return None
                _act(order)
            answer = function(*args, **options)
            if order is not None and self._when == "after":
                _act(order)
            return answer

        return call

    def _order(self) -> dict[str, Any] | None:
        """The order that this call is to carry out: of all processes only one gets it."""
        if not self._path.exists():
            return None
        with self._turn:
            try:
                order: dict[str, Any] = json.loads(self._path.read_text())
                self._passed += 1
                if self._passed <= order["passing"]:
                    return None
                mine = _DIRECTORY / f"{self._name}.{os.getpid()}.struck"
                os.link(self._path, mine)
                self._path.unlink()
            except FileNotFoundError:  # another process has it
                return None
            self._passed = 0
            return order


def _act(order: dict[str, Any]) -> None:
    if order["action"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    elif order["action"] == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif order["action"] == "hang":
        time.sleep(order["seconds"])
    elif order["action"] == "raise":
        raise _exception(order["exception"])


def _exception(name: str) -> BaseException:
    module, _, attribute = name.rpartition(".")
    kind = getattr(importlib.import_module(module or "builtins"), attribute)
    error = kind("injected by a test")
    assert isinstance(error, BaseException)
    return error


def _patch(module: ModuleType) -> None:
    for name, place in _places_in(module.__name__):
        *owners, attribute = place["function"].split(":")[1].split(".")
        owner: Any = functools.reduce(getattr, owners, module)
        original = owner.__dict__[attribute]
        function = original.__func__ if isinstance(original, staticmethod) else original
        patched: Any = _Place(name, place["when"]).around(function)
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
