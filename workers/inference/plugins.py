"""Importing users' classes from the plugins folder, and from nowhere else."""

from __future__ import annotations

import hashlib
import importlib
import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from workers.inference.errors import ModelUnusable, one_line


def load_class(python_class: str, plugins: Path, sha256: str) -> type[Any]:
    """The class that ``module:Class`` names below ``plugins``, from source of that sha256.

    A job pins its model, and for a class that is the file that defines it: the bytes that are
    hashed are the bytes that run, so an edited file serves the next job and never this one.
    Raises ModelUnusable.
    """
    module_name, _, class_name = python_class.partition(":")
    module = _import(module_name, plugins, sha256)
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        raise ModelUnusable(f"{module.__file__} defines no class '{class_name}'.")
    return found


def _import(name: str, plugins: Path, sha256: str) -> ModuleType:
    spec, loader = _find(name, plugins)
    source = loader.get_data(loader.path)
    if hashlib.sha256(source).hexdigest() != sha256:
        raise ModelUnusable(
            f"{loader.path} is not the version that the job was enqueued with.",
            "Enqueue the job again, or give the worker the same plugins folder.",
        )
    if str(plugins) not in sys.path:  # last: for the plugin's own imports of its neighbours
        sys.path.append(str(plugins))
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        exec(loader.source_to_code(source, loader.path), module.__dict__)
    except BaseException as error:
        del sys.modules[name]
        raise ModelUnusable(f"{loader.path} cannot be imported: {one_line(error)}") from error
    return module


def _find(name: str, plugins: Path) -> tuple[ModuleSpec, SourceFileLoader]:
    """The module's spec, looked for below ``plugins`` alone, whatever else has its name."""
    importlib.invalidate_caches()
    root, *rest = name.split(".")
    spec = PathFinder.find_spec(root, [str(plugins)])
    for index, part in enumerate(rest, start=1):
        places = spec.submodule_search_locations if spec else None
        full = ".".join([root, *rest[:index]])
        spec = PathFinder.find_spec(full, places) if places and part else None
    if spec is None or not isinstance(spec.loader, SourceFileLoader):
        raise ModelUnusable(
            f"There is no module '{name}' in the plugins folder {plugins}.",
            "Put it there, or set HEADRACE_PLUGINS to where it is.",
        )
    loaded = sys.modules.get(root)
    origin = str(getattr(loaded, "__file__", None) or "")
    if loaded is not None and not Path(origin or "/").is_relative_to(plugins):
        raise ModelUnusable(f"'{root}' is the name of an installed package.", "Rename the plugin.")
    return spec, spec.loader
