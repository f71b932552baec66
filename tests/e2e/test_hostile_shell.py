"""A stack and a job in a shell whose every variable is against us."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from producer.stack.home import find_home
from producer.stack.local.leftovers import find_processes
from shared.environment import CHOSEN, PASSED
from tests.support.hostile_shell import Listener, variables
from tests.support.shape_class import PLUGIN
from tests.support.stack import Stack, small_images

IMAGES = 12
# What supervisord says to its children, and what we say to SeaweedFS.
TOLD = {f"SUPERVISOR_{name}" for name in ("ENABLED", "GROUP_NAME", "PROCESS_NAME", "SERVER_URL")}
SEAWEEDFS = ("GOMEMLIMIT", "WEED_JWT_")
FEW_FILES = ("bash", "-c", 'ulimit -Sn 256 && exec "$@"', "bash")


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    with Listener() as listener:
        yield listener


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, listener: Listener) -> Iterator[Stack]:
    """A stack that was started in such a shell, and is asked from there."""
    base = tmp_path_factory.mktemp("hostile")
    for folder in ("plugins", "modules"):
        (base / folder).mkdir()
    (base / "plugins" / "shape.py").write_text(PLUGIN)
    (base / "plugins" / "light.yaml").write_text("model: {python: 'shape:Shape'}\n")
    own = {"HEADRACE_PLUGINS": str(base / "plugins"), "PURPOSE": "mine"}
    stack = Stack(base / "home", {**variables(listener.address, base / "modules"), **own})
    try:
        stack.run("up", prefix=FEW_FILES)
        yield stack
    finally:
        stack.run("down", check=False)


def test_a_job_is_done_and_nobody_else_hears_of_it(hostile: Stack, listener: Listener) -> None:
    hostile.put("inputs", small_images(IMAGES))
    pipeline = str(Path(hostile.environment["HEADRACE_PLUGINS"]) / "light.yaml")
    job = hostile.enqueue("s3://inputs/", pipeline=pipeline)
    assert hostile.finish(job)["state"] == "succeeded"
    rows = hostile.rows(job)
    assert sorted(row["key"] for row in rows) == sorted(small_images(IMAGES))
    assert {row["label"] for row in rows} == {"224x224"}
    assert listener.heard == []


def test_processes_have_the_variables_that_are_listed_and_no_others(hostile: Stack) -> None:
    found = find_processes(find_home(hostile.home))
    assert {name.split("-")[0] for name in found.values()} == {
        *("supervisord", "valkey", "seaweedfs", "flower"),
        *("producer", "preprocess", "inference", "collector"),
    }
    for pid, name in found.items():
        environment = psutil.Process(pid).environ()
        allowed = {*PASSED, *CHOSEN, *TOLD}
        odd = {
            variable
            for variable in environment.keys() - allowed
            if not variable.startswith(("HEADRACE_", *(SEAWEEDFS if name == "seaweedfs" else ())))
        }
        assert odd == set(), name
        assert {key: environment[key] for key in CHOSEN} == CHOSEN
        assert environment["HEADRACE_SHELL_PURPOSE"] == "mine"
        assert environment.get("SUPERVISOR_SERVER_URL", "unix:").startswith("unix:")


def test_flower_asks_for_its_password_all_the_same(hostile: Stack) -> None:
    place = urlsplit(hostile.info["flower_url"]).netloc.rpartition("@")[2]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with pytest.raises(urllib.error.HTTPError, match="401"):
        opener.open(f"http://{place}/api/workers", timeout=10)
    assert hostile.flower("/api/workers") is not None


def test_down_ends_what_up_started(hostile: Stack, listener: Listener) -> None:
    hostile.run("down")
    assert find_processes(find_home(hostile.home)) == {}
    assert listener.heard == []
