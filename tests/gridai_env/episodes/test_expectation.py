"""Expectation and noise of trace files: the calibration and the hours before the start, nothing else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gridai_env.episodes.deviation import synthetic_deviation
from gridai_env.episodes.expectation import Outlook, outlook
from gridai_env.episodes.instance import make_instance
from gridai_env.traces import read_table
from gridai_env.traces.synthetic import climatology_hourly
from tests.support.small_scenario import SMALL

FIRST = np.datetime64("2024-02-01T00", "h")
KNOWN, UNKNOWN = "US-TEX-ERCO", "ELSEWHERE"
Columns = dict[str, np.ndarray]


def made_up(days: int, seed: int = 0) -> Columns:
    """Prices with a shift of level, spikes and a daily shape; carbon, sun and wind."""
    rng, hour = np.random.default_rng(seed), np.arange(24 * days)
    price = 60 + 25 * np.sin(hour / 24 * 2 * np.pi) + 8 * rng.standard_normal(len(hour))
    price[24 * 20 :] += 90
    price += 900 * (rng.random(len(hour)) < 0.01)
    carbon = 400 + 60 * np.cos(hour / 24 * 2 * np.pi) + 20 * rng.standard_normal(len(hour))
    sun = np.clip(np.sin((hour % 24 - 6) / 12 * np.pi), 0, None) * rng.uniform(0.3, 0.9, len(hour))
    return {
        "price_usd_per_mwh": price,
        "carbon_average_kg_per_mwh": carbon,
        "carbon_marginal_kg_per_mwh": carbon + 100,
        "wetbulb_c": np.full(len(hour), 10.0),
        "pv_cf": sun,
        "wind_cf": rng.uniform(0.1, 0.9, len(hour)),
    }


def written(path: Path, columns: Columns, zones: tuple[str, ...] = (KNOWN, UNKNOWN), skip: Any = ()) -> Path:
    lines = [",".join(["utc", "zone", *columns])]
    for zone in zones:
        for h in range(len(columns["price_usd_per_mwh"])):
            if h not in skip:
                lines.append(
                    ",".join([f"{FIRST + h}:00Z", zone, *(repr(float(x[h])) for x in columns.values())])
                )
    path.write_text("\n".join(lines))
    return path


def seen_at(path: Path, day: int, steps: int = 72) -> Outlook:
    """What is expected of an episode that starts on a day of the file, its first day of history included."""
    table, start = read_table(path), np.array([FIRST + 24 * day]).astype("datetime64[m]")
    series = table.window((KNOWN, UNKNOWN), start - np.timedelta64(1, "D"), steps, 1.0)
    return outlook(table, series, start)


def test_expectation_by_hand(tmp_path: Path) -> None:
    columns = made_up(40)
    seen = seen_at(written(tmp_path / "t.csv", columns), day=35)
    price, past = columns["price_usd_per_mwh"], slice(24 * 7, 24 * 35)
    expected = seen.series.price_climatology_usd_per_mwh[0]

    told = "expected: mean by UTC hour of day of the 28 days before the start for price and carbon, month-hour mean"
    assert seen.provenance[0][KNOWN].startswith(told)

    # No calibration: the mean by hour of day of 28 days, moved to the last 7.
    shape = price[past].reshape(28, 24).mean(0)
    level = price[24 * 28 : 24 * 35].mean() - shape.mean()
    assert expected[:, 1] == pytest.approx(np.tile(shape + level, 3))
    strays = np.abs(price[past] - np.tile(shape + level, 28))
    assert seen.deviation.price_usd_per_mwh[0, 1] == pytest.approx(np.median(strays), rel=0.01)

    # Calibrated: the same from two weeks on; with less history its month-hour mean, moved to the last days.
    assert np.array_equal(expected[:, 0], expected[:, 1])
    first = np.array([FIRST]).astype("datetime64[m]")
    calibrated = climatology_hourly(KNOWN, first, 24 * 40)["price"][0]
    early = seen_at(tmp_path / "t.csv", day=13).series.price_climatology_usd_per_mwh[0]
    week = slice(24 * 6, 24 * 13)
    level = (price[week] - calibrated[week]).mean()
    assert early[:, 0] == pytest.approx(calibrated[24 * 12 : 24 * 15] + level)

    # Weather is scaled, never above what is installed; marginal carbon of a column has no calibration.
    wind = climatology_hourly(KNOWN, first, 24 * 40)["wind"][0]
    factor = columns["wind_cf"][past].sum() / wind[past].sum()
    assert seen.series.wind_cf_climatology[0, :, 0] == pytest.approx(
        np.minimum(wind[24 * 34 : 24 * 37] * factor, 1.0)
    )
    marginal = seen.series.carbon_marginal_climatology_kg_per_mwh[0]
    assert np.array_equal(marginal[:, 0], marginal[:, 1]) and np.isfinite(marginal).all()
    assert not seen.blind.any()


def test_nothing_at_or_after_the_start_enters(tmp_path: Path) -> None:
    columns = made_up(40)
    before = seen_at(written(tmp_path / "a.csv", columns), day=35)
    changed = {
        name: np.where(np.arange(len(x)) < 24 * 35, x, np.minimum(0.5 * x, 0.9) if "cf" in name else 3 * x)
        for name, x in columns.items()
    }
    after = seen_at(written(tmp_path / "b.csv", changed), day=35)
    for field in ("price_climatology_usd_per_mwh", "pv_cf_climatology", "wind_cf_climatology"):
        assert np.array_equal(getattr(before.series, field), getattr(after.series, field)), field
    for field in ("price_usd_per_mwh", "carbon_average_kg_per_mwh", "pv_relative", "wind_cf"):
        assert np.array_equal(getattr(before.deviation, field), getattr(after.deviation, field)), field
    # and the hours before it do enter
    other = {name: np.where(np.arange(len(x)) != 24 * 35 - 1, x, 0.5 * x) for name, x in columns.items()}
    moved = seen_at(written(tmp_path / "c.csv", other), day=35).series.price_climatology_usd_per_mwh
    assert (moved != before.series.price_climatology_usd_per_mwh).all()


def test_gaps_of_the_past_are_left_out(tmp_path: Path) -> None:
    columns, gap = made_up(40), set(range(24 * 30, 24 * 30 + 5)) | {24 * 9 + 3}
    seen = seen_at(written(tmp_path / "t.csv", columns, skip=gap), day=35)
    price = columns["price_usd_per_mwh"].copy()
    price[list(gap)] = np.nan
    shape = np.nanmean(price[24 * 7 : 24 * 35].reshape(28, 24), axis=0)
    week = price[24 * 28 : 24 * 35] - np.tile(shape, 7)
    assert seen.series.price_climatology_usd_per_mwh[0, :24, 1] == pytest.approx(shape + np.nanmean(week))


def test_without_a_past_the_calibration_stands_alone_and_others_are_persistent(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", made_up(6))
    sites = [{**SMALL["sites"][0], "zone": KNOWN}, {**SMALL["sites"][1], "zone": UNKNOWN}]
    world = SMALL | {
        "sites": sites,
        "events": [],
        "carbon_signal": "average",
        "forecast": {"kind": "day_ahead"},
    }
    early, later = (make_instance(world, 1, path, start=str(FIRST + h)) for h in (24, 48))
    assert early.provenance[KNOWN].endswith(
        "(marginal carbon: mean by UTC hour of day of the 28 days before the start) alone, for want of a past"
    )
    assert early.provenance[UNKNOWN].endswith("expected: persistence, for want of a past in the file")
    assert "level of price and carbon of the 7 days" in later.provenance[UNKNOWN]
    told = "expected: month-hour mean of the 2023 calibration (fewer than 14 days known) for price and carbon"
    assert told in later.provenance[KNOWN]

    truth = np.concatenate([early.knowledge.history[:, 1], early.exogenous.buy_usd_per_mwh[:, 1]])
    for i, lead in enumerate(early.forecast.leads):
        back = truth[24 + lead - 24 : 24 + 48 - 24]
        assert early.forecast.values[: 48 - lead, i, 1] == pytest.approx(back, rel=1e-5)
    usual = synthetic_deviation((KNOWN,)).price_usd_per_mwh[24:48].mean()
    found = seen_at(path, day=1, steps=48)
    assert found.deviation.price_usd_per_mwh[0, 0] == pytest.approx(usual)
    assert found.blind.tolist() == [[False, True]]
