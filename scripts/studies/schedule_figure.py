"""Schedules as pictures: what each site draws and does, hour by hour, a policy beside the optimum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gridai_env.rollout.trajectory import Trajectory
from scripts.runs.pictures import new_figure, png_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that people with colour blindness can tell apart (Okabe and Ito).
SUPPLY = {
    "import_mw": ("import", "#0072B2"),
    "renewable_mw": ("renewable", "#009E73"),
    "generation_mw": ("generator", "#D55E00"),
    "discharge_mw": ("discharge", "#E69F00"),
}
USE = {"charge_mw": ("charge", "#F0E442"), "export_mw": ("export", "#56B4E9")}


def schedule_figure(columns: dict[str, Trajectory]) -> tuple[bytes, tuple[int, int]]:
    """Return a PNG and its size (width, height): one row per site, one column per trajectory (all of one instance).

    Stacked: supply above zero, charging and export below.  Line: facility load.  Dashed: price, at the right.
    """
    sites = next(iter(columns.values())).instance.compiled.site_names
    figure = new_figure(1.0 + 6.0 * len(columns), 1.0 + 2.1 * len(sites), dpi=90)

    grid: Any = figure.subplots(len(sites), len(columns), sharex=True, sharey="row", squeeze=False)
    for k, site in enumerate(sites):
        for column, (name, trajectory) in enumerate(columns.items()):
            axes = grid[k, column]
            _draw_site(axes, trajectory, site, price_label=column == len(columns) - 1)
            if k == 0:
                axes.set_title(f"{name}: {trajectory.benefit_usd:,.0f} USD", fontsize=10)
            if column == 0:
                axes.set_ylabel(f"{site}\nMW")
    for axes in grid[-1]:
        axes.set_xlabel("hours since the start")

    # The panels share their colours.
    png = png_of(figure, grid[0, 0], columns=4 * grid.shape[1])
    width, height = figure.canvas.get_width_height()
    return png, (int(width), int(height))


def _draw_site(axes: Axes, trajectory: Trajectory, site: str, price_label: bool) -> None:
    table, dt_h = trajectory.table, trajectory.instance.params.dt_h
    edges = np.arange(len(table) + 1) * dt_h
    _stack(
        axes, edges, {label: (table[f"{name}/{site}"], colour) for name, (label, colour) in SUPPLY.items()}
    )
    _stack(axes, edges, {label: (-table[f"{name}/{site}"], colour) for name, (label, colour) in USE.items()})

    # Supply above zero, charging and export below: facility load equals the supply less those.
    axes.stairs(table[f"facility_mw/{site}"], edges, color="black", linewidth=1.2, label="facility load")
    axes.plot([], [], color="#CC79A7", linestyle="--", linewidth=1.0, label="price")
    axes.axhline(0.0, color="grey", linewidth=0.6)
    axes.margins(x=0.0)
    price = axes.twinx()
    price.stairs(
        table[f"buy_usd_per_mwh/{site}"], edges, color="#CC79A7", linestyle="--", linewidth=1.0, baseline=None
    )
    price.margins(x=0.0)
    if price_label:
        price.set_ylabel("USD/MWh", color="#CC79A7")
    else:
        price.tick_params(labelright=False)


def _stack(
    axes: Axes, edges: NDArray[np.floating], series: dict[str, tuple[NDArray[np.floating], str]]
) -> None:
    base = np.zeros(len(edges) - 1)
    for label, (values, colour) in series.items():
        axes.stairs(base + values, edges, baseline=base, fill=True, color=colour, label=label, linewidth=0.0)
        base = base + values
