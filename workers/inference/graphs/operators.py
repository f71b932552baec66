"""Which operators a user's graph may have: ONNX's own, that end and repeat their answers."""

from __future__ import annotations

import onnx

from workers.inference.graphs.refusals import refused

_LOOPS = ("Loop", "Scan", "SequenceMap")
_RANDOM = (
    *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
    *("Bernoulli", "Multinomial"),
)
_TEXTS = ("StringConcat", "StringSplit", "StringNormalizer", "RegexFullMatch", "TfIdfVectorizer")
_REASONS = {
    **dict.fromkeys(_LOOPS, "a loop, and nothing says when it ends"),
    **dict.fromkeys(_RANDOM, "which gives different answers each time"),
    **dict.fromkeys(_TEXTS, "which is for texts"),
    "ImageDecoder": "and images are decoded before",
}
_WRITE_A_CLASS = "Export the network alone, or write a class that runs it."


def check_operator(node: onnx.NodeProto, opset: int) -> None:
    """Raise PermanentError for a node that a graph must not have."""
    if node.domain not in ("", "ai.onnx"):
        raise refused(
            f"The graph has the operator {node.op_type} of '{node.domain[:60]}', which is not one "
            "of ONNX's own.",
            _WRITE_A_CLASS,
        )
    if any(attribute.name in ("value_string", "value_strings") for attribute in node.attribute):
        raise refused("The graph computes with texts, and not with pixels alone.", _WRITE_A_CLASS)
    if node.op_type in _REASONS:
        reason = _REASONS[node.op_type]
        raise refused(f"The graph has the operator {node.op_type}, {reason}.", _WRITE_A_CLASS)
    try:
        onnx.defs.get_schema(node.op_type, opset, "")
    except onnx.defs.SchemaError:
        raise refused(
            f"The graph has the operator {node.op_type[:60]}, which version {opset} of ONNX's "
            "operators does not have.",
            _WRITE_A_CLASS,
        ) from None
    if node.op_type == "BatchNormalization" and _number(node, "training_mode"):
        raise refused(
            "The graph was exported in training mode.", "Export it again after model.eval()."
        )


def _number(node: onnx.NodeProto, name: str) -> int:
    return next((int(each.i) for each in node.attribute if each.name == name), 0)
