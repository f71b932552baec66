"""Reads an ONNX file, and refuses unsafe ones, and those of no network, before anything runs.

What a file cannot say beforehand, such as an operator that makes an array of any size, is bounded
by the memory that ``workers.inference.export`` allows its process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from shared.model import MAX_WEIGHTS_BYTES
from workers.inference.graphs.functions import inlined
from workers.inference.graphs.operators import check_operator
from workers.inference.graphs.refusals import refused

# Of a graph with all that lies in it. Networks of today have at most some ten thousand.
MAX_NODES = 100_000
# Of branches in branches. Exports of detectors have one level.
MAX_NESTING = 4
# Of 2019. In older ones a Slice has its bounds as attributes, and we write them as inputs.
MIN_OPSET = 10

_EXPORT_AGAIN = "Export it again, as one file with all weights inside."


def read_graph(path: Path) -> onnx.ModelProto:
    """The file's model, its functions inlined. Raises PermanentError, and OSError."""
    model = _parsed(path)
    if model.training_info:
        raise refused("The file is a graph for training.", "Export the network for inference.")
    _check_tensors(model)
    if model.functions:
        model = inlined(model, MAX_NODES)
    opset = _opset(model)
    nodes = 0
    for graph, depth in graphs_in(model.graph):
        if depth > MAX_NESTING:
            raise refused(f"The graph has branches nested more than {MAX_NESTING} deep.")
        nodes += len(graph.node)
        if nodes > MAX_NODES:
            raise refused(f"The graph has more than {MAX_NODES:,} operators.")
        for node in graph.node:
            check_operator(node, opset)
    return model


def graphs_in(graph: onnx.GraphProto) -> Iterator[tuple[onnx.GraphProto, int]]:
    """The graph, and all that are nested in it, each with its depth."""
    left = [(graph, 0)]
    while left:
        found, depth = left.pop()
        yield found, depth
        left += [(each, depth + 1) for each in _nested(found.node)]


def _nested(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield attribute.g
            yield from attribute.graphs


def _parsed(path: Path) -> onnx.ModelProto:
    size = path.stat().st_size
    if size > MAX_WEIGHTS_BYTES:
        raise refused(
            f"{path.name} has {size:,} bytes, and a model's file may have {MAX_WEIGHTS_BYTES:,}."
        )
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
        whole = bool(model.graph.node and model.graph.output and model.opset_import)
    except DecodeError:
        whole = False
    if not whole:
        raise refused(
            f"{path.name} is no ONNX file, or a damaged one, or was cut short.",
            "Copy it again, or export it again.",
        )
    return model


def _check_tensors(model: onnx.ModelProto) -> None:
    """Values that lie elsewhere are never looked for: a path may lead anywhere."""
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise refused("The graph's weights lie outside its file.", _EXPORT_AGAIN)
        if tensor.data_type == onnx.TensorProto.STRING:
            raise refused("The graph computes with texts, and not with pixels alone.")
    for given in model.graph.output:
        kind = given.type.tensor_type.elem_type
        if not given.type.HasField("tensor_type") or kind == onnx.TensorProto.STRING:
            raise refused(f"The graph's output '{given.name}' is no array of numbers.")


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    graphs = [graph for graph, _ in graphs_in(model.graph)]
    for function in model.functions:
        for nested in _nested(function.node):
            graphs += [graph for graph, _ in graphs_in(nested)]
    for graph in graphs:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for nodes in (*(graph.node for graph in graphs), *(each.node for each in model.functions)):
        for node in nodes:
            for attribute in node.attribute:
                yield from (attribute.t, *attribute.tensors)
                for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                    yield from (sparse.values, sparse.indices)


def _opset(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that the graph is written for."""
    versions = [each.version for each in model.opset_import if each.domain in ("", "ai.onnx")]
    if not versions or versions[0] < MIN_OPSET:
        raise refused(
            f"The graph is written for operators older than version {MIN_OPSET} of ONNX.",
            "Export it again with opset 17.",
        )
    newest = onnx.defs.onnx_opset_version()
    if versions[0] > newest:
        raise refused(
            f"The graph is written for version {versions[0]} of ONNX's operators, and {newest} is "
            "the newest that is known here.",
            "Export it again with opset 17.",
        )
    return int(versions[0])
