"""Every call to broker, ledger and store may fail, stall, or be done and reported as failed."""

from __future__ import annotations

from tests.injection.far import Far
from tests.injection.proxy import Fate
from tests.injection.table import Line, note
from tests.waiting import wait_for

CALLS_AT_FAULT = 0.05
FATES = (Fate.FAIL, Fate.STALL, Fate.AMBIGUOUS)
# Of each fate in a short case. A chunk that is unlucky again and again waits longer each time.
ENOUGH = 3


def test_answers_that_cannot_be_trusted_cost_no_row(far: Far, full: bool) -> None:
    line = Line("5 % of all calls fail, stall, or are done and reported as failed")
    proxies = (far.proxies.broker, far.proxies.store)
    # The few calls of a short case could end before each fate has come: there each has the whole.
    rate = CALLS_AT_FAULT / len(FATES) if full else CALLS_AT_FAULT
    for proxy in proxies:
        proxy.counts.clear()
        proxy.rates = dict.fromkeys(FATES, rate)
    job = far.enqueue()
    try:
        if not full:
            wait_for(
                lambda: all(proxy.counts[fate] >= ENOUGH for proxy in proxies for fate in FATES),
                what=f"{ENOUGH} of each fate",
                deadline_seconds=180,
            )
            far.proxies.quiet()
        far.stack.finish(job, deadline_seconds=1800 if full else 180)
    finally:
        far.proxies.quiet()
    line.add(far.check(job))
    counts = sum((proxy.counts for proxy in proxies), start=type(proxies[0].counts)())
    line.remark = ", ".join(f"{counts[fate]} {fate}" for fate in (*FATES, Fate.PASS))
    note(line)
    assert all(proxy.counts[fate] for proxy in proxies for fate in FATES)
