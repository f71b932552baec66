"""The engine for CUDA on a stand-in for the device: lanes, graphs, padding, and what can fail."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from shared.model import Model
from workers.inference.engines import Outputs, StreamingEngine
from workers.inference.engines.cuda import Tensors
from workers.inference.engines.cuda_engine import CudaEngine
from workers.inference.engines.folding import without_batch_norms
from workers.inference.engines.torch_engine import TorchEngine
from workers.inference.pinning import pin

ARCHITECTURE = "mobilenet_v3_small"
PIXELS = 32


class Event:
    def __init__(self, device: StandIn) -> None:
        self._device = device

    def record(self, stream: str) -> None:
        assert stream == self._device.current
        self._device.recorded[stream] = self
        self.at = time.monotonic()

    def synchronize(self) -> None:
        assert self.at

    def elapsed_time(self, later: Event) -> float:
        return 1000 * (later.at - self.at)


class Stream(str):
    """One of the two; ``waited``: the event of the other that it waited for last."""

    waited: Event | None = None

    def wait_event(self, event: Event) -> None:
        assert event.at
        self.waited = event


class StandIn:
    """As much of ``Cuda`` as the engine needs, on the CPU and at once."""

    def __init__(self, *, can_capture: bool = True, room: int = 1000) -> None:
        self.device, self.name = torch.device("cpu"), "cuda:0 stand-in"
        self.copies, self.compute = Stream("copies"), Stream("compute")
        self.current: str | None = None
        self.recorded: dict[str, Event] = {}
        self.captures: list[int] = []
        self._can_capture, self._room = can_capture, room

    def event(self) -> Event:
        return Event(self)

    @contextmanager
    def on(self, stream: Stream) -> Iterator[None]:
        before, self.current = self.current, stream
        yield
        self.current = before

    def on_host(self, *shape: int) -> torch.Tensor:
        return torch.empty(shape, dtype=torch.float32)

    def captured(self, compute: Callable[[], Tensors]) -> tuple[Callable[[], None], Tensors]:
        written = compute()
        self.captures.append(len(written[0]))
        if len(written[0]) > self._room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        if not self._can_capture:
            raise RuntimeError("operation not permitted when stream is capturing")

        def replay() -> None:
            assert self.current == self.compute
            assert self.compute.waited is self.recorded["copies"]  # the images have arrived
            for array, computed in zip(written, compute(), strict=True):
                array.copy_(computed)

        return replay, written

    def finish(self) -> None:
        return None


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(5)
    state = torchvision.models.get_model(ARCHITECTURE, weights=None).state_dict()
    for name, values in state.items():
        if name.endswith("running_mean"):
            values.normal_()
        if name.endswith("running_var"):
            values.uniform_(0.5, 2)
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def model(weights: Path) -> Model:
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    outputs = ("scores", "features")
    return Model(
        name="tiny", sha256=sha256, architecture=ARCHITECTURE, mean=(0.5, 0.4, 0.3), outputs=outputs
    )


@pytest.fixture(scope="module")
def expected(model: Model, weights: Path) -> Callable[[np.ndarray], Outputs]:
    return TorchEngine(model, weights, "float32").run


def assert_close(found: Outputs, expected: Outputs) -> None:
    assert len(found) == len(expected)
    for ours, torchs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, torchs, atol=1e-4)


def made_up(images: int, seed: int) -> np.ndarray:
    shape = (images, PIXELS, PIXELS, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def engine_on(device: StandIn, model: Model, weights: Path) -> CudaEngine:
    return CudaEngine(model, weights, "float32", device)  # type: ignore[arg-type]


def test_pieces_are_one_batch_and_answer_as_the_network_does(model, weights, expected) -> None:
    engine = engine_on(StandIn(), model, weights)
    pieces = [made_up(3, 1), made_up(1, 2), made_up(2, 3)]
    ran = engine.launch(pieces).wait()
    assert_close(ran.outputs, expected(np.concatenate(pieces)))
    assert {array.dtype for array in ran.outputs} == {np.dtype(np.float32)}
    assert 0 < ran.seconds < 60
    assert abs(ran.ended_at - time.time()) < 60
    assert isinstance(engine, StreamingEngine)


@pytest.mark.parametrize("outputs", [("scores",), ("features",)])
def test_only_the_outputs_of_the_model_are_given(model, weights, expected, outputs) -> None:
    narrowed = model.model_copy(update={"outputs": outputs})
    (found,) = engine_on(StandIn(), narrowed, weights).run(made_up(3, 1))
    every = dict(zip(model.outputs, expected(made_up(3, 1)), strict=True))
    assert_close((found,), (every[outputs[0]],))


def test_batch_norms_are_folded_and_what_cannot_be_traced_stays() -> None:
    network = torchvision.models.get_model(ARCHITECTURE, weights=None).eval()
    folded = without_batch_norms(network)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())

    class Untraceable(torch.nn.Sequential):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images) if images.sum() else images

    odd = Untraceable(torch.nn.BatchNorm2d(3)).eval()
    assert without_batch_norms(odd) is odd


def test_there_is_one_graph_for_each_power_of_two(model, weights, expected) -> None:
    device = StandIn()
    engine = engine_on(device, model, weights)
    for images in (5, 8, 7, 1, 2, 3, 6):
        batch = made_up(images, images)
        assert_close(engine.run(batch), expected(batch))
    assert device.captures == [8, 1, 2, 4]


def test_two_batches_under_way_do_not_mix(model, weights, expected) -> None:
    engine = engine_on(StandIn(), model, weights)
    batches = [made_up(2 + number % 3, number) for number in range(6)]
    in_flight = engine.launch([batches[0]])
    for before, batch in pairwise(batches):
        following = engine.launch([batch])
        assert_close(in_flight.wait().outputs, expected(before))
        in_flight = following
    assert_close(in_flight.wait().outputs, expected(batches[-1]))


def test_outputs_stay_when_the_next_batches_run(model, weights) -> None:
    engine = engine_on(StandIn(), model, weights)
    first = engine.run(made_up(4, 1))
    kept = [array.copy() for array in first]
    for seed in range(2, 5):
        engine.run(made_up(4, seed))
    assert all(map(np.array_equal, first, kept))


def test_a_model_that_cannot_be_captured_runs_all_the_same(model, weights, expected) -> None:
    engine = engine_on(StandIn(can_capture=False), model, weights)
    for seed in range(3):
        batch = made_up(3, seed)
        assert_close(engine.run(batch), expected(batch))


def test_a_batch_without_memory_is_refused_and_smaller_ones_run(model, weights, expected) -> None:
    device = StandIn(room=4)
    engine = engine_on(device, model, weights)
    in_flight = engine.launch([made_up(2, 1)])
    with pytest.raises(torch.OutOfMemoryError):
        engine.launch([made_up(8, 2)])
    following = engine.launch([made_up(4, 3)])
    assert_close(in_flight.wait().outputs, expected(made_up(2, 1)))
    assert_close(following.wait().outputs, expected(made_up(4, 3)))


class Runtime:
    """CUDA's, as far as pinning goes."""

    def __init__(self, code: int) -> None:
        self.code, self.calls = code, []

    def cudaHostRegister(self, address: int, size: int, flags: int) -> int:  # noqa: N802
        self.calls.append((address, size, flags))
        return self.code


@pytest.mark.parametrize("code", [0, 1])
def test_the_whole_ring_is_pinned_once_or_not_at_all(code: int) -> None:
    pixels, runtime = np.zeros(4096, np.uint8), Runtime(code)
    assert pin(pixels, runtime) is (code == 0)
    assert runtime.calls == [(pixels.ctypes.data, 4096, 1)]
