"""Where things lie in the buckets. Numbers are zero-padded so that listings sort."""

from __future__ import annotations

import re

from shared.job import JobSpec, PastJob

JOBS = "jobs/"


def code_key(sha256: str) -> str:
    """A user's packed code in the models bucket, create-only. No model's name begins with ``_``."""
    return f"_code/{sha256}.zip"


def file_key(sha256: str) -> str:
    """The bytes of a file that travels with a job, in the models bucket.

    Written again only where what stands there has another size.
    """
    return f"_files/{sha256}"


REMOVALS = "_removing/"


def removal_prefix(folder: str, sha256: str) -> str:
    """The marks of those who remove something from the models bucket, one for each of them.

    ``folder`` is its first folder there: a model's name, ``_code`` or ``_files``.
    """
    return f"{REMOVALS}{folder}/{sha256}/"


def spec_key(job_id: str) -> str:
    """The job's spec, create-only."""
    return f"{JOBS}{job_id}/spec.json"


def cancel_key(job_id: str) -> str:
    """Its presence cancels the job."""
    return f"{JOBS}{job_id}/cancel.json"


def closed_key(job_id: str) -> str:
    """The end of the job, create-only."""
    return f"{JOBS}{job_id}/closed.json"


def engine_key(job_id: str, job_uid: str, analysis: str) -> str:
    """How an analysis of the job is computed, create-only; from before its first answer on.

    With its uid: a straggler of a removed job decides nothing for another of its name.
    """
    return f"{JOBS}{job_id}/engine-{job_uid}-{analysis}.json"


def stop_key(job_id: str, job_uid: str) -> str:
    """Why the job ends early, create-only. Its presence stops the feed.

    With its uid, as ``engine_key``.
    """
    return f"{JOBS}{job_id}/stop-{job_uid}.json"


def retries_prefix(job_id: str) -> str:
    """One empty object for each job that retries this one, under that job's id."""
    return f"{JOBS}{job_id}/retries/"


def manifest_prefix(job_id: str) -> str:
    """All of a job's manifest: the highest number is the seal once there is one."""
    return f"{JOBS}{job_id}/manifest/"


def segment_key(job_id: str, number: int) -> str:
    """Manifest segment ``number``; the seal takes the number after the last."""
    return f"{manifest_prefix(job_id)}{number:08d}.parquet"


def chunks_prefix(job_id: str) -> str:
    """All chunk files of a job."""
    return f"{JOBS}{job_id}/chunks/"


def chunk_key(job_id: str, chunk: int) -> str:
    """The result of one chunk, create-only."""
    return f"{chunks_prefix(job_id)}{chunk:09d}.arrow"


def chunk_of_key(key: str) -> int:
    """The chunk number in a chunk file's key."""
    return int(key.rsplit("/", 1)[-1].removesuffix(".arrow"))


def output_root(spec: JobSpec | PastJob) -> str:
    """The folder of a job's output in the output bucket, ending in a slash."""
    base = spec.output_prefix.strip("/")
    return f"{base}/{spec.job_id}/" if base else f"{spec.job_id}/"


def rows_prefix(spec: JobSpec | PastJob) -> str:
    """The parts that users read, and nothing else."""
    return f"{output_root(spec)}rows/"


PART_NAME = re.compile(r"part-[0-9]{5,}\.parquet")


def part_key(spec: JobSpec, part: int) -> str:
    """One part; its chunk range follows from its number."""
    return f"{rows_prefix(spec)}part-{part:05d}.parquet"


def output_manifest_key(spec: JobSpec) -> str:
    """The list of parts with their counts, create-only."""
    return f"{output_root(spec)}manifest.json"


def success_key(spec: JobSpec | PastJob) -> str:
    """The empty marker that a job is complete, create-only."""
    return f"{output_root(spec)}_SUCCESS"


MAX_PART_CHUNKS = 512
# Of a part's answers, by their kinds' own estimates: who reads a part holds all of it, and its
# writer holds it packed. Texts longer than usual may make it larger.
MAX_PART_ANSWER_BYTES = 64 * 2**20


def part_range(spec: JobSpec, part: int) -> tuple[int, int]:
    """The chunks ``[first, end)`` of a part: 1, 2, 4, ... then 512 each, or fewer of long answers.

    Small first parts show rows early in a small job; equal later ones keep their number low.
    """
    chunk_bytes = spec.chunk_items * spec.pipeline.answer_bytes
    most = max(1, min(MAX_PART_CHUNKS, MAX_PART_ANSWER_BYTES // chunk_bytes))
    doublings = most.bit_length() - 1
    if part < doublings:
        return 2**part - 1, 2 ** (part + 1) - 1
    first = 2**doublings - 1 + (part - doublings) * 2**doublings
    return first, first + 2**doublings
