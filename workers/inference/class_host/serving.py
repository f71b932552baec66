"""In the host: load the user's class, and answer the worker's batches until it hangs up.

Standard library and numpy only, loaded by its path; see ``host.py``.
"""

from __future__ import annotations

import inspect
import itertools
import json
import mmap
import os
import socket
import sys
import traceback
from collections.abc import Mapping, Set
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

_MAX_ERROR_CHARACTERS = 400
# The exit code without the socket to the worker, which only the class can have closed.
_CHANNEL_LOST = 65
_NO_SEQUENCES = (str, bytes, bytearray, Mapping, Set)
# The class runs in this folder, which has its code; it may change to another.
_FOLDER = Path.cwd()
# A JSON object, beside that folder.
_ARGUMENTS = _FOLDER.with_name("arguments.json")


def _load(path: Path) -> ModuleType:
    host: Any = sys.modules["__main__"]
    module: ModuleType = host.load_beside(path)
    return module


_about: Any = _load(Path(__file__).with_name("about.py"))
_target: Any = _load(Path(__file__).with_name("target.py"))
_values: Any = _load(Path(__file__).with_name("values.py"))
_SUSPECTS = Path(__file__).parents[2] / "suspects"
_packet: Any = _load(_SUSPECTS / "packet.py")
_disposable: Any = _load(_SUSPECTS / "disposable.py")


class NotOneEach(ValueError):
    """The class gave something else than a sequence of outputs. The message is for users."""


class WrongOutputCount(NotOneEach):
    """The class gave another number of outputs than it got images."""


class ChannelLost(Exception):
    """The socket to the worker does not work any more."""


def serve(control: int, keeper: int) -> None:
    """Answer until the worker hangs up. A signal, ``os._exit`` or the like ends it sooner."""
    _disposable.be_disposable(keeper)
    try:
        _serve(_WorkerChannel(control))
    except ChannelLost:
        os._exit(_CHANNEL_LOST)


def _serve(channel: _WorkerChannel) -> None:
    header, _ = channel.receive()
    try:
        target = _load_target(header["module"], header["name"])
    except BaseException as error:  # noqa: BLE001 - sys.exit in a constructor, too
        is_refused = isinstance(error, _target.UnusableTarget)
        if not is_refused:
            _print_traceback(error)
        _flush()
        channel.send({"error": _said(error), "refused": is_refused})
        return
    channel.send({"device": target.device, "wants_about": target.wants_about})
    batches = _Batches(target.call)
    while True:
        try:
            header, descriptor = channel.receive()
        except EOFError:
            return
        channel.send(*batches.answer(header, descriptor))


def _load_target(module: str, name: str) -> Any:
    sys.path.insert(0, str(_FOLDER))
    sys.argv = [module]
    return _target.load(module, name, json.loads(_ARGUMENTS.read_text("utf-8")))


class _Batches:
    """Runs batches that lie in memory shared with the worker.

    The class may keep what it gets, and so may a process that it forks. Then that memory is left to
    it, the worker takes other memory, and from then on the class is given copies.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._areas: dict[int, mmap.mmap] = {}
        self._copies = self._has_forked = False
        os.register_at_fork(after_in_parent=self._note_fork)

    def _note_fork(self) -> None:
        self._has_forked = True

    def answer(
        self, header: dict[str, Any], descriptor: int | None
    ) -> tuple[dict[str, Any], bytes]:
        """The answer's header and payload for one batch."""
        area = header["area"]
        for dropped in header["dropped"]:
            self._areas.pop(dropped, None)
        if descriptor is not None:
            self._areas[area] = mmap.mmap(descriptor, os.fstat(descriptor).st_size)
            os.close(descriptor)
        images: Any = np.frombuffer(self._areas[area], np.uint8, header["bytes"])
        about = self._areas[area][header["bytes"] : header["bytes"] + header["about_bytes"]]
        self._has_forked = False
        answer, payload = self._run(images, header["shape"], about)
        _flush()
        # More references than this name's and getrefcount's own.
        kept = not self._copies and (self._has_forked or sys.getrefcount(images) > 2)
        self._copies = self._copies or kept
        return {**answer, "batch": header["batch"], "kept": kept}, payload

    def _run(self, images: Any, shape: list[int], about: bytes) -> tuple[dict[str, Any], bytes]:
        """Nothing of the batch may be left when this returns, but what the class keeps."""
        try:
            given = images.reshape(shape)
            more = [_about.unpack(about)] if about else []
            outputs = self._call(given.copy() if self._copies else given, *more)
            tree_bytes, packed = _values.pack(_one_an_image(outputs, shape[0]))
        except NotOneEach as error:
            return {"error": str(error), "miscounted": isinstance(error, WrongOutputCount)}, b""
        except BaseException as error:  # noqa: BLE001 - SystemExit, too
            _print_traceback(error)
            return {"error": _said(error)}, b""
        return {"tree_bytes": tree_bytes}, packed


