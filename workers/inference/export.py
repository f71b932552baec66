"""``python -m workers.inference.export``: a model's file as one graph, in a process of its own.

Reads a ``shared.catalog.exports.ExportRequest`` on stdin. The last line that it prints is an
``ExportedModel``, or with the exit code 1 ``{"error": {code, message, hint, is_usage}}``.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path

from shared.environment import settle

if __name__ == "__main__":
    settle()

from shared.catalog.exports import ExportedModel, ExportRequest
from shared.errors import HeadraceError, UsageError
from workers.inference.errors import is_out_of_memory
from workers.inference.formats import FORMATS, format_of
from workers.inference.layouts import LAYOUTS
from workers.suspects.disposable import be_disposable

# What only some formats use; the rest of a request is for all.
_OPTIONS = ("config", "architecture", "layout", "channels")


def export(request: ExportRequest) -> ExportedModel:
    """Write the graph, and say what it is.

    Raises UsageError for a file that is in no format that we know, an option that its format does
    not use or another number of labels, PermanentError for a file that is no model, and OSError for
    one that cannot be read or written.
    """
    name = request.format or _format_name(request.weights)
    found = format_of(name)
    _require_used(request, name, found.options)
    exported = found.export(request)
    try:
        _require_labels(request, exported)
    except UsageError:
        request.output.unlink(missing_ok=True)
        raise
    return exported


def _format_name(weights: Path) -> str:
    for name in FORMATS:
        if format_of(name).is_format_of(weights):
            return name
    raise UsageError(
        "unknown_format",
        f"{weights.name} is in no format that is known for models.",
        f"Give one of: {', '.join(FORMATS)}.",
    )


def _require_used(request: ExportRequest, name: str, options: frozenset[str]) -> None:
    if request.layout not in (None, *LAYOUTS):
        raise UsageError(
            "unknown_layout",
            f"There is no layout '{request.layout}'.",
            f"Give one of: {', '.join(LAYOUTS)}.",
        )
    for option in _OPTIONS:
        # RGB is what every format takes that does not say otherwise.
        if getattr(request, option) not in (None, "rgb") and option not in options:
            raise UsageError(
                "unused_option",
                f"{request.weights.name} is in the format {name}, which does not use {option}.",
                f"Leave {option} out.",
            )


def _require_labels(request: ExportRequest, exported: ExportedModel) -> None:
    """There are as many as classes, those in the file as well as those that were given."""
    classes, own = exported.classes, exported.labels
    labels = len(own) if own and request.labels is None else request.labels
    if classes is None or labels in (None, classes + exported.names_background):
        return
    is_torchvisions = exported.architecture and exported.layout
    with_background = " The background may come first." if is_torchvisions else ""
    raise UsageError(
        "wrong_labels",
        f"{request.weights.name} tells {classes:,} classes apart, and there are {labels:,} labels.",
        f"Give a label for each class, one a line, in the network's order.{with_background}",
    )


def main() -> int:
    """The command. Returns its exit code."""
    be_disposable(os.getppid())
    request = ExportRequest.model_validate_json(sys.stdin.buffer.read())
    try:
        answer = export(request).model_dump_json()
    except Exception as error:  # noqa: BLE001 - the process is there to find that out
        answer = json.dumps({"error": _said(error, request.weights.name)})
    sys.stdout.write(f"\n{answer}\n")
    return 1 if answer.startswith('{"error"') else 0


def _said(error: Exception, file: str) -> dict[str, object]:
    """What is wrong with the file, in our words where it is foreseen."""
    code, hint, is_usage = "export_failed", "", isinstance(error, UsageError)
    if isinstance(error, HeadraceError):
        code, message, hint = error.code, error.message, error.hint
    elif is_out_of_memory(error):
        message = f"There is too little memory to export {file}."
        hint = "Free some, or take a smaller file."
    elif isinstance(error, OSError):
        message = f"Cannot read or write {error.filename or file}: {error.strerror or error}."
    else:
        traceback.print_exception(error)
        message = f"{file} cannot become a model: a library failed that reads or runs it."
        hint = "Set HEADRACE_DEBUG=1 to see what it said."
    return {"code": code, "message": message, "hint": hint, "is_usage": is_usage}


if __name__ == "__main__":
    sys.exit(main())
