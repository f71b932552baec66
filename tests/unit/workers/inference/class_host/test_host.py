"""The process of a user's class: what it does there reaches nobody, and what it gives arrives."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.support.fake_engine import images_of
from tests.support.hosted_class import OpenClass, calling
from tests.support.waiting import wait_for
from workers.inference.class_host.memory import Area
from workers.inference.class_host.process import MAX_PRINTED_BYTES
from workers.inference.class_host.values import type_name
from workers.inference.engines import HostedEngine
from workers.inference.engines.python_engine import PythonEngine
from workers.inference.errors import EngineError, HostDied, Miscounted, NotBegun


def test_a_class_runs_in_a_process_of_its_own(open_class: OpenClass) -> None:
    engine = open_class(calling("return [str(os.getpid())] * len(images)"))
    assert isinstance(engine, HostedEngine)
    (pid,) = set(engine.run(images_of(1, 2, 3)))
    assert int(pid) not in (os.getpid(), os.getppid())


def test_it_starts_fresh_with_an_environment_of_its_own(
    open_class: OpenClass, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_BROKER_URL", "redis://secret@broker")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    source = calling(
        "return [' '.join(sorted(os.environ)), os.getcwd(), ' '.join(sys.modules)]", "sys.path"
    )
    names, folder, modules = open_class(source).run(images_of(1, 2, 3))
    assert set(names.split()) <= {"PATH", "TMPDIR", "MARK", "LC_CTYPE"}
    assert Path(folder).name == "code"
    assert not {"workers", "shared", "producer", "torch", "celery"} & set(modules.split())


@pytest.mark.parametrize("name", ["shared", "workers", "host", "serving", "values", "packet"])
def test_modules_of_users_never_clash_with_ours(open_class: OpenClass, name: str) -> None:
    source = f"""
    import os
    from pathlib import Path
    Path("{name}.py").write_text("WHOSE = 'mine'")
    import {name}
    class Own:
        def __call__(self, images):
            return [{name}.WHOSE] * len(images)
    """
    assert open_class(source).run(images_of(1)) == ["mine"]


def test_a_class_may_change_and_keep_what_it_gets(open_class: OpenClass) -> None:
    engine = open_class(
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
    in_flight = [engine.launch([chunk]) for chunk in chunks[:2]]
    answers = [each.wait().outputs[0] for each in in_flight]
    answers += [engine.run(chunk)[0] for chunk in chunks[2:]]
    assert answers == [[0], [100, 1], [100, 101, 2], [100, 101, 102, 3]]
    assert [int(chunk.flat[0]) for chunk in chunks] == [0, 1, 2, 3]


def test_memory_is_used_again_for_batches_of_any_size(open_class: OpenClass) -> None:
    engine = open_class(calling("return [int(image.flat[0]) for image in images]"))
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
def test_outputs_arrive_as_they_were(open_class: OpenClass, given: str, wanted: object) -> None:
    assert repr(open_class(calling(f"return {given}")).run(images_of(1, 2))) == repr(wanted)


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
def test_arrays_and_tensors_arrive_row_by_row(open_class: OpenClass, given: str) -> None:
    imports = "import numpy as np\nimport torch\n" if "torch" in given else "import numpy as np\n"
    outputs = open_class(imports + calling(f"return {given}")).run(images_of(1, 2))
    assert np.array_equal(np.stack(list(outputs)), np.eye(2, 5))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise ValueError('a\\nb')", "own.py:8: ValueError: a b"),
        ("helper()", "own.py:8: NameError: name 'helper' is not defined"),
        ("sys.exit('enough')", "own.py:8: SystemExit: enough"),
        ("raise KeyboardInterrupt", "own.py:8: KeyboardInterrupt"),
        ("return 5", "the class gave one value (int), not one output for each image"),
        ("return np.array(5.0)", "the class gave one value (ndarray), not one output"),
        ("return {'a', 'b'}", "the class gave one value (set), not one output"),
        ("return {'a': 1, 'b': 2}", "one value (dict), not one"),
        ("return type('DataFrame', (list,), {'ndim': 2})('ab')", "one value (DataFrame), not one"),
        ("return None", "the class gave one value (NoneType), not one output"),
        ("return (1 / 0 for _ in images)", "own.py:8: ZeroDivisionError: division by zero"),
        ("raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})", "own.py:8: "),
        ("exec('1 +')", "SyntaxError"),
    ],
)
def test_what_a_class_raises_names_its_file_and_line(
    open_class: OpenClass, body: str, reason: str
) -> None:
    engine = open_class(
        calling(f"if first == 7:\n    pass\n{body}").replace(
            "\n        if first == 7:\n            pass", ""
        )
    )
    with pytest.raises(EngineError) as raised:
        engine.run(images_of(1, 2))
    assert reason in raised.value.message
    assert not engine.dead


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ("itertools.repeat('a')", "more than 2 outputs"),
        ("['a'] * 24", "24 outputs"),
        ("np.zeros((24, 5))", "24 outputs"),
        ("np.array([[]])", "1 output"),
        ("['a']", "1 output"),
        ("()", "0 outputs"),
        ("(n for n in ())", "0 outputs"),
    ],
)
def test_outputs_are_as_many_as_the_images(open_class: OpenClass, given: str, count: str) -> None:
    engine = open_class(calling(f"return {given}"))
    with pytest.raises(Miscounted) as raised:
        engine.run(images_of(1, 2))
    assert raised.value.message == f"the class gave {count} for 2 images"
    assert not engine.dead


def test_what_it_prints_is_kept_up_to_a_bound(open_class: OpenClass) -> None:
    engine = open_class(
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
def test_a_class_may_do_to_its_process_what_it_likes(open_class: OpenClass, body: str) -> None:
    engine = open_class(calling(body))
    for _ in range(2):
        assert engine.run(images_of(1, 2)) == ["ok", "ok"]


def test_an_answer_of_another_process_is_not_taken_for_the_next_batches(
    open_class: OpenClass,
) -> None:
    """Code in C forks without a word, and both processes answer."""
    engine = open_class(
        calling("if first == 1:\n    ctypes.PyDLL(None).fork()\nreturn [str(first)]")
    )
    answers: list[object] = []
    for first in (1, 2, 3):
        try:
            answers.append(engine.run(images_of(first)))
        except (HostDied, NotBegun):
            answers.append(None)
    assert all(answer in (None, [str(n)]) for n, answer in zip((1, 2, 3), answers, strict=True))


def test_a_process_that_it_forks_keeps_its_pixels_too(open_class: OpenClass) -> None:
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
    engine = open_class(calling(body, "self.go = os.pipe()"))
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
    open_class: OpenClass, answer: str, wanted: str
) -> None:
    outputs = open_class(calling(f"return {answer}")).run(images_of(1, 2))
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
def test_a_class_may_replace_what_modules_have(open_class: OpenClass, body: str) -> None:
    engine = open_class(calling(body))
    try:
        assert engine.run(images_of(1)) == ["ok"]
        assert engine.launch([images_of(1)]).wait().seconds >= 0
    except HostDied:  # it took what its host cannot do without: its own end alone
        assert engine.dead


def test_the_first_to_go_when_memory_is_short_is_the_class(open_class: OpenClass) -> None:
    body = "return [open('/proc/self/oom_score_adj').read().strip()] * len(images)"
    assert open_class(calling(body)).run(images_of(1)) == ["1000"]


def test_the_memory_that_is_shared_cannot_be_cut() -> None:
    """A worker that wrote into a file cut short would die by SIGBUS."""
    area = Area(4096)
    assert area.descriptor is not None
    with pytest.raises(PermissionError):
        os.truncate(area.descriptor, 0)
    area.forget_descriptor()


def test_the_memory_of_a_class_is_measured_while_it_lives(open_class: OpenClass) -> None:
    engine = open_class(calling("self.kept = np.ones((first, 2**20), np.uint8)"))
    before = engine.resident_bytes
    assert before is not None
    engine.run(images_of(100))
    after = engine.resident_bytes
    assert after is not None
    assert 90 * 2**20 < after - before < 200 * 2**20
    engine.close()
    wait_for(lambda: engine.resident_bytes is None, what="the end of its process")
