"""A frontier in TensorBoard: curves over the latency axis, what each step of it brings, relocatable demand."""

import time
from pathlib import Path
from typing import Any

from gridai_env.analysis.latency_budgets import Sweep
from scripts.runs.folder import file_name
from scripts.runs.tensorboard import EventWriter
from scripts.studies.latency.tables import RID, Results, curve_returns, mean_rows
from scripts.studies.names import OPTIMUM


def write_board(folder: Path, results: Results, config: dict[str, Any]) -> None:
    """Write one TensorBoard run per axis and policy, the optimum among them; equal tags, so that curves overlay.

    The step is the budget in ms, on the scale axis 1000 x scale.  The optimum's cost and emissions are the least ones,
    each of a program of its own.  At a budget stands how far they fell from the budget before; returns per 100 ms are
    in ``returns.csv`` alone, as a quotient over a millisecond is large whatever the fall.
    """
    for sweep in results.sweeps:
        axis = sweep.class_name or "scale_x1000"
        for name in dict.fromkeys([OPTIMUM, *(row["policy"] for row in results.policies)]):
            found = (
                _optimum_scalars(results, sweep) if name == OPTIMUM else _policy_scalars(results, sweep, name)
            )
            with EventWriter(folder / axis / file_name(name)) as writer:
                writer.layout(LAYOUT, time.time())
                writer.settings(config | {"axis": sweep.axis, "policy": name}, time.time())
                for i, values in enumerate(found):
                    step = round(sweep.grid[i] * (1.0 if sweep.unit == "ms" else 1000.0))
                    writer.scalars(values, step, time.time())


def _policy_scalars(results: Results, sweep: Sweep, policy: str) -> list[dict[str, float]]:
    out: list[dict[str, float]] = [{} for _ in range(len(sweep))]
    figures = ("benefit_usd", "cost_usd", "emissions_kg")
    rows = [r for r in results.policies if r["axis"] == sweep.axis and r["policy"] == policy]
    for row in mean_rows(rows, ("point",), figures):
        out[row["point"]] = {f"frontier/{name}": row[name] for name in figures}
    return out


LAYOUT = {
    "1 values": {name: [f"frontier/{name}"] for name in ("benefit_usd", "cost_usd", "emissions_kg")},
    "2 falls from the budget before": {
        name: [f"returns/{name}"] for name in ("V_fall_usd", "cost_fall_usd", "emissions_fall_kg")
    },
    "3 relocatable demand": {"share of energy": ["relocatable/.*"]},
}
TAGS = {
    "benefit": ("benefit_usd", "V_fall_usd"),
    "cost": ("cost_usd", "cost_fall_usd"),
    "carbon": ("emissions_kg", "emissions_fall_kg"),
}


def _optimum_scalars(results: Results, sweep: Sweep) -> list[dict[str, float]]:
    out: list[dict[str, float]] = [{} for _ in range(len(sweep))]
    for objective, (level, fall) in TAGS.items():
        found = curve_returns(results.frontier, sweep, objective)
        if found is None:
            continue

        # V = -benefit is what the frontier lowers; people read the benefit.
        sign = -1.0 if objective == "benefit" else 1.0
        for i in range(len(sweep)):
            out[i][f"frontier/{level}"] = sign * float(found.value[i])
            if i:
                out[i][f"returns/{fall}"] = float(found.value[i - 1] - found.value[i])
    # Of the class that is swept, or of all.
    place = (sweep.axis, sweep.class_name or "all")
    own = [row for row in results.rid if (row["axis"], row["class"]) == place]
    for row in mean_rows(own, ("point",), RID):
        out[row["point"]] |= {f"relocatable/{name}": row[name] for name in RID}
    return out
