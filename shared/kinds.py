"""Kinds that are one file each: the classes of a package, found by what stands in its folder."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Mapping
from importlib import import_module
from typing import Annotated, Any, TypeVar, Union, get_args

from pydantic import BaseModel, Discriminator, Tag

Kind = TypeVar("Kind", bound=BaseModel)


def kinds_in(package: str, base: type[Kind]) -> dict[str, type[Kind]]:
    """The classes derived from ``base`` that have a ``kind: Literal[...]``, by that kind.

    ``package``: its dotted name. Each of its modules is imported.
    """
    found: dict[str, type[Kind]] = {}
    for info in pkgutil.iter_modules(import_module(package).__path__):
        module = import_module(f"{package}.{info.name}")
        for _, each in inspect.getmembers(module, inspect.isclass):
            if issubclass(each, base) and each.__module__ == module.__name__:
                for kind in get_args(each.model_fields["kind"].annotation):
                    found[kind] = each
    return found


def one_of(kinds: Mapping[str, type[Kind]]) -> Any:
    """The type of a field that holds any of the kinds, chosen by its ``kind``.

    Errors name the choice in angle brackets, so it can be told from a field.
    """

    def tag(value: Any) -> str | None:
        kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
        return f"<{kind}>" if isinstance(kind, str) else None

    tagged = tuple(Annotated[each, Tag(f"<{kind}>")] for kind, each in kinds.items())
    return Annotated[Union[tagged], Discriminator(tag)]  # noqa: UP007 - made at run time
