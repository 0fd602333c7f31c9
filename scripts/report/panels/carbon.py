"""The cost-carbon front: cost of lower emissions, distance of policies from it, and hypervolumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gridai_env.arrays.types import Float, Floats
from scripts.report.data.names import policy_colour, policy_label, rounded, safe
from scripts.report.data.numbers import NOISE, number, percent, small_percent
from scripts.report.data.parts import Panel, PlainTable, Plot, Section, seed_choice
from scripts.report.data.run_folders import RunFolder, Table
from scripts.report.drawing import drawing

NEEDED = ("seed", "method", "label", "cost_usd", "emissions_kg")
METHODS = ("epsilon", "price")
SETS = {"epsilon": "caps on carbon", "price": "carbon prices", "policies": "all policies together"}


def front_sections(run: RunFolder) -> list[Section]:
    """Return the front of a run; raises InputError where its files are damaged."""
    front = run.table("front.csv", NEEDED)
    volumes = run.table("hypervolume.csv", ("seed", "set", "hypervolume", "share_of_epsilon"))
    return [Section("front", [front_panel(front, volumes), volume_panel(volumes)])]


# Front ------------------------------------------------------------------------------------------------------


def front_panel(front: Table, volumes: Table) -> Panel:
    """Return the panel of cost against emissions: both sweeps, all policies, and the reference point."""
    seeds = front.unique("seed")
    policies = front.where(method="policy").unique("label")

    # The selector chooses the episode, the legend the rest: keys begin with the seed.
    store: dict[str, Any] = {}
    for seed in seeds:
        own = front.where(seed=seed)
        store |= _chords(own, f"{seed}|chords") | _reference(volumes.where(seed=seed), f"{seed}|reference")
        for method in METHODS:
            store |= _points(own.where(method=method), f"{seed}|{method}")
        for name in policies:
            store |= _points(own.where(method="policy", label=name), f"{seed}|policy|{name}")

    less = front.has("meets_floor") and not front.numbers("meets_floor").all()
    note = (
        "Policies marked in their hover text serve less than the floor of the front: they may lie below it."
    )
    return Panel(
        "pareto",
        [_front_plot(policies)],
        [seed_choice(seeds)],
        store,
        notes=[_gap_note(front), note if less else ""],
    )


def _front_plot(policies: Sequence[str]) -> Plot:
    out = drawing(520, hovermode="closest")
    out.add("chords", {path: f"{{seed}}|chords|{path}" for path in ("x", "y")})

    # Hover texts hold what a point is: its cap or price, gap, and what its last tonne avoided costs.
    def points(look: str, key: str, **own: Any) -> None:
        out.add(look, {path: f"{{seed}}|{key}|{path}" for path in ("x", "y", "text")}, **own)

    for method in METHODS:
        points(method, method)
    for name in policies:
        own = {"name": safe(policy_label(name)), "marker_color": policy_colour(name)}
        points("policy", f"policy|{name}", **own)
    points("reference", "reference")
    out.figure.update_xaxes(title_text="emissions of the episode [t]")
    out.figure.update_yaxes(title_text="cost without charges on carbon [kUSD]")
    return out.plot("Scatter of cost against emissions: front, carbon-price sweep and policies")


def _gap_note(front: Table) -> str:
    """Return how well the points are proven; "" where no gap is known."""
    worst = _over(np.max, front.numbers("gap")) if front.has("gap") else np.nan
    return f"Largest solver gap of a point: at most {small_percent(worst)}." if np.isfinite(worst) else ""


def coordinates(rows: Table) -> tuple[Float[Floats, " n"], Float[Floats, " n"]]:
    """Return emissions [kg] and cost [USD] as the front compares them; NaN without a plan.

    Last resorts count with their weight.
    """
    kg, usd = rows.numbers("emissions_kg"), rows.numbers("cost_usd")
    if rows.has("last_resort_kg") and rows.has("last_resort_usd"):
        kg, usd = kg + rows.numbers("last_resort_kg"), usd + rows.numbers("last_resort_usd")
    return kg, usd


def corners(kg: Float[Floats, " n"], usd: Float[Floats, " n"]) -> list[int]:
    """Return positions of the non-dominated points, from the cleanest to the cheapest; NaN is left out."""
    found: list[int] = []
    for i in np.lexsort((usd, kg)).tolist():
        if np.isfinite(kg[i] + usd[i]) and (not found or usd[i] < usd[found[-1]]):
            found.append(i)
    return found


def _chords(rows: Table, key: str) -> dict[str, Any]:
    """Return the front of one episode: through what is best of both sweeps."""
    kg, usd = coordinates(rows.rows(i for i, method in enumerate(rows.text("method")) if method in METHODS))
    best = corners(kg, usd)
    return _place(key, kg[best], usd[best], []) if best else {}


def _points(rows: Table, key: str) -> dict[str, Any]:
    return _place(key, *coordinates(rows), [_hover(rows, i) for i in range(len(rows))]) if len(rows) else {}


def _place(key: str, kg: Floats, usd: Floats, texts: list[str]) -> dict[str, Any]:
    """Return points in tonnes and thousand USD."""
    return {f"{key}|x": rounded(kg / 1000.0), f"{key}|y": rounded(usd / 1000.0), f"{key}|text": texts}


def _reference(volumes: Table, key: str) -> dict[str, Any]:
    if not len(volumes) or not volumes.has("reference_cost_usd"):
        return {}
    kg, usd = volumes.numbers("reference_emissions_kg")[:1], volumes.numbers("reference_cost_usd")[:1]
    return _place(key, kg, usd, [f"<b>reference point</b><br>{_amounts(usd[0], kg[0])}"])


def _amounts(usd: float, kg: float) -> str:
    return f"{number(usd, 5)} USD, {number(kg / 1000.0, 5)} t"


def _hover(rows: Table, i: int) -> str:
    def value(name: str) -> float:
        return float(rows.numbers(name)[i]) if rows.has(name) else float("nan")

    cap_t, price, gap = value("cap_kg") / 1000.0, value("carbon_price_usd_per_t"), value("gap")
    # Only the sweep of caps proves what its last tonne costs.
    slope = value("slope_usd_per_t") if rows.text("method")[i] == "epsilon" else float("nan")
    facts = [
        (cap_t, f"cap {number(cap_t, 5)} t"),
        (price, f"carbon price {number(price)} USD/t"),
        (slope, f"the last tonne avoided costs {number(slope)} USD"),
        (gap, f"solver gap {small_percent(gap)}"),
    ]

    lines = [f"<b>{safe(policy_label(rows.text('label')[i]))}</b>"]
    lines.append(_amounts(value("cost_usd"), value("emissions_kg")))
    lines += [text for known, text in facts if np.isfinite(known)]
    if value("meets_floor") == 0:
        lines.append("serves less than the floor")
    return "<br>".join(lines)


# Hypervolume ------------------------------------------------------------------------------------------------


def volume_panel(volumes: Table) -> Panel:
    """Return the table of hypervolumes as shares of that of the sweep of caps."""
    rows = []
    for name in volumes.unique("set"):
        own = volumes.where(set=name)
        shares, sizes = own.numbers("share_of_epsilon"), own.numbers("hypervolume")
        if own.has("reference_cost_usd"):  # a volume of rounding alone is none
            room = np.abs(own.numbers("reference_cost_usd") * own.numbers("reference_emissions_kg"))
            shares = np.where(whole_of(volumes, own) > NOISE * room, shares, np.nan)
        low, high = percent(_over(np.min, shares)), percent(_over(np.max, shares))
        rows.append(
            (
                SETS.get(name, policy_label(name)),
                number(_over(np.mean, sizes) / 1e6),
                percent(_over(np.mean, shares)),
                low if low == high else f"{low} to {high}",
            )
        )

    return Panel(
        "hypervolume",
        table=PlainTable(("set", "hypervolume, kUSD · t", "share of the caps', mean", "over episodes"), rows),
        open_table=True,
    )


def whole_of(volumes: Table, rows: Table) -> Float[Floats, " n"]:
    """Return the volume of the sweep of caps in the episode of each row [USD kg]; NaN without one."""
    caps = volumes.where(set="epsilon")
    found = dict(zip(caps.text("seed"), caps.numbers("hypervolume"), strict=True))
    return np.array([found.get(seed, np.nan) for seed in rows.text("seed")])


def _over(statistic: Callable[[Floats], Any], values: Floats) -> float:
    """Return a statistic of the finite values; NaN without any."""
    there = values[np.isfinite(values)]
    return float(statistic(there)) if len(there) else float("nan")
