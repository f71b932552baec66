"""``python -m workers.inference.export``: a model's file as one graph, in a process of its own.

Reads a ``shared.catalog.exports.ExportRequest`` on stdin, and prints an ``ExportedModel``.
Errors are one line on stderr.
"""

from __future__ import annotations

import sys

from shared.environment import settle

if __name__ == "__main__":
    settle()

from shared.catalog.exports import ExportedModel, ExportRequest
from shared.errors import HeadraceError, UsageError
from workers.inference.formats import FORMATS, format_of


def export(request: ExportRequest) -> ExportedModel:
    """Write the graph, and say what it is.

    Raises UsageError for a file that is in no format that we know, PermanentError for one that is
    no model, and OSError for one that cannot be read or written.
    """
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
    try:
        exported = export(ExportRequest.model_validate_json(sys.stdin.buffer.read()))
    except (HeadraceError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(exported.model_dump_json() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
