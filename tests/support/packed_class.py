"""A user's class as a job carries it, from source that a test writes down."""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Mapping

from shared.catalog.classes import class_model_name
from shared.catalog.packing import archive_of
from shared.model import Model, PackedFile, class_sha256


def packed(
    python_class: str, sources: Mapping[str, str] | str, files: Mapping[str, bytes] | None = None
) -> tuple[Model, bytes]:
    """The model and its archive. ``sources`` by path, or that of the class's own module."""
    if isinstance(sources, str):
        path = python_class.partition(":")[0].replace(".", "/")
        sources = {f"{path}.py": sources}
    archive = archive_of({name: textwrap.dedent(text).encode() for name, text in sources.items()})
    code_sha256 = hashlib.sha256(archive).hexdigest()
    carried = tuple(
        PackedFile(name=name, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
        for name, data in sorted((files or {}).items())
    )
    model = Model(
        name=class_model_name(python_class),
        sha256=class_sha256(python_class, code_sha256, carried),
        python_class=python_class,
        code_sha256=code_sha256,
        files=carried,
    )
    return model, archive
