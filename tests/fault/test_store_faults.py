"""The store goes away, answers errors, is full, is slow, or changes under a running job."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

import pytest
from botocore.exceptions import ClientError

from tests.support.injection.outage import frozen, killed
from tests.support.injection.proxied_stack import BATCH, Far
from tests.support.injection.proxy import Fate
from tests.support.injection.table import Line, note
from tests.support.injection.watch import Watch
from tests.support.waiting import wait_for

# Rates, and how many answers have to meet their fate, ten times as many in full.
ANSWERS: dict[str, tuple[dict[Fate, float], int]] = {
    "store answers 500 and 503": ({Fate.REFUSE: 0.3}, 30),
    "store sends one byte a second": ({Fate.SLOW: 0.05}, 3),
}


def is_killed(far: Far, full: bool) -> None:
    with killed(far.stack, "seaweedfs"):
        time.sleep(30 if full else 5)


def is_full(far: Far, full: bool) -> None:
    if not far.disk.can_be_full:  # nobody but root may mount one
        far.proxies.store.rates = {Fate.REFUSE: 1.0}
        time.sleep(30 if full else 5)
        far.proxies.quiet()
        return
    with far.disk.full():
        wait_for(lambda: not can_write(far), what="a full store")
        time.sleep(30 if full else 5)


def can_write(far: Far) -> bool:
    try:
        far.stack.s3.put_object(Bucket="far-probes", Key="probe", Body=os.urandom(2**20))
    except ClientError:
        return False
    return True


OUTAGES: dict[str, Callable[[Far, bool], None]] = {
    "store killed and restarted": is_killed,
    "store out of space": is_full,
}


@pytest.fixture(scope="module", autouse=True)
def probes(far: Far) -> None:
    far.stack.put("far-probes", {"probe": b""})


@pytest.mark.parametrize("fault", OUTAGES)
def test_a_store_that_does_not_serve_is_waited_for(
    far: Far, fault: str, full: bool, draw: random.Random
) -> None:
    line = Line(fault)
    job = far.enqueue()
    with Watch(far.stack, job) as watch:
        target = draw.randint(1, far.images // BATCH // 3)
        wait_for(lambda: watch.chunks >= target, what=f"{target} chunks", deadline_seconds=60)
        OUTAGES[fault](far, full)
        over = time.monotonic()
        far.stack.finish(job)
        line.add(far.check(job), watch.first_after_seconds(over))
    note(line)


@pytest.mark.parametrize("fault", ANSWERS)
def test_a_store_that_answers_badly_is_asked_again(far: Far, fault: str, full: bool) -> None:
    line, proxy = Line(fault), far.proxies.store
    rates, count = ANSWERS[fault]
    (fate,) = rates
    proxy.counts.clear()
    proxy.rates = rates
    job = far.enqueue()
    with Watch(far.stack, job) as watch:
        wait_for(
            lambda: proxy.counts[fate] >= count * (10 if full else 1),
            what=f"{fate} answers",
            deadline_seconds=240,
        )
        far.proxies.quiet()
        over = time.monotonic()
        far.stack.finish(job)
        line.add(far.check(job), watch.first_after_seconds(over))
    line.remark = f"{proxy.counts[fate]} answers"
    note(line)


def test_objects_that_change_after_they_were_listed_fail_and_say_so(far: Far) -> None:
    line = Line("objects replaced and deleted between listing and fetch")
    s3, keys = far.stack.s3, sorted(far.labels)
    replaced, deleted = keys[7], keys[-7]
    originals = {
        key: s3.get_object(Bucket="far", Key=key)["Body"].read() for key in (replaced, deleted)
    }
    with frozen(far.stack, "preprocess"):
        job = far.enqueue()
        wait_for(lambda: far.stack.status(job)["state"] == "running", what="the seal", every=0.2)
        s3.put_object(Bucket="far", Key=replaced, Body=originals[deleted])
        s3.delete_object(Bucket="far", Key=deleted)
    far.stack.finish(job)
    codes = {row["key"]: row["error_code"] for row in far.stack.rows(job) if row["error_code"]}
    far.stack.put("far", originals)  # what was listed, by key and ETag
    assert codes == {replaced: "changed", deleted: "missing"}
    verdict = far.stack.auditor.audit("far", "", job)
    assert verdict.clean, verdict
    line.add(verdict)
    note(line)
