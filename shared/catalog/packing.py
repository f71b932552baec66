"""A user's class or function and the modules beside it, packed so that they can travel.

Modules are found as Python's own import would find them, without running any.
"""

from __future__ import annotations

import ast
import errno
import hashlib
import io
import os
import stat
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import NoReturn

from shared.catalog.documents import one_line, suggestion
from shared.catalog.imports import (
    ALL,
    Import,
    coroutines_of,
    functions_of,
    imports_of,
    names_of,
    parse,
)
from shared.catalog.reading import Reader
from shared.catalog.signatures import arguments_of
from shared.errors import UsageError
from shared.model import MAX_CODE_BYTES, check_inside

# Imported before a class is, so that no module beside it can take their place.
_TAKEN = sys.stdlib_module_names | {"numpy", "__main__"}
_INIT, _PYTHON = "__init__", ".py"
_NOT_SOURCE = (*EXTENSION_SUFFIXES, ".pyc")
# The same for all, so that equal code has an equal hash.
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_ZIP_MODE = (stat.S_IFREG | 0o644) << 16


@dataclass(frozen=True, slots=True)
class PackedCode:
    """``modules`` are paths relative to ``folder``, sorted; ``archive`` is a zip of them.

    ``takes``: the names of the class's arguments; None where its source does not say them.
    """

    folder: Path
    modules: tuple[str, ...]
    source_bytes: int
    archive: bytes
    takes: tuple[str, ...] | None = None

    @property
    def sha256(self) -> str:
        """Of the archive: equal for equal code."""
        return hashlib.sha256(self.archive).hexdigest()


class NoSuchClass(UsageError):
    """There is no such module, or no such class or function in it."""


def pack_class(python_class: str, folders: Sequence[Path], reader: Reader) -> PackedCode:
    """Pack ``module:Class`` from the first of the folders whose module has that class or function.

    Raises UsageError, with the file and what to do, for what is missing or cannot be packed.
    """
    module, _, name = python_class.partition(":")
    top = module.partition(".")[0]
    if top in _TAKEN:
        raise UsageError(
            "no_plugin",
            f"'{python_class}' cannot be used: '{top}' is the name of an installed module.",
            f"Rename it: give {top}.py another name.",
        )
    seen: list[_Module] = []
    for folder in folders:
        modules = _Modules(folder, reader)
        if not modules.take(module):
            continue
        seen.append(modules.module(module))
        if {name, ALL} & names_of(seen[-1].tree):
            modules.take_imported()
            return replace(modules.packed(), takes=arguments_of(seen[-1].tree, name))
    if seen:
        raise _no_class(name, seen)
    raise NoSuchClass(
        "no_plugin",
        f"There is no module for '{python_class}' in {_either(folders)}.",
        "Put it beside the pipeline's file, or set HEADRACE_PLUGINS to the folder that has it.",
    )


@dataclass(frozen=True, slots=True)
class _Module:
    name: str
    path: Path
    tree: ast.Module


