"""Every call to broker, ledger and store may fail, stall, or be done and reported as failed."""

from __future__ import annotations

import pytest

from tests.support.injection.proxied_stack import ProxiedStack
from tests.support.injection.proxy import Fate
from tests.support.injection.table import Line, note
from tests.support.waiting import wait_for

RATE = 0.05  # of each fate
FATES = (Fate.FAIL, Fate.STALL, Fate.AMBIGUOUS)
# Of each fate in a short case. A chunk that is unlucky again and again waits longer each time.
ENOUGH = 3


@pytest.mark.timeout(4000)
def test_answers_that_cannot_be_trusted_cost_no_row(proxied: ProxiedStack, full: bool) -> None:
    line = Line("Of all calls 5 % fail, 5 % stall, and 5 % are done and reported as failed")
    proxies = (proxied.proxies.broker, proxied.proxies.store)
    for proxy in proxies:
        proxy.counts.clear()
        proxy.rates = dict.fromkeys(FATES, RATE)
    job = proxied.enqueue()
    try:
        if not full:
            wait_for(
                lambda: all(proxy.counts[fate] >= ENOUGH for proxy in proxies for fate in FATES),
                what=f"{ENOUGH} of each fate",
                deadline_seconds=180,
            )
            proxied.proxies.quiet()
        proxied.stack.finish(job, deadline_seconds=3600 if full else 180)
    finally:
        proxied.proxies.quiet()
    line.add(proxied.check(job))
    counts = sum((proxy.counts for proxy in proxies), start=type(proxies[0].counts)())
    line.remark = ", ".join(f"{counts[fate]} {fate}" for fate in (*FATES, Fate.PASS))
    note(line)
    assert all(proxy.counts[fate] for proxy in proxies for fate in FATES)
