"""What a move is worth: mean net benefit of doing one GPU-h elsewhere than at home, from region to site."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from scripts.report.data.names import plain, rounded
from scripts.report.data.numbers import number, percent
from scripts.report.data.parts import Choice, Panel, Plot, choice_of
from scripts.report.data.run_folders import RunFolder, Table
from scripts.report.drawing import colour_bar, drawing

WORTH = (
    ("net_benefit_usd_per_gpuh", "net benefit", "USD per GPU-h"),
    ("energy_saved_usd_per_gpuh", "energy saved", "USD per GPU-h"),
    ("carbon_saved_usd_per_gpuh", "carbon saved, in money", "USD per GPU-h"),
    ("extra_path_ms", "extra path latency", "ms"),
    ("positive_share", "share of work for which a move pays", "1"),
    ("open_share", "share of work for which the route is open", "1"),
)
PARTS = (
    ("energy_saved_usd_per_gpuh", "energy saved"),
    ("carbon_saved_usd_per_gpuh", "carbon saved"),
    ("egress_usd_per_gpuh", "egress"),
    ("transfer_usd_per_gpuh", "transfer energy"),
    ("friction_usd_per_gpuh", "friction"),
)
BREAK_EVENS = (
    ("break_even_volume_gpuh", "least volume", "GPU-h"),
    ("break_even_spread_usd_per_mwh", "least price spread", "USD/MWh"),
    ("break_even_payload_gb_per_gpuh", "largest payload", "GB per GPU-h"),
    ("break_even_dwell_h", "least dwell time", "h"),
)


def worth_panel(breakeven: Table, run: RunFolder) -> Panel:
    """Return the heat map of what a move is worth, from regions to sites, class by class."""
    classes, regions = breakeven.unique("class"), breakeven.unique("region")
    sites = [site["name"] for site in run.scenario["sites"]]
    shown = [item for item in WORTH if breakeven.has(item[0])]

    seeds = ", ".join(breakeven.unique("seed")) if breakeven.has("seed") else ""
    return Panel(
        "worth",
        [_worth_plot(regions, sites)],
        [
            choice_of("class", "Class", classes),
            Choice("column", "Show", [(column, label) for column, label, _ in shown]),
        ],
        _worth_store(breakeven, regions, sites, shown),
        notes=[f"Means over the work that arrives in the episode of seed {seeds}." if seeds else ""],
    )


def _worth_store(
    breakeven: Table, regions: Sequence[str], sites: Sequence[str], shown: Sequence[tuple[str, str, str]]
) -> dict[str, Any]:
    """Return grids of every class and column; their colours are symmetric about 0, and the same for all classes."""
    store: dict[str, Any] = {}
    for column, _, unit in shown:
        values = breakeven.numbers(column)
        most = float(np.nanmax(np.abs(values[np.isfinite(values)]), initial=1e-9))
        store |= {f"{column}|low": -most, f"{column}|high": most, f"{column}|unit": unit}

    for name in breakeven.unique("class"):
        own = breakeven.where(**{"class": name})
        # The file has no row for the home of a region: its cell stays empty.
        row_of = {pair: i for i, pair in enumerate(zip(own.text("region"), own.text("site"), strict=True))}
        cells = [[(region, site, row_of.get((region, site))) for site in sites] for region in regions]
        store[f"{name}|hover"] = [[_hover(own, *cell) for cell in row] for row in cells]
        for column, _, _ in shown:
            values = own.numbers(column)
            grid = [[values[i] if i is not None else np.nan for _, _, i in row] for row in cells]
            store[f"{name}|{column}"] = [rounded(row, 4) for row in grid]
    return store


def _worth_plot(regions: Sequence[str], sites: Sequence[str]) -> Plot:
    out = drawing(130 + 30 * len(regions))
    out.add(
        "heatmap",
        {
            "z": "{class}|{column}",
            "text": "{class}|hover",
            "zmin": "{column}|low",
            "zmax": "{column}|high",
            "colorbar.title.text": "{column}|unit",
        },
        x=list(map(plain, sites)),
        y=list(map(plain, regions)),
        hovertemplate="%{text}<extra></extra>",
        colorscale="RdBu",
        zmid=0,
        xgap=1,
        ygap=1,
        colorbar=colour_bar(),
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
    lines += [f"{label} {number(value(name))} USD per GPU-h" for name, label in PARTS if own.has(name)]
    if own.has("open_share"):
        lines.append(f"open for {percent(value('open_share'))} of the work")
    lines += [
        f"{label}: {number(value(name))} {unit}"
        for name, label, unit in BREAK_EVENS
        if np.isfinite(value(name))
    ]
    return "<br>".join(lines)
