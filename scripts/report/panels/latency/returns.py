"""Energy and carbon return on latency: what 100 ms of budget buy, step by step of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gridai_env.arrays.types import Float, Floats
from scripts.report.data import palette
from scripts.report.data.names import rounded
from scripts.report.data.numbers import number
from scripts.report.data.parts import Panel, PlainTable, Plot
from scripts.report.data.run_folders import Table
from scripts.report.drawing import drawing, error_bars, whiskers
from scripts.report.panels.latency.axes import Axis, axis_choice

# Objective of the curve: quantity in the file, unit, name, colour.
RETURNS = {
    "benefit": ("V", "USD", "most benefit", palette.BLUE),
    "cost": ("cost", "USD", "ERL: least cost", palette.BLUE),
    "carbon": ("carbon", "kg", "CRL: least carbon", palette.GREEN),
}
DRAWN = ("cost", "carbon")


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
            arc, low, high, per = _arcs(own, axis)
            above, below = whiskers(arc, low, high)
            key = f"{axis.name}|{objective}"
            store |= {f"{axis.name}|steps": _steps(own, axis), f"{key}|unit": f"{unit} {per}"}
            store |= {f"{key}|y": rounded(arc), f"{key}|plus": above, f"{key}|minus": below}
            rows += [
                (axis.label, name, step, number(a), f"{number(b)} to {number(c)}", f"{unit} {per}")
                for step, a, b, c in zip(_steps(own, axis), arc, low, high, strict=True)
            ]

    return Panel(
        "returns",
        [_returns_plot(objective) for objective in DRAWN],
        [axis_choice(axes)],
        store,
        table=PlainTable(("sweep", "quantity", "step", "arc", "95 % interval", "unit"), rows, names=3),
    )


def _arcs(
    own: Table, axis: Axis
) -> tuple[Float[Floats, " n"], Float[Floats, " n"], Float[Floats, " n"], str]:
    """Returns of the steps of an axis with the ends of their intervals, and what they are per."""
    column, factor, per = (
        ("arc_per_percent", 1.0, "per 1 %") if axis.is_scale else ("arc_per_ms", 100.0, "per 100 ms")
    )
    arc, low, high = (factor * own.numbers(column + end) for end in ("", "_low", "_high"))
    return arc, low, high, per


def _steps(own: Table, axis: Axis) -> list[str]:
    ends = ("from_scale", "to_scale") if axis.is_scale else ("from_ms", "to_ms")
    pairs = zip(*(own.numbers(name) for name in ends), strict=True)
    return [f"{number(first, 4)}–{number(last, 4)}" for first, last in pairs]


def _returns_plot(objective: str) -> Plot:
    _, _, name, colour = RETURNS[objective]
    title = {"text": name, "font": {"size": 13}, "x": 0, "xref": "paper"}
    out = drawing(330, showlegend=False, bargap=0.35, margin={"t": 30}, title=title)

    key = f"{{axis}}|{objective}"
    ends = {"error_y.array": f"{key}|plus", "error_y.arrayminus": f"{key}|minus"}
    out.add(
        "bar",
        {"x": "{axis}|steps", "y": f"{key}|y", **ends},
        marker={"color": colour},
        error_y=error_bars(),
        hovertemplate="%{x}: %{y:,.4g}<extra></extra>",
    )

    out.bind(yaxis_title_text=f"{key}|unit", xaxis_title_text="{axis}|title")
    # Steps are of unequal length: bars of equal width stand for names, not for numbers.
    out.figure.update_xaxes(type="category", tickangle=-35)
    return out.plot(f"Bars of {name} per step of the latency budget")
