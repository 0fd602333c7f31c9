"""Calibration tables of the synthetic generator, and the marginal distributions that they describe.

The tables lie in `calibration/` and are statistics of one year (2023) of 16 grid zones, made by
`scripts/maintenance/calibrate.py`; none of the hourly source data is kept. Sources of the year behind them:
prices of the market operators, direct average carbon intensity of Electricity Maps (ODbL), weather of
Open-Meteo / ERA5 (CC BY 4.0), annual marginal factors of the Green Software Foundation's real-time-cloud.

Model of one zone; m local month, h local hour, z standard normal with memory:

    additive    Q[m](shift[m, h] + spread[m, h // 3] * z): body of the price, average carbon, wet bulb, wind
    PV          min(highest[m], profile[m, h] * Q[m](z)), zero wherever the profile is
    spike       where trigger > level[m, h]: the price is cap[m] + mean_excess[m] * E(size)
    trigger     SPIKE_FROM_PRICE * z of the price + a part of its own: prices are high before they spike
    memory      z = sqrt(w) * slow + sqrt(1 - w) * fast, two AR(1); slow has a time constant of 4 days

Q[m] interpolates the quantiles of the month linearly over normal scores (KNOTS) and is flat beyond the ends,
so that nothing leaves the range seen in the data. Zero and negative prices are part of Q. Weekdays are not
modelled.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from gridai_env.arrays.types import Float, Floats
from gridai_env.traces.errors import TraceError

TABLE_DIR = Path(__file__).parent / "calibration"
VARIABLES = ("price", "carbon", "wetbulb", "pv", "wind")
ADDITIVE = ("price", "carbon", "wetbulb", "wind")
# What the tables call a series.
CALIBRATED = {
    "price_usd_per_mwh": "price",
    "carbon_average_kg_per_mwh": "carbon",
    "carbon_marginal_kg_per_mwh": "marginal",
    "wetbulb_c": "wetbulb",
    "pv_cf": "pv",
    "wind_cf": "wind",
}
KNOTS = np.linspace(-3.2, 3.2, 17)
EXCESS_KNOTS = np.linspace(-2.0, 2.0, 9)
BLOCK_H = 3
HUNDREDTH = 0.01  # shift, spread and correlation are stored in hundredths
SLOW_PHI = 0.99
SPIKE_FROM_PRICE = 0.7  # correlation of the spike trigger with the body of the price; own choice
NEVER = 9.0  # a trigger level that a standard normal does not reach
MARGINAL_AT_SURPLUS = 0.15
"""Marginal carbon in hours with a price at or below zero, relative to other hours: curtailed wind, sun or
water is then on the margin. Own choice; the other hours are raised so that the annual mean stays the
published one."""


@dataclass(frozen=True)
class ZoneCalibration:
    """Tables of one zone by local month and hour; dicts are by variable (see the model above)."""

    zone: str
    timezone: str
    marginal_kg_per_mwh: float
    marginal_source: str
    note: str
    quantiles: dict[str, Float[Floats, "12 K"]]
    shift: dict[str, Float[Floats, "12 24"]]  # of the additive variables
    spread: dict[str, Float[Floats, "12 24"]]  # likewise
    pv_profile: Float[Floats, "12 24"]
    pv_highest: Float[Floats, " 12"]
    slow_share: dict[str, float]
    fast_phi: dict[str, float]
    spike_phi: float
    spike_size_phi: float
    spike_level: Float[Floats, "12 24"]  # of the trigger
    spike_cap_usd_per_mwh: Float[Floats, " 12"]
    spike_mean_excess_usd_per_mwh: Float[Floats, " 12"]
    spike_excess_shape: Float[Floats, " E"]
    climatology: dict[str, Float[Floats, "12 24"]]  # means of the model
    marginal_normal_kg_per_mwh: float  # in hours with a price above zero


def known_zones() -> tuple[str, ...]:
    """Return the zones with calibration tables, in the order of the tables."""
    return tuple(_metadata()["zones"])


def calibration_year() -> int:
    """Return the year of the data behind the tables."""
    return int(_metadata()["year"])


@lru_cache(maxsize=64)
def zone_calibration(zone: str) -> ZoneCalibration:
    """Return the tables of one zone; raises TraceError for a zone that has none."""
    if zone not in known_zones():
        raise TraceError(f"zone {zone!r}: not calibrated; known zones: {', '.join(known_zones())}")
    entry = _metadata()["zones"][zone]
    memory, spike = entry["slow_share_and_fast_phi"], entry["spike"]
    shift = {name: HUNDREDTH * _rows("shift", zone, name) for name in ADDITIVE}
    spread = {name: np.repeat(HUNDREDTH * _rows("spread", zone, name), BLOCK_H, axis=1) for name in ADDITIVE}

    without_means = ZoneCalibration(
        zone=zone,
        timezone=entry["timezone"],
        marginal_kg_per_mwh=entry["marginal_kg_per_mwh"],
        marginal_source=entry["marginal_source"],
        note=entry["note"],
        quantiles={name: _rows("quantiles", zone, name) for name in VARIABLES},
        shift=shift,
        spread=spread,
        pv_profile=_rows("pv_profile", zone),
        pv_highest=np.array(entry["pv_highest"]),
        slow_share={name: memory[name][0] for name in VARIABLES},
        fast_phi={name: memory[name][1] for name in VARIABLES},
        spike_phi=spike["phi"],
        spike_size_phi=spike["size_phi"],
        spike_level=trigger_level(_rows("spike_rate", zone)),
        spike_cap_usd_per_mwh=np.array(spike["cap_usd_per_mwh"]),
        spike_mean_excess_usd_per_mwh=np.array(spike["mean_excess_usd_per_mwh"]),
        spike_excess_shape=np.array(spike["excess_shape"]),
        climatology={},
        marginal_normal_kg_per_mwh=np.nan,
    )
    return _with_means(without_means)


def _with_means(c: ZoneCalibration) -> ZoneCalibration:
    """Add what the model's series are on average, by month and hour."""
    rate = _rows("spike_rate", c.zone)
    nodes, plain = gauss_nodes()
    weights = dict.fromkeys(ADDITIVE, plain) | {"price": body_weights(c.spike_level)}
    value = {name: at_nodes(c.quantiles[name], c.shift[name], c.spread[name], nodes) for name in ADDITIVE}
    mean = {name: (value[name] * weights[name]).sum(-1) for name in ADDITIVE}
    mean["pv"] = pv_at_nodes(c.quantiles["pv"], c.pv_profile, c.pv_highest, nodes) @ plain

    # In an hour with a spike the price is cap + excess in place of its body, and never below zero.
    spike_usd_per_mwh = (c.spike_cap_usd_per_mwh + c.spike_mean_excess_usd_per_mwh)[:, None]
    mean["price"] = (1 - rate) * mean["price"] + rate * spike_usd_per_mwh
    surplus = (1 - rate) * ((value["price"] <= 0) * weights["price"]).sum(-1)

    # Hours at or below zero have less: the others are raised, so that the annual mean stays the published one.
    normal = c.marginal_kg_per_mwh / (1 - (1 - MARGINAL_AT_SURPLUS) * _annual_mean(surplus))
    mean["marginal"] = normal * (1 - (1 - MARGINAL_AT_SURPLUS) * surplus)
    return replace(c, climatology=mean, marginal_normal_kg_per_mwh=normal)


