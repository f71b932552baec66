"""The process of a user's class: what it does reaches nobody, and nothing of it is left."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from tests.fake_engine import images_of
from tests.hosted import hosted, processes_with
from tests.waiting import wait_for
from workers.inference.class_host.memory import Area
from workers.inference.class_host.process import MAX_PRINTED_BYTES
from workers.inference.class_host.values import type_name
from workers.inference.engines import HostedEngine
from workers.inference.engines.python_engine import PythonEngine
from workers.inference.errors import ClassUnusable, EngineError, HostDied, NotBegun

Open = Callable[..., PythonEngine]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens classes, and closes them after the test."""
    with ExitStack() as stack:

        def open_class(source: str, name: str = "Own", **options: object) -> PythonEngine:
            engine = hosted(source, name, **options)  # type: ignore[arg-type]
            stack.callback(engine.close)
            return engine

        yield open_class


@pytest.fixture
def mark() -> str:
    """A word that only the processes of this test have in their environment."""
    return uuid.uuid4().hex


def nothing_left(mark: str) -> None:
    """All processes with the mark are gone; the keeper is the last, with the folder."""
    wait_for(lambda: not processes_with(mark), what="the end of all processes")


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def calling(body: str, init: str = "pass") -> str:
    """The source of a class whose call is ``body``, with ``first``, the first image's value."""
    return (
        "import ctypes, itertools, os, resource, signal, subprocess, sys, threading, time\n"
        "import numpy as np\n"
        "class Own:\n"
        "    def __init__(self):\n"
        f"{textwrap.indent(textwrap.dedent(init), ' ' * 8)}\n"
        "    def __call__(self, images):\n"
        "        first = int(images.flat[0])\n"
        f"{textwrap.indent(textwrap.dedent(body), ' ' * 8)}\n"
        "        return ['ok'] * len(images)\n"
    )


def test_a_class_runs_in_a_process_of_its_own(opened: Open) -> None:
    engine = opened(calling("return [str(os.getpid())] * len(images)"))
    assert isinstance(engine, HostedEngine)
    (pid,) = set(engine.run(images_of(1, 2, 3)))
    assert int(pid) not in (os.getpid(), os.getppid())


def test_it_starts_fresh_with_an_environment_of_its_own(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_BROKER_URL", "redis://secret@broker")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    source = calling(
        "return [' '.join(sorted(os.environ)), os.getcwd(), ' '.join(sys.modules)]", "sys.path"
    )
    names, folder, modules = opened(source).run(images_of(1, 2, 3))
    assert set(names.split()) <= {"PATH", "TMPDIR", "MARK", "LC_CTYPE"}
    assert Path(folder).name == "code"
    assert not {"workers", "shared", "producer", "torch", "celery"} & set(modules.split())


@pytest.mark.parametrize("name", ["shared", "workers", "host", "serving", "values", "frame"])
def test_modules_of_users_never_clash_with_ours(opened: Open, name: str) -> None:
    source = f"""
    import os
    from pathlib import Path
    Path("{name}.py").write_text("WHOSE = 'mine'")
    import {name}
    class Own:
        def __call__(self, images):
            return [{name}.WHOSE] * len(images)
    """
    assert opened(source).run(images_of(1)) == ["mine"]


def test_a_class_may_change_and_keep_what_it_gets(opened: Open) -> None:
    engine = opened(
        calling(
            """
            self.kept.append(images)
            seen = [int(kept.flat[0]) for kept in self.kept]
            images[:] += 100
            return [seen] * len(images)
            """,
            "self.kept = []",
        )
    )
    chunks = [images_of(number, number) for number in range(4)]
    under_way = [engine.launch([chunk]) for chunk in chunks[:2]]
    answers = [each.wait().outputs[0] for each in under_way]
    answers += [engine.run(chunk)[0] for chunk in chunks[2:]]
    assert answers == [[0], [100, 1], [100, 101, 2], [100, 101, 102, 3]]
    assert [int(chunk.flat[0]) for chunk in chunks] == [0, 1, 2, 3]


