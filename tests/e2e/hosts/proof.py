"""One job over two hosts, in two network namespaces: ``make test-hosts``.

Not named as tests are, so that ``make test`` needs no root. Prints what it measures. The tests go
by their order: each needs some workers more or less than the one before.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from shared.stages import INFERENCE, queue_name
from tests.support.hosts.namespaces import inside, two_namespaces, why_no_namespaces
from tests.support.hosts.system import System, system
from tests.support.injection.slots import job_uid
from tests.support.stack import chunks_of, small_images
from tests.support.waiting import wait_for

IMAGES, BROKEN, CHUNK_ITEMS = 480, 5, 16
SIDE_PIXELS = 224
IMAGE_BYTES = SIDE_PIXELS * SIDE_PIXELS * 3
CUT_SECONDS = 30
# Of the two routes side by side.
ROUNDS, MANY_IMAGES = 3, 1920
ROUTES = {
    "ring": {"first": "preprocess inference"},
    "network": {"first": "preprocess", "second": "inference"},
}
DIGEST = """
import hashlib
import time

class Digest:
    def __call__(self, images):
        return [(hashlib.sha256(image.tobytes()).hexdigest()[:16], 1.0) for image in images]

class SlowDigest(Digest):
    def __call__(self, images):
        time.sleep(0.01 * len(images))
        return super().__call__(images)
