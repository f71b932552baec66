"""Which arguments a class or function takes, read from its source without running it."""

from __future__ import annotations

import ast

from shared.catalog.imports import ALL


def arguments_of(tree: ast.Module, name: str) -> tuple[str, ...] | None:
    """The names that ``args:`` may have; None where only running the source can tell.

    So it is for what is decorated, inherited, bound twice or not at the top, or takes ``**others``.
    """
    bound = [node for node in ast.walk(tree) if {name, ALL} & _bound_by(node)]
    if len(bound) != 1 or bound[0] not in tree.body:
        return None
    (found,) = bound
    if isinstance(found, ast.FunctionDef):
        return _names(found)
    if not isinstance(found, ast.ClassDef) or found.decorator_list or found.keywords:
        return None
    made = [node for node in ast.walk(found) if {"__init__", "__new__"} & _bound_by(node)]
    if len(made) == 1 and isinstance(made[0], ast.FunctionDef) and made[0] in found.body:
        return _names(made[0]) if made[0].name == "__init__" else None
    return () if not made and not found.bases else None


def _names(function: ast.FunctionDef) -> tuple[str, ...] | None:
    """Those after the first, which is the instance or the images."""
    given = function.args
    if function.decorator_list or given.kwarg:
        return None
    positional = [*given.posonlyargs, *given.args][1:]
    taken = [each for each in positional if each not in given.posonlyargs]
    return tuple(each.arg for each in [*taken, *given.kwonlyargs])


def _bound_by(node: ast.AST) -> set[str]:
    """The names that a node gives a value, itself and not those inside it."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name for alias in node.names}
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return {node.id}
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
        return {node.attr}
    return set()
