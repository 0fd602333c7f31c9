"""Where work is done and why not elsewhere: layers by class, closed routes by reason, what a move is worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from scripts.report.data.look import (
    GREY,
    LAYER_COLOURS,
    REASON_COLOURS,
    REASON_LABELS,
    faint,
    figure,
    plain,
    rounded,
    safe,
)
from scripts.report.data.numbers import number, percent
from scripts.report.data.parts import Choice, Panel, Plot
from scripts.report.data.run_folders import RunFolder, Table
from scripts.report.panels.axes import Axis, along, axis_choice, class_choice, means

LAYERS = {
    "local": "local: home, or within 10 ms",
    "regional": "regional: same legal zone, or within 100 ms",
    "energy-oriented": "energy-oriented: farther away",
}
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


def layers_panel(layers: Table, axes: Sequence[Axis]) -> Panel:
    """Shares of local, regional and energy-oriented execution along the budget."""
    classes, names = layers.unique("class"), layers.unique("layer")
    store: dict[str, Any] = {f"{axis.name}|title": axis.title for axis in axes}
    for axis in axes:
        store[f"{axis.name}|x"] = rounded(axis.grid)
        for class_name in classes:
            for layer in names:
                rows = layers.where(axis=axis.name, layer=layer, **{"class": class_name})
                share = means(along(rows, axis, "share"))
                store[f"{axis.name}|{class_name}|{layer}"] = rounded((100.0 * x for x in share), 4)
    fig = figure(400, hovermode="x unified")
    binds: dict[str, str] = {}
    for i, layer in enumerate(names):
        colour = LAYER_COLOURS.get(layer, GREY)
        fig.add_scatter(
            x=[], y=[], mode="lines", name=safe(LAYERS.get(layer, layer)), stackgroup="all",
            line={"width": 1, "color": colour}, fillcolor=faint(colour, 0.75), hovertemplate="%{y:.1f} %",
        )  # fmt: skip
        binds |= {f"data.{i}.x": "{axis}|x", f"data.{i}.y": f"{{axis}}|{{class}}|{layer}"}
    binds["layout.xaxis.title.text"] = "{axis}|title"
    fig.update_yaxes(title_text="share of served energy [%]", range=[0, 100])
    return Panel(
        "layers",
        "Execution layers by class",
        "How far from home the benefit plan does the work of a class, as the budget grows. The wider the green area, "
        "the more the place is chosen for its electricity.",
        [Plot(fig, "Stacked areas of execution layers against the latency budget", binds)],
        [axis_choice(axes), class_choice(classes)],
        store,
    )


def closed_panel(closed: Table, axes: Sequence[Axis]) -> Panel:
    """Why routes are closed, by class, at one point of a sweep."""
    classes, reasons = closed.unique("class"), closed.unique("reason")
    shown = [reason for reason in reasons if closed.where(reason=reason).numbers("routes").max() > 0]
    store: dict[str, Any] = {
        "share|title": "share of the energy of arrived work [%]",
        "routes|title": "number of routes",
    }
    points: list[tuple[str, str]] = []
    for axis in axes:
        for i, point in enumerate(axis.points):
            key = f"{axis.name}:{point}"
            points.append((key, f"{axis.label}: {axis.at(i)}"))
            rows = closed.where(axis=axis.name, point=str(point))
            for reason in shown:
                for measure, factor in (("share", 100.0), ("routes", 1.0)):
                    own = [rows.where(reason=reason, **{"class": name}).numbers(measure) for name in classes]
                    mean = [factor * float(np.mean(values)) if len(values) else np.nan for values in own]
                    store[f"{key}|{measure}|{reason}"] = rounded(mean, 4)
    fig = figure(420, barmode="group", bargap=0.25)
    binds: dict[str, str] = {"layout.yaxis.title.text": "{measure}|title"}
    names = ["all classes" if name == "all" else plain(name) for name in classes]
    for i, reason in enumerate(shown):
        label = REASON_LABELS.get(reason, reason)
        colour = REASON_COLOURS.get(reason, GREY)
        fig.add_bar(
            x=names, y=[], name=safe(label), marker={"color": colour}, hovertemplate="%{x}: %{y:.4g}",
        )  # fmt: skip
        binds[f"data.{i}.y"] = f"{{at}}|{{measure}}|{reason}"
    fig.update_yaxes(rangemode="tozero")
    return Panel(
        "closed",
        "Closed routes by reason",
        "A route leads from a region to a site other than its home. Several reasons may close one route, so the bars "
        "do not add up; “latency alone” is what a larger budget would open at once. Capacity: the route is open, but "
        "the site was full.",
        [Plot(fig, "Bars of closed routes by reason and class", binds)],
        [
            Choice("at", "Budgets", points, _widest_scale(axes)),
            Choice("measure", "Show", [("share", "share of work"), ("routes", "number of routes")]),
        ],
        store,
        notes=[
            "Not in the plot, because they close no route here: "
            + ", ".join(r for r in reasons if r not in shown)
        ]
        if len(shown) < len(reasons)
        else [],
    )


def _widest_scale(axes: Sequence[Axis]) -> str:
    """The budgets of the scenario itself where the scale is swept, else the widest point of the first axis."""
    for axis in axes:
        if axis.is_scale:
            return f"{axis.name}:{axis.points[int(np.argmin(np.abs(axis.grid - 1.0)))]}"
    return f"{axes[0].name}:{axes[0].points[-1]}"


def worth_panel(breakeven: Table, run: RunFolder) -> Panel:
    """What moving one GPU-h from its home to another site is worth, class by class."""
    classes, regions = breakeven.unique("class"), breakeven.unique("region")
    sites = [site["name"] for site in run.scenario["sites"]]
    shown = [item for item in WORTH if breakeven.has(item[0])]
    store: dict[str, Any] = {}
    for name in classes:
        own = breakeven.where(**{"class": name})
        place = {pair: i for i, pair in enumerate(zip(own.text("region"), own.text("site"), strict=True))}
        store[f"{name}|hover"] = [
            [_worth_hover(own, place.get((region, site)), region, site) for site in sites]
            for region in regions
        ]
        for column, _, _ in shown:
            values = own.numbers(column)
            grid = [[values[place[r, s]] if (r, s) in place else np.nan for s in sites] for r in regions]
            store[f"{name}|{column}"] = [rounded(row, 4) for row in grid]
    for column, _, unit in shown:
        values = breakeven.numbers(column)
        most = float(np.nanmax(np.abs(values[np.isfinite(values)]), initial=1e-9))
        store |= {f"{column}|low": -most, f"{column}|high": most, f"{column}|unit": unit}
    fig = figure(130 + 30 * len(regions))
    fig.add_heatmap(
        x=[plain(site) for site in sites],
        y=[plain(region) for region in regions],
        z=[],
        text=[],
        hovertemplate="%{text}<extra></extra>",
        colorscale="RdBu",
        zmid=0,
        xgap=1,
        ygap=1,
        colorbar={"thickness": 12, "outlinewidth": 0, "title": {"text": "", "side": "right"}},
    )
    binds = {
        "data.0.z": "{class}|{column}",
        "data.0.text": "{class}|hover",
        "data.0.zmin": "{column}|low",
        "data.0.zmax": "{column}|high",
        "data.0.colorbar.title.text": "{column}|unit",
    }
    fig.update_xaxes(title_text="to the site", tickangle=-35, showgrid=False)
    fig.update_yaxes(title_text="from the region", autorange="reversed", showgrid=False)
    return Panel(
        "worth",
        "What a move is worth",
        "Mean net benefit of doing one GPU-h elsewhere than at home: energy and carbon saved, less egress, transfer "
        "and friction. Blue pays, red costs; empty is the home itself. Hover for parts and break-evens.",
        [Plot(fig, "Heat map of the net benefit of moves from regions to sites", binds)],
        [
            Choice("class", "Class", [(name, name.replace("_", " ")) for name in classes]),
            Choice("column", "Show", [(column, label) for column, label, _ in shown]),
        ],
        store,
        notes=[
            f"Means over the work that arrives in the episode of seed {', '.join(breakeven.unique('seed'))}."
        ]
        if breakeven.has("seed")
        else [],
    )


def _worth_hover(own: Table, i: int | None, region: str, site: str) -> str:
    if i is None:
        return f"{plain(region)}: {plain(site)} is its home"
    lines = [f"<b>{plain(region)} → {plain(site)}</b>"]
    lines += [
        f"{label} {number(float(own.numbers(column)[i]))} USD per GPU-h"
        for column, label in PARTS
        if own.has(column)
    ]
    if own.has("open_share"):
        lines.append(f"open for {percent(float(own.numbers('open_share')[i]))} of the work")
    for column, label, unit in BREAK_EVENS:
        if own.has(column) and np.isfinite(value := float(own.numbers(column)[i])):
            lines.append(f"{label}: {number(value)} {unit}")
    return "<br>".join(lines)
