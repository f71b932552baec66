"""The modules that a Python source may import, read from it without running it."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import resolve_name

ALL = "*"
_IMPORTERS = {"import_module", "__import__"}


@dataclass(frozen=True, slots=True)
class Import:
    """A module by its whole name, and the names that are taken from it: submodules, perhaps."""

    module: str
    names: tuple[str, ...] = ()


def parse(source: bytes) -> ast.Module:
    """The source as a tree. Raises SyntaxError, with a line, for what is not Python."""
    try:
        with warnings.catch_warnings():  # what Python says of the user's code is not about packing
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except SyntaxError:
        raise
    except (ValueError, RecursionError, MemoryError) as error:
        raise SyntaxError(str(error) or "nested too deep") from error


def imports_of(tree: ast.Module, package: str) -> Iterator[Import]:
    """Every import, wherever it stands: in a function, under ``try`` or ``TYPE_CHECKING``.

    ``package``: the one that the module is in, for relative imports; empty at the top.
    """
    importers = _IMPORTERS | _other_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = _absolute("." * node.level + (node.module or ""), package)
            if module:
                yield Import(module, tuple(alias.name for alias in node.names))
        elif isinstance(node, ast.Call) and _called(node) in importers:
            module = _absolute(_text(node, 0, "name"), _text(node, 1, "package") or package)
            if module:
                yield Import(module)


def names_of(tree: ast.Module) -> set[str]:
    """Every name that the source may bind to a class, however deep: only typos must be told."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


def _other_names(tree: ast.Module) -> set[str]:
    """What the source calls ``importlib.import_module``."""
    return {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "importlib"
        for alias in node.names
        if alias.name in _IMPORTERS and alias.asname
    }


def _absolute(name: str, package: str) -> str:
    """The whole name; empty where there is none, as for ``from .. import x`` at the top."""
    try:
        return resolve_name(name, package) if name.startswith(".") else name
    except ImportError:
        return ""


def _called(call: ast.Call) -> str:
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _text(call: ast.Call, index: int, name: str) -> str:
    """An argument that is a constant text; empty for any other."""
    named = next((keyword.value for keyword in call.keywords if keyword.arg == name), None)
    node = call.args[index] if index < len(call.args) else named
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
