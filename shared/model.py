"""A model by value: which one, which version of it, and how it becomes something that runs."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import from_json

from shared.fields import Channels, Frozen, Name, Sha256

# Its length is bounded apart: a hundred times all letters of Unicode take 80 ms to compile, for
# each of the models that this is in, at the start of every process and command.
PythonClass = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", max_length=201)]

# Source code is small; what is larger is data, and belongs under ``files:``.
MAX_CODE_BYTES = 16 * 2**20
MAX_FILE_BYTES = 2 * 2**30
# A network's graph has its weights inside, and is one message of protobuf, which ends at 2 GiB.
MAX_WEIGHTS_BYTES = MAX_FILE_BYTES - 2**26
MAX_FILES = 64
MAX_VARIABLES = 64
MAX_ARGUMENTS_CHARACTERS = 65_536
_MAX_NAME_BYTES = 255  # of one part of a path, on Linux

# A format has a file of its name in workers/inference/formats.
FormatName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
# A layout has a file of its name in workers/inference/layouts.
LayoutName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]

EngineName = Literal["torch", "onnxruntime", "openvino", "python"]
EnginePolicy = Literal["auto", "torch", "onnxruntime", "openvino"]
Precision = Literal["float32", "bfloat16", "float16"]
PrecisionPolicy = Literal["auto", "float32", "bfloat16", "float16"]


def check_inside(name: str) -> str:
    """The name, of a file inside a folder: relative, with no way out, and one that Linux can hold.

    Raises ValueError.
    """
    for part in name.split("/"):
        if part in ("", ".", "..") or "\0" in part or len(part.encode()) > _MAX_NAME_BYTES:
            raise ValueError(f"{name[:100]!r} is not the name of a file inside a folder")
    return name


def check_variable(name: str) -> str:
    """The name, of an environment variable that is not ours. Raises ValueError."""
    if name.upper().startswith("HEADRACE_"):
        raise ValueError("variables that start with HEADRACE_ are not passed to a class")
    return name


InsideName = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(check_inside)]
VariableName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128),
    AfterValidator(check_variable),
]


# As a pipeline names a model: its name, with ``@`` and a sha256 for one version of it.
ModelReference = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}(@[0-9a-f]{64})?$")]
# What the arrays that a network gives for a batch are: scores of classes, features of an image.
OutputName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


def check_arguments(text: str) -> str:
    """The text, of a JSON object. Raises ValueError for anything else."""
    if not isinstance(from_json(text), dict):
        raise ValueError("arguments are a JSON object")
    return text


class PackedFile(Frozen):
    """A file of the user's that travels with the job; the class finds it as ``name``.

    ``name`` is relative to the folder that the class runs in. Its bytes lie in the models bucket.
    """

    name: InsideName
    sha256: Sha256
    bytes: int = Field(ge=0, le=MAX_FILE_BYTES)


class Model(Frozen):
    """Which model: its name, its version, and how it becomes something that runs.

    A network lies in the models bucket under ``name/sha256``; a user's class is ``python_class``
    (``module:Class``). ``sha256`` is that of the weights file, or ``class_sha256``.

    For a network alone: ``architecture`` is torchvision's name of it, None where only its graph is
    there; ``has_graph`` says whether it was exported, and without that only torch runs it.
    ``outputs``: what the arrays are that it gives for a batch, in their order. ``layout``: how
    those of a detector become boxes. ``mean`` and ``std`` are per RGB channel, for pixels scaled to
    0..1.

    For a class alone: ``code_sha256`` is that of its packed code in the models bucket, ``files``
    are put beside the code, and ``environment`` names the variables that the class may see.
    ``arguments``: what it is constructed with, by name, as the text of a JSON object.
    """

    name: Name
    sha256: Sha256
    architecture: str | None = Field(default=None, max_length=100)
    has_graph: bool = True
    layout: LayoutName | None = None
    python_class: PythonClass | None = None
    code_sha256: Sha256 | None = None
    files: tuple[PackedFile, ...] = Field(default=(), max_length=MAX_FILES)
    environment: tuple[VariableName, ...] = Field(default=(), max_length=MAX_VARIABLES)
    arguments: Annotated[str, AfterValidator(check_arguments)] = Field(
        default="{}", max_length=MAX_ARGUMENTS_CHARACTERS
    )
    outputs: tuple[OutputName, ...] = Field(default=(), max_length=16)
    mean: Channels = (0.0, 0.0, 0.0)
    std: Channels = (1.0, 1.0, 1.0)

    @model_validator(mode="after")
    def _one_kind(self) -> Model:
        of_network = (self.architecture, self.layout, *self.outputs)
        if self.python_class is not None and any(of_network):
            raise ValueError("architecture, layout and outputs belong to a network")
        if self.architecture is None and not self.has_graph:
            raise ValueError("a network has an architecture or a graph")
        if (self.python_class is None) != (self.code_sha256 is None):
            raise ValueError("code_sha256 belongs to a python_class")
        own = (self.files, self.environment, self.arguments != "{}")
        if self.python_class is None and any(own):
            raise ValueError("files, environment and arguments belong to a python_class")
        if len({file.name for file in self.files}) < len(self.files):
            raise ValueError("two files have one name")
        if min(self.std) <= 0:
            raise ValueError("std must be above zero")
        return self


def class_sha256(
    python_class: str, code_sha256: str, files: tuple[PackedFile, ...], arguments: str = "{}"
) -> str:
    """The version of a user's class: it covers its code, files and arguments."""
    parts: list[Any] = [
        python_class,
        code_sha256,
        sorted((file.name, file.sha256) for file in files),
    ]
    if arguments != "{}":
        parts.append(arguments)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
