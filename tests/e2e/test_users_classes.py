"""Users' classes of every bad kind on one stack: the job says what happened, the next is well."""

from __future__ import annotations

import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.stack import Stack, small_images
from tests.support.waiting import wait_for

IMAGES = 6
PREPROCESS = "preprocess: {resize_shorter_pixels: 32, crop_pixels: 32}\n"
REFERENCE = "name: reference\nmodel: mobilenet_v2\nengine: torch\nprecision: float32\n"
PUBLISHED = {
    "closes_streams:ClosesStreams": "closed",
    "half_default:HalfDefault": "half",
    "leaves_child:LeavesChild": "forked",
    "uses_helper:UsesHelper": "one",
    "odd_outputs:Probabilities": "0",
}

# What a class does in its call, before it answers "fine" for each image.
HARMLESS = {
    "floods stdout": "for _ in range(300): print('x' * 30_000)",
    "starts 3,000 threads": """
        threading.stack_size(65536)
        [threading.Thread(target=time.sleep, args=[900]).start() for _ in range(3000)]
        """,
    "changes its process": """
        import locale
        os.chdir("/"); os.umask(0o777); locale.setlocale(locale.LC_ALL, "C")
        for number in (1, 2, 10, 12, 13, 15, 17):
            signal.signal(number, signal.SIG_IGN)
        os.environ.clear(); os.environ["HEADRACE_HOME"] = "/nowhere"
        """,
    "changes torch": """
        import torch
        torch.set_default_dtype(torch.bfloat16); torch.set_default_device("meta")
        torch.set_num_threads(1); torch.use_deterministic_algorithms(True)
        torch.set_grad_enabled(False); torch.manual_seed(3)
        """,
    "starts servers and pools": """
        import http.server, multiprocessing, socketserver
        self.server = socketserver.TCPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
        threading.Thread(target=self.server.serve_forever).start()
        self.pool = multiprocessing.get_context("fork").Pool(2)
        self.pool.map_async(time.sleep, [900, 900])
        """,
    "leaves a daemon": """
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(900)
            os._exit(0)
        """,
    "raises late into its thread": """
        me = threading.get_ident()
        def late():
            time.sleep(0.2)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(me), ctypes.py_object(KeyboardInterrupt))
        threading.Thread(target=late).start()
        """,
}
# What it does in its call, and a part of what the job's error says.
TO_BLAME = {
    "closes all its descriptors": ("os.closerange(0, 4096)", "closed its connection"),
    "ends its process": ("os._exit(4)", "exit status 4"),
    "segfaults": ("ctypes.string_at(0)", "SIGSEGV"),
}


@pytest.fixture(scope="module")
def bucket(stack: Stack) -> str:
    stack.put("classes", small_images(IMAGES))
    return "s3://classes/"


