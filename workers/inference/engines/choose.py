"""Which engine runs a model here, and why."""

from __future__ import annotations

from dataclasses import dataclass

from shared.pipeline import EngineName, EnginePolicy, Model, Precision, PrecisionPolicy
from workers.inference.errors import ModelUnusable


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine and its precision (null for a user's class), with the reason in words."""

    engine: EngineName
    precision: Precision | None
    reason: str


def choose(model: Model, engine: EnginePolicy, precision: PrecisionPolicy, *, cuda: bool) -> Choice:
    """What a pipeline's policies come to on this machine. Raises ModelUnusable.

    ``auto`` precision is float32 everywhere: a lower one may change answers, so it is to be taken
    only where a self-test on this machine has shown that it does not.
    """
    if model.python_class is not None:
        return Choice("python", None, "the model is a Python class")
    if engine == "onnxruntime" and precision not in ("auto", "float32"):
        raise ModelUnusable(
            f"Engine onnxruntime computes in float32, not in {precision}.",
            "Choose engine: torch, or precision: float32.",
        )
    wanted: Precision = "float32" if precision == "auto" else precision
    if engine != "auto":
        return Choice(engine, wanted, "the pipeline asks for it")
    if wanted != "float32":
        return Choice("torch", wanted, f"the pipeline asks for {wanted}")
    if cuda:
        return Choice("torch", wanted, "there is a CUDA device")
    return Choice("onnxruntime", wanted, "it is the fastest in float32 on a CPU")