def _one_an_image(answer: Any, images: int) -> Any:
    """The class's outputs as a list, or one array of them.

    Raises WrongOutputCount where they are not as many as the images, and NotOneEach for what is no
    sequence: a set has no order, and iterating over a table gives the names of its columns.
    """
    answer = _values.plain(answer)
    if inspect.iscoroutine(answer):
        answer.close()
        raise NotOneEach("the class gave a coroutine: make __call__ a plain 'def'")
    is_array = isinstance(answer, np.ndarray)
    dimensions = getattr(answer, "ndim", 1)
    is_one = isinstance(answer, _NO_SEQUENCES) or not hasattr(answer, "__iter__")
    if is_one or dimensions == 0 or (dimensions != 1 and not is_array):
        kind = type(answer).__name__
        raise NotOneEach(f"the class gave one value ({kind}), not one output for each image")
    if is_array and dimensions == 2 and answer.size and _values.has_scores(answer):
        outputs: Any = answer
    else:
        outputs = list(itertools.islice(answer, images + 1))  # it may never end
    if len(outputs) != images:
        each = "1 image" if images == 1 else f"{images} images"
        raise WrongOutputCount(f"the class gave {_count(answer, outputs, images)} for {each}")
    return outputs


def _count(answer: Any, outputs: Any, images: int) -> str:
    """How many outputs ``answer`` has, of which ``outputs`` were taken."""
    if not hasattr(answer, "__len__") and len(outputs) > images:
        return f"more than {images} outputs"
    count = len(answer) if hasattr(answer, "__len__") else len(outputs)
    return "1 output" if count == 1 else f"{count} outputs"


def _said(error: BaseException) -> str:
    """``FILE:LINE: TYPE: what it says`` in one bounded line, the place being the user's own."""
    try:
        lines = traceback.format_exception_only(type(error), error)
        if isinstance(error, SyntaxError):
            lines = lines[-1:]  # the others show the place
        if isinstance(error, _target.UnusableTarget):
            lines = [str(error)]
        said = " ".join("".join(lines).split())
    except BaseException:  # noqa: BLE001 - its __str__ raises
        said = type(error).__name__
    return f"{_place(error)}{said}"[:_MAX_ERROR_CHARACTERS].encode("utf-8", "replace").decode()


def _place(error: BaseException) -> str:
    """The deepest line of the user's own that led to it; none where none did."""
    frames = [(f.filename, f.lineno) for f in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno))
    for filename, line in reversed(frames):
        if Path(filename).is_relative_to(_FOLDER):
            return f"{Path(filename).relative_to(_FOLDER)}:{line}: "
    return ""


def _print_traceback(error: BaseException) -> None:
    """From the first frame of the user's own on: those before it are ours."""
    trace = error.__traceback__
    while trace and not Path(trace.tb_frame.f_code.co_filename).is_relative_to(_FOLDER):
        trace = trace.tb_next
    try:
        traceback.print_exception(type(error), error, trace)
    except Exception:  # noqa: BLE001, S110 - the class has closed or replaced stderr
        pass


def _flush() -> None:
    """What was printed is to come before the answer."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # noqa: BLE001, S110 - the class has closed or replaced it
            pass


class _WorkerChannel:
    """The socket to the worker. A frame that brings memory has its descriptor with it."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._connection = socket.socket(fileno=descriptor)
        os.register_at_fork(after_in_child=self._connection.close)

    def receive(self) -> tuple[dict[str, Any], int | None]:
        """The next frame's header, and a descriptor. Raises EOFError, ChannelLost."""
        descriptors: list[int] = []

        def read(size: int) -> bytes:
            data = bytearray()
            while len(data) < size:
                try:
                    received, found, _, _ = socket.recv_fds(self._connection, size - len(data), 1)
                except OSError as error:
                    raise ChannelLost from error
                descriptors.extend(found)
                if not received:
                    raise EOFError
                data += received
            return bytes(data)

        header = _packet.receive(read).header
        return header, descriptors[0] if descriptors else None

    def send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        """Answer. Raises ChannelLost."""
        try:
            self._connection.sendall(_packet.packed(_packet.Packet(header, payload)))
        except OSError as error:
            raise ChannelLost from error
