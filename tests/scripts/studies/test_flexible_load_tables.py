"""Tables of compliance and hourly matching: a made-up day played by policies and by the optimum."""

from __future__ import annotations

import pytest

from gridai_env.analysis.compliance import compliance, uncalled
from scripts.runs.tables import Row
from scripts.studies.comparison.flexible_load import compliance_table, matching_table
from scripts.studies.contest import play, refer, row_of
from scripts.studies.policies import find_contenders
from tests.support.called_day import called_day
from tests.support.matching_world import sunny_world

POLICIES = ("local_only", "milp")


def rows_of(instance: object) -> list[Row]:
    reference = refer(instance, "benefit", mip_gap=1e-9)  # type: ignore[arg-type]
    plain = refer(uncalled(reference.instance), "benefit", mip_gap=1e-9)
    rows = []
    for contender in find_contenders(POLICIES, reference.instance.compiled, {}):
        played, without = play(contender, reference, 0), play(contender, plain, 0)
        assert played is not None
        rows.append(row_of(contender, reference, played) | compliance(played, without))
    return rows


def cells_of(table: str) -> list[list[str]]:
    return [line.split() for line in table.splitlines()[2:]]


def test_the_optimum_moves_load_into_the_sun_as_by_hand() -> None:
    """Check 4: 41.7 % matched and 65.0 with the grid; the optimum moves 20 MW into the sun, 53.3 %."""
    rows = rows_of(sunny_world())
    assert rows[0]["terms/line_excess_usd"] == pytest.approx(-28_000.0)
    assert rows[1]["terms/line_excess_usd"] == pytest.approx(-22_400.0)
    local, _, best, _ = cells_of(matching_table(rows))[:4]
    assert local == ["local_only", "a", "41.7%", "65.0%", "1,000.0", "1,400.0"]
    assert best == ["milp", "a", "53.3%", "72.0%", "944.0", "1,120.0"]
    # Contracts alone are never called.
    table = compliance_table(rows)
    assert "called h" not in table and "cost USD" not in table and "-28,000" in table


def test_calls_cost_what_lies_above_the_line() -> None:
    """Check 1: 30 MW above for three hours at 1,000 USD/MWh; dropping the work costs 750 - 40 USD/MWh of it."""
    line = {"kind": "connection", "mw": 70.0, "price_usd_per_mwh": 1000.0}
    local, best = cells_of(compliance_table(rows_of(called_day(line, [10, 11, 12], 100.0))))[:2]
    assert local == ["local_only", "3.0", "300.0", "90.00", "90,000", "0.0", "0.0", "-90,000"]
    # Sessions placed anew afterwards cost 900 USD.
    assert best == ["milp", "3.0", "210.0", "0.00", "64,800", "90,000.0", "0.0", "0"]


def test_what_is_not_known_is_said() -> None:
    table = matching_table(rows_of(sunny_world(grid={})))
    assert cells_of(table)[0] == ["local_only", "a", "41.7%", "-", "1,000.0", "1,400.0"]
    assert "sites[].grid.clean_share is not given" in table
