"""``doctor``, ``ps`` and ``status`` on a real stack: what stands still is named, leases or not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from producer.stack.settings_file import role_settings_file
from shared.settings import SETTINGS_FILE_VARIABLE, load_settings
from shared.staging import Layout
from tests.support.servers import RunningValkey, start_valkey
from tests.support.stack import Stack, small_images
from tests.support.waiting import wait_for

STEPS = ("producer", "preprocess", "inference", "collector", "closing")
LOCK = """
import fcntl, os, sys
for path in sys.argv[1:]:
    fcntl.flock(os.open(path, os.O_RDWR), fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""
LONG_AGO_MS = 1


def examine(stack: Stack, *options: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code of ``doctor``, and its checks by their names."""
    done = stack.run("doctor", "--json", *options, check=False)
    return done.returncode, {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def leftovers(stack: Stack) -> list[str]:
    found = []
    for bucket, prefix in (("state", "jobs/headrace-doctor"), ("results", "headrace-doctor")):
        listing = stack.s3.list_objects_v2(Bucket=bucket, Prefix=prefix)
        found += [entry["Key"] for entry in listing.get("Contents", [])]
    with ledger(stack) as client:
        jobs = [client.hget(f"hr:job:{uid}", "job_id") for uid in client.smembers("hr:jobs")]
    return found + [job for job in jobs if job and job.startswith("headrace-doctor")]


def ledger(stack: Stack) -> Any:
    return redis.Redis.from_url(stack.info["ledger_url"], decode_responses=True)


def test_on_a_healthy_stack_the_probe_passes_every_step_and_leaves_nothing(stack: Stack) -> None:
    code, checks = examine(stack)
    assert code == 0
    passed = [checks[f"probe {step}"] for step in STEPS]
    assert all(check["ok"] and not check["hint"] for check in passed)
    assert 0 < sum(check["seconds"] for check in passed) < 30
    # Of the models that there are, one may not be pulled: that is a warning, and no fault.
    assert checks["model mobilenet_v2"]["ok"]
    assert all(check["ok"] for name, check in checks.items() if not name.startswith("model "))
    wait_for(lambda: leftovers(stack) == [], what="an end of the probe")


@pytest.mark.parametrize("role", ["inference", "collector"])
def test_a_stopped_stage_is_named_and_the_probe_is_gone_when_it_goes_on(
    stack: Stack, role: str
) -> None:
    pids = stack.pids(role)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        code, checks = examine(stack, "--timeout", "1.5")
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    assert code == 1
    named = [check for name, check in checks.items() if name.startswith("probe")][-1]
    assert (named["name"], named["state"]) == (f"probe {role}", "failed")
    assert f"headrace restart {role}" in named["hint"]
    assert role in named["detail"]
    wait_for(lambda: leftovers(stack) == [], what="an end of the probe")


@pytest.fixture
def locked_ring(stack: Stack) -> Iterator[int]:
    """All slots are locked, by a child of ours; its pid."""
    layout = Layout.of(load_settings(stack.home).ring)
    paths = [str(layout.header_path(place.index)) for place in layout.places]
    with subprocess.Popen(
        [sys.executable, "-c", LOCK, *paths], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == b"locked\n"
        yield child.pid
        child.stdin.close()


def age(stack: Stack, uid: str) -> bool:
    """Make the ledger believe that the job's chunks are held since long ago."""
    with ledger(stack) as client:
        live = client.hgetall(f"hr:{uid}:live")
        for chunk, line in live.items():
            if line.startswith("held "):
                client.hset(f"hr:{uid}:live", chunk, f"{line.rpartition(' ')[0]} {LONG_AGO_MS}")
        return any(line.startswith("held ") for line in live.values())


def test_a_full_ring_and_the_chunk_that_it_holds_up_are_named(
    stack: Stack, plugins: Path, locked_ring: int
) -> None:
    pipeline = plugins / "held.yaml"
    pipeline.write_text("model: {python: 'shape:Shape'}\n")
    stack.put("held", small_images(1))
    job = stack.enqueue("s3://held", pipeline=str(pipeline))
    spec = json.loads(
        stack.s3.get_object(Bucket="state", Key=f"jobs/{job}/spec.json")["Body"].read()
    )
    wait_for(lambda: age(stack, spec["job_uid"]), what="a chunk in hand")

    (warnings,) = {tuple(row["warnings"]) for row in rows(stack, "preprocess")}
    chunk, ring = warnings
    assert f"has held chunk 0 of {job} without progress" in chunk
    assert f": {locked_ring} (" in ring
    what = chunk.partition(" for ")[0]  # its time goes on
    in_status = stack.status(job)["warnings"]
    assert [in_status[0].partition(" for ")[0], *in_status[1:]] == [what, ring]
    assert what in stack.run("ps").stderr
    assert what in stack.run("status", job).stdout

    code, checks = examine(stack, "--timeout", "1")
    assert code == 1
    assert (checks["ring"]["ok"], checks["chunks"]["ok"]) == (False, False)
    assert f": {locked_ring} (" in checks["ring"]["detail"]
    assert job in checks["chunks"]["detail"]
    assert f"kill {locked_ring}" in checks["ring"]["hint"]
    assert "headrace restart preprocess" in checks["chunks"]["hint"]
    assert not checks["probe preprocess"]["ok"]


def test_when_the_ring_is_free_again_nothing_is_said(stack: Stack) -> None:
    jobs = [job["job_id"] for job in stack.json("jobs") if job["state"] == "running"]
    for job in jobs:
        assert stack.finish(job)["warnings"] == []
    assert not any(row["warnings"] for row in stack.json("ps"))


def rows(stack: Stack, role: str) -> list[dict[str, Any]]:
    return [row for row in stack.json("ps") if row["role"] == role]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[RunningValkey]:
    """The broker of somebody else."""
    server = start_valkey(tmp_path)
    yield server
    server.stop()


def test_a_role_at_another_broker_is_named(stack: Stack, elsewhere: RunningValkey) -> None:
    environment = {
        **os.environ,
        **stack.environment,
        "HEADRACE_HOME": str(stack.home),
        "HEADRACE_PROCESS": "collector-9",
        "HEADRACE_BROKER_URL": elsewhere.url,
        SETTINGS_FILE_VARIABLE: str(role_settings_file("collector")),
    }
    worker = subprocess.Popen(
        [sys.executable, "-m", "workers.collector"],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        lease = f"hr:lease:collector-9@*:{worker.pid}:*"
        with ledger(stack) as client:
            wait_for(lambda: client.keys(lease), what="the lease of another collector")
        code, checks = examine(stack)
        (warnings,) = {tuple(row["warnings"]) for row in rows(stack, "collector")}
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)
    assert code == 1
    assert "2 collector workers live, but only one takes" in checks["consumers"]["detail"]
    assert "collector" in checks["consumers"]["hint"]
    assert checks["consumers"]["detail"] in warnings[0]
    assert not psutil.pid_exists(worker.pid)
    wait_for(
        lambda: not any(row["warnings"] for row in rows(stack, "collector")), what="one collector"
    )
