"""Coverage-guided fuzzing of the message layer; ``make fuzz SECONDS=...`` goes on for longer."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path

import pytest

from shared import answers, messages, pipeline, record_batches
from shared.analyses import classes
from shared.broker import signing
from tests.support.guided_fuzz import Broken, Search, changed_bytes, changed_message, reason_of
from tests.support.injection.extent import SEED
from tests.support.malformed import Target
from tests.support.message_judge import TARGETS, VALID, judge
from workers.quarantine import envelope, inspection, staged

SECONDS = (
    float(os.environ.get("FUZZ_SECONDS", "0")) / 2 / len(TARGETS)
)  # half of it is Hypothesis's
EXECUTIONS = 1500
# Steps and reasons that a sound message does not have; it is 150 and more.
MIN_FOUND = 100
FOLLOWED = frozenset(
    str(module.__file__)
    for module in (
        *(envelope, inspection, staged, messages, pipeline, signing),
        *(answers, record_batches, classes),
    )
)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.role)
def test_what_coverage_leads_to_is_clean_or_malformed(
    target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    search = Search(
        run=lambda item: reason_of(judge(target, item)),
        change=changed_message(target),
        files=FOLLOWED,
        corpus=[json.dumps(VALID[target.role]).encode()],
    )
    at_first, chance = len(search.seen), random.Random(SEED)
    end = time.monotonic() + SECONDS
    search.go_on(chance, executions=EXECUTIONS)
    while time.monotonic() < end:
        search.go_on(chance, executions=100)
    assert len(search.seen) > at_first + MIN_FOUND, "it leads nowhere"
    if SECONDS:
        with capsys.disabled():
            print(
                f"\n{target.role}: {search.executions} executions, {len(search.corpus)} inputs "
                f"that led on, {len(search.seen)} steps and reasons"
            )


NESTED = """
def judge(item):
    if item[0:1] == b"h":
        if item[1:2] == b"e":
            if item[2:3] == b"a":
                if item[3:4] == b"d":
                    raise ValueError(item)
"""


def test_a_fault_behind_four_conditions_is_found_step_by_step(tmp_path: Path) -> None:
    """By chance alone it would be one input of four thousand millions."""
    file = tmp_path / "nested.py"
    file.write_text(NESTED)
    names: dict[str, object] = {}
    exec(compile(NESTED, str(file), "exec"), names)
    search = Search(names["judge"], changed_bytes, frozenset((str(file),)), [b"...."])  # type: ignore[arg-type]
    chance = random.Random(1)
    with pytest.raises(Broken, match="head"):
        search.go_on(chance, executions=200_000)
