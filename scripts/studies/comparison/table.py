"""The table of a comparison: one line per policy, means over seeds, 95 % bootstrap intervals.

Means are over the episodes on which every policy has a result, so that lines can be compared: something that plans
beforehand may find no plan in time on some, and episodes differ more than policies do.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from gridai_env.analysis.statistics import gain_interval, gap, mean_interval
from scripts.runs.tables import Row, aligned, known, proof_of, spread_text

HEADERS = (
    "policy", "benefit USD", "bill USD", "emissions t", "refused+dropped GPU-h",
    "path ms mean", "p95", "gap", "gain captured", "s/decision",
)  # fmt: skip


def in_common(rows: Sequence[Row]) -> list[Row]:
    """Return rows of the seeds on which every policy has a result; all rows where there is no such seed."""
    names = {row["policy"] for row in rows}
    by_seed: dict[int, set[str]] = {}
    for row in rows:
        by_seed.setdefault(row["seed"], set()).add(row["policy"])
    return [row for row in rows if by_seed[row["seed"]] == names] or list(rows)


def is_paired(rows: Sequence[Row]) -> bool:
    """Return whether every policy has a result on every seed."""
    return len(rows) == len({row["policy"] for row in rows}) * len({row["seed"] for row in rows})


def comparison_table(rows: Sequence[Row]) -> str:
    """Return the table for rows of ``summary.csv``, in the order in which policies first appear."""
    names, common = list(dict.fromkeys(row["policy"] for row in rows)), in_common(rows)
    lines = [_line([row for row in common if row["policy"] == name], is_paired(common)) for name in names]
    return aligned(HEADERS, lines)


def _line(rows: Sequence[Row], paired: bool) -> tuple[str, ...]:
    def column(name: str) -> np.ndarray:
        return np.array([row[name] for row in rows], dtype=np.float64)

    def mean(name: str) -> float:
        return float(column(name).mean())

    # A policy that serves less than the floor may lie beyond the bound: the table says so.
    score, bound, local = column("score"), column("bound_score"), column("local_score")
    floor = "" if all(row["meets_floor"] for row in rows) else " (serves less than the floor)"
    return (
        rows[0]["policy"] + ("" if paired else f" (n = {len(rows)})") + floor,
        spread_text(mean_interval(column("benefit_usd")), "{:,.0f}"),
        f"{mean('bill_usd'):,.0f}",
        f"{mean('emissions_kg') / 1000.0:,.1f}",
        f"{mean('dropped_gpuh'):,.2f}",
        f"{mean('path_latency_mean_ms'):.1f}",
        f"{mean('path_latency_p95_ms'):.1f}",
        known(gap(score, bound, column("reference")), "{:.2%}"),
        spread_text(gain_interval(score, local, bound), "{:.1%}"),
        known(mean("seconds_per_decision"), "{:.1e}"),
    )


def sample_note(rows: Sequence[Row]) -> str:
    """Return which episodes means are over."""
    common, count = in_common(rows), len({row["seed"] for row in rows})
    if is_paired(rows):
        return f"means over {count} episode(s)"

    counts = Counter(row["policy"] for row in rows)
    absent = ", ".join(f"{name} has none on {count - n}" for name, n in counts.items() if n < count)
    if is_paired(common):
        left = len({row["seed"] for row in common})
        return f"means over the {left} of {count} episodes on which every policy has a result ({absent})"
    return (
        f"there is no episode on which every policy has a result ({absent}): means over n episodes of their own, not "
        "to be compared with each other"
    )


def decision_notes(rows: Sequence[Row]) -> list[str]:
    """Return whose decisions stopped at a time limit."""
    late: Counter[str] = Counter()
    for row in rows:
        count = row.get("decisions_not_optimal", 0)
        late[row["policy"]] += 0 if np.isnan(count) else int(count)
    return [
        f"{name}: {count} decision(s) not proven optimal when time was up, better ones may exist"
        for name, count in late.items()
        if count
    ]


def footnotes(rows: Sequence[Row]) -> list[str]:
    """Return the notes below the table: sample, objective, scale of the gap, proof of the bound."""
    by_seed = {row["seed"]: row for row in rows}
    first = rows[0]
    scale = "emissions" if first["objective"] == "carbon" else "bill"
    notes = [
        f"{sample_note(rows)}; [ ] is the 95 % bootstrap interval over episodes",
        f"gap: distance to the perfect-foresight bound ({first['objective']}) over the Local-Only {scale}",
        "gain captured: 0 % is Local-Only, 100 % is the bound; path latency: the network alone",
    ]

    # Solve times and gaps are of the optimum: one per seed, not one per policy.
    solver_gap = max(
        (row["solver_gap"] for row in by_seed.values() if np.isfinite(row["solver_gap"])), default=0.0
    )
    solve_s = np.mean([row["build_s"] + row["solve_s"] for row in by_seed.values()])
    late = sum(row["solver_status"] != "optimal" for row in by_seed.values())
    planless = sum(not np.isfinite(row["solver_gap"]) for row in by_seed.values())
    proof = proof_of(row.get("bound_is_safe", np.nan) for row in by_seed.values())
    limit = proof + (f"; {late} stopped at the time limit" if late else "")
    limit += f", {planless} of them without a plan" if planless else ""
    proven = sum(np.isfinite(row["bound_margin"]) for row in rows)
    return [
        *notes,
        *decision_notes(rows),
        f"optimum: {solve_s:.1f} s per episode, its plan within {solver_gap:.2%} of the bound{limit}",
        f"no policy passes the bound on any episode: checked for {proven} of {len(rows)} results",
    ]
