"""Inlines the functions that a graph has of its own."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
import onnx.inliner

from workers.inference.graphs.refusals import refused

# Of calls in calls. Exporters write two levels.
_MAX_CALLS = 32

_Key = tuple[str, str, str]


def inlined(model: onnx.ModelProto, max_nodes: int) -> onnx.ModelProto:
    """The model without functions.

    Raises PermanentError where one calls itself, or where more than ``max_nodes`` would result.
    """
    sizes = _Sizes(model)
    if sizes.of_nodes(model.graph.node, 0) > max_nodes:
        raise refused(f"The graph has more than {max_nodes:,} operators.")
    found: onnx.ModelProto = onnx.inliner.inline_local_functions(model)
    return found


class _Sizes:
    """How many nodes calls stand for."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._functions = {(f.domain, f.name, f.overload): f for f in model.functions}
        self._known: dict[_Key, int] = {}

    def of_nodes(self, nodes: Iterable[onnx.NodeProto], depth: int) -> int:
        if depth > _MAX_CALLS:
            raise refused(f"The graph has functions that call each other {_MAX_CALLS} deep.")
        return sum(self._of_node(node, depth) for node in nodes)

    def _of_node(self, node: onnx.NodeProto, depth: int) -> int:
        inside = 0
        for attribute in node.attribute:
            for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                inside += self.of_nodes(graph.node, depth + 1)
        key = (node.domain, node.op_type, node.overload)
        if key not in self._functions:
            return 1 + inside
        if key not in self._known:
            self._known[key] = self.of_nodes(self._functions[key].node, depth + 1)
        return self._known[key] + inside
