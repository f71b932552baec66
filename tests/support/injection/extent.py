"""How much of each fault is tried, for how long it is waited for, and the seed of what is drawn."""

from __future__ import annotations

import datetime
import os

FULL = os.environ.get("FAULTS") == "full"
# For a whole job, on a machine that has other things to do.
JOB_SECONDS = 900.0 if FULL else 240.0
SEED = os.environ.get("FAULT_SEED") or datetime.datetime.now(datetime.UTC).strftime("%Y%m%d")
