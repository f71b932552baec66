"""How a user's graph is refused: one sentence on what is wrong, and one on what to do."""

from __future__ import annotations

from shared.errors import PermanentError
from workers.inference.errors import is_out_of_memory, one_line


def refused(message: str, hint: str = "") -> PermanentError:
    """The error for a graph that cannot become a model of ours."""
    return PermanentError("unusable_graph", message, hint)


def not_runnable(error: BaseException) -> PermanentError:
    """The error for what ONNX Runtime raised on it."""
    if is_out_of_memory(error):
        return refused(
            "The graph needs more memory than there is here.",
            "Use a machine with more, or a smaller network.",
        )
    return refused(f"ONNX Runtime cannot run the graph: {one_line(error)}")
