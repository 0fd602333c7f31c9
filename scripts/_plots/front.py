"""The cost-carbon front: what cleaner costs, which policies lie how far from it, and hypervolumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from scripts._page.numbers import number, percent, small_percent
from scripts._page.runs import Floats, Run, Table
from scripts._plots.style import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    Choice,
    Grid,
    Panel,
    Plot,
    Section,
    figure,
    policy_colour,
    policy_label,
    rounded,
    safe,
    tidy,
)

NEEDED = ("seed", "method", "label", "cost_usd", "emissions_kg")
LINES = {
    "epsilon": ("least cost under a cap on carbon", BLUE, "circle"),
    "price": ("least cost at a carbon price", ORANGE, "diamond"),
}


def front_sections(run: Run) -> list[Section]:
    """The front of a run; raises InputError where its files are damaged."""
    front = run.table("front.csv", NEEDED)
    volumes = run.table("hypervolume.csv", ("seed", "set", "hypervolume", "share_of_epsilon"))
    return [
        Section(
            "front",
            "Cost and carbon: the front",
            [front_panel(front, volumes), volume_panel(volumes)],
            "Every point of the front is the least cost at which an episode can be served with no more than so much "
            "carbon, at the service of the benefit optimum. Nothing that serves as much lies below it. "
            "What carbon itself is charged is left out of the cost, else it would count twice.",
        )
    ]


def front_panel(front: Table, volumes: Table) -> Panel:
    """Cost against emissions: both sweeps, all policies, and the reference point."""
    seeds = front.unique("seed")
    names = front.where(method="policy").unique("label") if "policy" in front.unique("method") else []
    store: dict[str, Any] = {}
    for seed in seeds:
        for method in LINES:
            store |= _line(front.where(seed=seed, method=method), f"{seed}|{method}")
        for name in names:
            store |= _points(front.where(seed=seed, method="policy", label=name), f"{seed}|policy|{name}")
        store |= _reference(volumes.where(seed=seed), seed)
    fig = figure(520, hovermode="closest")
    binds: dict[str, str] = {}

    def add(key: str, **look: Any) -> None:
        i = len(fig.data)
        binds.update({f"data.{i}.x": f"{key}|x", f"data.{i}.y": f"{key}|y", f"data.{i}.text": f"{key}|text"})
        fig.add_scatter(x=[], y=[], text=[], hovertemplate="%{text}<extra></extra>", **look)

    for method, (label, colour, symbol) in LINES.items():
        mode = "lines+markers" if method == "epsilon" else "markers"
        marker = {"size": 8, "symbol": symbol, "color": colour}
        add(f"{{seed}}|{method}", mode=mode, name=label, line={"color": colour, "width": 2}, marker=marker)
    for name in names:
        marker = {
            "size": 13,
            "symbol": "square",
            "color": policy_colour(name),
            "line": {"color": BLACK, "width": 1},
        }
        add(f"{{seed}}|policy|{name}", mode="markers", name=safe(policy_label(name)), marker=marker)
    marker = {"size": 11, "symbol": "x-thin", "color": GREY, "line": {"color": GREY, "width": 2}}
    add(
        "{seed}|reference",
        mode="markers",
        name="reference point of the hypervolume",
        marker=marker,
        visible=True,
    )
    fig.update_xaxes(title_text="emissions of the episode [t]")
    fig.update_yaxes(title_text="cost without charges on carbon [kUSD]")
    refused = front.has("meets_floor") and not all(value != 0 for value in front.numbers("meets_floor"))
    return Panel(
        "pareto",
        "What cleaner costs",
        "Down is cheaper, left is cleaner. The slope of the line is the price of the next tonne that is saved. A "
        "policy is as good as its distance to the line is small.",
        [Plot(fig, "Scatter of cost against emissions: front, carbon-price sweep and policies", binds)],
        [Choice("seed", "Episode (seed)", [(seed, seed) for seed in seeds])],
        store,
        notes=[
            _gap_note(front),
            "Policies marked in their hover text serve less than the floor of the front: they may lie below it."
            if refused
            else "",
        ],
    )


def _gap_note(front: Table) -> str:
    if not front.has("gap"):
        return ""
    gaps = front.numbers("gap")
    gaps = gaps[np.isfinite(gaps)]
    return f"Largest solver gap of a point: at most {small_percent(float(gaps.max()))}." if len(gaps) else ""


def _line(rows: Table, key: str) -> dict[str, Any]:
    order = np.argsort(rows.numbers("emissions_kg"), kind="stable")
    return _points(rows.rows(order.tolist()), key)


def _points(rows: Table, key: str) -> dict[str, Any]:
    if not len(rows):
        return {}
    return {
        f"{key}|x": rounded(rows.numbers("emissions_kg") / 1000.0),
        f"{key}|y": rounded(rows.numbers("cost_usd") / 1000.0),
        f"{key}|text": [_hover(rows, i) for i in range(len(rows))],
    }


def _hover(rows: Table, i: int) -> str:
    def value(name: str) -> float:
        return float(rows.numbers(name)[i]) if rows.has(name) else float("nan")

    lines = [f"<b>{safe(policy_label(rows.text('label')[i]))}</b>"]
    lines.append(f"{number(value('cost_usd'), 5)} USD, {number(value('emissions_kg') / 1000.0, 5)} t")
    if np.isfinite(value("cap_kg")):
        lines.append(f"cap {number(value('cap_kg') / 1000.0, 5)} t")
    if np.isfinite(value("carbon_price_usd_per_t")):
        lines.append(f"carbon price {number(value('carbon_price_usd_per_t'))} USD/t")
    if np.isfinite(value("gap")):
        lines.append(f"solver gap {small_percent(value('gap'))}")
    if value("meets_floor") == 0:
        lines.append("serves less than the floor")
    return "<br>".join(lines)


def _reference(volumes: Table, seed: str) -> dict[str, Any]:
    if not len(volumes) or not volumes.has("reference_cost_usd"):
        return {}
    cost = float(volumes.numbers("reference_cost_usd")[0])
    emissions = float(volumes.numbers("reference_emissions_kg")[0])
    text = f"<b>reference point</b><br>{number(cost, 5)} USD, {number(emissions / 1000.0, 5)} t"
    key = f"{seed}|reference"
    return {f"{key}|x": [tidy(emissions / 1000.0)], f"{key}|y": [tidy(cost / 1000.0)], f"{key}|text": [text]}


def _over(statistic: Callable[[Floats], Any], values: Floats) -> float:
    """A statistic of the numbers that there are; NaN without any."""
    there = values[np.isfinite(values)]
    return float(statistic(there)) if len(there) else float("nan")


def _spread(shares: Floats) -> str:
    low, high = percent(_over(np.min, shares)), percent(_over(np.max, shares))
    return low if low == high else f"{low} to {high}"


def volume_panel(volumes: Table) -> Panel:
    """Hypervolume of each set as a share of the front's."""
    names = volumes.unique("set")
    rows = []
    for name in names:
        own = volumes.where(set=name)
        shares, sizes = own.numbers("share_of_epsilon"), own.numbers("hypervolume")
        label = {
            "epsilon": "front (cap on carbon)",
            "price": "carbon prices",
            "policies": "all policies together",
        }
        rows.append(
            (
                label.get(name, policy_label(name)),
                number(_over(np.mean, sizes) / 1e6),
                percent(_over(np.mean, shares)),
                _spread(shares),
            )
        )
    return Panel(
        "hypervolume",
        "Hypervolume",
        "The area between a set of points and the reference point: the larger, the nearer to the front, in cost and "
        "carbon at once. 100 % is the front as swept: "
        "other points of the true front may reach a little more. A policy "
        "that serves less than the front has none.",
        table=Grid(("set", "hypervolume, kUSD · t", "share of the front's, mean", "over episodes"), rows),
        open_table=True,
    )
