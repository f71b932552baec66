"""Importing users' classes from the code that travels with their job, and from nowhere else."""

from __future__ import annotations

import importlib
import sys
import tempfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from shared.pipeline import Model
from workers.inference.errors import ModelUnusable, one_line
from workers.inference.user_code import UserCode

_PREFIX = "headrace-class-"


def load_class(model: Model, user_code: UserCode) -> type[Any]:
    """The class of a model, from its packed code in a folder of its own. Raises ModelUnusable."""
    assert model.python_class is not None
    module_name, _, class_name = model.python_class.partition(":")
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    user_code.lay_out(model, folder)
    base = folder.joinpath(*module_name.split("."))
    path = next(
        (p for p in (base / "__init__.py", base.with_name(f"{base.name}.py")) if p.is_file()), None
    )
    if path is None:
        raise ModelUnusable(f"The packed code has no module '{module_name}'.")
    found = getattr(_run_module(module_name, path, folder), class_name, None)
    if not isinstance(found, type):
        raise ModelUnusable(f"{path.name} defines no class '{class_name}'.")
    return found


def _run_module(name: str, path: Path, folder: Path) -> ModuleType:
    _forget_others()
    if name.partition(".")[0] in sys.modules:
        raise ModelUnusable(f"{path.name} has the name of an installed module.", "Rename it.")
    sys.path.append(str(folder))
    importlib.invalidate_caches()
    spec = spec_from_file_location(name, path)
    assert spec is not None
    module = sys.modules[name] = module_from_spec(spec)
    try:
        exec(compile(path.read_bytes(), path, "exec"), module.__dict__)
    except BaseException as error:
        sys.modules.pop(name, None)
        raise ModelUnusable(f"{path.name} cannot be imported: {one_line(error)}") from error
    return module


def _forget_others() -> None:
    """Other jobs' modules may have the names of this one's."""
    sys.path[:] = [place for place in sys.path if _PREFIX not in place]
    for name, module in list(sys.modules.items()):
        known = getattr(module, "__dict__", {})
        if _PREFIX in f"{known.get('__file__')} {known.get('__path__')}":
            del sys.modules[name]
