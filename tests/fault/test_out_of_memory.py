"""A device without memory for a batch: split and run again, and no image fails."""

from __future__ import annotations

import pytest

from tests.support.injection.extent import FULL
from tests.support.injection.fingerprints import Fingerprints
from tests.support.injection.places import Places
from tests.support.injection.table import Line, note
from tests.support.stack import Stack

RAISED = ("builtins.RuntimeError", "torch.OutOfMemoryError", "builtins.MemoryError")


@pytest.mark.parametrize("model", ["Fingerprint", "Hungry"])
def test_no_image_fails_where_the_device_has_no_memory_for_a_batch(
    stack: Stack, places: Places, fingerprints: Fingerprints, model: str
) -> None:
    line = Line("Device out of memory on a batch")
    workers = stack.pids("inference")
    for exception in RAISED if FULL else RAISED[:1]:
        said = {"exception": exception, "message": "CUDA out of memory."}
        places.arm("batch about to run", "raise", passing=1, **said)
        job = fingerprints.enqueue(model)
        assert places.struck("batch about to run") in workers
        fingerprints.check(job, line)
    assert stack.pids("inference") == workers
    line.remark = "once" if model == "Fingerprint" else "whenever there are more than five images"
    note(line)
