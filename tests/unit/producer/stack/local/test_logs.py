import itertools
import threading

import pytest

from producer.stack.home import find_home
from producer.stack.local import log_lines
from producer.stack.local.log_lines import logs
from producer.stack.local.readiness import STARTS, Watch
from producer.stack.local.states import role_of
from shared.errors import HeadraceError, UsageError


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "preprocess-1.log").write_text("a\nb\nc\n")
    (folder / "preprocess-2.log").write_text("d\n")
    (folder / "valkey.log").write_text("e\n")
    return tmp_path


def test_a_role_is_all_of_its_processes(home):
    assert list(logs(home, "preprocess", tail=2)) == [
        "preprocess-1 | b",
        "preprocess-1 | c",
        "preprocess-2 | d",
    ]
    assert list(logs(home, "preprocess-2")) == ["preprocess-2 | d"]
    assert list(logs(home, tail=1))[-1] == "valkey | e"


def test_a_jobs_lines_are_those_that_name_it_in_rotated_files_too(home):
    path = home / "logs" / "inference-1.log"
    path.write_text("job-1 own | third\njob-11 own | other\nERROR: job-1: failed\nmy-job-1 x\n")
    path.with_name("inference-1.log.1").write_text("job-1 own | second\n")
    path.with_name("inference-1.log.2").write_text("job-1 own | first\nnothing\n")
    assert list(logs(home, job="job-1")) == [
        "inference-1 | job-1 own | first",
        "inference-1 | job-1 own | second",
        "inference-1 | job-1 own | third",
        "inference-1 | ERROR: job-1: failed",
    ]
    assert list(logs(home, job="job-1", tail=2)) == [
        "inference-1 | job-1 own | third",
        "inference-1 | ERROR: job-1: failed",
    ]
    assert list(logs(home, job="job")) == []


def test_the_last_lines_may_be_in_the_file_before(home):
    (home / "logs" / "valkey.log.1").write_text("c\nd\n")
    assert list(logs(home, "valkey", tail=2)) == ["valkey | d", "valkey | e"]


def test_an_unknown_role_is_refused_with_those_that_are_known(home):
    with pytest.raises(UsageError, match="preprocess, valkey"):
        logs(home, "flower")


def test_following_yields_whole_lines_also_after_a_rotation(home, monkeypatch):
    monkeypatch.setattr(log_lines, "POLL_SECONDS", 0.01)
    path = home / "logs" / "valkey.log"
    following = logs(home, "valkey", follow=True, tail=1)
    assert next(following) == "valkey | e"
    writer = threading.Timer(0.05, lambda: _append(path, "two\nthr", "ee\n"))
    writer.start()
    assert list(itertools.islice(following, 2)) == ["valkey | two", "valkey | three"]
    writer.join()
    path.rename(path.with_name("valkey.log.1"))
    path.write_text("new\n")
    assert next(following) == "valkey | new"


def _append(path, *parts):
    for part in parts:
        with path.open("a") as file:
            file.write(part)


def test_the_role_is_in_the_name():
    assert [role_of(name) for name in ("preprocess-12", "valkey")] == ["preprocess", "valkey"]


class Restarting:
    """A supervisor whose one process has another pid each time."""

    def __init__(self):
        self._pids = itertools.count(100)

    def pids(self):
        return {"preprocess-1": next(self._pids)}


def test_a_process_that_keeps_ending_is_named_with_the_end_of_its_log(home):
    watch = Watch(find_home(home), Restarting(), timeout_seconds=60)
    seen = []

    def missing(pids):
        seen.append(pids["preprocess-1"])
        return ["preprocess-1"]

    with pytest.raises(HeadraceError) as caught:
        watch.until(missing)
    assert "preprocess-1 keeps ending" in str(caught.value)
    assert str(caught.value).endswith("  a\n  b\n  c")
    assert len(seen) == STARTS


def test_a_process_that_never_answers_is_named_at_the_deadline(home):
    class Still:
        def pids(self):
            return {"valkey": 1}

    watch = Watch(find_home(home), Still(), timeout_seconds=0.1)
    with pytest.raises(HeadraceError, match="valkey did not answer in 0 seconds"):
        watch.until(lambda pids: ["valkey"])