def test_memory_is_used_again_for_batches_of_any_size(opened: Open) -> None:
    engine = opened(calling("return [int(image.flat[0]) for image in images]"))
    for size in (3, 50, 1, 50, 20, 64):
        assert engine.run(images_of(*range(size))) == list(range(size))


OUTPUTS = [
    ("['a', 'b']", ["a", "b"]),
    ("[('a', 0.5), ('b', 1)]", [("a", 0.5), ("b", 1)]),
    ("[[('a', 0.5), ('b', 0.25)], []]", [[("a", 0.5), ("b", 0.25)], []]),
    ("({'a': 0.5}, {'b': 2})", [{"a": 0.5}, {"b": 2}]),
    ("(n for n in (None, True))", [None, True]),
    ("[float('nan'), float('-inf')]", [float("nan"), float("-inf")]),
    ("['\\ud800', 'é']", ["\ud800", "é"]),
]


@pytest.mark.parametrize(("given", "wanted"), OUTPUTS)
def test_outputs_arrive_as_they_were(opened: Open, given: str, wanted: object) -> None:
    assert repr(opened(calling(f"return {given}")).run(images_of(1, 2))) == repr(wanted)


@pytest.mark.parametrize(
    "given",
    [
        "np.eye(2, 5, dtype=np.float16)",
        "np.eye(2, 5, dtype=bool)",
        "np.eye(2, 5).T.copy().T",
        "list(np.eye(2, 5))",
        "torch.eye(2, 5, requires_grad=True)",
        "torch.eye(2, 5, dtype=torch.bfloat16)",
    ],
)
def test_arrays_and_tensors_arrive_row_by_row(opened: Open, given: str) -> None:
    imports = "import numpy as np\nimport torch\n" if "torch" in given else "import numpy as np\n"
    outputs = opened(imports + calling(f"return {given}")).run(images_of(1, 2))
    assert np.array_equal(np.stack(list(outputs)), np.eye(2, 5))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise ValueError('a\\nb')", "own.py:8: ValueError: a b"),
        ("helper()", "own.py:8: NameError: name 'helper' is not defined"),
        ("sys.exit('enough')", "own.py:8: SystemExit: enough"),
        ("raise KeyboardInterrupt", "own.py:8: KeyboardInterrupt"),
        ("return 5", "the class gave one value (int), not one output for each image"),
        ("return itertools.repeat('a')", "the class gave more outputs for 2 images"),
        ("return np.array([[]])", "the class gave 1 outputs for 2 images"),
        ("return ['a']", "the class gave 1 outputs for 2 images"),
        ("return None", "the class gave one value (NoneType), not one output"),
        ("return (1 / 0 for _ in images)", "own.py:8: ZeroDivisionError: division by zero"),
        ("raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})", "own.py:8: "),
        ("exec('1 +')", "SyntaxError"),
    ],
)
def test_what_a_class_raises_names_its_file_and_line(opened: Open, body: str, reason: str) -> None:
    engine = opened(
        calling(f"if first == 7:\n    pass\n{body}").replace(
            "\n        if first == 7:\n            pass", ""
        )
    )
    with pytest.raises(EngineError) as raised:
        engine.run(images_of(1, 2))
    assert reason in raised.value.message
    assert not engine.dead


def test_what_it_prints_is_kept_up_to_a_bound(opened: Open) -> None:
    engine = opened(
        calling(
            """
            print("to stdout", first)
            os.write(2, b"to stderr\\n")
            if first == 2:
                for _ in range(1000):
                    sys.stdout.write("x" * 10_000)
            """,
            "print('constructed')",
        )
    )
    assert prints_of(engine, 1) == "constructed\nto stdout 1\nto stderr\n"
    flood = prints_of(engine, 2)
    assert len(flood) < MAX_PRINTED_BYTES + 100
    assert "bytes more, which are dropped" in flood
    assert prints_of(engine, 3) == "to stdout 3\nto stderr\n"


