"""The energy-latency frontier: how much better the proven optimum gets along the latency budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gridai_env.analysis.statistics import Interval
from gridai_env.arrays.types import Float, Floats
from scripts.report.data import palette
from scripts.report.data.names import policy_label, rounded
from scripts.report.data.numbers import plural, small_percent
from scripts.report.data.parts import Choice, Panel, Plot
from scripts.report.data.run_folders import Table
from scripts.report.panels.latency import axes as sweep

# Objective: its column for policies, unit (a thousand of the file's), short title, colour.
OBJECTIVES: dict[str, tuple[str, str, str, str]] = {
    "benefit": ("benefit_usd", "kUSD", "most benefit", palette.ORANGE),
    "cost": ("cost_usd", "kUSD", "least cost", palette.BLUE),
    "carbon": ("emissions_kg", "t", "least carbon", palette.GREEN),
}


def curves_panel(frontier: Table, axes: Sequence[sweep.Axis], policies: Table) -> Panel:
    """Return the curves V, F_cost and F_co2 against the budget, with their intervals over episodes."""
    names = policies.unique("policy")
    store = sweep.axis_store(axes)
    for objective, (_, unit, title, _) in OBJECTIVES.items():
        store |= {
            f"saved|{objective}|y": f"gain in {title} [{unit}]",
            f"total|{objective}|y": f"{title} [{unit}]",
        }
        for axis in axes:
            store |= _curve_store(frontier, axis, objective, policies)

    return Panel(
        "curves",
        [_curve_plot(objective, names) for objective in OBJECTIVES],
        [
            sweep.axis_choice(axes),
            Choice(
                "view", "Show", [("saved", "gain over the tightest budget"), ("total", "the value itself")]
            ),
        ],
        store,
        columns=3,
        notes=[_gap_note(frontier), planless_note(frontier, policies)],
    )


def _gap_note(frontier: Table) -> str:
    gaps = frontier.numbers("gap") if frontier.has("gap") else np.array([np.nan])
    known = gaps[np.isfinite(gaps)]
    worst = float(known.max(initial=0.0)) if len(known) else float("nan")
    seeds = plural(len(frontier.unique("seed")), "episode")
    return f"Means over {seeds}; largest solver gap at most {small_percent(worst)}."


def planless_note(frontier: Table, policies: Table) -> str:
    """Return where no plan was found in time, and what the curves do there; "" where there is a plan everywhere."""
    lost = []
    for objective, (_, _, title, _) in OBJECTIVES.items():
        values = frontier.where(objective=objective).numbers("value")
        lost.append((title, int((~np.isfinite(values)).sum()), len(values)))
    if policies.has("status"):
        for name in policies.unique("policy"):
            status = policies.where(policy=name).text("status")
            lost.append((policy_label(name), status.count("time_limit"), len(status)))

    texts = [f"{name} at {count} of {plural(total, 'point')}" for name, count, total in lost if count]
    if not texts:
        return ""
    return (
        f"No plan in time: {', '.join(texts)}. An optimum's curve then keeps to the episodes that have a plan at every "
        "point; where no episode has, and for policies, the curve is interrupted at points that lack a plan."
    )


def _curve_store(frontier: Table, axis: sweep.Axis, objective: str, policies: Table) -> dict[str, Any]:
    """Return curve and band of one objective, and what policies get."""
    rows = frontier.where(axis=axis.name, objective=objective)
    value, bound = sweep.along(rows, axis, "value") / 1000.0, sweep.along(rows, axis, "bound") / 1000.0
    # Means at all points are over the same episodes: those with a plan everywhere, where there are some.
    whole = np.isfinite(value).all(axis=1)
    kept = whole if whole.any() else np.ones_like(whole)
    value = _with_gaps(value[kept])
    bound = np.where(np.isfinite(value), bound[kept], np.nan)

    # The programs minimise: the benefit stands there with the opposite sign, and its bound lies above it.
    total = (-value, -value, -bound) if objective == "benefit" else (value, bound, value)
    first = value[:, :1]
    views = {"saved": (first - value, bound[:, :1] - value, first - bound), "total": total}
    store: dict[str, Any] = {}
    for view, (middle, low, high) in views.items():
        key = f"{axis.name}|{view}|{objective}"
        store[f"{key}|mean"] = rounded(sweep.means(middle))
        store[f"{key}|low"] = rounded(_edge(one, one.low) for one in sweep.intervals(low))
        store[f"{key}|high"] = rounded(_edge(one, one.high) for one in sweep.intervals(high))

    for name in policies.unique("policy"):
        played = (
            sweep.along(policies.where(axis=axis.name, policy=name), axis, OBJECTIVES[objective][0]) / 1000.0
        )
        store[f"{axis.name}|total|{objective}|{name}"] = rounded(sweep.means(_with_gaps(played[kept])))
    return store


def _with_gaps(values: Float[Floats, "S P"]) -> Float[Floats, "S P"]:
    """Return the values with NaN at every point that lacks an episode."""
    return np.where(np.isfinite(values).all(axis=0), values, np.nan)


def _edge(interval: Interval, side: float) -> float:
    """Return an edge of a band; the value itself where a single episode gives no interval."""
    return side if np.isfinite(side) else interval.value


def _curve_plot(objective: str, policies: Sequence[str]) -> Plot:
    _, unit, title, colour = OBJECTIVES[objective]
    out = sweep.axis_drawing(330, showlegend=bool(policies), legend={"font": {"size": 11}}, margin={"t": 12})
    key, hover = f"{{axis}}|{{view}}|{objective}", "%{y:,.5g} " + unit

    # The band is filled between two lines without width, drawn first so that the curve lies on top.
    edge: dict[str, Any] = {"line": {"width": 0, "color": colour}, "hoverinfo": "skip", "showlegend": False}
    sweep.add_curve(out, f"{key}|low", **edge)
    sweep.add_curve(out, f"{key}|high", **edge, fill="tonexty", fillcolor=palette.faint(colour, 0.2))
    sweep.add_curve(out, f"{key}|mean", "optimum", colour, hovertemplate=hover)
    sweep.add_policies(out, {name: f"{key}|{name}" for name in policies}, hover)

    out.bind(yaxis_title_text=f"{{view}}|{objective}|y")
    out.figure.update_xaxes(nticks=6)
    return out.plot(f"Curve of {title} against the latency budget")
