"""A tier that outgrows its budget is named where people look."""

from tools.tier_budget import BUDGET_SECONDS, table


def test_each_tier_that_ran_is_there_with_its_budget():
    (line,) = table({"unit": 12.4})
    assert line.split() == ["unit", "12", "s", "of", str(BUDGET_SECONDS["unit"]), "s"]


def test_what_is_over_its_budget_says_so_and_what_is_not_does_not():
    over = {tier: budget + 1.0 for tier, budget in BUDGET_SECONDS.items()}
    lines = table({**over, "unit": 1.0})
    assert [line.endswith("OVER ITS BUDGET") for line in lines] == [False] + [True] * 4
