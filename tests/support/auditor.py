"""The auditor: did every listed object end as exactly one row? It shares no code with the product.

It lists the input bucket itself, reads the Parquet files itself, and compares (key, ETag) as
multisets. It decides every test of the promise.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import boto3
import pyarrow.parquet as pq
from botocore.config import Config

Identity = tuple[str, str]


@dataclass
class Verdict:
    """What the auditor found; ``clean`` when nothing is wrong."""

    objects: int
    rows: int
    lost: list[Identity] = field(default_factory=list)
    doubled: list[Identity] = field(default_factory=list)
    strangers: list[Identity] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)

    @property
    def clean(self) -> bool:
        wrong = self.lost or self.doubled or self.strangers or self.problems
        return not wrong and not self.statuses["unexplained"]

    def __str__(self) -> str:
        return (
            f"{self.objects} objects, {self.rows} rows {dict(self.statuses)}: "
            f"{len(self.lost)} lost, {len(self.doubled)} doubled, {len(self.strangers)} strangers"
            + "".join(f"\n  {problem}" for problem in self.problems)
        )


class Auditor:
    """Reads one S3-compatible store with credentials of its own."""

    def __init__(self, endpoint: str, access_key: str, secret_key: str) -> None:
        self._s3: Any = boto3.client(
            "s3",
            endpoint_url=f"http://{endpoint}",
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}),
        )

    def audit(
        self,
        bucket: str,
        prefix: str,
        job_id: str,
        *,
        output_bucket: str = "results",
        output_prefix: str = "",
        finished: bool = True,
    ) -> Verdict:
        """Compare the input under ``prefix`` with the rows of ``job_id``.

        ``finished=False`` looks at a job that still runs: rows may be missing, never doubled.
        """
        root = f"{output_prefix}{job_id}/"
        expected = Counter(self._objects(bucket, prefix))
        rows, statuses = self._rows(output_bucket, f"{root}rows/")
        verdict = Verdict(sum(expected.values()), sum(rows.values()), statuses=statuses)
        verdict.doubled = sorted((rows - Counter(set(rows))).elements())
        verdict.strangers = sorted(identity for identity in rows if identity not in expected)
        if finished:
            verdict.lost = sorted((expected - rows).elements())
            verdict.problems += self._marker_problems(output_bucket, root, rows)
        return verdict

    def _objects(self, bucket: str, prefix: str) -> list[Identity]:
        return [
            (entry["Key"], entry["ETag"].strip('"'))
            for entry in self._list(bucket, prefix)
            if not (entry["Key"].endswith("/") and entry["Size"] == 0)
        ]

    def _rows(self, bucket: str, prefix: str) -> tuple[Counter[Identity], Counter[str]]:
        identities: Counter[Identity] = Counter()
        statuses: Counter[str] = Counter()
        for entry in self._list(bucket, prefix):
            body = self._s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
            columns = ["key", "etag", "status", "error_code"]
            for row in pq.read_table(io.BytesIO(body), columns=columns).to_pylist():
                identities[(row["key"], row["etag"])] += 1
                explained = bool(row["error_code"]) == (row["status"] == "failed")
                statuses[row["status"] if explained else "unexplained"] += 1
        return identities, statuses

    def _marker_problems(self, bucket: str, root: str, rows: Counter[Identity]) -> list[str]:
        names = {entry["Key"].removeprefix(root) for entry in self._list(bucket, root)}
        problems = [
            f"{name} is missing" for name in ("manifest.json", "_SUCCESS") if name not in names
        ]
        if "manifest.json" in names:
            body = self._s3.get_object(Bucket=bucket, Key=f"{root}manifest.json")["Body"].read()
            counted = sum(part["rows"] for part in json.loads(body)["parts"])
            if counted != sum(rows.values()):
                problems.append(f"manifest.json counts {counted} rows of {sum(rows.values())}")
        return problems

    def _list(self, bucket: str, prefix: str) -> list[dict[str, Any]]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [entry for page in pages for entry in page.get("Contents", [])]
