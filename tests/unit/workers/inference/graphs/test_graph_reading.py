"""What is refused of a graph's file before anything runs, each in one sentence of ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from shared.errors import PermanentError
from shared.model import MAX_WEIGHTS_BYTES
from tests.support.graphs import FEATURES, classifier, model, save, trunk
from workers.inference.graphs import reading
from workers.inference.graphs.images import image_input
from workers.inference.graphs.reading import read_graph

ROW = [("y", TensorProto.FLOAT, ["b", FEATURES])]


def refusal(own: onnx.ModelProto, folder: Path) -> str:
    with pytest.raises(PermanentError) as caught:
        image_input(read_graph(save(own, folder)).graph)
    assert "\n" not in caught.value.message
    return caught.value.message


def with_node(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    first, constants = trunk()
    return model([*first, *nodes, helper.make_node("Flatten", ["pooled"], ["y"])], ROW, constants)


def test_a_plain_graph_is_read(tmp_path: Path) -> None:
    assert image_input(read_graph(save(classifier(), tmp_path)).graph).name == "x"


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_short(share: float, tmp_path: Path) -> None:
    path = save(classifier(), tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(PermanentError, match="no ONNX file, or a damaged one, or was cut short"):
        read_graph(path)


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04zip", b"\x80\x02}q\x00.", b"hello", np.random.default_rng(0).bytes(99)]
)
def test_another_kind_of_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "own.onnx"
    path.write_bytes(content)
    with pytest.raises(PermanentError, match="no ONNX file"):
        read_graph(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "own.onnx"
    with path.open("wb") as file:
        file.truncate(MAX_WEIGHTS_BYTES + 1)  # takes no room on the disk
    with pytest.raises(PermanentError, match="has 2,080,374,785 bytes"):
        read_graph(path)


@pytest.mark.parametrize("location", ["weights.bin", "../../etc/passwd", "/etc/passwd", ""])
@pytest.mark.parametrize("place", ["initializer", "constant", "branch", "function"])
def test_weights_outside_the_file(place: str, location: str, tmp_path: Path) -> None:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    constant = helper.make_node("Constant", [], ["w2"], value=tensor)
    graph = helper.make_graph([constant], "b", [], [])
    own = classifier()
    if place == "initializer":
        own.graph.initializer.append(tensor)
    elif place == "constant":
        own = with_node(constant)
    elif place == "branch":
        own = with_node(helper.make_node("If", ["x"], ["z"], then_branch=graph, else_branch=graph))
    else:
        opsets = [helper.make_opsetid("", 17)]
        own.functions.append(helper.make_function("own", "F", [], ["w2"], [constant], opsets))
    assert refusal(own, tmp_path) == "The graph's weights lie outside its file."


def loop(operator: str) -> Callable[[], onnx.ModelProto]:
    body = helper.make_graph([], "body", [], [])
    return lambda: with_node(helper.make_node(operator, ["x"], ["z"], body=body))


def nested() -> onnx.ModelProto:
    graph = helper.make_graph([], "inner", [], [])
    for _ in range(6):
        branches = {"then_branch": graph, "else_branch": graph}
        graph = helper.make_graph([helper.make_node("If", ["c"], ["d"], **branches)], "g", [], [])
    return with_node(helper.make_node("If", ["c"], ["z"], then_branch=graph, else_branch=graph))


def functions(calls: list[list[str]]) -> onnx.ModelProto:
    """The function F0 is called, and each calls those of its list."""
    own, opsets = with_node(helper.make_node("F0", [], [], domain="own")), []
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    own.opset_import.append(opsets[1])
    for number, names in enumerate(calls):
        nodes = [helper.make_node(name, [], [], domain="own") for name in names]
        own.functions.append(helper.make_function("own", f"F{number}", [], [], nodes, opsets))
    return own


def text() -> onnx.ModelProto:
    return with_node(helper.make_node("Constant", [], ["z"], value_strings=["a"]))


def training() -> onnx.ModelProto:
    own = classifier()
    own.training_info.add()
    return own


def normalised_for_training() -> onnx.ModelProto:
    given = ["pooled", "s", "b", "m", "v"]
    return with_node(helper.make_node("BatchNormalization", given, ["z"], training_mode=1))


def old(version: int) -> Callable[[], onnx.ModelProto]:
    def made() -> onnx.ModelProto:
        own = classifier()
        own.opset_import[0].version = version
        return own

    return made


def giving_texts() -> onnx.ModelProto:
    own = classifier()
    own.graph.output[0].type.tensor_type.elem_type = TensorProto.STRING
    return own


def giving_a_sequence() -> onnx.ModelProto:
    own = classifier()
    own.graph.output[0].CopyFrom(
        helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    )
    return own


HOSTILE = {
    "loop": (loop("Loop"), "the operator Loop, a loop"),
    "scan": (loop("Scan"), "the operator Scan, a loop"),
    "nested": (nested, "branches nested more than 4 deep"),
    "random": (
        lambda: with_node(helper.make_node("RandomNormal", [], ["z"])),
        "different answers each",
    ),
    "unknown": (lambda: with_node(helper.make_node("Frobnicate", ["x"], ["z"])), "Frobnicate"),
    "custom": (
        lambda: with_node(helper.make_node("Gelu", ["x"], ["z"], domain="com.own")),
        "Gelu of 'com.own', which is not one of ONNX's own",
    ),
    "itself": (lambda: functions([["F0"]]), "functions that call each other 32 deep"),
    "each other": (lambda: functions([["F1"], ["F0"]]), "functions that call each other 32 deep"),
    "many": (
        lambda: functions([[f"F{n + 1}"] * 10 for n in range(9)] + [["Relu"]]),
        "more than 100,000 operators",
    ),
    "text": (text, "computes with texts"),
    "training": (training, "a graph for training"),
    "training mode": (normalised_for_training, "exported in training mode"),
    "too old": (old(9), "older than version 10"),
    "too new": (old(99), "version 99 of ONNX's operators"),
    "texts": (giving_texts, "output 'y' is no array of numbers"),
    "sequence": (giving_a_sequence, "output 'y' is no array of numbers"),
}


@pytest.mark.parametrize(("make", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_a_graph_that_must_not_run(
    make: Callable[[], onnx.ModelProto], reason: str, tmp_path: Path
) -> None:
    assert reason in refusal(make(), tmp_path)


def test_functions_are_put_where_they_are_called(tmp_path: Path) -> None:
    own = functions([["F1"], []])
    assert not read_graph(save(own, tmp_path)).functions


def test_too_many_operators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_NODES", 3)
    assert refusal(classifier(), tmp_path) == "The graph has more than 3 operators."


@pytest.mark.parametrize(
    ("image", "dtype", "reason"),
    [
        (["b", 1, 28, 28], TensorProto.FLOAT, r"float of shape \(\?, 1, 28, 28\)"),
        (["b", 10], TensorProto.FLOAT, r"float of shape \(\?, 10\)"),
        (["b", 3, 8, 8], TensorProto.INT64, r"int64 of shape \(\?, 3, 8, 8\)"),
        (["b", 3, 8, 8], TensorProto.STRING, "string of shape"),
        (["b", "c", "h", "w"], TensorProto.FLOAT, r"shape \(\?, \?, \?, \?\)"),
        (["b", 3, 8, 8, 8], TensorProto.FLOAT, "takes no image"),
        ([8, 3, 8, 8], TensorProto.FLOAT, "takes batches of 8 images alone"),
        (["b", 3, 5000, 8], TensorProto.FLOAT, "a side may have 4096 pixels"),
    ],
)
def test_a_graph_that_takes_no_image(
    image: list[int | str], dtype: int, reason: str, tmp_path: Path
) -> None:
    own = classifier()
    own.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", dtype, image))
    with pytest.raises(PermanentError, match=reason):
        image_input(read_graph(save(own, tmp_path)).graph)


@pytest.mark.parametrize("count", [0, 2])
def test_a_graph_of_no_or_several_inputs(count: int, tmp_path: Path) -> None:
    own = classifier()
    more = helper.make_tensor_value_info("text", TensorProto.INT64, [1, 77])
    own.graph.input.append(more)
    if count == 0:
        del own.graph.input[:]
    assert f"has {count} inputs" in refusal(own, tmp_path)
