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
    """A module by its whole name, and the names that are taken from it: submodules, perhaps.

    ``is_optional``: it stands under ``try``, so that the code may do without it.
    """

    module: str
    names: tuple[str, ...] = ()
    is_optional: bool = False


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
    for node, is_optional in _tried(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, (), is_optional)
        elif isinstance(node, ast.ImportFrom):
            module = _absolute("." * node.level + (node.module or ""), package)
            if module:
                names = tuple(alias.name for alias in node.names)
                yield Import(module, names, is_optional)
        elif isinstance(node, ast.Call) and _called(node) in importers:
            module = _absolute(_text(node, 0, "name"), _text(node, 1, "package") or package)
            if module:
                yield Import(module, (), is_optional)


def names_of(tree: ast.Module) -> set[str]:
    """Every name that the source may bind to a class or function, however deep: only typos must be
    told."""
    found = functions_of(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


def functions_of(tree: ast.Module) -> set[str]:
    """The functions in the source, without methods and coroutines."""
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    methods = {id(inner) for each in classes for inner in each.body}
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return {node.name for node in functions if id(node) not in methods}


def coroutines_of(tree: ast.Module) -> set[str]:
    """The ``async`` functions at the top of the source."""
    return {node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef)}


def _tried(tree: ast.Module) -> Iterator[tuple[ast.AST, bool]]:
    """Every node, and whether a ``try`` around it catches what it raises."""
    to_see: list[tuple[ast.AST, bool]] = [(tree, False)]
    while to_see:
        node, is_tried = to_see.pop()
        yield node, is_tried
        body = node.body if isinstance(node, ast.Try | ast.TryStar) and node.handlers else []
        inside = {id(child) for child in body}
        to_see += [(child, is_tried or id(child) in inside) for child in ast.iter_child_nodes(node)]


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
