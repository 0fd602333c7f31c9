"""Flexible load: lines hour by hour, compliance, its cost, statements of demand response, hourly matching."""

from __future__ import annotations

import numpy as np

from scripts.report.data.names import plain, policy_label
from scripts.report.data.numbers import number
from scripts.report.data.parts import Panel, PlainTable
from scripts.report.data.run_folders import RunFolder, Table
from scripts.report.panels.comparison.episodes import EpisodeTables
from scripts.report.panels.comparison.lines import lines_panel
from scripts.report.panels.contracts import contracts_panel

SETTLEMENT = "settlement.csv"
NOTHING = 1e-3  # what solvers and float32 actions leave
# Metric of a line: heading and unit.
COMPLIANCE = {
    "called_h": ("called", "h"),
    "called_mwh": ("imported while called", "MWh"),
    "line_excess_mwh": ("import above", "MWh"),
    "unmatched_mwh": ("not matched", "MWh"),
    "delivered_share": ("delivered", "%"),
    "rebound_mwh": ("rebound", "MWh"),
}
# Of an episode.
COST = {
    "compliance_cost_usd": ("cost of compliance", "USD"),
    "work_lost_gpuh": ("work lost", "GPU-h"),
    "terms/line_excess_usd": ("line excess", "USD"),
    "terms/dr_energy_usd": ("energy payment", "USD"),
    "terms/dr_capacity_usd": ("capacity payment", "USD"),
    "baseline_inflation_mw": ("baseline raised", "MW"),
}
# Of a site with a contract, and of all sites.
MATCHING = {
    "cfe_score": ("hourly CFE", "%"),
    "cfe_score_with_grid": ("with the grid's share", "%"),
    "location_based_kg": ("location-based", "t"),
    "market_based_kg": ("hourly market-based", "t"),
}
SCALES = {"%": 100.0, "t": 1e-3}
STATEMENT = {
    "policy": "policy",
    "seed": "episode",
    "line": "line",
    "start_utc": "event begins (UTC)",
    "baseline_method": "baseline",
    "baseline_mw": "baseline MW",
    "import_mw": "import MW",
    "delivered_share": "delivered",
    "energy_usd": "energy USD",
    "shortfall_usd": "shortfall USD",
    "baseline_inflation_mw": "raised MW",
    "rebound_mwh": "rebound MWh",
}


def flexible_panels(run: RunFolder, summary: Table, episodes: EpisodeTables | None) -> list[Panel]:
    """Return the panels of lines; none for a world without."""
    found = [contracts_panel(run)]
    found += [] if episodes is None else [lines_panel(episodes)]
    found += [compliance_panel(summary), cost_panel(summary), settlement_panel(run), matching_panel(summary)]
    return [panel for panel in found if panel is not None]


def compliance_panel(summary: Table) -> Panel | None:
    """Return a row per policy and line, means over episodes; None without lines."""
    lines = dict.fromkeys(
        column.partition("/")[2]
        for column in summary.columns
        if column.partition("/")[0] in COMPLIANCE and "/" in column
    )
    places = {plain(line.replace("/", ", ")): f"/{line}" for line in lines}
    return _means_panel("compliance", "line", summary, places, COMPLIANCE)


def cost_panel(summary: Table) -> Panel | None:
    """Return what answering calls costs, a row per policy, means over episodes; None where nothing may be called."""
    if not summary.has("compliance_cost_usd"):
        return None
    rows = [
        [policy_label(policy), *_means(summary.where(policy=policy), "", COST)]
        for policy in summary.unique("policy")
    ]
    return Panel("compliance_cost", table=PlainTable(["policy", *_headers(COST)], rows), open_table=True)


def matching_panel(summary: Table) -> Panel | None:
    """Return scores and emissions per policy and site, means over episodes; None without contracts."""
    sites = [c.partition("/")[2] for c in summary.columns if c.startswith("cfe_score/")]
    places = {plain(site): f"/{site}" for site in sites} | ({"all sites": ""} if sites else {})
    return _means_panel("matching", "site", summary, places, MATCHING)


def _means_panel(
    key: str, heading: str, summary: Table, places: dict[str, str], metrics: dict[str, tuple[str, str]]
) -> Panel | None:
    """Return a panel with a row per place and policy; ``places``: the end of a column by the name that is shown."""
    if not places:
        return None
    rows = [
        [place, policy_label(policy), *_means(summary.where(policy=policy), end, metrics)]
        for place, end in places.items()
        for policy in summary.unique("policy")
    ]
    return Panel(
        key, table=PlainTable([heading, "policy", *_headers(metrics)], rows, names=2), open_table=True
    )


def _headers(metrics: dict[str, tuple[str, str]]) -> list[str]:
    return [f"{name} [{unit}]" for name, unit in metrics.values()]


def _means(table: Table, end: str, metrics: dict[str, tuple[str, str]]) -> list[str]:
    return [_mean(table, metric + end, unit) for metric, (_, unit) in metrics.items()]


def _mean(table: Table, column: str, unit: str) -> str:
    if not table.has(column):
        return ""
    values = table.numbers(column)
    if not np.isfinite(values).any():
        return "—"
    mean = float(np.nanmean(values)) * SCALES.get(unit, 1.0)
    return _number(mean, 3)


def _number(value: float, digits: int) -> str:
    return number(value if abs(value) > NOTHING else 0.0, digits)


def settlement_panel(run: RunFolder) -> Panel | None:
    """Return the statements of events; None where nothing was settled."""
    if not run.has(SETTLEMENT):
        return None
    table = run.table(SETTLEMENT, tuple(STATEMENT))
    rows = []
    for i in range(len(table)):
        row = table.rows([i])
        rows.append([_cell(row, column) for column in STATEMENT])
    return Panel(
        "settlement", table=PlainTable(list(STATEMENT.values()), rows, names=5), open_table=len(rows) <= 36
    )


def _cell(row: Table, column: str) -> str:
    text = row.text(column)[0]
    if column == "policy":
        return policy_label(text)
    if column == "start_utc":
        return plain(text.replace("T", " ").removesuffix("Z"))
    if column in ("seed", "line", "baseline_method"):
        return plain(text)
    if not text:
        return "—"
    value = float(row.numbers(column)[0])
    return f"{100.0 * value:.0f} %" if column == "delivered_share" else _number(value, 4)