def residual_correlation(zones: tuple[str, ...]) -> Float[Floats, "n n"]:
    """Return the correlation of the residuals, n = Z * 5: the VARIABLES of a zone side by side."""
    labels, full = _correlation()
    picked = [labels.index(f"{zone}:{name}") for zone in zones for name in VARIABLES]
    return full[np.ix_(picked, picked)]


@lru_cache(maxsize=2)
def gauss_nodes(most: float = 4.0) -> tuple[Float[Floats, " N"], Float[Floats, " N"]]:
    """Return nodes up to ``most`` and weights for the mean over a standard normal of a piecewise linear function."""
    nodes = np.linspace(-most, most, round(40 * most) + 1)
    density = np.exp(-nodes * nodes / 2)
    return nodes, density / density.sum()


def interpolate_knots(
    table: Float[Floats, "R K"], knots: Float[Floats, " K"], x: Float[Floats, "R N"]
) -> Float[Floats, "R N"]:
    """Return each row of a table over equidistant knots, linearly, at ``x``; flat beyond the ends."""
    count = len(knots)
    place = np.clip((x - knots[0]) / (knots[1] - knots[0]), 0.0, count - 1.0)
    left = np.minimum(place.astype(np.int64), count - 2)
    low = np.take_along_axis(table, left, axis=1)
    return low + (place - left) * (np.take_along_axis(table, left + 1, axis=1) - low)


