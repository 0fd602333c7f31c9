"""A connection that is firm in part: what it costs at each firm level, and what each lever takes away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gridai_env.analysis.statistics import Interval
from scripts.report.data import palette
from scripts.report.data.names import named, policy_colour, policy_label, rounded, safe
from scripts.report.data.numbers import number, percent, plural, with_interval
from scripts.report.data.parts import Choice, Panel, PlainTable, Plot, Section
from scripts.report.data.run_folders import RunFolder, Table
from scripts.report.drawing import drawing, stroke, whiskers
from scripts.report.page.html import KeyFigure
from scripts.report.panels.contracts import contracts_panel

COSTS, VALUES = "flexibility.csv", "shapley.csv"
COST, DISCOUNT, VALUE = "cost_usd_per_mw_year", "break_even_usd_per_mw_year", "usd_per_mw_year"
NEEDED = (
    "firm_share",
    "firm_mw",
    "non_firm_mw",
    "kind",
    "label",
    "hours_a_year",
    "episodes",
    "called_h",
    COST,
)
LEVERS = named("levers")
DRAWN = {COST: "cost [kUSD per non-firm MW and year]", DISCOUNT: "discount [kUSD per MW and year]"}


def flexibility_sections(run: RunFolder) -> list[Section]:
    """Return costs, Shapley values and the contract; raises InputError where the files are damaged."""
    costs = run.table(COSTS, (*NEEDED, DISCOUNT))
    panels = [cost_panel(costs, run)]
    if run.has(VALUES):
        panels.append(
            levers_panel(run.table(VALUES, ("firm_share", "hours_a_year", "lever", VALUE, "share")))
        )
    return [Section("non_firm", [*panels, *filter(None, [contracts_panel(run)])])]


def flexibility_tiles(run: RunFolder) -> list[KeyFigure]:
    """Return what the lowest firm level that is feasible costs without levers, and with all."""
    costs = run.table(COSTS, NEEDED)
    first = costs.where(kind="optimum", hours_a_year=costs.text("hours_a_year")[0])
    tiles = []
    for label, words in (("none", "without levers"), ("all", "with all levers")):
        own = first.where(label=label)
        known = np.flatnonzero(np.isfinite(own.numbers(COST)))
        if not len(known):
            continue
        i = int(known[np.argmin(own.numbers("firm_share")[known])])
        title = f"{percent(own.numbers('firm_share')[i], 0)} firm costs, {words}"
        note = f"per non-firm MW and year, {number(own.numbers('hours_a_year')[i])} called hours"
        tiles.append(KeyFigure(title, number(float(own.numbers(COST)[i])), "USD", note))
    return tiles


def column_label(name: str, kind: str) -> str:
    """Return what a column of the grid is called: a set of levers, or a policy with its notice."""
    if kind == "optimum":
        return " + ".join(LEVERS.get(part, (part, ""))[0] for part in name.split("+"))
    policy, _, notice = name.partition(", ")
    return ", ".join(filter(None, [policy_label(policy), notice]))


def _colour(name: str, kind: str) -> str:
    return (
        LEVERS.get(name, ("", palette.GREY))[1]
        if kind == "optimum"
        else policy_colour(name.partition(", ")[0])
    )


# Cost -----------------------------------------------------------------------------------------------------------


def cost_panel(costs: Table, run: RunFolder) -> Panel:
    """Return the panel of cost and break-even discount against the firm share, and its table."""
    columns = list(dict.fromkeys(zip(costs.text("label"), costs.text("kind"), strict=True)))
    store: dict[str, Any] = {}
    for hours in costs.unique("hours_a_year"):
        for i, (label, kind) in enumerate(columns):
            own = costs.where(hours_a_year=hours, label=label, kind=kind)
            own = own.rows(np.argsort(own.numbers("firm_share")))
            store[f"{hours}|{i}|x"] = rounded(100.0 * own.numbers("firm_share"))
            for column in DRAWN:
                store[f"{hours}|{i}|{column}"] = rounded(own.numbers(column) / 1e3)
    facts = {
        "site": run.record.get("site", ""),
        "most": number(float(costs.numbers("firm_mw")[0] + costs.numbers("non_firm_mw")[0])),
        "called": number(float(costs.numbers("called_h")[0])),
        "episodes": plural(int(costs.numbers("episodes")[0]), "episode"),
    }
    return Panel(
        "non_firm_cost",
        [_curves(column, columns) for column in DRAWN],
        [_hours_choice(costs)],
        store,
        table=_cost_table(costs, columns),
        open_table=True,
        facts=facts,
    )


def _hours_choice(table: Table) -> Choice:
    hours = table.unique("hours_a_year")
    return Choice("hours", "Called hours a year", [(one, number(float(one))) for one in hours])


def _curves(column: str, columns: Sequence[tuple[str, str]]) -> Plot:
    out = drawing(420, hovermode="x unified")
    for i, (label, kind) in enumerate(columns):
        look = stroke(_colour(label, kind), 3.0 if label in ("none", "all") else 1.8)
        out.add(
            "scatter", {"x": f"{{hours}}|{i}|x", "y": f"{{hours}}|{i}|{column}"}, mode="lines+markers",
            name=safe(column_label(label, kind)), line=look if kind == "optimum" else look | {"dash": "dash"},
            hovertemplate="%{y:,.4g}",
        )  # fmt: skip
    out.figure.update_yaxes(title_text=DRAWN[column], rangemode="tozero")
    out.figure.update_xaxes(title_text="firm share of the connection [%]")
    return out.plot(
        f"Curves of {DRAWN[column]} against the firm share, one for each set of levers and each policy"
    )


def _cost_table(costs: Table, columns: Sequence[tuple[str, str]]) -> PlainTable:
    headers = ["called h a year", "firm", "firm MW", *(safe(column_label(*one)) for one in columns)]
    rows = []
    for hours in costs.unique("hours_a_year"):
        for share in costs.unique("firm_share"):
            own = costs.where(hours_a_year=hours, firm_share=share)
            cells = [_cell(own.where(label=label, kind=kind)) for label, kind in columns]
            first = own.numbers("firm_mw")[0]
            rows.append([number(float(hours)), percent(float(share), 0), number(float(first)), *cells])
    return PlainTable(headers, rows, names=2)


def _cell(own: Table) -> str:
    """Return the cost of a cell, or from how many MW on it is feasible."""
    if not own.numbers("non_firm_mw")[0]:
        return "0"
    cost = _interval(own, COST, 0)
    if np.isfinite(cost.value):
        return with_interval(cost)
    needed = float(own.numbers("feasible_from_mw")[0])
    return f"from {number(needed)} MW" if np.isfinite(needed) else "sheds if firm"


def _interval(own: Table, column: str, i: int) -> Interval:
    return Interval(*(float(own.numbers(column + end)[i]) for end in ("", "_low", "_high")))


# Levers ---------------------------------------------------------------------------------------------------------


def levers_panel(values: Table) -> Panel:
    """Return the panel of Shapley values, the largest on top."""
    store: dict[str, Any] = {}
    rows = []
    for hours in values.unique("hours_a_year"):
        own = values.where(hours_a_year=hours)
        own = own.rows(np.argsort(own.numbers(VALUE)))
        usd = own.numbers(VALUE)
        above, below = whiskers(usd, own.numbers(f"{VALUE}_low"), own.numbers(f"{VALUE}_high"))
        names = own.text("lever")
        store[f"{hours}|y"] = [safe(LEVERS.get(name, (name, ""))[0]) for name in names]
        store[f"{hours}|x"] = rounded(usd / 1e3)
        store |= {
            f"{hours}|plus": rounded(np.array(above) / 1e3),
            f"{hours}|minus": rounded(np.array(below) / 1e3),
        }
        store[f"{hours}|colour"] = [_colour(name, "optimum") for name in names]
        rows += [
            (
                number(float(hours)),
                LEVERS.get(name, (name, ""))[0],
                with_interval(_interval(own, VALUE, i)),
                percent(own.numbers("share")[i], 0),
            )
            for i, name in reversed(list(enumerate(names)))
        ]
    out = drawing(90 + 46 * len(values.unique("lever")), showlegend=False)
    out.add(
        "policies", {"x": "{hours}|x", "y": "{hours}|y", "marker.color": "{hours}|colour",
                     "error_x.array": "{hours}|plus", "error_x.arrayminus": "{hours}|minus"},
        hovertemplate="%{y}: %{x:,.4g} kUSD<extra></extra>",
    )  # fmt: skip
    out.figure.update_xaxes(title_text="cost taken away [kUSD per non-firm MW and year]")
    headers = ("called h a year", "lever", "cost taken away [USD per non-firm MW and year]", "of all levers")
    return Panel(
        "levers",
        [out.plot("Bars of the Shapley value of each lever")],
        [_hours_choice(values)],
        store,
        columns=1,
        table=PlainTable(headers, rows, names=2),
        open_table=True,
        facts={"share": percent(float(values.numbers("firm_share")[0]), 0)},
    )
