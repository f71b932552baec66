"""The ledger must serve stages that nobody has thought of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import shared.ledger
from shared.stages import STAGES

LEDGER = Path(shared.ledger.__file__).parent
SCRIPTS = sorted((LEDGER / "scripts").glob("*.lua"))


def named(text: str) -> set[str]:
    """The stages that a script names, in whatever word."""
    code = re.sub(r"--.*", "", text)
    return {stage for stage in STAGES if stage in code}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_no_script_names_a_stage(script: Path) -> None:
    assert not named(script.read_text())


@pytest.mark.parametrize(
    "line", ["e.losses_preprocess = 1", "'hr:inference'", "x('losses results')"]
)
def test_a_stage_in_a_longer_word_is_found(line: str) -> None:
    assert named(line)
    assert not named(f"-- {line}")


@pytest.mark.parametrize("module", sorted(LEDGER.glob("*.py")), ids=lambda path: path.stem)
def test_no_module_takes_a_stage_by_name(module: Path) -> None:
    assert not re.search("|".join(stage.upper() for stage in STAGES), module.read_text())


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) > 10
