"""Energy and carbon return on latency: what 100 ms of budget buy, step by step of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gridai_env.arrays.types import Float, Floats
from scripts.report.data import palette
from scripts.report.data.names import rounded
from scripts.report.data.numbers import NOTHING, number, with_intervals
from scripts.report.data.parts import Panel, PlainTable, Plot
from scripts.report.data.run_folders import Table
from scripts.report.drawing import drawing, whiskers
from scripts.report.panels.latency.axes import Axis, axis_choice

# Objective of the curve: quantity in the file, unit, name, colour.
RETURNS = {
    "benefit": ("V", "USD", "most benefit", palette.BLUE),
    "cost": ("cost", "USD", "least cost (ERL)", palette.BLUE),
    "carbon": ("carbon", "kg", "least carbon (CRL)", palette.GREEN),
}
DRAWN = ("cost", "carbon")
# On an axis in ms and on that of the scale: the least width of a step with a return (ms, %), and what it is per.
LEAST_WIDTH, PER = (10.0, 1.0), (100.0, 1.0)


def returns_panel(returns: Table, axes: Sequence[Axis]) -> Panel:
    """Return the panel of ERL and CRL between neighbouring points, with their intervals."""
    store: dict[str, Any] = {}
    rows: list[tuple[str, ...]] = []
    for axis in axes:
        what = "scale" if axis.is_scale else axis.label
        store[f"{axis.name}|title"] = f"step of the {what}"

        for objective, (quantity, unit, name, _) in RETURNS.items():
            own = returns.where(axis=axis.name, quantity=quantity)
            if not len(own):
                continue
            width, arcs, per = _arcs(own, axis)
            fall, *ends = (width * arc for arc in arcs)
            above, below = whiskers(fall, *ends)
            key = f"{axis.name}|{objective}"
            store |= {f"{axis.name}|steps": _steps(own, axis), f"{key}|unit": f"fall in the step [{unit}]"}
            store |= {f"{key}|y": rounded(fall), f"{key}|plus": above, f"{key}|minus": below}

            # A quotient over a millisecond is large whatever the fall.
            wide = width >= LEAST_WIDTH[axis.is_scale]
            falls = with_intervals(fall, *ends)
            rates = with_intervals(*(PER[axis.is_scale] * np.where(wide, arc, np.nan) for arc in arcs))
            steps = zip(_steps(own, axis), falls, rates, strict=True)
            rows += [
                (axis.label, name, step, f"{a} {unit}", b if b == NOTHING else f"{b} {unit} {per}")
                for step, a, b in steps
            ]

    return Panel(
        "returns",
        [_returns_plot(objective) for objective in DRAWN],
        [axis_choice(axes)],
        store,
        table=PlainTable(
            ("sweep", "quantity", "step", "fall in the step [95 %]", "return [95 %]"), rows, names=3
        ),
    )


def _arcs(own: Table, axis: Axis) -> tuple[Float[Floats, " n"], list[Float[Floats, " n"]], str]:
    """Return widths of the steps (ms, or per cent of scale), their returns per unit of width, and what per."""
    column = "arc_per_percent" if axis.is_scale else "arc_per_ms"
    width = np.subtract(*(own.numbers(name) for name in reversed(_ends(axis))))
    arcs = [own.numbers(column + end) for end in ("", "_low", "_high")]
    return (100.0 * width, arcs, "per 1 %") if axis.is_scale else (width, arcs, "per 100 ms")


def _ends(axis: Axis) -> tuple[str, str]:
    return ("from_scale", "to_scale") if axis.is_scale else ("from_ms", "to_ms")


def _steps(own: Table, axis: Axis) -> list[str]:
    pairs = zip(*(own.numbers(name) for name in _ends(axis)), strict=True)
    return [f"{number(first, 4)}–{number(last, 4)}" for first, last in pairs]


def _returns_plot(objective: str) -> Plot:
    _, _, name, colour = RETURNS[objective]
    title = {"text": name, "font": {"size": 13}, "x": 0, "xref": "paper"}
    out = drawing(330, showlegend=False, bargap=0.35, margin={"t": 30}, title=title)

    key = f"{{axis}}|{objective}"
    ends = {"error_y.array": f"{key}|plus", "error_y.arrayminus": f"{key}|minus"}
    out.add("falls", {"x": "{axis}|steps", "y": f"{key}|y", **ends}, marker_color=colour)
    out.bind(yaxis_title_text=f"{key}|unit", xaxis_title_text="{axis}|title")
    # Steps are of unequal length: bars of equal width stand for names, not for numbers.
    out.figure.update_xaxes(type="category", tickangle=-35)
    return out.plot(f"Bars of {name} per step of the latency budget")
