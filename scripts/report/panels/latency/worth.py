"""What a move is worth: mean net benefit of doing one GPU-h elsewhere than at home, from region to site."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from scripts.report.data.names import named, plain, rounded
from scripts.report.data.numbers import number, percent
from scripts.report.data.parts import Choice, Panel, Plot, choice_of
from scripts.report.data.run_folders import RunFolder, Table
from scripts.report.drawing import drawing

WORTH, PARTS, BREAK_EVENS = named("worth"), named("worth_parts"), named("break_evens")


def worth_panel(breakeven: Table, run: RunFolder) -> Panel:
    """Return the heat map of what a move is worth, from regions to sites, class by class."""
    classes, regions = breakeven.unique("class"), breakeven.unique("region")
    sites = [site["name"] for site in run.scenario["sites"]]
    shown = {column: look for column, look in WORTH.items() if breakeven.has(column)}

    seeds = ", ".join(breakeven.unique("seed")) if breakeven.has("seed") else ""
    return Panel(
        "worth",
        [_worth_plot(regions, sites)],
        [
            choice_of("class", "Class", classes),
            Choice("column", "Show", [(column, label) for column, (label, _) in shown.items()]),
        ],
        _worth_store(breakeven, regions, sites, shown),
        notes=[f"Means over the work that arrives in the episode of seed {seeds}." if seeds else ""],
    )


def _worth_store(
    breakeven: Table, regions: Sequence[str], sites: Sequence[str], shown: dict[str, tuple[str, str]]
) -> dict[str, Any]:
    """Return grids of every class and column; their colours are symmetric about 0, and the same for all classes."""
    store: dict[str, Any] = {}
    for column, (_, unit) in shown.items():
        values = breakeven.numbers(column)
        most = float(np.nanmax(np.abs(values[np.isfinite(values)]), initial=1e-9))
        store |= {f"{column}|low": -most, f"{column}|high": most, f"{column}|unit": unit}

    for name in breakeven.unique("class"):
        own = breakeven.where(**{"class": name})
        # The file has no row for the home of a region: its cell stays empty.
        row_of = {pair: i for i, pair in enumerate(zip(own.text("region"), own.text("site"), strict=True))}
        cells = [[(region, site, row_of.get((region, site))) for site in sites] for region in regions]
        store[f"{name}|hover"] = [[_hover(own, *cell) for cell in row] for row in cells]
        for column in shown:
            values = own.numbers(column)
            grid = [[values[i] if i is not None else np.nan for _, _, i in row] for row in cells]
            store[f"{name}|{column}"] = [rounded(row, 4) for row in grid]
    return store


def _worth_plot(regions: Sequence[str], sites: Sequence[str]) -> Plot:
    out = drawing(max(130 + 30 * len(regions), 240))
    out.add(
        "moves",
        {
            "z": "{class}|{column}",
            "text": "{class}|hover",
            "zmin": "{column}|low",
            "zmax": "{column}|high",
            "colorbar.title.text": "{column}|unit",
        },
        x=list(map(plain, sites)),
        y=list(map(plain, regions)),
    )

    # Plotly counts rows from the bottom; regions read from the top, as in the scenario.
    out.figure.update_xaxes(title_text="to the site", tickangle=-35, showgrid=False)
    out.figure.update_yaxes(title_text="from the region", autorange="reversed", showgrid=False)
    return out.plot("Heat map of the net benefit of moves from regions to sites")


def _hover(own: Table, region: str, site: str, row: int | None) -> str:
    if row is None:
        return f"{plain(region)}: {plain(site)} is its home"

    def value(column: str) -> float:
        return float(own.numbers(column)[row]) if own.has(column) else float("nan")

    lines = [f"<b>{plain(region)} → {plain(site)}</b>"]
    lines += [
        f"{label} {number(value(name))} {unit}" for name, (label, unit) in PARTS.items() if own.has(name)
    ]
    if own.has("open_share"):
        lines.append(f"open for {percent(value('open_share'))} of the work")
    lines += [
        f"{label}: {number(value(name))} {unit}"
        for name, (label, unit) in BREAK_EVENS.items()
        if np.isfinite(value(name))
    ]
    return "<br>".join(lines)
