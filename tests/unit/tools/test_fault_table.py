"""The fault table says of each test what came of it last, and hides no failure."""

from __future__ import annotations

from tests.support.injection.table import Line, Trial, render


def rows(*trials: Trial) -> list[str]:
    text = render(trials, seed="7")
    return [row for row in text.splitlines() if row.startswith("| ")][1:]


def test_a_try_is_a_row_with_its_figures() -> None:
    line = Line("broker wiped", 1, 5000, 5000, worst_recovery_seconds=1.3, remark="3 run twice")
    assert rows(Trial("a", "v1", 4.0, line)) == [
        "| broker wiped | 1 | 5000 | 5000 | 0 | 0 | 0 | 1.3 | 3 run twice |"
    ]


def test_what_failed_is_in_the_table_though_it_noted_no_line() -> None:
    (row,) = rows(Trial("tests/a.py::b", "v1", 4.0, error="call: not within 60 s"))
    assert row.startswith("| tests/a.py::b | 0 |")
    assert "**FAILED**, see 1 below" in row
    assert "1. Version v1: call: not within 60 s" in render(
        [Trial("tests/a.py::b", "v1", 4.0, error="call: not within 60 s")], seed="7"
    )


def test_what_passed_without_figures_is_no_row_and_no_failure() -> None:
    assert rows(Trial("a", "v1", 4.0)) == []
    (row,) = rows(Trial("a", "v1", 4.0, error="setup: no"), Trial("a", "v1", 4.0))
    assert "failed first, see 1 below" in row
    assert "FAILED" not in row


def test_a_line_that_was_noted_before_a_failure_does_not_hide_it() -> None:
    (row,) = rows(Trial("a", "v1", 4.0, Line("wiped")), Trial("a", "v1", 4.0, error="call: no"))
    assert "**FAILED**" in row


def test_what_was_tried_again_says_so_and_why() -> None:
    first = [Trial("a", "v1", 4.0, error="call: no"), Trial("b", "v1", 4.0, Line("other"))]
    first += [Trial("c", "v1", 9.0, Line("third"))]
    wiped, *others = sorted(rows(*first, Trial("a", "v2", 1.0, Line("a wiped"))))
    assert "failed first, see 1 below; version v2, load 1" in wiped
    assert not any("v2" in other for other in others)


def test_the_head_says_which_version_and_how_busy_the_machine_was() -> None:
    text = render([Trial("a", "v1", 4.2, Line("x")), Trial("b", "v1", 17.0, Line("y"))], seed="7")
    assert "seed 7, version v1" in text
    assert "load average 4 to 17" in text
