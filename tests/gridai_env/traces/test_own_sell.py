"""An export price of the file's own: by hand, in the environment and to planners."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gridai_env.episodes.instance import Instance, make_instance
from gridai_env.episodes.planner_forecast import exogenous_forecast
from gridai_env.scenario.load import load_scenario
from gridai_env.traces import TraceError
from scripts.validate import main as validate
from tests.support.own_world import WORLD, write_prices, write_world

START = "2024-03-03T00:00"
SPREAD, SHARE = 2.0, 0.9  # of the scenario's sites
BUY = 50.0 + np.arange(6)  # NORTH, from midnight on


def world(folder: Path, own: str | None, **changes: object) -> Path:
    """Write a scenario with a file whose NORTH sells at ``own``, SOUTH by the rule."""
    lines = write_prices(folder / "prices.csv").read_text().splitlines()
    if own is not None:
        cells = ["sell_usd_per_mwh", *(own if ",NORTH," in line else "" for line in lines[1:])]
        lines = [f"{line},{cell}" for line, cell in zip(lines, cells, strict=True)]
    (folder / "prices.csv").write_text("\n".join(lines) + "\n")
    sites = [{**site, "grid": {"export_limit_mw": 1.0}} for site in WORLD["sites"]]
    return write_world(folder, traces="prices.csv", sites=sites, **changes)


def episode(path: Path) -> Instance:
    return make_instance(load_scenario(str(path)), 0, start=START)


def test_the_lower_of_own_price_and_import_less_the_spread(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for own in (30.0, 51.0, -1.0):
        exo = episode(world(tmp_path, str(own))).exogenous
        assert exo.buy_usd_per_mwh[:, 0] == pytest.approx(BUY)
        assert exo.sell_usd_per_mwh[:, 0] == pytest.approx(np.minimum(own, BUY - SPREAD))
        assert exo.sell_usd_per_mwh[:, 1] == pytest.approx(SHARE * (BUY + 10.0))
        assert ((exo.export_limit_mw[:, 0] == 0.0) == (own < 0)).all()
    path = world(tmp_path, "30")
    assert "sell_usd_per_mwh: from the file, at most" in episode(path).provenance["NORTH"]
    assert "sell_usd_per_mwh" not in episode(path).provenance["SOUTH"]
    assert validate([str(path)]) == 0
    assert (
        "sell_usd_per_mwh                  96      0        30        30        30" in capsys.readouterr().out
    )
    for wrong in ("1e6", "x"):
        with pytest.raises(TraceError, match="sell_usd_per_mwh"):
            episode(world(tmp_path, wrong))


def test_a_column_without_a_price_changes_nothing(tmp_path: Path) -> None:
    without, empty = episode(world(tmp_path, None)), episode(world(tmp_path, ""))
    for group in ("exogenous", "knowledge", "forecast", "params"):
        for name, value in vars(getattr(without, group)).items():
            assert np.array_equal(value, getattr(getattr(empty, group), name)), name


@pytest.mark.parametrize("kind", ["day_ahead", "persistence"])
def test_planners_expect_the_price_of_now_and_no_future(tmp_path: Path, kind: str) -> None:
    instance = episode(world(tmp_path, "45.5", forecast={"kind": kind}))
    seen = exogenous_forecast(instance, 1, 5)
    assert seen.sell_usd_per_mwh[:, 0] == pytest.approx(np.minimum(45.5, seen.buy_usd_per_mwh[:, 0] - SPREAD))
    low = np.minimum(SHARE * seen.buy_usd_per_mwh[:, 1], seen.buy_usd_per_mwh[:, 1] - SPREAD)
    assert seen.sell_usd_per_mwh[1:, 1] == pytest.approx(low[1:])
    later = instance.exogenous.sell_usd_per_mwh.copy()
    later[2:] -= 20.0
    changed = replace(instance, exogenous=instance.exogenous.replace(sell_usd_per_mwh=later))
    again = exogenous_forecast(changed, 1, 5)
    assert np.array_equal(again.sell_usd_per_mwh, seen.sell_usd_per_mwh)
