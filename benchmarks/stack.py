"""A stack of the benchmark's own, with a bucket of photos and the model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

ROOT = Path(__file__).resolve().parents[1]
BUCKET = "bench"


@dataclass
class BenchStack:
    """Driven by the command line, as a user would."""

    home: Path

    def run(self, *arguments: str) -> str:
        """The answer of one command. Raises CalledProcessError; its errors go to stderr."""
        environment = {
            **os.environ,
            "HEADRACE_HOME": str(self.home),
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
    def s3(self) -> Any:
        """A client with the admin's keys."""
        store = self.info["s3"]
        return boto3.client(
            "s3",
            endpoint_url=f"http://{store['endpoint']}",
            aws_access_key_id=store["access_key"],
            aws_secret_access_key=store["secret_key"],
            region_name=store["region"],
            config=Config(s3={"addressing_style": "path"}),
        )

    def fill(self, photos: list[Path], images: int) -> str:
        """Put ``images`` objects, the photos again and again. Returns the prefix."""
        prefix = f"photos-{images}/"
        for number in range(images):
            photo = photos[number % len(photos)]
            key = f"{prefix}{number:07d}{photo.suffix.lower()}"
            self.s3.put_object(Bucket=BUCKET, Key=key, Body=photo.read_bytes())
        return prefix

    def fetch(self, bucket: str, key: str, path: Path) -> Path:
        """One object as a file, once."""
        if not path.exists():
            path.write_bytes(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        return path

    def output_manifest_or_none(self, job: str) -> dict[str, Any] | None:
        """``manifest.json`` of a job, once it is written."""
        try:
            return self.output_manifest(job)
        except self.s3.exceptions.NoSuchKey:
            return None

    def output_manifest(self, job: str) -> dict[str, Any]:
        """``manifest.json`` of a finished job."""
        body = self.s3.get_object(Bucket="results", Key=f"{job}/manifest.json")["Body"].read()
        return dict(json.loads(body))
