"""The regret of each policy, split into what knowing the future would give and what deciding better would."""

import numpy as np

from scripts.report.data import palette
from scripts.report.data.names import labels, named, policy_label, rounded, words
from scripts.report.data.numbers import with_intervals
from scripts.report.data.parts import Panel, PlainTable, Plot
from scripts.report.data.run_folders import Table
from scripts.report.drawing import drawing

NEEDED = ("policy", "unit", "regret", "regret_low", "regret_high", "foresight", "decisions")
# Column, name, colour; the two halves of foresight are known only where MPC with perfect forecasts played.
WHOLE = (("foresight", "foresight", palette.BLUE), ("decisions", "better decisions", palette.ORANGE))
SPLIT = [(column, *look) for column, look in named("regret").items()]
IN_TABLE = ("regret", "foresight", "horizon", "forecast_error", "decisions")


def regret_panel(ladder: Table) -> Panel | None:
    """Return stacked bars of the split regret; None where no policy's regret could be split."""
    policies, foresight = ladder.text("policy"), ladder.numbers("foresight")
    played = ladder.rows(
        i for i, name in enumerate(policies) if np.isfinite(foresight[i]) and name not in ("bound", "milp")
    )

    if not len(played):
        return None
    return Panel("regret", [_regret_plot(played)], table=_regret_table(played))


def _regret_plot(rows: Table) -> Plot:
    # Plotly draws the first bar at the bottom: the largest regret.
    upwards = rows.rows(np.argsort(-rows.numbers("regret"), kind="stable"))
    halves = upwards.has("horizon") and bool(np.isfinite(upwards.numbers("horizon")).all())
    unit, policies = upwards.text("unit")[0], labels(upwards.text("policy"))

    out = drawing(150 + 46 * len(rows), barmode="relative", bargap=0.35)
    for column, label, colour in SPLIT if halves else WHOLE:
        hover = f"{label}: %{{x:,.4g}} {unit}<extra>%{{y}}</extra>"
        x = rounded(upwards.numbers(column))
        out.add("parts", name=label, y=policies, x=x, marker_color=colour, hovertemplate=hover)
    out.figure.update_xaxes(title_text=f"regret per episode [{unit}]")
    out.figure.update_yaxes(showgrid=False)
    return out.plot(f"Stacked bars of regret for {len(rows)} policies")


def _regret_table(rows: Table) -> PlainTable:
    columns = [name for name in IN_TABLE if rows.has(name)]
    unit = rows.text("unit")[0]

    cells = [with_intervals(*(rows.numbers(name + end) for end in ("", "_low", "_high"))) for name in columns]
    return PlainTable(
        ("policy", *(f"{words(name)}, {unit}" for name in columns)),
        list(zip(map(policy_label, rows.text("policy")), *cells, strict=True)),
    )
