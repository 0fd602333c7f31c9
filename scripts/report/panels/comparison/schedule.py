"""Schedules hour by hour: two policies side by side, site by site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gridai_env.arrays.types import Float, Floats
from scripts.report.data import palette
from scripts.report.data.names import named, policy_label, rounded, safe, tidy
from scripts.report.data.numbers import number, seed_text
from scripts.report.data.parts import Panel, Plot, choice_of, seed_choice
from scripts.report.drawing import DATES, Drawing, stacked, stroke
from scripts.report.panels.comparison.episodes import DIGITS, ZERO, EpisodeTables, held, over_time

# Stacked upwards, and downwards: column, name, colour.
Layer = tuple[str, str, str]
SUPPLY, USE = ([(column, *look) for column, look in named(side).items()] for side in ("supply", "use"))
PRICE, CARBON, GPUS = "buy_usd_per_mwh", "carbon_kg_per_mwh", "available_gpus"  # no policy changes them
HEIGHTS = {
    "power [MW]": 0.36,
    "busy GPUs": 0.16,
    "battery [MWh]": 0.16,
    "price [USD/MWh]": 0.16,
    "carbon [kg/MWh]": 0.16,
}


@dataclass(frozen=True)
class _Layers:
    """What is drawn: only what is anything but 0 somewhere."""

    supply: list[Layer]
    use: list[Layer]
    battery: bool


def schedule_panel(episodes: EpisodeTables) -> Panel:
    """Return the panel of power, GPUs, battery, price and carbon of a site under two policies."""
    layers = _Layers(
        [layer for layer in SUPPLY if episodes.moves_at_a_site(layer[0])],
        [layer for layer in USE if episodes.moves_at_a_site(layer[0])],
        episodes.moves_at_a_site("battery_mwh"),
    )

    # Both figures have the same rows and, by their store, the same scales: they are compared side by side.
    missing = "The optimum is not among the policies of this run: add milp to --policies to see it here."
    left, right = episodes.pair
    return Panel(
        "schedule",
        [_side(side, layers) for side in ("left", "right")],
        [
            choice_of("site", "Site", episodes.sites),
            seed_choice(episodes.seeds),
            episodes.policy_choice("left", "Left or first", left),
            episodes.policy_choice("right", "Right or second", right),
        ],
        _store(episodes, layers),
        notes=[
            f"Hourly data of seeds {seed_text(list(episodes.seeds))}; those of all seeds lie in the run folder.",
            "" if "milp" in episodes.policies else missing,
        ],
    )


# Data -------------------------------------------------------------------------------------------------------


def _store(episodes: EpisodeTables, layers: _Layers) -> dict[str, Any]:
    """Return all curves, keyed by policy, seed, column and site; what no policy changes is there once per seed."""
    store: dict[str, Any] = dict(episodes.clock)
    for site in episodes.sites:
        most = max(float(values.max()) for values in episodes.each(f"battery_mwh/{site}"))
        store[f"battery|{site}"] = [0, tidy(1.08 * most + 1e-3, DIGITS)]

    for seed in episodes.seeds:
        for site in episodes.sites:
            store[f"utc|{seed}|{site}"] = safe(episodes.axis_title(seed, site))
            store[f"range|{seed}|{site}"] = _power_range(episodes, seed, site, layers)
            for column in (PRICE, CARBON, GPUS):
                store[f"{seed}|{column}|{site}"] = held(episodes.shared(seed, f"{column}/{site}"))
        for policy in episodes.policies:
            usd = float(episodes.column(policy, seed, "benefit_usd").sum())
            title = f"<b>{safe(policy_label(policy))}</b><br>benefit {number(usd, 4)} USD"
            store[f"title|{policy}|{seed}"] = title
            for site in episodes.sites:
                curves = _site_curves(episodes, policy, seed, site, layers)
                store |= {f"{policy}|{seed}|{name}|{site}": values for name, values in curves.items()}
    return store


def _site_curves(
    episodes: EpisodeTables, policy: str, seed: int, site: str, layers: _Layers
) -> dict[str, list[float | None]]:
    """Return curves of one site under one policy; layers that are 0 throughout are left out."""

    def of(column: str) -> Float[Floats, " T"]:
        return episodes.column(policy, seed, f"{column}/{site}")

    power = {column: of(column) for column, _, _ in layers.supply}
    power |= {column: -of(column) for column, _, _ in layers.use}
    found = {name: held(values) for name, values in power.items() if np.abs(values).max() > ZERO}
    found |= {column: held(of(column)) for column in ("facility_mw", "busy_gpus")}
    if layers.battery:
        found["battery_mwh"] = rounded(of("battery_mwh"), DIGITS)
    return found


def _power_range(episodes: EpisodeTables, seed: int, site: str, layers: _Layers) -> list[float | None]:
    """Return the range of power [MW] that holds every policy's schedule of a site."""

    def most(policy: str, items: Sequence[Layer]) -> float:
        columns = [episodes.column(policy, seed, f"{column}/{site}") for column, _, _ in items]
        return float(np.max(sum(columns, np.zeros(1))))

    high = max(0.0, *(most(policy, layers.supply) for policy in episodes.policies))
    low = max(0.0, *(most(policy, layers.use) for policy in episodes.policies))
    return [tidy(-1.08 * low - 0.01 * high, DIGITS), tidy(1.06 * high + 1e-3, DIGITS)]