"""
PIPELINE = (
    "name: digest\n"
    "preprocess: {resize_shorter_pixels: SIDE, crop_pixels: SIDE}\n"
    "model: {python: 'digest:NAME'}\n"
).replace("SIDE", str(SIDE_PIXELS))

pytestmark = [pytest.mark.timeout(900)]


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("hosts")
    (base / "digest.py").write_text(DIGEST)
    for name in ("Digest", "SlowDigest"):
        (base / f"{name}.yaml").write_text(PIPELINE.replace("NAME", name))
    return base


@pytest.fixture(scope="module")
def both(base: Path) -> Iterator[System]:
    if why := why_no_namespaces():
        pytest.skip(why)
    with (
        two_namespaces() as (near, far),
        inside(near),
        system(base, near, far) as both,
    ):
        broken = {f"broken-{n}.jpg": b"no image" for n in range(BROKEN)}
        both.stack.put("photos", {**small_images(IMAGES), **broken})
        yield both


def enqueue(both: System, base: Path, model: str = "Digest", source: str = "s3://photos/") -> str:
    size = ("--chunk-items", str(CHUNK_ITEMS))
    return both.stack.enqueue(source, *size, pipeline=str(base / f"{model}.yaml"))


def finish(both: System, job: str, how: str) -> dict[str, Any]:
    """Wait for the end, and let the auditor judge it."""
    status = both.stack.finish(job, deadline_seconds=400)
    verdict = both.stack.auditor.audit("photos", "", job)
    say(f"{how}: {verdict}; {status['images_per_second']} images/s")
    assert verdict.clean, verdict
    assert (status["images"]["succeeded"], status["images"]["failed"]) == (IMAGES, BROKEN)
    return status


@pytest.fixture(scope="module")
def rows_of_one_host(both: System, base: Path) -> dict[str, Any]:
    both.workers(first="preprocess inference")
    job = enqueue(both, base)
    finish(both, job, "one host")
    assert both.parcels() == 0
    return both.labels(job)


def test_preprocessing_on_one_host_feeds_inference_on_the_other(
    both: System, base: Path, rows_of_one_host: dict[str, Any]
) -> None:
    both.workers(first="preprocess", second="inference")
    both.forget_parcels()
    before = both.first.namespace.wire_bytes()
    job = enqueue(both, base)
    finish(both, job, "preprocessing on one host, inference on the other")
    mib = (both.first.namespace.wire_bytes() - before) / 2**20
    say(f"{both.parcels()} parcels, {mib:.0f} MiB over the cable")
    assert both.labels(job) == rows_of_one_host
    assert both.parcels() == chunks_of(IMAGES, CHUNK_ITEMS)  # the broken ones, last, have no pixels
    assert both.staging.keys() == []


def test_a_cut_cable_loses_nothing(
    both: System, base: Path, rows_of_one_host: dict[str, Any]
) -> None:
    both.workers(first="preprocess", second="inference")
    job = enqueue(both, base, "SlowDigest")
    uid = job_uid(both.stack, job)
    wait_for(lambda: done(both, uid) > 5, what="some chunks")
    both.first.namespace.plug("down")
    say(f"the cable is cut after {done(both, uid)} chunks")
    cut_at = time.monotonic()
    time.sleep(CUT_SECONDS)  # the fault itself
    before = done(both, uid)
    both.first.namespace.plug("up")
    say(f"the cable is back after {time.monotonic() - cut_at:.0f} s, {before} chunks are done")
    finish(both, job, "a cable cut")
    say(f"{time.monotonic() - cut_at - CUT_SECONDS:.0f} s after it came back all is done")
    assert both.labels(job) == rows_of_one_host


def done(both: System, uid: str) -> int:
    progress = both.ledger.progress(uid)
    return progress.done_chunks if progress else 0


def test_what_each_host_can_infer_itself_stays_there(
    both: System, base: Path, rows_of_one_host: dict[str, Any]
) -> None:
    both.workers(first="preprocess inference", second="preprocess inference")
    both.forget_parcels()
    before, started_at = both.first.namespace.wire_bytes(), time.time()
    job = enqueue(both, base)
    finish(both, job, "both on both")
    on_wire = (both.first.namespace.wire_bytes() - before) / IMAGES
    say(f"{both.parcels()} parcels, {on_wire:.0f} bytes an image over the cable of {IMAGE_BYTES}")
    assert all(host.staged_since(started_at) for host in (both.first, both.second))
    assert both.parcels() == 0
    assert both.labels(job) == rows_of_one_host


def test_a_host_that_vanishes_is_drained(
    both: System, base: Path, rows_of_one_host: dict[str, Any]
) -> None:
    both.workers(first="preprocess inference", second="preprocess inference")
    job = enqueue(both, base, "SlowDigest")
    queue = queue_name(INFERENCE, host=both.second.name)
    wait_for(lambda: both.ledger.queued_count(queue), what="chunks on that host", every=0.01)
    both.second.freeze("inference")  # so that they are there still when it is gone
    wait_for(lambda: both.ledger.queued_count(queue) >= 2, what="more of them")
    both.second.vanish()
    waiting = both.ledger.queued_count(queue)
    say(f"the second host is gone, {waiting} chunks wait for it")
    gone_at = time.monotonic()
    wait_for(lambda: not both.ledger.queued_count(queue), what="draining", deadline_seconds=90)
    say(f"drained {time.monotonic() - gone_at:.0f} s later")
    assert f"chunks of {queue}" in (both.first.home / "producer.log").read_text()
    finish(both, job, "a host that vanished")
    assert both.labels(job) == rows_of_one_host
    assert both.broker.exists(queue) == 0


def test_the_network_route_beside_the_own_ring(both: System, base: Path) -> None:
    """A measurement: the same images in turn, and a model that costs next to nothing."""
    both.stack.put("many", small_images(MANY_IMAGES, seed=1))
    rates: dict[str, list[float]] = {route: [] for route in ROUTES}
    costs: dict[str, list[float]] = {route: [] for route in ROUTES}  # says more under load
    for _ in range(ROUNDS):
        for route, workers in ROUTES.items():
            both.workers(**workers)
            both.forget_parcels()
            before = both.cpu_seconds()
            job = enqueue(both, base, source="s3://many/")
            status = both.stack.finish(job, deadline_seconds=400)
            costs[route].append((both.cpu_seconds() - before) * 1000 / MANY_IMAGES)
            assert status["images"]["succeeded"] == MANY_IMAGES
            assert both.parcels() == (
                chunks_of(MANY_IMAGES, CHUNK_ITEMS) if route == "network" else 0
            )
            rates[route].append(status["images_per_second"])
    load = " ".join(f"{load:.1f}" for load in os.getloadavg())
    for route, found in rates.items():
        say(
            f"{route}: {', '.join(f'{rate:.0f}' for rate in found)} images/s (load {load}), "
            f"{', '.join(f'{cost:.2f}' for cost in costs[route])} ms of CPU time an image"
        )
    share = median(rates["network"]) / median(rates["ring"])
    say(f"the network gives {share:.2f} of what the own ring does, by the medians")
