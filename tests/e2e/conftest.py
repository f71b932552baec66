"""One real stack for all tests of the tier, with the model that ``classify`` needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack import Stack

PLUGIN = """
class Shape:
    def __call__(self, images):
        return [(f"{image.shape[0]}x{image.shape[1]}", 1.0) for image in images]
"""


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that is up; its home has a space and a per cent sign in its path."""
    base = tmp_path_factory.mktemp("stack")
    plugins = base / "plugins"
    plugins.mkdir()
    (plugins / "shape.py").write_text(PLUGIN)
    stack = Stack(base / "a home at 100%", {"HEADRACE_PLUGINS": str(plugins)})
    try:
        stack.run("up")
        stack.run("models", "pull", "mobilenet_v2", timeout=300)
        yield stack
    finally:
        stack.run("down", check=False)


@pytest.fixture(scope="session")
def plugins(stack: Stack) -> Path:
    """The folder of plugins that the workers see."""
    return Path(stack.environment["HEADRACE_PLUGINS"])
