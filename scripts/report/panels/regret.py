"""The regret of each policy, split into what knowing the future would give and what deciding better would."""

from __future__ import annotations

from typing import Any

import numpy as np

from scripts.report.data.look import BLUE, ORANGE, SKY, figure, policy_label, rounded, safe
from scripts.report.data.numbers import number
from scripts.report.data.parts import Panel, PlainTable, Plot
from scripts.report.data.run_folders import Table

NEEDED = ("policy", "unit", "regret", "regret_low", "regret_high", "foresight", "decisions")
# Column, name, colour; the two halves of foresight are known only where MPC with perfect forecasts played.
WHOLE = (("foresight", "foresight", BLUE), ("decisions", "better decisions", ORANGE))
SPLIT = (
    ("horizon", "seeing the whole episode", BLUE),
    ("forecast_error", "a perfect forecast", SKY),
    ("decisions", "better decisions", ORANGE),
)


def regret_panel(ladder: Table) -> Panel | None:
    """Stacked bars of the split regret; None where no policy's regret could be split."""
    split = ladder.rows(np.flatnonzero(np.isfinite(ladder.numbers("foresight"))))
    played = split.rows([i for i, name in enumerate(split.text("policy")) if name not in ("bound", "milp")])
    if not len(played):
        return None
    upwards = played.rows(np.argsort(-played.numbers("regret"), kind="stable"))
    halves = upwards.has("horizon") and bool(np.isfinite(upwards.numbers("horizon")).all())
    names = [safe(policy_label(name)) for name in upwards.text("policy")]
    unit = upwards.text("unit")[0]
    fig = figure(150 + 46 * len(names), barmode="relative", bargap=0.35)
    for column, label, colour in SPLIT if halves else WHOLE:
        fig.add_bar(
            orientation="h",
            name=label,
            y=names,
            x=rounded(upwards.numbers(column)),
            marker={"color": colour},
            hovertemplate=f"{label}: %{{x:,.4g}} {unit}<extra>%{{y}}</extra>",
        )
    fig.update_xaxes(title_text=f"regret per episode [{unit}]")
    fig.update_yaxes(showgrid=False)
    return Panel(
        "regret",
        "Regret: foresight or decisions?",
        "How far a policy stays below the bound, and why. Blue is what knowing the future would give to the best "
        "planner on the same information; orange is what that planner decides better. Orange to the left of zero: the "
        "policy beats the planner.",
        [Plot(fig, f"Stacked bars of regret for {len(names)} policies", {})],
        table=_grid(played, unit),
    )


def _grid(rows: Table, unit: str) -> PlainTable:
    def spread(name: str, i: int) -> str:
        value, low, high = (float(rows.numbers(name + end)[i]) for end in ("", "_low", "_high"))
        if not np.isfinite(low + high):
            return number(value)
        return f"{number(value)} [{number(low)}, {number(high)}]"

    columns = [
        name for name in ("regret", "foresight", "horizon", "forecast_error", "decisions") if rows.has(name)
    ]
    headers = ("policy", *(f"{name.replace('_', ' ')}, {unit}" for name in columns))
    body: list[tuple[Any, ...]] = [
        (policy_label(policy), *(spread(name, i) for name in columns))
        for i, policy in enumerate(rows.text("policy"))
    ]
    return PlainTable(headers, body)
