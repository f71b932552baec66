"""The ledger's scripts must serve stages that nobody has thought of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import shared.ledger
from shared.stages import STAGES

SCRIPTS = sorted((Path(shared.ledger.__file__).parent / "scripts").glob("*.lua"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_no_script_names_a_stage(script: Path) -> None:
    words = set(re.findall(r"\w+", script.read_text()))
    assert not words & STAGES.keys()


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) > 10