class _Modules:
    """The modules of one folder that are packed so far."""

    def __init__(self, folder: Path, reader: Reader) -> None:
        self._folder, self._reader = folder, reader
        self._root = Path(os.path.realpath(folder))
        self._sources: dict[str, bytes] = {}  # by path
        self._bytes = 0
        self._to_read: list[_Module] = []  # whose imports are not known

    def take(self, name: str) -> bool:
        """Pack a module and the packages around it. Returns whether it is a file here."""
        place, parts = self._folder, name.split(".")
        if not all(map(_may_be_module, parts)):
            return False
        path: Path | None = None
        for count, part in enumerate(parts, 1):
            path, inner = self._find(place, part)
            if path is not None:
                self._add(".".join(parts[:count]), path)
            if inner is None:
                return path is not None and count == len(parts)
            place = inner
        return path is not None

    def take_imported(self) -> None:
        """Pack what the packed modules import, and what those import."""
        while self._to_read:
            module = self._to_read.pop()
            name, is_package = module.name, module.path.stem == _INIT
            package = name if is_package else name.rpartition(".")[0]
            for found in imports_of(module.tree, package):
                if found.module.partition(".")[0] in _TAKEN:
                    continue
                try:
                    self._take_import(found)
                except UsageError:
                    if not found.is_optional:
                        raise

    def module(self, name: str) -> _Module:
        """One that was taken, and whose imports are not known."""
        return next(module for module in self._to_read if module.name == name)

    def packed(self) -> PackedCode:
        """All of it."""
        archive = archive_of(self._sources)
        return PackedCode(self._folder, tuple(sorted(self._sources)), self._bytes, archive)

    def _take_import(self, found: Import) -> None:
        self.take(found.module)
        for inner in found.names:
            if inner == ALL:
                self._take_all(found.module)
            else:
                self.take(f"{found.module}.{inner}")

    def _find(self, place: Path, name: str) -> tuple[Path | None, Path | None]:
        """The file of a module, and the folder of its submodules, in Python's own order."""
        inner = place / name
        is_folder = inner.is_dir()
        if is_folder and (init := self._source(inner, _INIT)):
            return init, inner
        if path := self._source(place, name):
            return path, None
        return None, inner if is_folder else None

    def _source(self, place: Path, name: str) -> Path | None:
        if _is_file(path := place / f"{name}{_PYTHON}"):
            return path
        for suffix in _NOT_SOURCE:
            if _is_file(other := place / f"{name}{suffix}"):
                self._refuse(other, "is not Python source", "Put its .py file there, or install it")
        return None

    def _add(self, name: str, path: Path) -> None:
        relative = path.relative_to(self._folder).as_posix()
        if relative in self._sources:
            return
        if not Path(os.path.realpath(path)).is_relative_to(self._root):
            self._refuse(path, "is a link that leads out of its folder", "Copy the module there")
        room = MAX_CODE_BYTES - self._bytes
        source = self._reader.read(path, room)
        if len(source) > room:
            self._refuse(
                path,
                f"makes the code larger than {MAX_CODE_BYTES >> 20} MiB",
                "List data under the pipeline's 'files:'",
            )
        self._to_read.append(_Module(name, path, _parsed(path, source)))
        self._bytes += len(source)
        self._sources[relative] = source

    def _take_all(self, package: str) -> None:
        """Every module below a package: which of them ``import *`` takes is known to it alone."""
        place = self._folder.joinpath(*package.split("."))
        if place.is_dir():
            for name in _modules_below(place, set()):
                self.take(f"{package}.{name}")

    def _refuse(self, path: Path, problem: str, advice: str) -> NoReturn:
        raise UsageError("no_plugin", f"{one_line(str(path))} {problem}.", f"{advice}.")


def _parsed(path: Path, source: bytes) -> ast.Module:
    try:
        return parse(source)
    except SyntaxError as error:
        where = f"{path}:{error.lineno or 1}"
        raise UsageError("no_plugin", f"{where}: not Python: {error.msg}.") from error


def _may_be_module(name: str) -> bool:
    """False for what only ``import_module`` can be given, such as a path."""
    try:
        return bool(name) and "/" not in name and bool(check_inside(f"{name}{_PYTHON}"))
    except ValueError:
        return False


def archive_of(sources: Mapping[str, bytes]) -> bytes:
    """A zip of modules by their paths: the same for the same code, whenever it is made."""
    file = io.BytesIO()
    # Not compressed: compressors differ from machine to machine.
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(sources):
            entry = zipfile.ZipInfo(name, _ZIP_TIME)
            entry.create_system, entry.external_attr = 3, _ZIP_MODE
            archive.writestr(entry, sources[name])
    return file.getvalue()


def _modules_below(place: Path, seen: set[str]) -> Iterator[str]:
    seen.add(os.path.realpath(place))
    for inner in _listed(place):
        name, is_package = inner.name, _is_file(inner / f"{_INIT}{_PYTHON}")
        if inner.suffix == _PYTHON and inner.stem.isidentifier() and inner.stem != _INIT:
            yield inner.stem
        elif is_package and name.isidentifier() and os.path.realpath(inner) not in seen:
            yield name
            yield from (f"{name}.{below}" for below in _modules_below(inner, seen))


def _listed(place: Path) -> list[Path]:
    try:
        return sorted(place.iterdir())
    except OSError as error:
        raise _unreadable(place, error) from error


def _is_file(path: Path) -> bool:
    """Is there something that is no folder? A broken link counts: reading it says what it is."""
    return _exists(path) and not path.is_dir()


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise _unreadable(path, error) from error
    return True


def _unreadable(path: Path, error: OSError) -> UsageError:
    return UsageError(
        "no_plugin", f"Cannot read {path}: {error.strerror or error}.", "Check its permissions."
    )


def _no_class(name: str, seen: Sequence[_Module]) -> NoSuchClass:
    """The error for a class or function that is in none of the modules of its module's name."""
    paths = _either(module.path for module in seen)
    if any(name in coroutines_of(module.tree) for module in seen):
        return NoSuchClass(
            "no_plugin", f"'{name}' in {paths} is an async function.", "Make it a plain 'def'."
        )
    functions = {name for module in seen for name in functions_of(module.tree)}
    names = {name for module in seen for name in names_of(module.tree) if name[:1].isupper()}
    known = suggestion(name, sorted(names | functions))
    return NoSuchClass("no_plugin", f"There is no class or function '{name}' in {paths}; {known}")


def _either(paths: Iterable[Path]) -> str:
    return " or ".join(map(str, paths))
