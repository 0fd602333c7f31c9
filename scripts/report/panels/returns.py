"""Energy and carbon return on latency: what 100 ms of budget buy, step by step of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from scripts.report.data.look import BLUE, GREEN, figure, rounded
from scripts.report.data.numbers import number
from scripts.report.data.parts import Panel, PlainTable, Plot
from scripts.report.data.run_folders import Floats, Table
from scripts.report.panels.axes import Axis, axis_choice

# Objective of the curve: quantity in the file, unit, name, colour.
RETURNS = {
    "benefit": ("V", "USD", "most benefit", BLUE),
    "cost": ("cost", "USD", "ERL: least cost", BLUE),
    "carbon": ("carbon", "kg", "CRL: least carbon", GREEN),
}


def returns_panel(returns: Table, axes: Sequence[Axis]) -> Panel:
    """ERL and CRL between neighbouring points, with their intervals."""
    store: dict[str, Any] = {}
    rows: list[tuple[str, ...]] = []
    for axis in axes:
        for objective, (quantity, unit, name, _) in RETURNS.items():
            own = returns.where(axis=axis.name, quantity=quantity)
            if len(own):
                store |= _return_store(own, axis, objective, unit)
                rows += _return_rows(own, axis, name, unit)
    plots = []
    for objective in ("cost", "carbon"):
        _, _, name, colour = RETURNS[objective]
        fig = figure(330, showlegend=False, bargap=0.35, margin={"t": 30})
        fig.update_layout(title={"text": name, "font": {"size": 13}, "x": 0, "xref": "paper"})
        fig.add_bar(
            x=[],
            y=[],
            marker={"color": colour},
            error_y={"type": "data", "symmetric": False, "color": "#55606b", "thickness": 1.5, "width": 4},
            hovertemplate="%{x}: %{y:,.4g}<extra></extra>",
        )
        key = f"{{axis}}|{objective}"
        binds = {
            "data.0.x": "{axis}|steps",
            "data.0.y": f"{key}|y",
            "data.0.error_y.array": f"{key}|plus",
            "data.0.error_y.arrayminus": f"{key}|minus",
            "layout.yaxis.title.text": f"{key}|unit",
            "layout.xaxis.title.text": "{axis}|title",
        }
        fig.update_xaxes(type="category", tickangle=-35)
        plots.append(Plot(fig, f"Bars of {name} per step of the latency budget", binds))
    store |= {
        f"{axis.name}|title": f"step of the {axis.label.replace('all budgets together', 'scale')}"
        for axis in axes
    }
    return Panel(
        "returns",
        "ERL and CRL: return on latency",
        "Energy return on latency (ERL) is the fall of the least cost, carbon return (CRL) that of the least "
        "emissions, per 100 ms of budget (scale axis: per 1 %). Tall bars are the steps at which new routes open.",
        plots,
        [axis_choice(axes)],
        store,
        table=PlainTable(("sweep", "quantity", "step", "arc", "95 % interval", "unit"), rows, names=3),
    )


def _per(axis: Axis) -> tuple[str, float, str]:
    """Column, factor and words of a return on this axis."""
    return ("arc_per_percent", 1.0, "per 1 %") if axis.is_scale else ("arc_per_ms", 100.0, "per 100 ms")


def _steps(own: Table, axis: Axis) -> list[str]:
    ends = ("from_scale", "to_scale") if axis.is_scale else ("from_ms", "to_ms")
    pairs = zip(*(own.numbers(name) for name in ends), strict=True)
    return [f"{number(first, 4)}–{number(last, 4)}" for first, last in pairs]


def _return_store(own: Table, axis: Axis, objective: str, unit: str) -> dict[str, Any]:
    column, factor, per = _per(axis)
    arc, low, high = (factor * own.numbers(column + end) for end in ("", "_low", "_high"))
    key = f"{axis.name}|{objective}"
    return {
        f"{axis.name}|steps": _steps(own, axis),
        f"{key}|y": rounded(arc),
        f"{key}|plus": _whisker(high - arc),
        f"{key}|minus": _whisker(arc - low),
        f"{key}|unit": f"{unit} {per}",
    }


def _whisker(lengths: Floats) -> list[float | None]:
    """Lengths of one side of an error bar: none where nothing is known at that side."""
    return rounded(np.maximum(np.nan_to_num(lengths, nan=0.0, posinf=0.0, neginf=0.0), 0.0))


def _return_rows(own: Table, axis: Axis, name: str, unit: str) -> list[tuple[str, ...]]:
    column, factor, per = _per(axis)
    arc, low, high = (factor * own.numbers(column + end) for end in ("", "_low", "_high"))
    return [
        (axis.label, name, step, number(a), f"{number(b)} to {number(c)}", f"{unit} {per}")
        for step, a, b, c in zip(_steps(own, axis), arc, low, high, strict=True)
    ]
