"""The cost-carbon front: what cleaner costs, which policies lie how far from it, and hypervolumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from scripts.report.data.look import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    figure,
    policy_colour,
    policy_label,
    rounded,
    safe,
    tidy,
)
from scripts.report.data.numbers import number, percent, small_percent
from scripts.report.data.parts import Choice, Panel, PlainTable, Plot, Section
from scripts.report.data.run_folders import Floats, RunFolder, Table

NEEDED = ("seed", "method", "label", "cost_usd", "emissions_kg")
METHODS = {
    "epsilon": ("least cost under a cap on carbon", BLUE, "circle"),
    "price": ("least cost at a carbon price", ORANGE, "diamond"),
}
CHORDS = "front: chords between proven points"


def front_sections(run: RunFolder) -> list[Section]:
    """The front of a run; raises InputError where its files are damaged."""
    front = run.table("front.csv", NEEDED)
    volumes = run.table("hypervolume.csv", ("seed", "set", "hypervolume", "share_of_epsilon"))
    return [
        Section(
            "front",
            "Cost and carbon: the front",
            [front_panel(front, volumes), volume_panel(volumes)],
            "Every point of the front is the least cost at which an episode can be served with no more than so much "
            "carbon, or at so high a carbon price, at the service of the benefit optimum: proven up to the solver gap. "
            "What carbon itself is charged is left out of the cost, else it would count twice.",
        )
    ]


def front_panel(front: Table, volumes: Table) -> Panel:
    """Cost against emissions: both sweeps, all policies, and the reference point."""
    seeds = front.unique("seed")
    names = front.where(method="policy").unique("label") if "policy" in front.unique("method") else []
    store: dict[str, Any] = {}
    for seed in seeds:
        for method in METHODS:
            store |= _points(front.where(seed=seed, method=method), f"{seed}|{method}")
        store |= _chords(front.where(seed=seed), f"{seed}|chords")
        for name in names:
            store |= _points(front.where(seed=seed, method="policy", label=name), f"{seed}|policy|{name}")
        store |= _reference(volumes.where(seed=seed), seed)
    fig = figure(520, hovermode="closest")
    binds: dict[str, str] = {}

    def add(key: str, **look: Any) -> None:
        i = len(fig.data)
        binds.update({f"data.{i}.x": f"{key}|x", f"data.{i}.y": f"{key}|y", f"data.{i}.text": f"{key}|text"})
        hover = {} if "hoverinfo" in look else {"hovertemplate": "%{text}<extra></extra>"}
        fig.add_scatter(x=[], y=[], text=[], **hover, **look)

    add("{seed}|chords", mode="lines", name=CHORDS, line={"color": BLUE, "width": 2}, hoverinfo="skip")
    for method, (label, colour, symbol) in METHODS.items():
        marker = {"size": 8, "symbol": symbol, "color": colour}
        add(f"{{seed}}|{method}", mode="markers", name=label, marker=marker)
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
    less = front.has("meets_floor") and not all(value != 0 for value in front.numbers("meets_floor"))
    return Panel(
        "pareto",
        "What cleaner costs",
        "Down is cheaper, left is cleaner. The line joins the best points of both sweeps by straight chords: what lies "
        "between two of them was not solved, and plans a little below a chord may exist. What the last tonne avoided "
        "costs is in the hover text of the points where it is proven. A policy is as good as it is near to the line.",
        [Plot(fig, "Scatter of cost against emissions: front, carbon-price sweep and policies", binds)],
        [Choice("seed", "Episode (seed)", [(seed, seed) for seed in seeds])],
        store,
        notes=[
            _gap_note(front),
            "Policies marked in their hover text serve less than the floor of the front: they may lie below it."
            if less
            else "",
        ],
    )


def _gap_note(front: Table) -> str:
    if not front.has("gap"):
        return ""
    gaps = front.numbers("gap")
    gaps = gaps[np.isfinite(gaps)]
    return f"Largest solver gap of a point: at most {small_percent(float(gaps.max()))}." if len(gaps) else ""


def coordinates(rows: Table) -> tuple[Floats, Floats]:
    """Emissions [kg] and cost [USD], the weight of last resorts included, as the front compares them; NaN: no plan."""
    kg, usd = rows.numbers("emissions_kg"), rows.numbers("cost_usd")
    if rows.has("last_resort_kg") and rows.has("last_resort_usd"):
        kg, usd = kg + rows.numbers("last_resort_kg"), usd + rows.numbers("last_resort_usd")
    return kg, usd


def corners(kg: Floats, usd: Floats) -> list[int]:
    """Positions of the points that no other one beats in both, from the cleanest to the cheapest; NaN is left out."""
    found: list[int] = []
    for i in np.lexsort((usd, kg)).tolist():
        if np.isfinite(kg[i] + usd[i]) and (not found or usd[i] < usd[found[-1]]):
            found.append(i)
    return found


def _chords(rows: Table, key: str) -> dict[str, Any]:
    """The front of one episode: through what is best of both sweeps."""
    solved = rows.rows([i for i, method in enumerate(rows.text("method")) if method in METHODS])
    kg, usd = coordinates(solved)
    best = corners(kg, usd)
    if not best:
        return {}
    return {
        f"{key}|x": rounded(kg[best] / 1000.0),
        f"{key}|y": rounded(usd[best] / 1000.0),
        f"{key}|text": [],
    }


def _points(rows: Table, key: str) -> dict[str, Any]:
    if not len(rows):
        return {}
    kg, usd = coordinates(rows)
    return {
        f"{key}|x": rounded(kg / 1000.0),
        f"{key}|y": rounded(usd / 1000.0),
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
    if np.isfinite(value("slope_usd_per_t")) and rows.text("method")[i] == "epsilon":
        lines.append(f"the last tonne avoided costs {number(value('slope_usd_per_t'))} USD")
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
    """Hypervolume of each set as a share of that of the sweep of caps."""
    names = volumes.unique("set")
    rows = []
    for name in names:
        own = volumes.where(set=name)
        shares, sizes = own.numbers("share_of_epsilon"), own.numbers("hypervolume")
        label = {
            "epsilon": "caps on carbon",
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
        "carbon at once. 100 % is the sweep of caps: "
        "carbon prices, and what lies between the caps, may reach a little more. A policy "
        "that serves less than the front has none.",
        table=PlainTable(("set", "hypervolume, kUSD · t", "share of the caps', mean", "over episodes"), rows),
        open_table=True,
    )
