"""Certified gaps of many sites, as `scripts.benchmark --large` prints them; few sites are solved whole, too."""

from __future__ import annotations

import re

import pytest

from baselines.optimum.milp import solve
from scripts.studies.speed.large import LARGE, Large, large_optima


def test_plan_and_bound_lie_on_either_side_of_the_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    small = Large(6, 6.0)
    best = solve(small.instance(0), mip_gap=1e-6, threads=1).objective_value
    monkeypatch.setattr("baselines.optimum.milp.SPLIT_ROWS", 0)
    figure = next(large_optima(0, 1, (small,)))
    plan, bound = (
        float(one.replace(",", "")) for one in re.findall(r"(?:plan|bound) (-?[\d,]+) USD", figure.note)
    )
    assert best is not None and figure.value is not None
    assert plan <= best + 0.5 and best <= bound + 0.5  # printed to whole USD
    assert 0.0 <= figure.value <= 1.0
    assert figure.value == pytest.approx(100.0 * (bound - plan) / abs(plan), abs=0.05)


def test_what_is_measured_are_a_week_of_twenty_sites_and_a_day_of_fifty() -> None:
    assert [(one.sites, one.horizon_h) for one in LARGE] == [(20, 168.0), (50, 24.0)]
