"""Versions with known holes are found, in the pins and in what is installed, and so is silence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from packaging.version import Version

from tools.audit import report
from tools.holes import Hole, found, installed, known_holes, pins

FLAWED = {"name": "a", "version": "1", "vulns": [{"id": "X-1", "fix_versions": ["1.1", "2.0"]}]}
FINE = {"name": "b", "version": "1", "vulns": []}
SKIPPED = {"name": "c", "skip_reason": "it could not be audited"}


def test_nothing_that_is_pinned_or_installed_has_a_known_hole() -> None:
    assert found(known_holes(), pins()) == []
    assert found(known_holes(), installed()) == []


def test_a_version_below_is_found_and_the_first_good_one_is_not() -> None:
    holes = [Hole("tiny", Version("2.10"), "It leaks.")]
    versions = [("tiny", Version(v), "dev.txt") for v in ("2.9.9", "2.10", "2.10rc1", "3")]
    assert found(holes, iter(versions)) == [
        "tiny 2.9.9 (dev.txt) is below 2.10. It leaks.",
        "tiny 2.10rc1 (dev.txt) is below 2.10. It leaks.",
    ]


def test_a_pin_is_read_with_its_file_whatever_its_spelling(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("# why\nTiny_Thing[extra]==1.0.post2\n")
    assert list(pins(tmp_path)) == [("tiny-thing", Version("1.0.post2"), "one.txt")]


def test_each_hole_is_of_a_package_that_we_pin_and_has_a_reason() -> None:
    pinned = {package for package, _, _ in pins()}
    holes = known_holes()
    assert {hole.package for hole in holes} <= pinned
    assert len({hole.package for hole in holes}) == len(holes)
    assert all(hole.why for hole in holes)


@pytest.mark.parametrize(
    ("packages", "code", "line"),
    [
        ([FLAWED, FINE], 1, "a 1: X-1, fixed in 1.1, 2.0"),
        ([FINE, SKIPPED], 0, "1 packages audited, 1 that the database does not know."),
        ([SKIPPED, SKIPPED], 0, "Not audited: the vulnerability database does not answer."),
    ],
)
def test_the_report_of_an_audit(packages: list[object], code: int, line: str) -> None:
    found_code, lines = report(json.dumps({"dependencies": packages}), "")
    assert (found_code, lines[0]) == (code, line)


def test_an_audit_that_could_not_ask_says_so_in_one_line() -> None:
    code, (line,) = report("", "Traceback\nConnectionError: no route")
    assert code == 0
    assert line.startswith("Not audited")
    assert line.endswith("ConnectionError: no route")
