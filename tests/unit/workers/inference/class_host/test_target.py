"""What a pipeline names: a class or a function, and the arguments that it gets."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_engine import images_of
from tests.support.hosted_class import OpenClass, hosted
from workers.inference.class_host.target import Target, UnusableTarget, load
from workers.inference.errors import ClassUnusable

CLASS = """
class Own:
    def __init__(self, level, mode="mean", *, scale=1.0): self.given = [level, mode, scale]
    def __call__(self, images): return [self.given] * len(images)
"""
FUNCTION = """
def own(images, about, level, *, mode="mean"): return [[level, mode, len(about)]] * len(images)
"""


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Loads from source, in this process."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # of source that changes

    def from_source(source: str, name: str, **arguments: Any) -> Target:
        monkeypatch.delitem(sys.modules, "own_target", raising=False)
        (tmp_path / "own_target.py").write_text(textwrap.dedent(source))
        return load("own_target", name, arguments)

    return from_source


def test_a_class_is_constructed_with_its_arguments(open_class: OpenClass) -> None:
    arguments = json.dumps({"level": {"é": [1, None]}, "scale": 0.5})
    outputs = open_class(CLASS, arguments=arguments).run(images_of(1, 2))
    assert outputs == [[{"é": [1, None]}, "mean", 0.5]] * 2


def test_arguments_may_be_as_long_as_a_pipeline_lets_them(open_class: OpenClass) -> None:
    level = "\N{SNOWMAN}" * 60_000
    engine = open_class(CLASS, arguments=json.dumps({"level": level}, ensure_ascii=False))
    assert engine.run(images_of(1))[0][0] == level


def test_a_function_is_called_with_the_images_and_its_arguments(open_class: OpenClass) -> None:
    source = "def own(images, *, level=1): return [level + int(each.flat[0]) for each in images]"
    assert open_class(source, "own").run(images_of(1, 2)) == [2, 3]
    assert open_class(source, "own", arguments='{"level": 5}').run(images_of(1, 2)) == [6, 7]


@pytest.mark.parametrize(
    ("source", "name", "arguments", "said"),
    [
        (CLASS, "Own", {}, "Own.__init__ needs the argument 'level'; it takes level, mode, scale"),
        (
            CLASS,
            "Own",
            {"level": 1, "mdoe": 2},
            "Own.__init__ takes no argument 'mdoe'; it takes level, mode, scale",
        ),
        (
            "class Own:\n    def __call__(self, images): ...",
            "Own",
            {"level": 1},
            "Own.__init__ takes no argument 'level'; it takes none",
        ),
        (
            "class Own:\n    def __init__(self, level, /): ...",
            "Own",
            {},
            "Own.__init__ takes 'level' by position alone",
        ),
        (FUNCTION, "own", {}, "own needs the argument 'level'; it takes level, mode"),
        (FUNCTION, "own", {"level": 1, "n": 2}, "own takes no argument 'n'; it takes level, mode"),
        (FUNCTION, "own", {"images": 1}, "own gets the images as 'images', which no argument"),
        ("def own(): ...", "own", {}, "own takes no images: give it a parameter for them"),
        (
            "class Own:\n    def __call__(self): ...",
            "Own",
            {},
            "Own.__call__ takes no images: give it a parameter for them",
        ),
        (
            "class Own:\n    def __call__(self, images, about, level): ...",
            "Own",
            {},
            "Own.__call__ gets nothing for 'level': give it a default",
        ),
        ("async def own(images): ...", "own", {}, "own is an async function: make it a plain"),
        ("async def own(images): yield", "own", {}, "own is an async function: make it a plain"),
        ("def own(images): yield", "own", {}, "own is a generator: return a list instead"),
        ("own = 5", "own", {}, "own_target defines no class 'own', and no function of that name"),
        ("", "own", {}, "own_target defines no class 'own', and no function of that name"),
    ],
)
def test_what_does_not_fit_is_named(
    loaded: Any, source: str, name: str, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(UnusableTarget) as refused:
        loaded(source, name, **arguments)
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)


def test_the_worker_hears_one_line_that_names_argument_and_class() -> None:
    with pytest.raises(ClassUnusable) as refused:
        hosted(CLASS, arguments='{"level": 1, "levle": 2}')
    assert refused.value.message == (
        "'own:Own' cannot be used: Own.__init__ takes no argument 'levle'; "
        "it takes level, mode, scale"
    )


@pytest.mark.parametrize(
    ("source", "name", "arguments"),
    [
        ("class Own(dict):\n    def __call__(self, images): ...", "Own", {"level": 1}),
        (
            "class Own:\n    def __init__(self, **all): ...\n    def __call__(self, images): ...",
            "Own",
            {"level": 1},
        ),
        (
            "from dataclasses import dataclass\n@dataclass\nclass Own:\n    level: int = 0\n"
            "    def __call__(self, images): ...",
            "Own",
            {"level": 1},
        ),
        ("own = lambda images: []", "own", {}),
        ("from functools import partial\nown = partial(max, default=0)", "own", {}),
        ("def own(images, **all): ...", "own", {"level": 1}),
        ("def own(*all): ...", "own", {}),
        ("own = len", "own", {}),
        ("import numpy\nown = numpy.add", "own", {}),
    ],
)
def test_whatever_can_be_called_is_taken(
    loaded: Any, source: str, name: str, arguments: dict[str, Any]
) -> None:
    assert callable(loaded(source, name, **arguments).call)


@pytest.mark.parametrize(
    ("parameters", "arguments", "wanted"),
    [
        ("images", {}, False),
        ("images, about", {}, True),
        ("images, about=None", {}, False),
        ("images, threshold=0.5, scale=1", {}, False),
        ("images, /, about", {}, True),
        ("images, /, about, threshold=0.5", {}, True),
        ("images, *, about=None", {}, False),
        ("images, *rest", {}, False),
        ("images, **rest", {}, False),
        ("*rest", {}, False),
        ("images, level", {"level": 1}, False),
        ("images, level=2, *, mode=1", {"mode": 1}, False),
        ("images, about, level", {"level": 1}, True),
        ("images, about, level=1", {"level": 2}, True),
    ],
)
def test_a_second_positional_parameter_without_a_default_wants_to_know_of_the_images(
    loaded: Any, parameters: str, arguments: dict[str, Any], wanted: bool
) -> None:
    assert loaded(f"def own({parameters}): ...", "own", **arguments).wants_about == wanted
    if not arguments:
        source = f"class Own:\n    def __call__(self, {parameters}): ..."
        assert loaded(source, "Own").wants_about == wanted


@pytest.mark.parametrize("name", ["Own", "own"])
def test_a_default_stays_what_it_is(open_class: OpenClass, name: str) -> None:
    source = """
    def own(images, threshold=0.5): return [threshold] * len(images)
    class Own:
        def __call__(self, images, threshold=0.5): return [threshold] * len(images)
    """
    assert open_class(textwrap.dedent(source), name).run(images_of(1, 2)) == [0.5, 0.5]
