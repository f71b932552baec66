"""Every call to broker, ledger and store may fail, stall, or be done and reported as failed."""

from __future__ import annotations

from tests.injection.far import Far
from tests.injection.proxy import Fate
from tests.injection.table import Line, note

CALLS_AT_FAULT = 0.05
FATES = (Fate.FAIL, Fate.STALL, Fate.AMBIGUOUS)


def test_answers_that_cannot_be_trusted_cost_no_row(far: Far, full: bool) -> None:
    line = Line("5 % of all calls fail, stall, or are done and reported as failed")
    proxies = (far.proxies.broker, far.proxies.store)
    for proxy in proxies:
        proxy.counts.clear()
        proxy.rates = dict.fromkeys(FATES, CALLS_AT_FAULT / len(FATES))
    job = far.enqueue()
    try:
        far.stack.finish(job, deadline_seconds=1800 if full else 240)
    finally:
        far.proxies.quiet()
    line.add(far.check(job))
    counts = sum((proxy.counts for proxy in proxies), start=type(proxies[0].counts)())
    line.remark = ", ".join(f"{counts[fate]} {fate}" for fate in (*FATES, Fate.PASS))
    note(line)
    assert all(proxy.counts[fate] for proxy in proxies for fate in FATES)
