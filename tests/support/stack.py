"""A real stack for tests: started, driven and ended by the command line, in a home of its own."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import psutil
from botocore.config import Config
from PIL import Image

from producer.stack.local.states import processes
from shared.settings import S3Settings
from shared.storage import Store, connect_store
from tests.support.auditor import Auditor
from tests.support.injection.extent import JOB_SECONDS
from tests.support.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
COMMAND_SECONDS = 300  # on a machine that has other things to do
FEW = 64  # objects


@dataclass
class Stack:
    """One home. ``run`` types a command; everything else looks at what came of it.

    ``root``: where the project lies that it runs. ``python``: an interpreter that finds it there.
    """

    home: Path
    environment: dict[str, str] = field(default_factory=dict)
    root: Path = ROOT
    python: str = sys.executable

    def run(
        self,
        *arguments: str,
        check: bool = True,
        timeout: float = COMMAND_SECONDS,
        prefix: Sequence[str] = (),
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Type ``PREFIX headrace ARGUMENTS``. AssertionError with its stderr where it fails."""
        done = subprocess.run(
            [*prefix, self.python, "-m", "producer", *arguments],
            cwd=options.pop("cwd", self.root),
            env={**os.environ, "HEADRACE_HOME": str(self.home), **self.environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
            **options,
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str) -> Any:
        """The answer of a command under ``--json``."""
        return json.loads(self.run(*arguments, "--json").stdout)

    def enqueue(self, source: str, *arguments: str, pipeline: str = "classify") -> str:
        """Enqueue and return the job's id."""
        answer = self.json("enqueue", source, "--pipeline", pipeline, *arguments)
        return str(answer["job_id"])

    def finish(self, job: str, *, deadline_seconds: float = JOB_SECONDS) -> dict[str, Any]:
        """Wait for a job to close. Returns its status."""
        # Asked of the store: a command for each look would take the cores that the job needs.
        closed = f"jobs/{job}/closed.json"
        wait_for(
            lambda: self.s3.list_objects_v2(Bucket="state", Prefix=closed)["KeyCount"],
            what=f"the end of {job}",
            deadline_seconds=deadline_seconds,
            every=0.2,
        )
        return self.status(job)

    def status(self, job: str) -> dict[str, Any]:
        """What ``status --json`` says."""
        return dict(self.json("status", job))

    @cached_property
    def info(self) -> dict[str, Any]:
        """What ``info --json`` says; the processes of the moment are in ``pids``."""
        return dict(self.json("info"))

    def pids(self, role: str) -> list[int]:
        """The processes of a role, once each of them that is to run does."""
        (pids,) = wait_for(lambda: self._running(role), what=f"{role} again")
        return pids

    def _running(self, role: str) -> tuple[list[int]] | None:
        # Asked of the supervisor: ``info`` takes a second of a core, and tests look often. It may
        # have a process among the living for a second that is dead.
        found = [state for state in processes(self.home) if state.role == role]
        pids = [state.pid for state in found if state.state != "stopped"]
        return (pids,) if all(map(_is_alive, pids)) else None

    @cached_property
    def s3(self) -> Any:
        """A client of another make than the product's."""
        store = self.info["s3"]
        return boto3.client(
            "s3",
            endpoint_url=f"http://{store['endpoint']}",
            aws_access_key_id=store["access_key"],
            aws_secret_access_key=store["secret_key"],
            region_name=store["region"],
            config=Config(s3={"addressing_style": "path"}, max_pool_connections=16),
        )

    @cached_property
    def _own_store(self) -> Store:
        store = self.info["s3"]
        names = ("endpoint", "access_key", "secret_key", "region")
        return connect_store(S3Settings(**{name: store[name] for name in names}))

    @cached_property
    def auditor(self) -> Auditor:
        store = self.info["s3"]
        return Auditor(store["endpoint"], store["access_key"], store["secret_key"])

    def put(self, bucket: str, objects: dict[str, bytes]) -> None:
        """Put objects, sixteen at a time, into a bucket that is made where it is missing."""
        names = [entry["Name"] for entry in self.s3.list_buckets()["Buckets"]]
        if bucket not in names:
            self.s3.create_bucket(Bucket=bucket)
        # Of many each would take 2 ms of CPU time with boto3.
        put = partial(self._own_store.put, bucket) if len(objects) > FEW else self._put(bucket)
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(put, objects.keys(), objects.values()))

    def _put(self, bucket: str) -> Callable[[str, bytes], object]:
        return lambda key, data: self.s3.put_object(Bucket=bucket, Key=key, Body=data)

    def flower(self, path: str, *, timeout: float = 30) -> Any:
        """What Flower answers, as JSON, to those who have its password."""
        user, _, place = self.info["flower_url"].removeprefix("http://").partition("@")
        token = base64.b64encode(user.encode()).decode()
        request = urllib.request.Request(
            f"http://{place}{path}", headers={"Authorization": f"Basic {token}"}
        )
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return json.load(answer)

    def rows(self, job: str) -> list[dict[str, Any]]:
        """The rows as ``results --format jsonl`` prints them."""
        text = self.run("results", job, "--format", "jsonl").stdout
        return [json.loads(line) for line in text.splitlines()]


def _is_alive(pid: int) -> bool:
    try:
        return pid != 0 and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def chunks_of(images: int, chunk_items: int) -> int:
    """How many chunks a job has: the first is a quarter of the others."""
    return 1 + -(-(images - max(1, chunk_items // 4)) // chunk_items)


def small_images(count: int, *, prefix: str = "", seed: int = 0) -> dict[str, bytes]:
    """``count`` small JPEGs with distinct contents, by key."""
    random = np.random.default_rng(seed)
    images = {}
    for number in range(count):
        pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        sink = io.BytesIO()
        Image.fromarray(pixels).resize((96, 72)).save(sink, "JPEG")
        images[f"{prefix}{number:06d}.jpg"] = sink.getvalue()
    return images
