"""A stack of the benchmark's own, with a bucket of photos and the model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.filling import put_all
from shared.settings import Settings, load_settings
from shared.storage import ObjectMissing, Store, connect_store

ROOT = Path(__file__).resolve().parents[1]
BUCKET = "bench"


@dataclass
class BenchStack:
    """Driven by the command line, as a user would."""

    home: Path

    @contextmanager
    def up(self, *options: str) -> Iterator[None]:
        """The stack runs during the body, and is down after it, also after SIGTERM."""
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            self.run("up", *options)
            yield
        finally:
            self.run("down")
            signal.signal(signal.SIGTERM, before)

    def run(self, *arguments: str) -> str:
        """The answer of one command. Raises CalledProcessError; its errors go to stderr."""
        environment = {
            **os.environ,
            "HEADRACE_HOME": str(self.home),
            "DEVICE_HOME": str(self.home),  # which a class is told by its pipeline
            "HEADRACE_PLUGINS": str(ROOT / "benchmarks" / "classes"),
            "NO_COLOR": "1",
        }
        done = subprocess.run(
            [sys.executable, "-m", "producer", *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """The answer under ``--json``."""
        return json.loads(self.run(*arguments, "--json"))

    @cached_property
    def info(self) -> dict[str, Any]:
        """What ``info --json`` says."""
        return dict(self.json("info"))

    @cached_property
    def settings(self) -> Settings:
        """The command line's, with the admin's keys."""
        return load_settings(self.home, "settings.json")

    @cached_property
    def store(self) -> Store:
        """The stack's store, as the admin."""
        return connect_store(self.settings.s3)

    def fill(self, photos: list[Path], images: int) -> str:
        """Put ``images`` objects, the photos again and again. Returns the prefix."""
        prefix = f"photos-{images}/"
        bodies = [photo.read_bytes() for photo in photos]
        names = (
            (f"{prefix}{n:07d}{photos[n % len(photos)].suffix.lower()}", bodies[n % len(photos)])
            for n in range(images)
        )
        self.put(names)
        return prefix

    def put(self, objects: Iterator[tuple[str, bytes]]) -> None:
        """Write objects, by key, to the bucket of the benchmark, which is made if need be."""
        self.store.make_bucket(BUCKET)
        put_all(self.settings.s3, BUCKET, objects)

    def fetch(self, bucket: str, key: str, path: Path) -> Path:
        """One object as a file, once."""
        if not path.exists():
            path.write_bytes(self.store.get(bucket, key))
        return path

    def output_manifest_or_none(self, job: str) -> dict[str, Any] | None:
        """``manifest.json`` of a job, once it is written."""
        try:
            return self.output_manifest(job)
        except ObjectMissing:
            return None

    def output_manifest(self, job: str) -> dict[str, Any]:
        """``manifest.json`` of a finished job. Raises ObjectMissing."""
        return dict(json.loads(self.store.get("results", f"{job}/manifest.json")))
