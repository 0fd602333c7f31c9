"""What a comparison says of lines and power modes: statements of events, and a table of compliance.

How much a policy raises its baseline is measured against the same policy on the same episode with the programmes of
demand response off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gridai_env.analysis.responses import event_statements
from gridai_env.rollout.trajectory import Trajectory
from scripts.runs.tables import Row, aligned, known
from scripts.studies.comparison.table import in_common

SETTLEMENT = "settlement.csv"
INFLATION = "baseline_inflation_mw"
# Of a metric and its line ("/site/line"): heading, format, and how lines and episodes are put together.
COLUMNS = {
    "called_h": ("called h", "{:,.1f}", "sum"),
    "line_excess_mwh": ("above lines MWh", "{:,.2f}", "sum"),
    "delivered_share": ("delivered", "{:.1%}", "mean"),
    "matched_share": ("matched by the hour", "{:.1%}", "mean"),
    "saving_mwh": ("saved by modes MWh", "{:,.1f}", "sum"),
}


def statement_rows(
    contender: str, trajectory: Trajectory, without: Trajectory | None
) -> list[dict[str, Any]]:
    """Return the rows of ``settlement.csv`` for a policy on an episode."""
    first = {"policy": contender, "seed": trajectory.instance.seed}
    return [first | statement.row() for statement in event_statements(trajectory, without)]


def inflation_of(statements: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the mean inflation of the baselines of an episode; NaN without an event that has one."""
    found = [row[INFLATION] for row in statements if np.isfinite(row[INFLATION])]
    return {INFLATION: float(np.mean(found)) if found else float("nan")}


def flexible_load_table(rows: Sequence[Row]) -> str:
    """Return a line for each policy, means over episodes with a result of all; empty without lines and modes."""
    names, common = list(dict.fromkeys(row["policy"] for row in rows)), in_common(rows)
    shown = {n: COLUMNS[n] for n in COLUMNS if any(_of(row, n) for row in common)}
    money = [
        n
        for n in ("line_excess", "dr_energy", "dr_capacity")
        if any(row.get(f"terms/{n}_usd") for row in common)
    ]
    if not shown and not money:
        return ""
    inflated = any(INFLATION in row and np.isfinite(row[INFLATION]) for row in common)
    headers = [
        "policy",
        *(heading for heading, _, _ in shown.values()),
        *(f"{n.replace('_', ' ')} USD" for n in money),
    ]
    headers += ["baseline raised MW"] if inflated else []
    lines = []
    for name in names:
        own = [row for row in common if row["policy"] == name]
        cells = [name]
        for metric, (_, form, how) in shown.items():
            found = [value for row in own if (value := _joined(_of(row, metric), how)) is not None]
            cells.append(known(float(np.mean(found)) if found else float("nan"), form))
        cells += [f"{np.mean([row.get(f'terms/{n}_usd', 0.0) for row in own]):,.0f}" for n in money]
        if inflated:
            raised = [row[INFLATION] for row in own if np.isfinite(row.get(INFLATION, np.nan))]
            cells.append(known(float(np.mean(raised)) if raised else float("nan"), "{:+.3f}"))
        lines.append(tuple(cells))
    notes = [
        "delivered: load reduced in events over what was promised; matched: contracted clean generation in the hour of "
        "the import, without the grid's own",
    ]
    if inflated:
        notes.append(
            "baseline raised: mean over events, against the same policy with the programmes off; statements by three "
            f"methods: {SETTLEMENT}"
        )
    return "\n".join([aligned(tuple(headers), lines), *notes])


def _of(row: Row, metric: str) -> list[float]:
    """Return a metric of each line that has it; of all together where it has no lines.

    What a contract does not match counts as no excess: another column says it.
    """
    found = {name: row[name] for name in row if name.startswith(f"{metric}/")} or {metric: row.get(metric)}
    return [
        float(value)
        for name, value in found.items()
        if isinstance(value, int | float)
        and np.isfinite(value)
        and name.replace("line_excess_mwh", "matched_share") not in set(row) - {name}
    ]


def _joined(values: Sequence[float], how: str) -> float | None:
    if not values:
        return None
    return float(np.sum(values) if how == "sum" else np.mean(values))
