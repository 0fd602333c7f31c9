"""Which of two columns is meant, and at which minute: made-up files, figures by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gridai_env.traces.files.formats import load
from gridai_env.traces.weather import cos_zenith, pv_proxy_cf

HEAD = "utc,zone,price_usd"


def written(folder: Path, columns: str, values: str) -> Path:
    lines = [f"2023-06-{1 + h // 24:02d}T{h % 24:02d}:00Z,DE-LU,50.0,{values}" for h in range(48)]
    path = folder / "panel.csv"
    path.write_text("\n".join([f"{HEAD},{columns}", *lines]) + "\n")
    return path


@pytest.mark.parametrize(
    ("columns", "values", "kg", "kind"),
    [
        ("ci_direct,ci_lca", "300.0,420.0", 300.0, "direct"),
        ("ci_lca,ci_direct", "420.0,300.0", 300.0, "direct"),
        ("ci_lca", "420.0", 420.0, "life-cycle"),
    ],
)
def test_direct_carbon_goes_before_life_cycle(
    tmp_path: Path, columns: str, values: str, kg: float, kind: str
) -> None:
    table = load(written(tmp_path, columns, values))
    assert np.all(np.asarray(table.columns["carbon_average_kg_per_mwh"]) == kg)
    assert kind in table.layout.carbon_kind


@pytest.mark.parametrize("day", ["2023-03-20", "2023-08-05"])
def test_the_sun_of_an_hour_stands_in_its_middle(day: str) -> None:
    """The hours before and after solar noon are alike; an hour that ends at sunset plus a half still has sun."""
    first = int(np.datetime64(day, "m").astype(np.int64))
    minutes = first + np.arange(1440)
    noon = int(minutes[cos_zenith(0.0, 0.0, minutes).argmax()])
    clear = np.zeros(1)
    before, after = (pv_proxy_cf(0.0, 0.0, np.array([noon + shift]), clear)[0] for shift in (-60, 0))
    assert before == pytest.approx(after, rel=1e-3)
    # The sun rises six hours before noon at the equator: the hour around sunrise has its middle at the horizon.
    assert pv_proxy_cf(0.0, 0.0, np.array([noon - 6 * 60 - 30]), clear)[0] < 0.01
    assert pv_proxy_cf(0.0, 0.0, np.array([noon - 6 * 60]), clear)[0] > 0.05
