"""Which engines and precisions may run a model here, and which of them does, and why."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from shared.fields import Frozen
from shared.model import EngineName, EnginePolicy, Model, Precision, PrecisionPolicy
from workers.inference.errors import ModelUnusable
from workers.inference.layouts import layout_of

# Of the self-test's images, how many must be answered as in float32 for a lower precision to be
# taken; what is alike enough, the head of the kind of analysis says.
MIN_AGREEMENT = 0.99
# Less than this is not worth other digits.
MIN_GAIN = 1.1


class Candidate(Frozen):
    """An engine and its precision, null for a user's class."""

    engine: EngineName
    precision: Precision | None

    @property
    def is_exact(self) -> bool:
        """Whether it is what the others are compared with."""
        return self.precision == "float32"


class SelfTestResult(Frozen):
    """How a candidate did here; ``agreement``: the share of images answered as in float32."""

    candidate: Candidate
    images_per_second: float = Field(gt=0)
    agreement: float = Field(ge=0, le=1)

    @property
    def agrees(self) -> bool:
        """Whether its answers are float32's, as far as we ask."""
        return self.agreement >= MIN_AGREEMENT

    @property
    def is_exact(self) -> bool:
        """Whether it may be what lower precisions are compared with."""
        return self.candidate.is_exact and self.agrees


# Every graph ran in ONNX Runtime when it was made. OpenVINO may not know all of its operators. Its
# float16 is no faster than float32 where it was measured, so it is not worth a self-test's time.
_CPU = (
    Candidate(engine="onnxruntime", precision="float32"),
    Candidate(engine="openvino", precision="float32"),
    Candidate(engine="openvino", precision="bfloat16"),
)
# A network that was not exported.
_TORCH_ALONE = (Candidate(engine="torch", precision="float32"),)
# A graph whose network torch does not have.
_CUDA_GRAPH = (Candidate(engine="onnxruntime", precision="float32"),)
_CUDA = (
    Candidate(engine="torch", precision="float32"),
    Candidate(engine="torch", precision="float16"),
    Candidate(engine="torch", precision="bfloat16"),
)


def device_candidates(model: Model, *, cuda: bool) -> tuple[Candidate, ...]:
    """All that a self-test of a network on such a device tries; the first is float32."""
    if cuda:
        return _CUDA_GRAPH if model.architecture is None else _CUDA
    if not model.has_graph:
        return _TORCH_ALONE
    is_decoded = model.layout is not None and layout_of(model.layout).is_decoded
    return tuple(c for c in _CPU if c.is_exact or not is_decoded)


def candidates(
    model: Model, engine: EnginePolicy, precision: PrecisionPolicy, *, cuda: bool
) -> list[Candidate]:
    """What a pipeline's policies leave to choose from on such a device. Raises ModelUnusable.

    Where a lower precision is asked for, in order of preference: the first that opens.
    """
    if model.python_class is not None:
        return [Candidate(engine="python", precision=None)]
    if engine == "onnxruntime" and precision not in ("auto", "float32"):
        raise ModelUnusable(
            f"Engine onnxruntime computes in float32, not in {precision}.",
            "Choose precision: float32.",
        )
    wanted: Precision = "float32" if precision == "auto" else precision
    offered = device_candidates(model, cuda=cuda)
    if model.has_graph and not cuda:  # whichever precision is asked for
        offered = (*offered, Candidate(engine="openvino", precision=wanted))
    left = [
        candidate
        for candidate in dict.fromkeys(offered)
        if engine in ("auto", candidate.engine) and precision in ("auto", candidate.precision)
    ]
    if engine != "auto":
        return left or [_require_possible(model, Candidate(engine=engine, precision=wanted))]
    if model.architecture is None:
        return left or [Candidate(engine="openvino", precision=wanted)]  # on the CPU beside the GPU
    if cuda or precision in ("auto", "float32"):
        return left
    return [*left, Candidate(engine="torch", precision=wanted)]  # slow, but on any CPU


def _require_possible(model: Model, asked: Candidate) -> Candidate:
    """The candidate. Raises ModelUnusable where the model does not have what that engine runs."""
    if asked.engine == "torch" and model.architecture is None:
        raise ModelUnusable(
            f"'{model.name}' is a graph, which torch does not run.",
            "Choose engine: auto, onnxruntime or openvino.",
        )
    if asked.engine != "torch" and not model.has_graph:
        raise ModelUnusable(
            f"'{model.name}' was not exported, so {asked.engine} cannot run it.",
            "Choose engine: auto or torch.",
        )
    return asked


def pick(results: Sequence[SelfTestResult]) -> tuple[Candidate, str]:
    """The best of results, some of which are exact, with the reason in words.

    A lower precision is taken only where it agrees with float32 and is faster by ``MIN_GAIN``.
    """
    exact = max((t for t in results if t.is_exact), key=_speed)
    enough = exact.images_per_second * MIN_GAIN
    faster = [t for t in results if not t.candidate.is_exact and t.images_per_second >= enough]
    best = max([exact, *(t for t in faster if t.agrees)], key=_speed)
    said = [f"the fastest of {len(results)} tried here, {best.images_per_second:.0f} images/s"]
    said += [
        f"{t.candidate.engine} {t.candidate.precision} refused, though it ran "
        f"{t.images_per_second:.0f}: it answers {t.agreement:.1%} of made-up images as float32 "
        f"does, and {MIN_AGREEMENT:.0%} are needed"
        for t in faster
        if not t.agrees
    ]
    return best.candidate, "; ".join(said)


def _speed(result: SelfTestResult) -> float:
    return result.images_per_second
