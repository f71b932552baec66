"""Users' classes: where they are looked for, and what travels with a job of theirs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shared.catalog.catalog import Entry
from shared.catalog.documents import one_line
from shared.catalog.files import PipelineFile
from shared.catalog.packing import NoSuchClass, PackedCode, pack_class
from shared.catalog.reading import Reader
from shared.model import MAX_FILE_BYTES, PackedFile, check_inside, class_sha256
from shared.paths import expanded

if TYPE_CHECKING:
    from shared.catalog.references import Reference

VARIABLE = "HEADRACE_PLUGINS"
DEFAULT_FOLDER = "plugins"
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True, slots=True)
class ClassFile:
    """A file of the pipeline's ``files:``: where it lies, and what the class finds it as."""

    path: Path
    name: str


@dataclass(frozen=True, slots=True)
class PackedClass:
    """What travels with a job of a user's class. ``paths``: where each of ``files`` lies here."""

    python_class: str
    code: PackedCode
    files: tuple[PackedFile, ...] = ()
    paths: tuple[Path, ...] = ()
    arguments: str = "{}"

    @property
    def sha256(self) -> str:
        """The model's version."""
        return class_sha256(self.python_class, self.code.sha256, self.files, self.arguments)


def pack(classes: Iterable[Reference], entry: Entry[PipelineFile]) -> dict[str, PackedClass]:
    """Read all that a pipeline's classes need, and hash it, by their keys. Nothing is run.

    Each gets all files. Raises UsageError for what is missing, too large, or changes meanwhile.
    """
    reader, packed = Reader(), {}
    by_key = {each.key: each for each in classes}
    codes = pack_codes(by_key.values(), entry, reader)
    found = local_files(entry, codes.values())
    hashed = [reader.sha256(file.path, MAX_FILE_BYTES) for file in found]
    files = tuple(
        PackedFile(name=file.name, sha256=sha256, bytes=size)
        for file, (sha256, size) in zip(found, hashed, strict=True)
    )
    reader.require_unchanged()
    paths = tuple(file.path for file in found)
    for key, each in by_key.items():
        assert each.python_class is not None
        packed[key] = PackedClass(each.python_class, codes[key], files, paths, each.arguments)
    return packed


def pack_codes(
    classes: Iterable[Reference], entry: Entry[PipelineFile], reader: Reader
) -> dict[str, PackedCode]:
    """The code of each class, by its key. Raises UsageError."""
    folders, document, found = class_folders(entry.document.path), entry.document, {}
    for each in classes:
        assert each.python_class is not None
        try:
            code = found[each.key] = pack_class(each.python_class, folders, reader)
        except NoSuchClass as error:
            problem = error.message[:1].lower() + error.message[1:]
            raise document.error(each.place, problem, error.code, error.hint) from error
        for name in json.loads(each.arguments):
            if code.takes is not None and name not in code.takes:
                takes = f"it takes {', '.join(code.takes) or 'none'}"
                problem = f"{each.python_class} takes no argument '{one_line(name)}'; {takes}"
                raise document.error(entry.content.place_of_argument(each.place, name), problem)
    return found


def class_folders(pipeline: Path | None = None) -> list[Path]:
    """Where classes are looked for, in order. Only the command line looks."""
    beside = [] if pipeline is None else [pipeline.parent]
    named = os.environ.get(VARIABLE)
    plugins = [expanded(named)] if named else []
    folders = [*beside, *plugins, Path(DEFAULT_FOLDER)]
    return list(dict.fromkeys(folder.absolute() for folder in folders))


def local_files(entry: Entry[PipelineFile], codes: Iterable[PackedCode] = ()) -> list[ClassFile]:
    """The pipeline's ``files:``, sorted by name, none larger than it may be.

    None may take the place of code. Raises UsageError with the line.
    """
    found: dict[str, ClassFile] = {}
    taken = {name: code.folder / name for code in codes for name in code.modules}
    for index, given in enumerate(entry.content.files):
        field = ("files", index)
        try:
            file = _local_file(entry.document.path.parent.absolute(), given)
            check_inside(file.name)
            size = file.path.stat().st_size if file.path.is_file() else None
        except (ValueError, RuntimeError) as error:  # a user's name after '~' that there is not
            raise entry.document.error(field, f"'{given}' cannot be a file's name") from error
        except OSError as error:
            raise entry.document.error(
                field, f"cannot read {file.path}: {error.strerror}"
            ) from error
        if size is None:
            there = "is a folder" if file.path.is_dir() else "is not a file"
            problem = there if file.path.exists() else "is not there"
            raise entry.document.error(field, f"{file.path} {problem}; name a file")
        if size > MAX_FILE_BYTES:
            most = f"{MAX_FILE_BYTES >> 30} GiB"
            raise entry.document.error(field, f"{file.path} is larger than {most}")
        if taken.get(file.name) == file.path:
            raise entry.document.error(field, f"'{given}' is packed already: leave it out")
        if _clashes(file.name, taken.keys()):
            raise entry.document.error(
                field, f"something else is packed as '{file.name}' already; rename one of them"
            )
        taken[file.name] = file.path
        found[file.name] = file
    return [found[name] for name in sorted(found)]


def class_model_name(python_class: str) -> str:
    """``module:MeanBrightness`` as a model's name: ``mean_brightness``."""
    return _WORD_START.sub("_", python_class.partition(":")[2].strip("_")).lower()[:64]


def _local_file(folder: Path, given: str) -> ClassFile:
    """A file outside the folder is found under its last name."""
    path = Path(os.path.normpath(folder / Path(given).expanduser()))
    inside = path.is_relative_to(folder) and path != folder
    return ClassFile(path, path.relative_to(folder).as_posix() if inside else path.name)


def _clashes(name: str, taken: Set[str]) -> bool:
    """Is it there, or a folder of something there, or below it?"""
    around = {str(parent) for parent in Path(name).parents}
    return (
        name in taken
        or bool(around & taken)
        or any(other.startswith(f"{name}/") for other in taken)
    )
