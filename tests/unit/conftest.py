"""What unit tests of several files stand on."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.hosted import OpenClass, hosted
from workers.inference.engines.python_engine import PythonEngine


@pytest.fixture
def open_class() -> Iterator[OpenClass]:
    """Opens users' classes in hosts, and closes them after the test."""
    with ExitStack() as stack:

        def open_one(source: str, name: str = "Own", **options: object) -> PythonEngine:
            engine = hosted(source, name, **options)  # type: ignore[arg-type]
            stack.callback(engine.close)
            return engine

        yield open_one


@pytest.fixture
def mark() -> str:
    """A word that only the processes of this test have in their environment."""
    return uuid.uuid4().hex
