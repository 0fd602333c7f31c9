"""A frontier as pictures and in TensorBoard: curves over the latency axis, returns, relocatable demand, layers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from baselines.optimum.objectives import OBJECTIVES
from gridai_env.analysis.latency_budgets import Sweep
from gridai_env.analysis.statistics import mean_interval
from gridai_env.scenario.geography import LAYERS
from scripts.runs.tensorboard import EventWriter
from scripts.studies.comparison.tensorboard import config_text
from scripts.studies.latency.tables import Floats, Row, curve_returns, curves, mean_rows
from scripts.studies.names import OPTIMUM
from scripts.studies.schedule_figure import png_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from scripts.studies.latency.tables import Results

# Okabe and Ito: told apart also by people with colour blindness.
COLOURS = {"benefit": "#009E73", "cost": "#0072B2", "carbon": "#D55E00"}
LABELS = {
    "benefit": "V = -most benefit, of the least cost",
    "cost": "least cost",
    "carbon": "least carbon",
}
RID = {
    "rid_latency": ("latency alone", "#56B4E9"),
    "rid_feasible": ("all masks", "#0072B2"),
    "rid_net": ("with net benefit", "#009E73"),
    "rid_real": ("really moved (optimum)", "#D55E00"),
}
LAYER_COLOURS = ("#999999", "#56B4E9", "#009E73")


def write_figures(folder: Path, results: Results) -> None:
    """Write one picture per kind into ``folder``; raises ImportError naming the extra without Matplotlib."""
    pictures = {
        "frontier": (_draw_curves, "fall against the tightest budget, %"),
        "returns": (_draw_returns, ""),
        "relocatable": (_draw_rid, "share of the energy of arrived work"),
        "layers": (_draw_layers, "share of the energy of served work"),
    }
    for name, (draw, label) in pictures.items():
        (folder / f"{name}.png").write_bytes(_panels(results, draw, label))


def _panels(results: Results, draw: Any, label: str) -> bytes:
    """One panel per axis."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    count = len(results.sweeps)
    wide = min(count, 3)
    rows = -(-count // wide)
    figure = Figure(figsize=(0.8 + 4.6 * wide, 0.5 + 3.4 * rows), layout="constrained", dpi=100)
    FigureCanvasAgg(figure)
    grid: Any = figure.subplots(rows, wide, squeeze=False)
    for axes in grid.ravel()[count:]:
        axes.set_visible(False)
    for sweep, axes in zip(results.sweeps, grid.ravel(), strict=False):
        draw(axes, results, sweep)
        axes.set_title(sweep.class_name or "all budgets", fontsize=10)
        axes.set_xlabel("latency budget, ms" if sweep.unit == "ms" else "scale of all latency budgets")
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    for row in grid if label else ():
        row[0].set_ylabel(label, fontsize=9)
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    return png_of(figure)[0]


def falls(values: Floats, base: float) -> tuple[Floats, Floats, Floats]:
    """Fall against the tightest point in per cent of ``base``: mean over seeds and its interval, [P] each."""
    fall = 100.0 * (values[:, :1] - values) / base
    ends = [mean_interval(column) for column in fall.T]
    return (
        np.array([e.value for e in ends]),
        np.array([e.low for e in ends]),
        np.array([e.high for e in ends]),
    )


def _draw_curves(axes: Axes, results: Results, sweep: Sweep) -> None:
    for objective in OBJECTIVES:
        seeds, points, _, values = curves(results.frontier, sweep, objective)
        found = curve_returns(results.frontier, sweep, objective)
        if found is None or not found.base > 0.0:
            continue
        mean, low, high = falls(values, found.base)
        axes.plot(points, mean, color=COLOURS[objective], marker="o", markersize=3, label=LABELS[objective])
        if len(seeds) > 1:
            axes.fill_between(points, low, high, color=COLOURS[objective], alpha=0.15, linewidth=0.0)


def _draw_returns(axes: Axes, results: Results, sweep: Sweep) -> None:
    for objective in OBJECTIVES:
        found = curve_returns(results.frontier, sweep, objective)
        if found is not None:
            label = LABELS[objective]
            axes.stairs(
                found.relative_percent, found.points, color=COLOURS[objective], label=label, linewidth=1.5
            )
    axes.set_ylabel("% per 100 ms" if sweep.unit == "ms" else "% per 1 % of scale", fontsize=9)


def _draw_rid(axes: Axes, results: Results, sweep: Sweep) -> None:
    rows = _means(results.rid, sweep, tuple(RID))
    x = _axis(sweep)
    for name, (label, colour) in RID.items():
        axes.plot(x, [row[name] for row in rows], color=colour, marker="o", markersize=3, label=label)
    axes.set_ylim(0.0, 1.0)


def _draw_layers(axes: Axes, results: Results, sweep: Sweep) -> None:
    name = sweep.class_name or "all"
    own = [r for r in results.layers if r["axis"] == sweep.axis and r["class"] == name]
    shares = {(r["point"], r["layer"]): r["share"] for r in mean_rows(own, ("point", "layer"), ("share",))}
    base = np.zeros(len(sweep))
    for layer, colour in zip(LAYERS, LAYER_COLOURS, strict=True):
        height = np.array([shares.get((i, layer), np.nan) for i in range(len(sweep))])
        axes.fill_between(_axis(sweep), base, base + height, color=colour, label=layer, linewidth=0.0)
        base = base + height
    axes.set_ylim(0.0, 1.0)


def _axis(sweep: Sweep) -> list[float]:
    return list(sweep.grid)


def _means(rows: Sequence[Row], sweep: Sweep, values: Sequence[str]) -> list[Row]:
    """Means over seeds at each point of an axis, for the swept class or all."""
    name = sweep.class_name or "all"
    own = [r for r in rows if r["axis"] == sweep.axis and r["class"] == name]
    return sorted(mean_rows(own, ("point",), values), key=lambda r: r["point"])


# TensorBoard ------------------------------------------------------------------------------------------------


def write_board(folder: Path, results: Results, config: dict[str, Any]) -> None:
    """One TensorBoard run per axis and policy, the optimum among them, under the same tags: curves overlay.

    The step is the budget in ms, on the scale axis 1000 x scale.  The optimum's cost and emissions are the least ones,
    each of a program of its own.
    """
    for sweep in results.sweeps:
        axis = sweep.class_name or "scale_x1000"
        for name in dict.fromkeys([OPTIMUM, *(row["policy"] for row in results.policies)]):
            found = (
                _optimum_scalars(results, sweep) if name == OPTIMUM else _policy_scalars(results, sweep, name)
            )
            with EventWriter(folder / axis / name.replace(":", "_").replace("/", "_")) as writer:
                writer.text("config", config_text(config | {"axis": sweep.axis, "policy": name}), time.time())
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


TAGS = {
    "benefit": ("benefit_usd", "V_usd"),
    "cost": ("cost_usd", "ERL_usd"),
    "carbon": ("emissions_kg", "CRL_kg"),
}


def _optimum_scalars(results: Results, sweep: Sweep) -> list[dict[str, float]]:
    out: list[dict[str, float]] = [{} for _ in range(len(sweep))]
    factor, per = (100.0, "per_100ms") if sweep.unit == "ms" else (1.0, "per_percent_of_scale")
    for objective, (level, arc) in TAGS.items():
        found = curve_returns(results.frontier, sweep, objective)
        if found is None:
            continue
        sign = -1.0 if objective == "benefit" else 1.0
        for i in range(len(sweep)):
            out[i][f"frontier/{level}"] = sign * float(found.value[i])
            if i:
                out[i][f"returns/{arc}_{per}"] = factor * float(found.arc[i - 1])
    for row in _means(results.rid, sweep, tuple(RID)):
        out[row["point"]] |= {f"relocatable/{name}": row[name] for name in RID}
    return out
