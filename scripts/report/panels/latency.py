"""The energy-latency frontier: curves, what a millisecond buys, and how much of the work could go elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from scripts.report.data.look import (
    BLACK,
    BLUE,
    GREEN,
    MUTED,
    ORANGE,
    SKY,
    faint,
    figure,
    policy_colour,
    policy_label,
    rounded,
    safe,
)
from scripts.report.data.numbers import plural, small_percent
from scripts.report.data.parts import Choice, Panel, Plot, Section
from scripts.report.data.run_folders import Floats, RunFolder, Table
from scripts.report.panels.axes import (
    Axis,
    along,
    axes_of,
    axis_choice,
    class_choice,
    complete,
    intervals,
    means,
)
from scripts.report.panels.returns import returns_panel
from scripts.report.panels.routes import closed_panel, layers_panel, worth_panel

# Objective: its column for policies, divisor for the plot, unit, short title, colour.
QUANTITIES: dict[str, tuple[str, float, str, str, str]] = {
    "benefit": ("benefit_usd", 1000.0, "kUSD", "most benefit", ORANGE),
    "cost": ("cost_usd", 1000.0, "kUSD", "least cost", BLUE),
    "carbon": ("emissions_kg", 1000.0, "t", "least carbon", GREEN),
}
RID = (
    ("rid_latency", "could move by latency alone", SKY),
    ("rid_feasible", "by all limits", BLUE),
    ("rid_net", "with positive net benefit", GREEN),
    ("rid_real", "moved by the optimum", BLACK),
)


def frontier_sections(run: RunFolder) -> list[Section]:
    """Frontier, layers and closed routes; raises InputError where a file is missing or damaged."""
    frontier = run.table(
        "frontier.csv", ("seed", "point", "axis", "budget_ms", "scale", "objective", "value", "bound")
    )
    axes = axes_of(frontier)
    policies = (
        run.table("policies.csv", ("seed", "point", "axis", "policy")) if run.has("policies.csv") else None
    )
    panels = [
        curves_panel(frontier, axes, policies),
        returns_panel(run.table("returns.csv", ("quantity", "axis")), axes),
        rid_panel(run.table("rid.csv", ("seed", "point", "axis", "class")), axes, policies),
    ]
    routes = [
        layers_panel(run.table("layers.csv", ("seed", "point", "axis", "class", "layer", "share")), axes),
        closed_panel(run.table("closed.csv", ("point", "axis", "class", "reason", "routes", "share")), axes),
    ]
    if run.has("breakeven.csv"):
        worth = run.table("breakeven.csv", ("class", "region", "site"))
        first = worth.where(seed=worth.unique("seed")[0]) if worth.has("seed") else worth
        routes.append(worth_panel(first, run))
    return [
        Section(
            "frontier",
            "Frontier: what a millisecond buys",
            panels,
            "The same episodes are solved under tighter and looser latency budgets. Cost and carbon keep the service "
            "of the benefit plan at the tightest budget, so that nothing is saved by refusing work.",
        ),
        Section("routes", "Routes: where work is done, and why not elsewhere", routes),
    ]


# Curves -----------------------------------------------------------------------------------------------------


def curves_panel(frontier: Table, axes: Sequence[Axis], policies: Table | None) -> Panel:
    """V, F_cost and F_co2 against the budget, with intervals over episodes and what the solver left open."""
    names = policies.unique("policy") if policies is not None else []
    store: dict[str, Any] = {f"{axis.name}|title": axis.title for axis in axes}
    for axis in axes:
        for objective in QUANTITIES:
            store |= _curve_store(frontier, axis, objective, policies, names)
    plots = [_curve_plot(objective, names) for objective in QUANTITIES]
    for objective, (_, _, unit, title, _) in QUANTITIES.items():
        store[f"saved|{objective}|y"] = f"gain in {title} [{unit}]"
        store[f"total|{objective}|y"] = f"{title} [{unit}]"
    gaps = frontier.numbers("gap") if frontier.has("gap") else np.array([np.nan])
    worst = float(np.max(gaps[np.isfinite(gaps)], initial=0.0)) if np.isfinite(gaps).any() else float("nan")
    seeds = len(frontier.unique("seed"))
    return Panel(
        "curves",
        "Gain along the latency budget",
        "Each curve shows how much better the proven optimum gets as the budget grows, against the tightest budget "
        "(or the value itself). A curve that bends flat says that further milliseconds buy little. Bands: 95 % over "
        "episodes, widened by what the solver left open. With the value itself: dashed, what policies get there.",
        plots,
        [
            axis_choice(axes),
            Choice(
                "view", "Show", [("saved", "gain over the tightest budget"), ("total", "the value itself")]
            ),
        ],
        store,
        columns=3,
        notes=[
            f"Means over {plural(seeds, 'episode')}; largest solver gap at most {small_percent(worst)}.",
            planless_note(frontier, policies),
        ],
    )


def planless_note(frontier: Table, policies: Table | None) -> str:
    """Where no plan was found in time, and what the curves do there; "" where there is a plan everywhere."""
    lost = []
    for objective, (_, _, _, title, _) in QUANTITIES.items():
        values = frontier.where(objective=objective).numbers("value")
        lost.append((title, int((~np.isfinite(values)).sum()), len(values)))
    if policies is not None and policies.has("status"):
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


def _curve_store(
    frontier: Table, axis: Axis, objective: str, policies: Table | None, names: Sequence[str]
) -> dict[str, Any]:
    column, divisor, _, _, _ = QUANTITIES[objective]
    sign = -1.0 if objective == "benefit" else 1.0
    rows = frontier.where(axis=axis.name, objective=objective)
    found, bound = along(rows, axis, "value") / divisor, along(rows, axis, "bound") / divisor
    whole = np.isfinite(found).all(axis=1)
    kept = whole if whole.any() else np.ones_like(whole)  # means at all points are over the same episodes
    value = _gaps(found[kept])
    bound = np.where(np.isfinite(value), bound[kept], np.nan)
    store: dict[str, Any] = {f"{axis.name}|x": rounded(axis.grid)}
    bands = {
        "saved": (value[:, :1] - value, bound[:, :1] - value, value[:, :1] - bound),
        "total": (sign * value, sign * (value if sign < 0 else bound), sign * (bound if sign < 0 else value)),
    }
    for view, (middle, low, high) in bands.items():
        lower, upper = intervals(low), intervals(high)
        key = f"{axis.name}|{view}|{objective}"
        store[f"{key}|mean"] = rounded(means(middle))
        store[f"{key}|low"] = rounded(_edge(i.low, i.value) for i in lower)
        store[f"{key}|high"] = rounded(_edge(i.high, i.value) for i in upper)
    for name in names:
        assert policies is not None
        played = along(policies.where(axis=axis.name, policy=name), axis, column) / divisor
        store[f"{axis.name}|total|{objective}|{name}"] = rounded(means(_gaps(played[kept])))
    return store


def _gaps(values: Floats) -> Floats:
    """[S,P] with NaN at every point that lacks an episode."""
    return np.where(np.isfinite(values).all(axis=0), values, np.nan)


def _edge(side: float, value: float) -> float:
    """An edge of a band; the value itself where a single episode gives no interval."""
    return side if np.isfinite(side) else value


def _curve_plot(objective: str, names: Sequence[str]) -> Plot:
    _, _, unit, title, colour = QUANTITIES[objective]
    fig = figure(330, showlegend=bool(names), legend={"font": {"size": 11}}, hovermode="x unified")
    line = {"width": 0, "color": colour}
    fig.add_scatter(x=[], y=[], mode="lines", line=line, hoverinfo="skip", showlegend=False)
    fig.add_scatter(
        x=[], y=[], mode="lines", line=line, fill="tonexty", fillcolor=faint(colour, 0.2), hoverinfo="skip",
        showlegend=False,
    )  # fmt: skip
    form = "%{y:,.5g} " + unit
    fig.add_scatter(
        x=[], y=[], mode="lines+markers", name="optimum", line={"width": 2.2, "color": colour}, marker={"size": 6},
        hovertemplate=form,
    )  # fmt: skip
    key = f"{{axis}}|{{view}}|{objective}"
    binds = {f"data.{i}.y": f"{key}|{part}" for i, part in enumerate(("low", "high", "mean"))}
    for name in names:
        binds[f"data.{len(fig.data)}.y"] = f"{key}|{name}"
        look = {"width": 1.6, "color": policy_colour(name), "dash": "dash"}
        fig.add_scatter(
            x=[], y=[], mode="lines", name=safe(policy_label(name)), line=look, hovertemplate=form
        )
    binds |= {f"data.{i}.x": "{axis}|x" for i in range(len(fig.data))}
    binds["layout.xaxis.title.text"] = "{axis}|title"
    binds["layout.yaxis.title.text"] = f"{{view}}|{objective}|y"
    fig.update_layout(margin={"t": 12})
    fig.update_xaxes(nticks=6)
    return Plot(fig, f"Curve of {title} against the latency budget", binds)


# Relocatable demand -----------------------------------------------------------------------------------------


def rid_panel(rid: Table, axes: Sequence[Axis], policies: Table | None) -> Panel:
    """Four shares of work that could run elsewhere, or does."""
    classes = rid.unique("class")
    names = policies.unique("policy") if policies is not None else []
    store: dict[str, Any] = {f"{axis.name}|title": axis.title for axis in axes}
    for axis in axes:
        store[f"{axis.name}|x"] = rounded(axis.grid)
        for class_name in classes:
            rows = rid.where(axis=axis.name, **{"class": class_name})
            for column, _, _ in RID:
                store[f"{axis.name}|{class_name}|{column}"] = _percents(along(rows, axis, column))
        for name in names:
            assert policies is not None
            moved = along(policies.where(axis=axis.name, policy=name), axis, "rid_real")
            store[f"{axis.name}|all|{name}"] = _percents(moved)
    fig = figure(420, hovermode="x unified")
    binds: dict[str, str] = {}
    for column, label, colour in RID:
        binds[f"data.{len(fig.data)}.y"] = f"{{axis}}|{{class}}|{column}"
        fig.add_scatter(
            x=[], y=[], mode="lines+markers", name=label, line={"color": colour, "width": 2.2}, marker={"size": 6},
            hovertemplate="%{y:.1f} %",
        )  # fmt: skip
    for name in names:
        binds[f"data.{len(fig.data)}.y"] = f"{{axis}}|{{class}}|{name}"
        look = {"color": policy_colour(name), "width": 1.6, "dash": "dash"}
        label = f"moved by {safe(policy_label(name))}"
        fig.add_scatter(x=[], y=[], mode="lines", name=label, line=look, hovertemplate="%{y:.1f} %")
    binds |= {f"data.{i}.x": "{axis}|x" for i in range(len(fig.data))}
    binds["layout.xaxis.title.text"] = "{axis}|title"
    fig.update_yaxes(
        title_text="share of the energy of arrived work [%]", range=[-2, 103], title_font_color=MUTED
    )
    return Panel(
        "rid",
        "Relocatable demand (RID)",
        "Four shares of the energy of arrived work, never one: what latency alone would let move, what all limits let "
        "move, what would pay, and what the optimum really moves. The distances between the lines say what holds work "
        "at home.",
        [Plot(fig, "Lines of relocatable demand against the latency budget, four ways", binds)],
        [axis_choice(axes), class_choice(classes)],
        store,
    )


def _percents(values: Floats) -> list[float | None]:
    return rounded((100.0 * value for value in means(complete(values) if len(values) else values)), 4)