@pytest.fixture(scope="module")
def untouched(stack: Stack, bucket: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return reference_rows(stack, bucket, tmp_path_factory.mktemp("reference"))


def reference_rows(stack: Stack, bucket: str, folder: Path) -> list[tuple[Any, ...]]:
    """Every key with its label and score from a network of ours, in this process's torch."""
    path = folder / "reference.yaml"
    path.write_text(REFERENCE)
    job = stack.enqueue(bucket, pipeline=str(path))
    assert stack.finish(job)["state"] == "succeeded"
    return sorted((row["key"], row["label"], row["score"]) for row in stack.rows(job))


def labels(stack: Stack, job: str) -> Counter[str]:
    return Counter(row["label"] for row in stack.rows(job))


def enqueued(stack: Stack, bucket: str, folder: Path, body: str) -> str:
    """A job with a class whose call does ``body``."""
    folder.mkdir()
    return stack.enqueue(bucket, pipeline=written(folder, body))


def written(folder: Path, body: str, *, init: str = "pass", extra: str = "") -> str:
    """A pipeline's file, beside the class whose call does ``body``."""
    (folder / "odd_class.py").write_text(
        "import ctypes, os, signal, sys, threading, time\n"
        "class OddClass:\n"
        "    def __init__(self):\n"
        f"{textwrap.indent(textwrap.dedent(init), ' ' * 8)}\n"
        "    def __call__(self, images):\n"
        f"{textwrap.indent(textwrap.dedent(body).strip(), ' ' * 8)}\n"
        "        return ['fine'] * len(images)\n"
    )
    path = folder / "odd.yaml"
    path.write_text(f"name: odd\nmodel: {{python: 'odd_class:OddClass'}}\n{PREPROCESS}{extra}")
    return str(path)


def test_what_classes_do_to_their_processes_stays_there(
    stack: Stack, bucket: str, untouched: Any, tmp_path: Path
) -> None:
    jobs = {kind: enqueued(stack, bucket, tmp_path / kind, body) for kind, body in HARMLESS.items()}
    for kind, job in jobs.items():
        assert stack.finish(job)["state"] == "succeeded", kind
        assert labels(stack, job) == {"fine": IMAGES}, kind
    assert reference_rows(stack, bucket, tmp_path) == untouched


def test_classes_that_end_every_process_end_their_jobs_with_the_reason(
    stack: Stack, bucket: str, untouched: Any, tmp_path: Path
) -> None:
    before = stack.pids("inference")
    jobs = {
        kind: enqueued(stack, bucket, tmp_path / kind, body) for kind, (body, _) in TO_BLAME.items()
    }
    for kind, job in jobs.items():
        status = stack.finish(job)
        assert status["state"] == "failed", kind
        assert "5 images in a row" in status["error"]
        assert TO_BLAME[kind][1] in status["error"]
    assert stack.pids("inference") == before, "it cost no worker"
    assert reference_rows(stack, bucket, tmp_path) == untouched


def test_a_class_that_cannot_be_constructed_ends_its_job_at_once(
    stack: Stack, bucket: str, tmp_path: Path
) -> None:
    init = "print('so far so good')\nraise OSError('no weights')"
    job = stack.enqueue(bucket, pipeline=written(tmp_path, "pass", init=init))
    status = stack.finish(job)
    assert status["state"] == "failed"
    assert "odd_class.py:5: OSError: no weights" in status["error"]
    assert status["images"] == {
        "listed": IMAGES,
        "succeeded": 0,
        "failed": 0,
        "pending": 0,
        "cancelled": IMAGES,
    }
    waited = stack.run("wait", job, check=False)
    assert waited.returncode == 1
    assert "OSError: no weights" in waited.stderr
    said = stack.run("logs", "--job", job).stdout
    assert f"{job} odd_class | so far so good" in said


def test_an_exception_names_the_users_line_in_the_row_and_is_in_the_jobs_log(
    stack: Stack, bucket: str, tmp_path: Path
) -> None:
    body = "if len(images) == 1:\n    print('alone')\nraise ValueError('too dark')"
    job = stack.enqueue(bucket, pipeline=written(tmp_path, body))
    stack.finish(job)
    assert {row["error_message"] for row in stack.rows(job)} == {
        "odd_class.py:8: ValueError: too dark"
    }
    said = stack.run("logs", "--job", job).stdout
    assert f"{job} odd_class | alone" in said
    assert f"{job} odd_class | ValueError: too dark" in said


def test_one_harmful_image_fails_alone_and_costs_no_worker(
    stack: Stack, bucket: str, tmp_path: Path
) -> None:
    before = stack.pids("inference")
    body = """
        import hashlib
        for image in images:
            if hashlib.sha256(image.tobytes()).hexdigest() in open("harmful.txt").read():
                os.kill(os.getpid(), signal.SIGKILL)
        """
    find = "import hashlib\nreturn [hashlib.sha256(i.tobytes()).hexdigest() for i in images]"
    job = stack.enqueue(bucket, pipeline=written(tmp_path, find))
    stack.finish(job)
    harmful = stack.rows(job)[2]
    (tmp_path / "harmful.txt").write_text(harmful["label"])
    path = written(tmp_path, body, extra="files: [harmful.txt]\n")
    job = stack.enqueue(bucket, pipeline=path)
    assert stack.finish(job)["state"] == "succeeded"
    rows = {row["key"]: row for row in stack.rows(job)}
    killed = rows.pop(harmful["key"])
    assert (killed["status"], killed["error_code"]) == ("failed", "killed_worker")
    assert "SIGKILL" in killed["error_message"]
    assert {row["label"] for row in rows.values()} == {"fine"}
    assert stack.pids("inference") == before


@pytest.mark.shared_data
def test_the_classes_of_public_reports(
    stack: Stack, bucket: str, untouched: Any, tmp_path: Path, shared_data: Path
) -> None:
    for source in (shared_data / "odd" / "classes").glob("*.py"):
        (tmp_path / source.name).write_text(source.read_text())
    jobs = {}
    for name in PUBLISHED:
        path = tmp_path / "public.yaml"
        path.write_text(f"name: public\nmodel: {{python: '{name}'}}\n{PREPROCESS}")
        jobs[name] = stack.enqueue(bucket, pipeline=str(path))
    for name, job in jobs.items():
        assert stack.finish(job)["state"] == "succeeded", name
        assert labels(stack, job) == {PUBLISHED[name]: IMAGES}
    assert reference_rows(stack, bucket, tmp_path) == untouched


def test_nothing_of_any_class_outlives_its_worker(
    stack: Stack, bucket: str, tmp_path: Path
) -> None:
    """Run last: what the classes above have left is still there, in part."""
    job = stack.enqueue(bucket, pipeline=written(tmp_path, HARMLESS["leaves a daemon"]))
    stack.finish(job)
    (worker,) = stack.pids("inference")
    started = psutil.Process(worker).children(recursive=True)
    assert len(started) >= 3, "the keeper, the class, and its daemon"
    stack.run("restart", "inference")
    wait_for(
        lambda: not any(process.is_running() for process in started), what="the end of all of it"
    )
