"""Header, tiles with the totals and the table of sites."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np

from gridai_env.arrays.types import Float, Floats
from gridai_env.render import style
from gridai_env.render.ledger_bars import draw_ledger
from gridai_env.render.line_bars import HEAD, ROW, draw_lines, rows_in
from gridai_env.render.moment import Moment
from gridai_env.scenario.compile import Compiled

TILE_HEIGHT, TILE_GAP = 58.0, 7.0
TILE = "#f3f5f7"
NAME_WIDTH = 88.0
TABLE_TOP = 142.0  # pixels below the top of the panel
HEADING: dict[str, Any] = {"fontsize": 6, "va": "baseline"}
LEAST_LEDGER = 76.0  # less room than this under the table: no ledger


def draw_header(axes: Any, view: Moment) -> None:
    """Draw scenario, time and progress."""
    width, height = style.HEADER_BOX[2:]
    shape = view.compiled.shape
    axes.set(xlim=(0, width), ylim=(0, height))

    axes.axhspan(0, height, color=style.DARK)

    end = view.time_utc + timedelta(hours=shape.dt_h)
    when = f"{view.time_utc:%a %Y-%m-%d  %H:%M} – {end:%H:%M} UTC"
    where = f"step {view.t} / {shape.steps}   seed {view.instance.seed}"

    text = {"color": "white", "va": "center_baseline"}
    axes.text(16, 24, style.clipped(view.instance.scenario_name, 20), fontsize=14, fontweight="bold", **text)
    axes.text(412, 24, when, fontsize=12, ha="center", **text)
    axes.text(width - 222, 24, where, fontsize=10, ha="right", **text)

    line = {"linewidth": 5, "solid_capstyle": "butt"}
    done = width - 206 + 190.0 * view.t / shape.steps
    axes.plot([width - 206, width - 16], [24, 24], color="#53677a", **line)
    axes.plot([width - 206, done], [24, 24], color="#7fd1ae", **line)


@dataclass(frozen=True)
class FigureTile:
    """One figure of the episode so far."""

    title: str
    unit: str
    value: str
    note: str
    colour: str = style.INK


def tiles(view: Moment) -> list[FigureTile]:
    """Return what the tiles say, row by row."""
    short, long = style.compact_number, partial(style.compact_number, digits=4)
    step = f"step {style.signed(sum(view.step_terms_usd.values()))}"

    benefit, dropped = view.total("benefit_usd"), view.total("dropped_gpuh")
    arrived = view.total("arrived_gpuh")
    share = f"{100.0 * dropped / arrived:.2g} % of arrivals" if arrived > 0 else "of arrivals"

    shape = view.compiled.shape
    if shape.jobs:
        last = FigureTile("jobs started", "", f"{view.jobs_started} / {shape.jobs}", "training jobs")
    else:
        last = FigureTile("served", "GPU-h", short(view.total("served_gpuh")), "inference so far")

    emitted_t, step_t = view.total("emissions_kg") / 1e3, view.step_emissions_kg / 1e3
    alarm = style.BAD if dropped > 0 else style.INK

    return [
        FigureTile("benefit so far", "USD", long(benefit), step, _good(benefit)),
        FigureTile("bill so far", "USD", long(view.total("bill_usd")), "energy, moves, carbon"),
        FigureTile("emissions so far", "t CO₂", long(emitted_t), f"step {style.signed(step_t)}"),
        FigureTile("dropped so far", "GPU-h", short(dropped), share, alarm),
        FigureTile("backlog now", "GPU-h", short(view.backlog_gpuh), "work that waits"),
        last,
    ]


def _good(usd: float) -> str:
    return style.BAD if usd < 0 else style.GOOD if usd > 0 else style.INK


class SidePanel:
    """Draws tiles, table and, where there is room, the ledger."""

    def __init__(self, compiled: Compiled) -> None:
        """Find the columns and sizes of the table."""
        self.compiled = compiled
        self.width, self.height = style.PANEL_BOX[2:]
        self.columns = columns(compiled)
        self.row_height = min(19.0, (self.height - TABLE_TOP - 36.0) / (len(compiled.site_names) + 1))
        self.first = self.height - TABLE_TOP - 26.0  # upper edge of the rows
        self.last = self.first - self.row_height * len(compiled.site_names)
        step = (self.width - NAME_WIDTH) / len(self.columns)
        self.right = [NAME_WIDTH + (i + 1) * step - 3.0 for i in range(len(self.columns))]
        self.text = {"va": "center_baseline", "fontsize": min(7.0, 0.4 * self.row_height, 0.23 * step)}

    def draw_static(self, axes: Any) -> None:
        """Draw the tiles' boxes and the table's headings, names and lines."""
        axes.set(xlim=(0, self.width), ylim=(0, self.height))
        for i in range(6):
            _draw_tile_box(axes, *_tile_place(i, self.width, self.height))

        for column, x in zip(self.columns, self.right, strict=True):
            for line, word in enumerate(column.heading.split("\n")):
                axes.text(x, self.first + 18 - 10 * line, word, color=style.MUTED, ha="right", **HEADING)
        for y in (self.first, self.last):
            axes.plot([0, self.width], [y, y], color=style.INK, linewidth=0.8)

        for k, name in enumerate(self.compiled.site_names):
            y = self._row(k)
            if k % 2 == 1:
                axes.axhspan(y - self.row_height / 2, y + self.row_height / 2, color="#f6f8f9", zorder=0)
            axes.plot([5], [y], marker="o", markersize=5, color=style.site_colour(k))
            axes.text(13, y, style.clipped(name, 12), color=style.INK, fontweight="bold", **self.text)

        axes.text(13, self.last - self.row_height / 2, "sum", color=style.MUTED, **self.text)

    def _row(self, k: int) -> float:
        return self.first - (k + 0.5) * self.row_height

    def draw(self, axes: Any, view: Moment) -> None:
        """Draw the numbers of one moment."""
        for i, tile in enumerate(tiles(view)):
            _write_tile(axes, tile, *_tile_place(i, self.width, self.height))
        for column, x in zip(self.columns, self.right, strict=True):
            self._write_column(axes, column, getattr(view.sites, column.name), x)
        bottom = self.last - self.row_height
        if shown := view.lines[: rows_in(bottom - 10.0 - LEAST_LEDGER)]:
            draw_lines(axes, view, shown, bottom - 10.0)
            bottom -= HEAD + ROW * len(shown) + 5.0
        if bottom >= LEAST_LEDGER:
            draw_ledger(axes, view, bottom - 10.0, self.width)

    def _write_column(self, axes: Any, column: TableColumn, values: Float[Floats, " K"], x: float) -> None:
        for k, value in enumerate(values):
            colour = style.BAD if column.alarm and value > 1e-6 else style.INK
            axes.text(x, self._row(k), column.text(float(value)), color=colour, ha="right", **self.text)
        if column.summed:
            known = values[~np.isnan(values)]
            total = column.text(float(known.sum()) if len(known) else float("nan"))
            axes.text(x, self.last - self.row_height / 2, total, color=style.MUTED, ha="right", **self.text)


def _tile_place(i: int, width: float, height: float) -> tuple[float, float, float]:
    """Return left, bottom and width of tile ``i``."""
    tile_width = (width - 2 * TILE_GAP) / 3
    bottom = height - 6 - TILE_HEIGHT - (i // 3) * (TILE_HEIGHT + TILE_GAP)
    return (i % 3) * (tile_width + TILE_GAP), bottom, tile_width


def _draw_tile_box(axes: Any, x: float, y: float, width: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    look: dict[str, Any] = {"boxstyle": "round,pad=0,rounding_size=5", "facecolor": TILE, "edgecolor": "none"}
    axes.add_patch(FancyBboxPatch((x, y), width, TILE_HEIGHT, **look))


def _write_tile(axes: Any, tile: FigureTile, x: float, y: float, width: float) -> None:
    text = {"va": "center_baseline"}
    axes.text(x + 9, y + 46, tile.title, fontsize=7, color=style.MUTED, **text)
    axes.text(x + width - 8, y + 46, tile.unit, fontsize=6.5, color=style.MUTED, ha="right", **text)
    axes.text(x + 9, y + 27, tile.value, fontsize=13, fontweight="bold", color=tile.colour, **text)
    axes.text(x + 9, y + 9, tile.note, fontsize=6.3, color=style.MUTED, **text)


@dataclass(frozen=True)
class TableColumn:
    """A column of the table: field of `SiteNumbers`, heading (the second line is the unit), format."""

    name: str
    heading: str
    text: Callable[[float], str] = style.compact_number
    summed: bool = True
    alarm: bool = False  # written in red where it is not 0


def columns(compiled: Compiled) -> list[TableColumn]:
    """Return the columns that the scenario has equipment for."""
    p = compiled.params
    battery = bool(np.any(p.battery_max_mwh > 0))
    renewable = bool(compiled.sites.renewable_mw.any())

    # Whether there is such equipment, and its column.
    every = (
        (True, TableColumn("facility_mw", "load\nMW")),
        (True, TableColumn("import_mw", "import\nMW")),
        (bool(compiled.export_limit_mw.any()), TableColumn("export_mw", "export\nMW")),
        (bool(np.any(p.generator_max_mw > 0)), TableColumn("generation_mw", "gener.\nMW")),
        (renewable, TableColumn("renewable_mw", "renew.\nMW")),
        (battery, TableColumn("battery_mw", "batt.\nMW", partial(style.signed, digits=2))),
        (battery, TableColumn("battery_share", "batt.\n% full", style.percent, summed=False)),
        (p.has_modes, TableColumn("saved_mw", "saved\nMW")),
        (True, TableColumn("shed_mw", "shed\nMW", alarm=True)),
        (True, TableColumn("served_gpuh", "served\nGPU-h")),
        (True, TableColumn("away_share", "remote\n%", style.percent, summed=False)),
        (True, TableColumn("inference_share", "GPUs\n%", style.percent, summed=False)),
    )
    return [column for there, column in every if there]