def body_weights(level: Float[Floats, "12 24"]) -> Float[Floats, "12 24 N"]:
    """Return weights of the nodes of `gauss_nodes` for the body of the price in hours without a spike.

    The trigger is correlated with the body, so that hours with a high body are more often replaced by a spike.
    """
    nodes, weights = gauss_nodes()
    grid = np.linspace(-10.0, 10.0, 4001)
    cumulative = np.array([NormalDist().cdf(v) for v in grid])
    own = np.sqrt(1 - SPIKE_FROM_PRICE**2)
    stays = np.interp((level[:, :, None] - SPIKE_FROM_PRICE * nodes) / own, grid, cumulative)
    kept = weights * stays
    return kept / kept.sum(axis=-1, keepdims=True)


def trigger_level(rate: Float[Floats, "12 24"]) -> Float[Floats, "12 24"]:
    """Return the level that a standard normal exceeds with probability `rate`."""
    return np.array([[NormalDist().inv_cdf(1 - p) if p > 0 else NEVER for p in row] for row in rate])


def at_nodes(quantiles: Floats, shift: Floats, spread: Floats, nodes: Floats) -> Float[Floats, "12 24 N"]:
    """Return Q[m](shift + spread * z) at the nodes z [N]; ``quantiles`` [12,K], ``shift`` and ``spread`` [12,24]."""
    score = (shift[:, :, None] + spread[:, :, None] * nodes).reshape(12, -1)
    return interpolate_knots(quantiles, KNOTS, score).reshape(12, 24, -1)


def pv_at_nodes(ratio: Floats, profile: Floats, highest: Floats, nodes: Floats) -> Float[Floats, "12 24 N"]:
    """Return the capacity factor of PV at the nodes z [N]; ``ratio`` [12,K], ``profile`` [12,24], ``highest`` [12]."""
    factor = interpolate_knots(ratio, KNOTS, np.repeat(nodes[None], 12, axis=0))
    return np.minimum(highest[:, None, None], profile[:, :, None] * factor[:, None, :])


def _annual_mean(by_month_hour: Float[Floats, "12 24"]) -> float:
    days = np.array([31, 28.25, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
    return float(days @ by_month_hour.mean(axis=1) / days.sum())


@lru_cache(maxsize=1)
def _metadata() -> dict[str, Any]:
    return json.loads((TABLE_DIR / "zones.json").read_text())


@lru_cache(maxsize=8)
def _table(name: str) -> dict[tuple[str, ...], Float[Floats, "12 n"]]:
    """Return twelve months stacked, by (zone,) or (zone, variable)."""
    stacked: dict[tuple[str, ...], list[list[float]]] = {}
    with open(TABLE_DIR / f"{name}.csv", newline="") as file:
        reader = csv.reader(file)
        keys = next(reader).index("month")
        for row in reader:
            stacked.setdefault(tuple(row[:keys]), []).append([float(v) for v in row[keys + 1 :]])
    return {key: np.array(rows) for key, rows in stacked.items()}


def _rows(name: str, *key: str) -> Float[Floats, "12 n"]:
    return _table(name)[key]


@lru_cache(maxsize=1)
def _correlation() -> tuple[list[str], Float[Floats, "n n"]]:
    """Return labels `zone:variable` and the full symmetric matrix from its stored lower half."""
    with open(TABLE_DIR / "correlation.csv", newline="") as file:
        rows = list(csv.reader(file))[1:]
    full = np.eye(len(rows))
    for i, row in enumerate(rows):
        full[i, : i + 1] = [HUNDREDTH * float(v) for v in row[1:]]
        full[: i + 1, i] = full[i, : i + 1]
    return [row[0] for row in rows], full
