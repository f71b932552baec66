"""The store goes away, answers errors, is full, is slow, or changes under a running job."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

import pytest
from botocore.exceptions import ClientError

from tests.support.injection.outage import frozen, killed
from tests.support.injection.proxied_stack import BATCH, ProxiedStack
from tests.support.injection.proxy import Fate
from tests.support.injection.table import Line, note
from tests.support.injection.watch import Watch
from tests.support.waiting import wait_for

# Rates, and how many answers have to meet their fate, ten times as many in full.
ANSWERS: dict[str, tuple[dict[Fate, float], int]] = {
    "store answers 500 and 503": ({Fate.REFUSE: 0.3}, 30),
    "store sends one byte a second": ({Fate.SLOW: 0.05}, 3),
}


def is_killed(proxied: ProxiedStack, full: bool) -> None:
    with killed(proxied.stack, "seaweedfs"):
        time.sleep(30 if full else 5)


def is_full(proxied: ProxiedStack, full: bool) -> None:
    if not proxied.disk.can_be_full:  # nobody but root may mount one
        proxied.proxies.store.rates = {Fate.REFUSE: 1.0}
        time.sleep(30 if full else 5)
        proxied.proxies.quiet()
        return
    with proxied.disk.full():
        wait_for(lambda: not can_write(proxied), what="a full store")
        time.sleep(30 if full else 5)


def can_write(proxied: ProxiedStack) -> bool:
    try:
        proxied.stack.s3.put_object(Bucket="far-probes", Key="probe", Body=os.urandom(2**20))
    except ClientError:
        return False
    return True


OUTAGES: dict[str, Callable[[ProxiedStack, bool], None]] = {
    "store killed and restarted": is_killed,
    "store out of space": is_full,
}


@pytest.fixture(scope="module", autouse=True)
def probes(proxied: ProxiedStack) -> None:
    proxied.stack.put("far-probes", {"probe": b""})


@pytest.mark.parametrize("fault", OUTAGES)
def test_a_store_that_does_not_serve_is_waited_for(
    proxied: ProxiedStack, fault: str, full: bool, draw: random.Random
) -> None:
    line = Line(fault)
    job = proxied.enqueue()
    with Watch(proxied.stack, job) as watch:
        target = draw.randint(1, proxied.images // BATCH // 3)
        wait_for(lambda: watch.chunks >= target, what=f"{target} chunks", deadline_seconds=60)
        OUTAGES[fault](proxied, full)
        over = time.monotonic()
        proxied.stack.finish(job)
        line.add(proxied.check(job), watch.first_after_seconds(over))
    note(line)


@pytest.mark.parametrize("fault", ANSWERS)
def test_a_store_that_answers_badly_is_asked_again(
    proxied: ProxiedStack, fault: str, full: bool
) -> None:
    line, proxy = Line(fault), proxied.proxies.store
    rates, count = ANSWERS[fault]
    (fate,) = rates
    proxy.counts.clear()
    proxy.rates = rates
    job = proxied.enqueue()
    with Watch(proxied.stack, job) as watch:
        wait_for(
            lambda: proxy.counts[fate] >= count * (10 if full else 1),
            what=f"{fate} answers",
            deadline_seconds=240,
        )
        proxied.proxies.quiet()
        over = time.monotonic()
        proxied.stack.finish(job)
        line.add(proxied.check(job), watch.first_after_seconds(over))
    line.remark = f"{proxy.counts[fate]} answers"
    note(line)


def test_objects_that_change_after_they_were_listed_fail_and_say_so(proxied: ProxiedStack) -> None:
    line = Line("objects replaced and deleted between listing and fetch")
    s3, keys = proxied.stack.s3, sorted(proxied.labels)
    replaced, deleted = keys[7], keys[-7]
    originals = {
        key: s3.get_object(Bucket="far", Key=key)["Body"].read() for key in (replaced, deleted)
    }
    with frozen(proxied.stack, "preprocess"):
        job = proxied.enqueue()
        wait_for(
            lambda: proxied.stack.status(job)["state"] == "running", what="the seal", every=0.2
        )
        s3.put_object(Bucket="far", Key=replaced, Body=originals[deleted])
        s3.delete_object(Bucket="far", Key=deleted)
    proxied.stack.finish(job)
    codes = {row["key"]: row["error_code"] for row in proxied.stack.rows(job) if row["error_code"]}
    proxied.stack.put("far", originals)  # what was listed, by key and ETag
    assert codes == {replaced: "changed", deleted: "missing"}
    verdict = proxied.stack.auditor.audit("far", "", job)
    assert verdict.clean, verdict
    line.add(verdict)
    note(line)
