"""How a graph is refused: one sentence on the problem, and one on the remedy."""

from __future__ import annotations

import traceback

from shared.errors import PermanentError
from workers.inference.errors import is_out_of_memory


def refused(message: str, hint: str = "") -> PermanentError:
    """The error for a graph that cannot become a model of ours."""
    return PermanentError("unusable_graph", message, hint)


def not_runnable(error: BaseException) -> PermanentError:
    """The error for an exception of ONNX Runtime's."""
    if is_out_of_memory(error):
        return refused(
            "The graph needs more memory than there is here.",
            "Use a machine with more, or a smaller network.",
        )
    traceback.print_exception(error)  # seen with HEADRACE_DEBUG=1 alone
    return refused(
        "ONNX Runtime cannot run the graph.",
        "Export it again. With HEADRACE_DEBUG=1 you see what ONNX Runtime said.",
    )
