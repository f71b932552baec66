"""How much of each fault is tried, and the seed of what is drawn."""

from __future__ import annotations

import datetime
import os

FULL = os.environ.get("FAULTS") == "full"
SEED = os.environ.get("FAULT_SEED") or datetime.datetime.now(datetime.UTC).strftime("%Y%m%d")
