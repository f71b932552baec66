"""Exporting models to graphs, in a process of its own: the producer's side imports no torch."""

from __future__ import annotations

import json
from collections.abc import Callable

from pydantic import ValidationError

from producer.models.child import answered, disposable_child
from shared.catalog.exports import ExportedModel, ExportRequest
from shared.errors import HeadraceError, UsageError

MODULE = "workers.inference.export"
# 2 GiB of weights take minutes on two busy cores.
_SECONDS = 1200.0

Export = Callable[[ExportRequest], ExportedModel]


def export_model(request: ExportRequest) -> ExportedModel:
    """Write ``request.output``, and return what it is.

    Raises HeadraceError with what is wrong with the file, ChildEnded, and OSError.
    """
    name, size = request.weights.name, request.weights.stat().st_size
    with disposable_child(MODULE, request.output.parent, size) as process:
        text = request.model_dump_json().encode()
        lines = answered(process, text, _SECONDS, f"that reads {name}")
        ended = process.returncode
    try:
        answer = json.loads(lines[-1]) if lines else {}
        if ended == 0:
            return ExportedModel.model_validate(answer)
        error = answer["error"]
        kind = UsageError if error.pop("is_usage") else HeadraceError
        raise kind(**error)
    except (ValueError, ValidationError, KeyError, TypeError) as error:
        raise HeadraceError(
            "export_failed",
            f"The process that reads {name} ended with exit code {ended} and no answer.",
            "Set HEADRACE_DEBUG=1 to see what it said.",
        ) from error
