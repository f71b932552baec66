"""``python -m workers.inference.export``: a model's file as one graph, in a process of its own.

Reads a ``shared.catalog.exports.ExportRequest`` on stdin. The last line that it prints is an
``ExportedModel``, or with the exit code 1 ``{"error": {code, message, hint, is_usage}}``.
"""

from __future__ import annotations

import json
import os
import sys
import traceback

from shared.environment import settle

if __name__ == "__main__":
    settle()

from shared.catalog.exports import ExportedModel, ExportRequest
from shared.errors import HeadraceError, UsageError
from workers.inference.errors import is_out_of_memory, one_line
from workers.inference.formats import FORMATS, format_of
from workers.inference.layouts import LAYOUTS
from workers.suspects.disposable import be_disposable


def export(request: ExportRequest) -> ExportedModel:
    """Write the graph, and say what it is.

    Raises UsageError for a file that is in no format that we know, PermanentError for one that is
    no model, and OSError for one that cannot be read or written.
    """
    if request.layout not in (None, *LAYOUTS):
        raise UsageError(
            "unknown_layout",
            f"There is no layout '{request.layout}'.",
            f"Give one of: {', '.join(LAYOUTS)}.",
        )
    if request.format is not None:
        return format_of(request.format).export(request)
    for name in FORMATS:
        found = format_of(name)
        if found.is_format_of(request.weights):
            return found.export(request)
    raise UsageError(
        "unknown_format",
        f"{request.weights.name} is in no format that is known for models.",
        f"Give one of: {', '.join(FORMATS)}.",
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
        message = f"{file} cannot be exported: {one_line(error).partition(': ')[2] or error!r}"
        hint = "Set HEADRACE_DEBUG=1 for the whole traceback."
    return {"code": code, "message": message, "hint": hint, "is_usage": is_usage}


if __name__ == "__main__":
    sys.exit(main())
