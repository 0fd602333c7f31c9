"""Plotly figures in the look of the report, whose traces and titles follow the selectors of their panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import plotly.graph_objects as go
import yaml
from plotly.subplots import make_subplots

from gridai_env.arrays.types import Floats
from scripts.report.data import palette
from scripts.report.data.names import rounded
from scripts.report.data.parts import Plot


def _looks(name: str) -> dict[str, Any]:
    """Return what a YAML file beside this one says of looks, with the colours of the palette."""
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    looks: dict[str, Any] = yaml.safe_load(Template(text).substitute(vars(palette)))
    return looks


LAYOUT, TRACES = _looks("look.yaml"), _looks("traces.yaml")
LOOK = go.layout.Template(layout=LAYOUT | {"colorway": list(palette.CYCLE)})
# Axes of time: few digits, upright also on a phone.
DATES: dict[str, Any] = {"type": "date", "tickformat": "%H:%M<br>%d %b", "nticks": 6, "tickangle": 0}
# What a trace lacks until a selector fills it.
EMPTY: dict[str, Any] = {"x": [], "y": [], "z": [], "text": [], "hovertext": [], "x0": 0, "dx": 1}


@dataclass
class Drawing:
    """A figure, and which of its parts follow the selectors (see `Plot`)."""

    figure: go.Figure
    binds: dict[str, str] = field(default_factory=dict)

    def add(
        self, kind: str, bound: Mapping[str, str] | None = None, row: int | None = None, **look: Any
    ) -> None:
        """Add a trace of a Plotly type, or of a look in ``traces.yaml``, in a row of the figure where it has several.

        ``bound`` maps paths inside the trace ("y", "error_y.array") to keys of the panel's store.
        """
        bound = bound or {}
        trace = len(self.figure.data)
        blank = {path: EMPTY[path] for path in bound if path in EMPTY}
        place = {} if row is None else {"row": row, "col": 1}

        self.figure.add_trace({**TRACES.get(kind, {"type": kind}), **blank, **look}, **place)
        self.binds |= {f"data.{trace}.{path}": key for path, key in bound.items()}

    def bind(self, **paths: str) -> None:
        """Let parts of the layout follow the selectors: ``xaxis_title_text`` is the path xaxis.title.text."""
        self.binds |= {f"layout.{path.replace('_', '.')}": key for path, key in paths.items()}

    def plot(self, alt: str) -> Plot:
        """Return the part of the page; ``alt`` says in words what it shows."""
        return Plot(self.figure, alt, self.binds)


def drawing(height: int, **layout: Any) -> Drawing:
    """Return an empty figure."""
    return Drawing(go.Figure(layout={"template": LOOK, "height": height, **layout}))


def stacked(height: int, rows: Sequence[float], gap: float, shared: bool = True, **layout: Any) -> Drawing:
    """Return an empty figure of several rows: relative heights, and the gap as a share of the figure."""
    figure = make_subplots(len(rows), 1, shared_xaxes=shared, vertical_spacing=gap, row_heights=list(rows))
    return Drawing(figure.update_layout(template=LOOK, height=height, **layout))


def stroke(colour: str, width: float = 2.2, **look: Any) -> dict[str, Any]:
    """Return the look of a line."""
    return {"color": colour, "width": width, **look}


def whiskers(values: Floats, low: Floats, high: Floats) -> tuple[list[float | None], list[float | None]]:
    """Return the lengths of error bars above and below: 0 where nothing is known at that side."""
    return _lengths(high - values), _lengths(values - low)


def _lengths(distances: Floats) -> list[float | None]:
    return rounded(np.maximum(np.nan_to_num(distances, nan=0.0, posinf=0.0, neginf=0.0), 0.0))
