"""In the host: the class or function that a pipeline names, with its arguments.

Standard library only: the host loads this file by its path.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from inspect import Parameter
from typing import Any

_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_MAX_SHOWN_CHARACTERS = 60


class UnusableTarget(TypeError):
    """It cannot be used as it is written. The message is for users."""


@dataclass(frozen=True)
class Target:
    """What is called with each batch.

    ``wants_about``: whether it gets, as a second argument, what is known of each image.
    """

    call: Callable[..., Any]
    device: str
    wants_about: bool


def load(module_name: str, name: str, arguments: Mapping[str, Any]) -> Target:
    """Import ``module_name:name``. A class is constructed with the arguments; a function gets them
    in each call.

    Raises UnusableTarget, and whatever the user's own code raises.
    """
    found = getattr(importlib.import_module(module_name), name, None)
    if isinstance(found, type):
        call: Any = _constructed(found, name, arguments)
        wants_about = _wants_about(call, f"{name}.__call__", None)
    elif callable(found):
        _require_plain(found, name)
        wants_about = _wants_about(found, name, arguments)
        call = functools.partial(found, **arguments)
    else:
        raise UnusableTarget(
            f"{module_name} defines no class '{name}', and no function of that name"
        )
    device = getattr(call if isinstance(found, type) else found, "device", "cpu")
    return Target(call, str(device)[:200], wants_about)


def _constructed(kind: type, name: str, arguments: Mapping[str, Any]) -> Any:
    if (parameters := _parameters(kind)) is not None:
        _check(f"{name}.__init__", parameters, arguments)
    instance = kind(**arguments)
    if not callable(instance):
        raise UnusableTarget(f"{name} has no __call__: add 'def __call__(self, images)'")
    return instance


def _require_plain(function: Any, name: str) -> None:
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise UnusableTarget(f"{name} is an async function: make it a plain 'def'")
    if inspect.isgeneratorfunction(function):
        raise UnusableTarget(f"{name} is a generator: return a list instead of using 'yield'")


def _wants_about(call: Any, name: str, arguments: Mapping[str, Any] | None) -> bool:
    """Has it a second positional parameter, without a default, that no argument is named after?

    One with a default keeps it: it was hardly written for what is known of the images.

    ``arguments``: those of each call; None where there can be none.
    """
    parameters = _parameters(call)
    if parameters is None:
        return False
    given = arguments or {}
    by_position = [each for each in parameters if each.kind in _POSITIONAL]
    positional = [each.name for each in by_position]
    takes_any = any(each.kind is Parameter.VAR_POSITIONAL for each in parameters)
    if not positional and not takes_any:
        raise UnusableTarget(f"{name} takes no images: give it a parameter for them")
    if positional and positional[0] in given:
        raise UnusableTarget(
            f"{name} gets the images as '{positional[0]}', which no argument may be named"
        )
    wants_about = any(_is_needed(each) and each.name not in given for each in by_position[1:2])
    others = [each for each in parameters if each.name not in positional[: 1 + wants_about]]
    if arguments is not None:
        _check(name, others, arguments)
    elif needed := next(filter(_is_needed, others), None):
        raise UnusableTarget(f"{name} gets nothing for '{needed.name}': give it a default")
    return wants_about


def _check(name: str, parameters: Iterable[Parameter], arguments: Mapping[str, Any]) -> None:
    """Raise UnusableTarget for an argument that it does not take, or one that it needs."""
    parameters = list(parameters)
    named = [each for each in parameters if each.kind in (*_POSITIONAL[1:], Parameter.KEYWORD_ONLY)]
    takes = f"it takes {', '.join(each.name for each in named) or 'none'}"
    if not any(each.kind is Parameter.VAR_KEYWORD for each in parameters):
        for argument in arguments:
            if argument not in {each.name for each in named}:
                shown = repr(argument[:_MAX_SHOWN_CHARACTERS])
                raise UnusableTarget(f"{name} takes no argument {shown}; {takes}")
    for parameter in filter(_is_needed, parameters):
        if parameter.kind is Parameter.POSITIONAL_ONLY:
            raise UnusableTarget(
                f"{name} takes '{parameter.name}' by position alone, and arguments are given by "
                "name: remove the '/' after it"
            )
        if parameter.name not in arguments:
            raise UnusableTarget(f"{name} needs the argument '{parameter.name}'; {takes}")


def _is_needed(parameter: Parameter) -> bool:
    is_rest = parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return parameter.default is Parameter.empty and not is_rest


def _parameters(call: Any) -> list[Parameter] | None:
    """None where nobody knows them, as of some that are written in C."""
    try:
        return list(inspect.signature(call).parameters.values())
    except (ValueError, TypeError):
        return None
