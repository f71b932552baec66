"""Users' classes, looked at without running them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from shared.catalog.documents import suggestion
from shared.errors import UsageError
from shared.plugins import plugin_sha256, plugin_source

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def class_version(python_class: str, plugins: Path) -> str:
    """The sha256 of a class's source, which must be below ``plugins`` and define the class.

    Raises UsageError ``no_plugin``.
    """
    path, source = plugin_source(python_class, plugins)
    wanted = python_class.partition(":")[2]
    try:
        names = _names(ast.parse(source))
    except (SyntaxError, ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None) or 1
        reason = getattr(error, "msg", None) or str(error)
        raise UsageError("no_plugin", f"{path}:{line}: not Python: {reason}.") from error
    if wanted not in names and "*" not in names:
        classes = sorted(name for name in names if name[:1].isupper())
        raise UsageError(
            "no_plugin", f"{path} has no class '{wanted}'; {suggestion(wanted, classes)}"
        )
    return plugin_sha256(source)


def class_model_name(python_class: str) -> str:
    """``module:MeanBrightness`` as a model's name: ``mean_brightness``."""
    return _WORD_START.sub("_", python_class.partition(":")[2].strip("_")).lower()[:64]


def _names(module: ast.Module) -> set[str]:
    """Every name that the source may bind to a class, however deep: only typos must be told."""
    found: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found