# Figure -----------------------------------------------------------------------------------------------------


def _side(side: str, layers: _Layers) -> Plot:
    """Return the figure of one side; its curves follow the selectors."""
    heights = {title: h for title, h in HEIGHTS.items() if layers.battery or title != "battery [MWh]"}
    out = stacked(
        860 if layers.battery else 740,
        list(heights.values()),
        0.028,
        hovermode="x unified",
        legend={"traceorder": "normal"},
        margin={"l": 66, "r": 12, "t": 52},
        title={"text": "", "font": {"size": 14}, "x": 0, "xref": "paper", "y": 0.985, "yanchor": "top"},
    )
    _add_curves(out, side, layers)
    _label_axes(out, list(heights))

    out.bind(title_text=f"title|{{{side}}}|{{seed}}", yaxis_range="range|{seed}|{site}")
    out.bind(**{f"xaxis{len(heights)}_title_text": "utc|{seed}|{site}"})
    if layers.battery:
        out.bind(yaxis3_range="battery|{site}")
    return out.plot(f"Schedule of one site hour by hour, {side} of two policies")


def _add_curves(out: Drawing, side: str, layers: _Layers) -> None:
    own = f"{{{side}}}|{{seed}}|"
    for group, items in (("supply", layers.supply), ("use", layers.use)):
        for column, name, colour in items:
            over_time(
                out, f"{own}{column}|{{site}}", 1, name=name, stackgroup=group, fillcolor=palette.faint(colour, 0.85),
                line=stroke(colour, 0), hovertemplate="%{y:.4g} MW",
            )  # fmt: skip
    over_time(out, own + "facility_mw|{site}", 1, name="facility load", line=stroke(palette.BLACK, 1.6))

    # Rows below the first explain themselves by their title: no entries in the legend.
    last = 5 if layers.battery else 4
    charge = own + "battery_mwh|{site}"
    below: list[tuple[int, str, str, dict[str, Any]]] = [
        (2, f"{{seed}}|{GPUS}|{{site}}", "available GPUs", stroke(palette.GREY, 1.2, dash="dot")),
        (2, own + "busy_gpus|{site}", "busy GPUs", stroke(palette.BLUE, 1.5)),
        *([(3, charge, "in the battery", stroke(palette.ORANGE, 1.8))] if layers.battery else []),
        (last - 1, f"{{seed}}|{PRICE}|{{site}}", "price", stroke(palette.PURPLE, 1.6)),
        (last, f"{{seed}}|{CARBON}|{{site}}", "carbon", stroke(palette.GREEN, 1.6)),
    ]
    for row, key, name, line in below:
        over_time(out, key, row, at_end=key == charge, name=name, line=line, showlegend=False)


def _label_axes(out: Drawing, titles: list[str]) -> None:
    for row, title in enumerate(titles, start=1):
        out.figure.update_yaxes(
            title_text=title, row=row, col=1, automargin=False, nticks=5, title_font_size=12
        )
        if row > 1 and not title.startswith("battery"):
            out.figure.update_yaxes(rangemode="tozero", row=row, col=1)
    out.figure.update_yaxes(zerolinecolor=palette.MUTED, row=1, col=1)

    out.figure.update_xaxes(**DATES)
    out.figure.update_xaxes(title_text="UTC", row=len(titles), col=1, title_standoff=4)
