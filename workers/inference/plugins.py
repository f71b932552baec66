"""Importing users' classes from the plugins folder, and from nowhere else."""

from __future__ import annotations

import importlib
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from shared.errors import UsageError
from shared.plugins import plugin_sha256, plugin_source
from workers.inference.errors import ModelUnusable, one_line


def load_class(python_class: str, plugins: Path, sha256: str) -> type[Any]:
    """The class that ``module:Class`` names below ``plugins``, from source of that sha256.

    A job pins its model, and for a class that is the file that defines it: the bytes that are
    hashed are the bytes that run, so an edited file serves the next job and never this one.
    Raises ModelUnusable.
    """
    module_name, _, class_name = python_class.partition(":")
    try:
        path, source = plugin_source(python_class, plugins)
    except UsageError as error:
        raise ModelUnusable(error.message, error.hint) from error
    if plugin_sha256(source) != sha256:
        raise ModelUnusable(
            f"{path} is not the version that the job was enqueued with.",
            "Enqueue the job again, or give the worker the same plugins folder.",
        )
    found = getattr(_run_module(module_name, path, source, plugins), class_name, None)
    if not isinstance(found, type):
        raise ModelUnusable(f"{path} defines no class '{class_name}'.")
    return found


def _run_module(name: str, path: Path, source: bytes, plugins: Path) -> ModuleType:
    before = sys.modules.get(name.partition(".")[0])
    if before is not None and not _home(before).is_relative_to(plugins):
        raise ModelUnusable(f"{path} has the name of an installed module.", "Rename the plugin.")
    spec = spec_from_file_location(name, path)
    assert spec is not None
    if str(plugins) not in sys.path:  # last: for the plugin's own imports of its neighbours
        sys.path.append(str(plugins))
    importlib.invalidate_caches()
    module = sys.modules[name] = module_from_spec(spec)
    try:
        exec(compile(source, path, "exec"), module.__dict__)
    except BaseException as error:
        sys.modules.pop(name, None)
        raise ModelUnusable(f"{path} cannot be imported: {one_line(error)}") from error
    return module


def _home(module: ModuleType) -> Path:
    """The file of a module, or a folder of a package without one; ``/`` for a built-in."""
    return Path(module.__file__ or next(iter(getattr(module, "__path__", ["/"]))))