def prints_of(engine: PythonEngine, first: int) -> str:
    return engine.launch([images_of(first)]).wait().prints


@pytest.mark.parametrize(
    "body",
    [
        "sys.stdout.close(); sys.stderr.close()",
        "os.closerange(0, 3)",
        "sys.stdout = sys.stderr = None",
        "sys.stdout = object()",
        "os.chdir('/'); os.umask(0o777)",
        "os.environ.clear(); sys.path.clear(); sys.modules.clear()",
        "[signal.signal(number, signal.SIG_IGN) for number in (1, 2, 3, 10, 12, 13, 15, 17)]",
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))",
        "threading.excepthook = sys.excepthook = None",
        "sys.setrecursionlimit(60)",
        "sys.settrace(lambda *_: None); threading.settrace(lambda *_: None)",
    ],
)
def test_a_class_may_do_to_its_process_what_it_likes(opened: Open, body: str) -> None:
    engine = opened(calling(body))
    for _ in range(2):
        assert engine.run(images_of(1, 2)) == ["ok", "ok"]


HANGS = {
    "a loop": "while True: pass",
    "a sleep": "time.sleep(600)",
    "with the interpreter's lock": "ctypes.PyDLL(None).sleep(600)",
    "with a stopped keeper": "os.kill(os.getppid(), signal.SIGSTOP); time.sleep(600)",
    "stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
}
ENDS = {
    "os._exit(3)": "exit status 3",
    "os.kill(os.getpid(), signal.SIGKILL)": "SIGKILL",
    "os.abort()": "SIGABRT",
    "ctypes.string_at(0)": "SIGSEGV",
    "os.closerange(0, 1000)": "it closed its connection to the worker",
    "os.kill(os.getppid(), signal.SIGKILL); time.sleep(600)": (
        "it killed the process that looks after it"
    ),
    "os.closerange(0, 1000); time.sleep(600)": "it closed its connection to the worker",
    "os.killpg(os.getpgid(0), signal.SIGTERM); time.sleep(600)": "SIGTERM",
    "signal.setitimer(signal.ITIMER_REAL, 0.01); time.sleep(600)": "SIGALRM",
}


@pytest.mark.parametrize(("body", "manner"), ENDS.items())
def test_the_end_of_a_process_is_told_with_its_manner(
    opened: Open, body: str, manner: str, mark: str
) -> None:
    engine = opened(calling(f"if first == 9:\n    {body}"), mark=mark)
    assert engine.run(images_of(1)) == ["ok"]
    deadly, behind = engine.launch([images_of(9)]), engine.launch([images_of(1)])
    with pytest.raises(HostDied) as died:
        deadly.wait()
    assert died.value.message == manner
    with pytest.raises(NotBegun):
        behind.wait()
    assert engine.dead
    nothing_left(mark)


