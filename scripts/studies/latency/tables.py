"""The tables of a frontier, made from its points: tidy CSV files and one Parquet file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from baselines.program.objectives import OBJECTIVES
from gridai_env.analysis.latency_budgets import Sweep
from gridai_env.analysis.latency_returns import Returns, monotone, returns
from gridai_env.arrays.types import Floats
from gridai_env.episodes.instance import Instance
from gridai_env.files import atomic_write
from scripts.runs.tables import Row


@dataclass(frozen=True)
class Results:
    """All tables of a sweep."""

    instances: Sequence[Instance]
    sweeps: Sequence[Sweep]
    frontier: list[Row]
    returns: list[Row]
    rid: list[Row]
    layers: list[Row]
    closed: list[Row]
    breakeven: list[Row]
    policies: list[Row]
    checks: list[Row]  # what policies come to in the minimised sense, and whether they keep the floor
    seconds: float  # wall time of what was computed now
    computed: int  # points computed now


# How the minimised quantity of each objective is called, and its unit.
QUANTITIES = {"benefit": ("V", "USD"), "cost": ("cost", "USD"), "carbon": ("carbon", "kg")}
# Shares of relocatable demand, from the widest to what the optimum moves.
RID = ("rid_latency", "rid_feasible", "rid_net", "rid_real")
# By how much a curve may rise, or a policy lie below it, relative to its size: what solvers and rounding need.
TOLERANCE = 1e-6


class FrontierError(RuntimeError):
    """The results contradict themselves: a fault of the program, not of its input."""


def curves(rows: Sequence[Row], sweep: Sweep, objective: str) -> tuple[list[int], Floats, Floats, Floats]:
    """Return seeds that are complete on an axis, and points, proven bounds and values of an objective, [S,P] each."""
    found: dict[int, dict[int, Row]] = defaultdict(dict)
    for row in rows:
        if row["axis"] == sweep.axis and row["objective"] == objective:
            found[row["seed"]][row["point"]] = row
    seeds = [seed for seed, points in found.items() if len(points) == len(sweep)]

    def column(name: str) -> Floats:
        return np.array([[found[seed][i][name] for i in range(len(sweep))] for seed in seeds], dtype=float)

    points = np.array(
        [sweep.budget_ms(i) if sweep.unit == "ms" else sweep.scale(i) for i in range(len(sweep))]
    )
    return seeds, points, column("bound"), column("value")


def curve_returns(rows: Sequence[Row], sweep: Sweep, objective: str) -> Returns | None:
    """Return ERL or CRL along an axis, means over the seeds; None before a seed is complete.

    Figures of V are relative to the least cost at the tightest point: a profit may be near 0.
    """
    seeds, points, bounds, values = curves(rows, sweep, objective)
    if not seeds:
        return None
    highs = np.where(np.isfinite(values), values, np.inf)  # no plan in time: nothing is known from above
    base = None
    if objective == "benefit" and curves(rows, sweep, "cost")[0]:
        base = abs(float(curves(rows, sweep, "cost")[3][:, 0].mean()))
    unit = QUANTITIES[objective][1]
    return returns(values, bounds, highs, points, unit=unit, axis=sweep.axis, base=base)


def return_rows(rows: Sequence[Row], sweeps: Sequence[Sweep]) -> list[Row]:
    """Return rows of ``returns.csv``."""
    out: list[Row] = []
    for sweep in sweeps:
        for objective in OBJECTIVES:
            found = curve_returns(rows, sweep, objective)
            if found is not None:
                quantity = QUANTITIES[objective][0]
                out += [{"axis": sweep.axis} | row for row in found.rows(quantity, sweep.class_name or "all")]
    return out


def check_frontier(rows: Sequence[Row], checks: Sequence[Row], sweeps: Sequence[Sweep]) -> None:
    """Raise FrontierError where a proven bound rises along an axis, or where a policy lies below it.

    ``checks``: scores of policies in the minimised sense, last resorts weighted; for cost and carbon only those
    that keep the service floor count.
    """
    for sweep in sweeps:
        for objective in OBJECTIVES:
            seeds, _, bounds, values = curves(rows, sweep, objective)
            for seed, low, high in zip(seeds, bounds, values, strict=True):
                rise = monotone(high, TOLERANCE, low)
                if rise is not None:
                    raise FrontierError(f"{sweep.axis}, seed {seed}, {objective}: {rise}")

    # Least cost and least carbon bound a policy only where it keeps the service floor.
    bound = {(r["axis"], r["seed"], r["point"], r["objective"]): r["bound"] for r in rows}
    for check in checks:
        for objective in OBJECTIVES:
            least = bound.get((check["axis"], check["seed"], check["point"], objective), -np.inf)
            counts = objective == "benefit" or check["keeps_floor"]
            if counts and check[objective] < least - TOLERANCE * max(check["scale"], 1.0):
                raise FrontierError(
                    f"{check['axis']}, seed {check['seed']}, point {check['point']}: {check['policy']} has "
                    f"{QUANTITIES[objective][0]} {check[objective]:,.2f}, below the proven {least:,.2f} "
                    f"{QUANTITIES[objective][1]}"
                )


def write_parquet(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as Parquet."""
    if not rows:
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic_write(path) as partial:
        pq.write_table(pa.Table.from_pylist(list(rows)), partial)


def mean_rows(rows: Iterable[Row], keys: Sequence[str], values: Sequence[str]) -> list[Row]:
    """Return means of columns over rows that share ``keys`` (NaN left out), in the order of their first appearance."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[key] for key in keys)].append(row)
    out = []
    for group, members in groups.items():
        means = {name: _mean([member[name] for member in members]) for name in values}
        out.append(dict(zip(keys, group, strict=True)) | means)
    return out


def _mean(numbers: Sequence[float]) -> float:
    finite = [float(x) for x in numbers if x is not None and np.isfinite(x)]
    return float(np.mean(finite)) if finite else float("nan")
