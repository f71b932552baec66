"""Names of queues and tasks: the schema's major version, the stage, the lane.

A newer schema has queues of its own, so that workers of two versions can run side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

VERSION = "v3"
LANE = "bulk"

PREPROCESS_TASK = "headrace.preprocess"
INFERENCE_TASK = "headrace.inference"
RESULTS_TASK = "headrace.results"


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """A queue, the role that consumes it, and the Celery task that it carries."""

    name: str
    role: str
    task: str


def preprocess_queue() -> str:
    """The queue of chunks that wait to be fetched and decoded."""
    return f"{VERSION}.preprocess.{LANE}"


def inference_queue(host_id: str) -> str:
    """The queue of batches for the devices of one host."""
    return f"{VERSION}.inference.{LANE}.{host_id}"


def inference_host(queue: str) -> str | None:
    """The host that an inference queue is of; None for other queues."""
    prefix = inference_queue("")
    return queue.removeprefix(prefix) if queue.startswith(prefix) else None


def results_queue() -> str:
    """The queue of results that wait to be written."""
    return f"{VERSION}.results.{LANE}"


def queues(host_id: str) -> list[QueueInfo]:
    """Every queue that the workers of a host consume, in the order of the flow."""
    return [
        QueueInfo(preprocess_queue(), "preprocess", PREPROCESS_TASK),
        QueueInfo(inference_queue(host_id), "inference", INFERENCE_TASK),
        QueueInfo(results_queue(), "collector", RESULTS_TASK),
    ]