@pytest.mark.parametrize("hang", HANGS)
def test_a_hang_is_ended_at_its_deadline(
    opened: Open, hang: str, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.inference.class_host.process.END_SECONDS", 1.0)
    engine = opened(calling(HANGS[hang]), mark=mark)
    with pytest.raises(HostDied, match=r"longer than 0\.3 s"):
        engine.launch([images_of(1)], 0.3).wait()
    nothing_left(mark)


LEFT = {
    "a fork": "os.fork() or (time.sleep(600), os._exit(0))",
    "a fork in a session of its own": "os.fork() or (os.setsid(), time.sleep(600), os._exit(0))",
    "a daemon": (
        "os.fork() or (os.setsid(), os.fork() and os._exit(0), time.sleep(600), os._exit(0))"
    ),
    "a program": "subprocess.Popen(['sleep', '600'])",
    "a program in a session of its own": (
        "subprocess.Popen(['sleep', '600'], start_new_session=True, close_fds=False)"
    ),
    "a program that ignores signals": (
        "subprocess.Popen(['sh', '-c', 'trap \"\" HUP INT TERM; sleep 600; sleep 600'])"
    ),
    "a pool": (
        "import multiprocessing; self.pool = multiprocessing.get_context('fork').Pool(3);"
        "self.pool.map_async(time.sleep, [600] * 3)"
    ),
    "threads": "[threading.Thread(target=time.sleep, args=[600]).start() for _ in range(200)]",
}


@pytest.mark.parametrize("left", LEFT)
@pytest.mark.parametrize("end", ["closed", "killed", "hung"])
def test_nothing_that_it_started_outlives_it(opened: Open, left: str, end: str, mark: str) -> None:
    body = f"""
    {LEFT[left]}
    if first == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    if first == 8:
        time.sleep(600)
    """
    engine = opened(calling(body), mark=mark)
    if end == "closed":
        assert engine.run(images_of(1)) == ["ok"]
        engine.close()
    else:
        with pytest.raises(HostDied):
            engine.launch([images_of(9 if end == "killed" else 8)], 0.5).wait()
    nothing_left(mark)


WORKER = """
import os, sys, time
from tests.fake_engine import images_of
from tests.hosted import hosted
engine = hosted(sys.argv[1], mark=sys.argv[2])
print(engine.run(images_of(1)), flush=True)
engine.launch([images_of(8)])
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("left", ["a daemon", "a program in a session of its own", "threads"])
def test_it_dies_with_its_worker_and_so_does_all_that_it_started(
    left: str, number: signal.Signals, mark: str
) -> None:
    source = calling(f"{LEFT[left]}\nif first == 8:\n    time.sleep(600)")
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, source, mark], stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "['ok']\n"
        assert processes_with(mark)
        worker.send_signal(number)
        worker.wait()
    nothing_left(mark)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("class Other: pass", "own defines no class 'Own'"),
        ("Own = 5", "own defines no class 'Own'"),
        ("class Own: pass", "Own has no __call__"),
        ("raise OSError('no')", r"own\.py:1: OSError: no"),
        ("import sys; sys.exit(3)", r"own\.py:1: SystemExit: 3"),
        ("class Own", r"own\.py:1: SyntaxError: "),
        ("import missing", r"own\.py:1: ModuleNotFoundError: No module named 'missing'"),
        (calling("", "raise RuntimeError('no weights')"), r"own\.py:5: RuntimeError: no weights"),
        ("import sys; print('so far', flush=True); 1 / 0", r"own\.py:1: ZeroDivisionError"),
    ],
)
def test_a_class_that_cannot_be_constructed_is_to_blame(
    source: str, reason: str, mark: str
) -> None:
    with pytest.raises(ClassUnusable, match=reason) as refused:
        hosted(source, mark=mark, load_seconds=30)
    nothing_left(mark)
    assert "Traceback" in refused.value.prints
    assert ("so far" in source) == ("so far" in refused.value.prints)


@pytest.mark.parametrize(
    ("init", "manner"),
    [
        ("os._exit(7)", "exit status 7"),
        ("ctypes.string_at(0)", "SIGSEGV"),
        ("time.sleep(600)", r"it took longer than 1 s"),
    ],
)
def test_the_end_of_a_process_in_its_constructor_is_told(init: str, manner: str, mark: str) -> None:
    with pytest.raises(HostDied, match=manner) as died:
        hosted(calling("", f"print('so far', flush=True)\n{init}"), mark=mark, load_seconds=1)
    assert "so far" in died.value.prints
    nothing_left(mark)


def test_an_answer_that_is_nonsense_is_the_end_of_the_host(opened: Open) -> None:
    source = calling(
        """
        import gc, socket
        for found in gc.get_objects():
            if isinstance(found, socket.socket):
                found.sendall(b"\\xff" * 64)
        """
    )
    engine = opened(source)
    with pytest.raises(HostDied, match="nonsense"):
        engine.run(images_of(1))


def test_an_answer_of_another_process_is_not_taken_for_the_next_batches(opened: Open) -> None:
    """Code in C forks without a word, and both processes answer."""
    engine = opened(calling("if first == 1:\n    ctypes.PyDLL(None).fork()\nreturn [str(first)]"))
    answers: list[object] = []
    for first in (1, 2, 3):
        try:
            answers.append(engine.run(images_of(first)))
        except (HostDied, NotBegun):
            answers.append(None)
    assert all(answer in (None, [str(n)]) for n, answer in zip((1, 2, 3), answers, strict=True))


def test_a_process_that_it_forks_keeps_its_pixels_too(opened: Open) -> None:
    body = """
    if first == 1:
        read, write = os.pipe()
        if os.fork() == 0:
            os.read(self.go[0], 1)
            os.write(write, bytes([images.flat[0]]))
            os._exit(0)
        self.answer = read
    elif first == 3:
        os.write(self.go[1], b"x")
        return [os.read(self.answer, 1)[0]]
    """
    engine = opened(calling(body, "self.go = os.pipe()"))
    assert [engine.run(images_of(first)) for first in (1, 2, 3)] == [["ok"], ["ok"], [1]]


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("np.array([('cat', 0.9)] * 2, dtype=object)", "ndarray"),
        ("np.array([['cat', 'dog']] * 2)", "ndarray"),
        ("np.ones((2, 3)) * 1j", "ndarray"),
    ],
)
def test_arrays_that_are_no_scores_are_outputs_that_nobody_knows(
    opened: Open, answer: str, wanted: str
) -> None:
    outputs = opened(calling(f"return {answer}")).run(images_of(1, 2))
    assert [type_name(output) for output in outputs] == [wanted] * 2


@pytest.mark.parametrize(
    "body",
    [
        "import json; json.dumps = json.loads = None",
        "time.monotonic = lambda: float('nan')",
        "import builtins; builtins.len = builtins.print = None",
        "os.getpid = os._exit = None",
    ],
)
def test_a_class_may_replace_what_modules_have(opened: Open, body: str) -> None:
    engine = opened(calling(body))
    try:
        assert engine.run(images_of(1)) == ["ok"]
        assert engine.launch([images_of(1)]).wait().seconds >= 0
    except HostDied:  # it took what its host cannot do without: its own end alone
        assert engine.dead


def test_a_host_that_cannot_be_started_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = descriptors()
    monkeypatch.setattr(subprocess, "Popen", no_process)
    for _ in range(3):
        with pytest.raises(BlockingIOError):
            hosted(calling(""))
    assert descriptors() == before


def no_process(*_: object, **__: object) -> None:
    raise BlockingIOError(11, "Resource temporarily unavailable")


def test_opening_and_closing_leaves_nothing_behind() -> None:
    hosted(calling("")).close()
    before = descriptors()
    folders = set(Path(tempfile.gettempdir()).glob("headrace-class-*"))
    for _ in range(5):
        engine = hosted(calling(""))
        engine.run(images_of(1))
        engine.close()
    gc.collect()  # areas go with their engine
    assert descriptors() <= before
    wait_for(
        lambda: set(Path(tempfile.gettempdir()).glob("headrace-class-*")) <= folders,
        what="the end of the scratch folders",
    )


def test_the_first_to_go_when_memory_is_short_is_the_class(opened: Open) -> None:
    body = "return [open('/proc/self/oom_score_adj').read().strip()] * len(images)"
    assert opened(calling(body)).run(images_of(1)) == ["1000"]


def test_the_memory_that_is_shared_cannot_be_cut() -> None:
    """A worker that wrote into a file cut short would die by SIGBUS."""
    area = Area(4096)
    assert area.descriptor is not None
    with pytest.raises(PermissionError):
        os.truncate(area.descriptor, 0)
    area.forget_descriptor()
