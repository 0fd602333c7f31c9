"""A reproduction as pictures and in TensorBoard: headlines beside their ranges, and the sensitivities."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scripts.runs.tensorboard import EventWriter
from scripts.studies.reproduction.experiment import Experiment
from scripts.studies.reproduction.tables import Row
from scripts.studies.schedule_figure import png_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, GREEN, VERMILLION, GREY = "#0072B2", "#009E73", "#D55E00", "#c9d1d8"  # Okabe and Ito
STEP_SCALE = 1000  # TensorBoard's axis holds whole numbers: value x 1000


def headlines_figure(rows: Sequence[Row]) -> bytes:
    """One small panel per headline: the published range, ours with its interval."""
    figure = _figure((10.0, 0.9 * len(rows) + 0.6))
    panels: Any = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for axes, row in zip(panels, rows, strict=True):
        axes.axvspan(row["published_low"], row["published_high"], color=GREY)
        spread = np.nan_to_num([[row["ours"] - row["low"]], [row["high"] - row["ours"]]])
        colour = GREEN if row["inside"] else VERMILLION
        axes.errorbar([row["ours"]], [0.0], xerr=np.maximum(spread, 0.0), fmt="o", color=colour, capsize=4)
        axes.margins(x=0.25)
        axes.set_yticks([0.0], [f"{row['model']}: {row['headline']} [{row['unit']}]"], fontsize=8)
        axes.tick_params(axis="x", labelsize=7)
    return png_of(figure)[0]


def sensitivity_figure(one: Experiment, rows: Sequence[Row]) -> bytes:
    """One column of panels per assumption; grey: the published range, where there is one."""
    own = [row for row in rows if row["model"] == one.model]
    columns: dict[str, dict[tuple[str, str], list[Row]]] = {}
    for row in own:
        panels = columns.setdefault(row["parameter"], {})
        panels.setdefault((row["quantity"], row["unit"]), []).append(row)
    high = max(len(panels) for panels in columns.values())
    figure = _figure((3.0 * len(columns), 2.1 * high + 0.4))
    grid: Any = figure.subplots(high, len(columns), squeeze=False, sharex="col")
    ranges = {headline.quantity: (headline.low, headline.high) for headline in one.headlines}
    for j, (parameter, panels) in enumerate(columns.items()):
        for i, ((quantity, unit), points) in enumerate(panels.items()):
            _panel(grid[i, j], points, ranges.get(quantity))
            grid[i, j].set_ylabel(f"{quantity.replace('_', ' ')} [{unit}]", fontsize=7)
        last = grid[len(panels) - 1, j]
        last.set_xlabel(parameter.replace("_", " "), fontsize=8)
        last.tick_params(axis="x", labelbottom=True)
        for axes in grid[len(panels) :, j]:
            axes.set_axis_off()
    return png_of(figure)[0]


def _panel(axes: Axes, points: Sequence[Row], published: tuple[float, float] | None) -> None:
    x, y = [p["value"] for p in points], [p["ours"] for p in points]
    axes.plot(x, y, "o-", color=BLUE, markersize=4)
    axes.fill_between(x, [p["low"] for p in points], [p["high"] for p in points], color=BLUE, alpha=0.15)
    if published is not None:
        axes.axhspan(*published, color=GREY, zorder=0)
    axes.tick_params(labelsize=7)


def _figure(size: tuple[float, float]) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained", dpi=90)
    FigureCanvasAgg(figure)
    return figure


def write_figures(
    folder: Path, experiments: Sequence[Experiment], headlines: Sequence[Row], rows: Sequence[Row]
) -> None:
    """Write headlines.png and a picture of the sensitivities of each model that has some."""
    (folder / "headlines.png").write_bytes(headlines_figure(headlines))
    for one in experiments:
        if any(row["model"] == one.model for row in rows):
            (folder / f"sensitivity_{one.model}.png").write_bytes(sensitivity_figure(one, rows))


def write_board(folder: Path, headlines: Sequence[Row], rows: Sequence[Row]) -> None:
    """One TensorBoard run per model and assumption: quantities against its value (x 1000)."""
    now = time.time()
    with EventWriter(folder / "headlines") as writer:
        writer.scalars({f"headline/{r['model']}/{r['quantity']}": r["ours"] for r in headlines}, 0, now)
    for model, parameter in dict.fromkeys((row["model"], row["parameter"]) for row in rows):
        with EventWriter(folder / f"{model}_{parameter}") as writer:
            for row in rows:
                if (row["model"], row["parameter"]) == (model, parameter):
                    tag = f"sensitivity/{row['quantity']}"
                    writer.scalars({tag: row["ours"]}, round(STEP_SCALE * row["value"]), now)
