"""How good the forecasts of prices are that episodes of a trace file have: by zone, year, quarter, kind and lead."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np

from gridai_env.episodes.instance import InstanceBatch, make_batch
from gridai_env.scenario.compile import compile_scenario
from gridai_env.scenario.load import parse_scenario
from gridai_env.scenario.values import ForecastKind
from gridai_env.traces import TraceTable

KINDS: tuple[ForecastKind, ...] = ("day_ahead", "published", "persistence")
ISSUED_H = 24  # forecasts of the first day count, so that every lead has as many
PLACE = {"latitude": 0.0, "longitude": 0.0}
Row = dict[str, Any]


def forecast_rows(
    table: TraceTable, zones: Sequence[str], years: Sequence[int], episodes: int
) -> Iterator[Row]:
    """Yield the figures of each quarter and of the year, ``episodes`` for each quarter.

    Bias, RMSE and mean absolute error are in USD/MWh; skill is the squared correlation of what forecast and truth
    stray from the expectation, beside the one that the scenario declares.
    """
    for zone in zones:
        for year in years:
            quarters = [_quarter(table, zone, year, quarter, episodes) for quarter in range(1, 5)]
            there = [found for found in quarters if found]
            whole = {key: np.concatenate([found[key] for found in there], 1) for key in (there or [{}])[0]}
            for quarter, found in zip(("1", "2", "3", "4", "all"), [*quarters, whole], strict=True):
                yield from _rows(zone, year, quarter, found)


def _quarter(
    table: TraceTable, zone: str, year: int, quarter: int, episodes: int
) -> dict[tuple[str, float, float], np.ndarray]:
    """Return truth, forecast and expectation [3,n] of a quarter by kind, lead in hours and declared skill, if any."""
    first = date(year, 3 * quarter - 2, 1)
    last = date(year + quarter // 4, 3 * quarter % 12 + 1, 1) - timedelta(days=3)
    found: dict[tuple[str, float, float], np.ndarray] = {}
    for kind in KINDS:
        compiled = compile_scenario(parse_scenario(_scenario(table, zone, kind, first, last), zone))
        batch = make_batch(compiled, range(episodes), table)
        if not np.isin(batch.start_utc, compiled.synthetic_starts).all():
            return {}
        for i, lead_h in enumerate(compiled.forecast.leads_h):
            found[kind, lead_h, float(compiled.forecast.skill[i])] = _seen(batch, i)
    return found


def _scenario(table: TraceTable, zone: str, kind: str, first: date, last: date) -> dict[str, Any]:
    """Return the smallest scenario with one site in a zone."""
    site = {"name": "site", "zone": zone, "legal_zone": "XX", "gpus": 100.0, **PLACE}
    region = {"name": "region", "home": "site", "timezone": "UTC", "mean_gpus": 50.0, **PLACE}
    work = {"name": "work", "share": 1.0, "latency_budget_ms": 300.0, "processing_ms": 1.0}

    return {
        "name": "forecasts",
        "traces": table.source,
        "horizon_h": 48.0,
        "reward_scale_usd": 1.0,
        "sites": [site],
        "regions": [region],
        "classes": [{**work, "revenue_usd_per_gpuh": 1.0, "drop_usd_per_gpuh": 1.0}],
        "carbon_signal": "average",
        "forecast": {"kind": kind},
        "start": {"first": first.isoformat(), "last": last.isoformat()},
    }


def _seen(batch: InstanceBatch, i: int) -> np.ndarray:
    """Return the truth, what the forecast at a lead said of it, and what was to be expected, [3,n]."""
    lead = batch.forecast.leads[i]
    target = slice(lead, lead + ISSUED_H)
    true = batch.exogenous.buy_usd_per_mwh[:, target, 0]
    seen = batch.forecast.buy_usd_per_mwh[:, :ISSUED_H, i, 0]
    expected = batch.knowledge.climatology[:, target, 0]
    return np.array([true, seen, expected], dtype=float).reshape(3, -1)


def _rows(
    zone: str, year: int, quarter: str, found: dict[tuple[str, float, float], np.ndarray]
) -> Iterator[Row]:
    for (kind, lead_h, declared), (true, seen, expected) in found.items():
        error = seen - true
        with np.errstate(invalid="ignore", divide="ignore"):  # NaN where nothing strays
            skill = np.corrcoef(seen - expected, true - expected)[0, 1] ** 2
        yield {
            "zone": zone,
            "year": year,
            "quarter": quarter,
            "kind": kind,
            "lead_h": lead_h,
            "mean_usd_per_mwh": true.mean(),
            "bias_usd_per_mwh": error.mean(),
            "rmse_usd_per_mwh": np.sqrt((error**2).mean()),
            "mae_usd_per_mwh": np.abs(error).mean(),
            "skill": skill,
            "declared_skill": declared if kind == "day_ahead" else np.nan,
        }
