"""The table of a comparison: one line per policy, means over seeds, 95 % bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gridai_env.summary import Interval, gain_captured, gain_interval, gap, mean_interval
from scripts._text import aligned, spread_text

HEADERS = (
    "policy",
    "benefit USD",
    "bill USD",
    "emissions t",
    "refused+dropped GPU-h",
    "path ms mean",
    "p95",
    "gap",
    "gain captured",
    "s/decision",
)


def comparison_table(rows: Sequence[dict[str, Any]]) -> str:
    """The table for rows of ``summary.csv``, in the order in which policies first appear."""
    names = list(dict.fromkeys(row["policy"] for row in rows))
    lines = [_line([row for row in rows if row["policy"] == name]) for name in names]
    return aligned(HEADERS, lines)


def _line(rows: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    def column(name: str) -> np.ndarray:
        return np.array([row[name] for row in rows], dtype=np.float64)

    def mean(name: str) -> float:
        values = column(name)
        return float(values.mean())

    score, bound, local = column("score"), column("bound_score"), column("local_score")
    captured = gain_captured(score, local, bound)
    interval = (
        gain_interval(score, local, bound)
        if np.isfinite(captured)
        else Interval(captured, captured, captured)
    )
    floor = "" if all(row["meets_floor"] for row in rows) else " (serves less than the floor)"
    return (
        rows[0]["policy"] + floor,
        spread_text(mean_interval(column("benefit_usd")), "{:,.0f}"),
        f"{mean('bill_usd'):,.0f}",
        f"{mean('emissions_kg') / 1000.0:,.1f}",
        f"{mean('dropped_gpuh'):,.2f}",
        f"{mean('path_latency_mean_ms'):.1f}",
        f"{mean('path_latency_p95_ms'):.1f}",
        _share(gap(score, bound, column("reference"))),
        spread_text(interval, "{:.1%}"),
        _seconds(mean("seconds_per_decision")),
    )


def _share(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.2%}"


def _seconds(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.1e}"


def footnotes(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What a reader must know beside the table: sample, objective, scale of the gap, proof of the bound."""
    by_seed = {row["seed"]: row for row in rows}
    first, count = rows[0], len(by_seed)
    scale = "emissions" if first["objective"] == "carbon" else "bill"
    notes = [
        f"means over {count} episode(s); [ ] is the 95 % bootstrap interval over episodes",
        f"gap: distance to the perfect-foresight bound ({first['objective']}) over the Local-Only {scale}",
        "gain captured: 0 % is Local-Only, 100 % is the bound; path latency: the network alone",
    ]
    solver_gap = max(row["solver_gap"] for row in by_seed.values())
    solve_s = np.mean([row["build_s"] + row["solve_s"] for row in by_seed.values()])
    late = sum(row["solver_status"] != "optimal" for row in by_seed.values())
    limit = f"; {late} stopped at the time limit" if late else ""
    proven = sum(np.isfinite(row["bound_margin"]) for row in rows)
    return [
        *notes,
        f"optimum: {solve_s:.1f} s per episode, its plan within {solver_gap:.2%} of the bound{limit}",
        f"no policy passes the bound on any episode: checked for {proven} of {len(rows)} results",
    ]
