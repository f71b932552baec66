"""Kinds of analysis that only new files add: no file of the product changes for them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.planted_analysis import FILES, copy_with_plants, hashes


def test_new_files_alone_add_two_analyses(tmp_path: Path) -> None:
    before = copy_with_plants(tmp_path)
    command = [sys.executable, "-m", "tests.support.planted_analysis.flow"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["file"] == str(tmp_path / "shared")
    assert answer["staged_bytes"] == 8 * 8 * 3
    assert answer["columns"][-1] == "bright"  # of what preprocessing sends on
    first, failed, last = answer["rows"]
    assert (first["bright"], last["bright"]) == (0.0, pytest.approx(0.8))
    assert (first["sure"], last["sure"]) == (pytest.approx(0.5), pytest.approx(0.25))
    assert (failed["bright"], failed["sure"]) == (None, None)
    assert [entry["analysis"] for entry in first["models"]] == ["sure"]
    assert answer["problems"] == ["bright: not from 0 to the gain", "sure: a margin below zero"]
    assert answer["agrees"] == [True, False]

    after = hashes(tmp_path)
    assert after.keys() - before.keys() == FILES.keys()
    assert {path for path, digest in before.items() if after.get(path) != digest} == set()
