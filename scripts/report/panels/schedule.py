"""Schedules hour by hour: two policies side by side, site by site, and when work is served."""

from __future__ import annotations

from typing import Any

import numpy as np
from plotly.subplots import make_subplots

from scripts.report.data.look import (
    BLACK,
    BLUE,
    DATES,
    GREEN,
    GREY,
    LOOK,
    MUTED,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    YELLOW,
    faint,
    policy_label,
    rounded,
    safe,
    tidy,
)
from scripts.report.data.numbers import number, seed_text
from scripts.report.data.parts import Choice, Panel, Plot
from scripts.report.data.run_folders import Floats
from scripts.report.panels.episodes import EpisodeTables, held, seed_options

# Stacked upwards, and downwards: column, name, colour.
SUPPLY = (
    ("import_mw", "import", BLUE),
    ("renewable_mw", "renewable", GREEN),
    ("generation_mw", "generator", VERMILLION),
    ("discharge_mw", "discharge", ORANGE),
    ("shed_mw", "shed", "#000000"),
)
USE = (("charge_mw", "charge", YELLOW), ("export_mw", "export", SKY))
DIGITS = 4


def schedule_panel(episodes: EpisodeTables) -> Panel:
    """Power, GPUs, battery, price and carbon of a site under two policies."""
    supply = [item for item in SUPPLY if _anywhere(episodes, item[0])]
    use = [item for item in USE if _anywhere(episodes, item[0])]
    battery = _anywhere(episodes, "battery_mwh")
    store = schedule_store(episodes, supply, use, battery)
    plots = [_side(side, supply, use, battery) for side in ("left", "right")]
    left, right = episodes.pair
    sites = [(site, site.replace("_", " ")) for site in episodes.sites]
    notes = [
        f"Hourly data of seeds {seed_text(list(episodes.seeds))}; those of all seeds lie in the run folder."
    ]
    if "milp" not in episodes.policies:
        notes.append(
            "The optimum is not among the policies of this run: add milp to --policies to see it here."
        )
    return Panel(
        "schedule",
        "Hour by hour: two policies side by side",
        "Above zero: where the power comes from; below: charging and export; the black line is the load of the "
        "facility. A good schedule imports and charges in the cheap or clean hours of the rows below, and does its "
        "work where and when that is so. Both sides have the same scales.",
        plots,
        [
            Choice("site", "Site", sites),
            Choice("seed", "Episode (seed)", seed_options(episodes.seeds)),
            Choice("left", "Left or first", episodes.options, left),
            Choice("right", "Right or second", episodes.options, right),
        ],
        store,
        notes=notes,
    )


def _anywhere(episodes: EpisodeTables, column: str) -> bool:
    return any(episodes.moves(f"{column}/{site}") for site in episodes.sites)


def schedule_store(
    episodes: EpisodeTables,
    supply: list[tuple[str, str, str]],
    use: list[tuple[str, str, str]],
    battery: bool,
) -> dict[str, Any]:
    """All curves, keyed by policy, seed, column and site; what no policy changes is there once per seed."""
    store: dict[str, Any] = {"dx": 3_600_000 * episodes.dt_h}
    for site in episodes.sites:
        most = max(float(values.max()) for values in episodes.each(f"battery_mwh/{site}"))
        store[f"battery|{site}"] = [0, tidy(1.08 * most + 1e-3, DIGITS)]
    for seed in episodes.seeds:
        store[f"start|{seed}"] = episodes.start_ms[seed]
        store[f"end|{seed}"] = (
            episodes.start_ms[seed] + store["dx"]
        )  # what holds at the end of the first step
        for site in episodes.sites:
            for column in ("buy_usd_per_mwh", "carbon_kg_per_mwh", "available_gpus"):
                values = episodes.column(episodes.policies[0], seed, f"{column}/{site}")
                store[f"{seed}|{column}|{site}"] = held(values)
            store[f"range|{seed}|{site}"] = _range(episodes, seed, site, supply, use)
        for policy in episodes.policies:
            usd = float(episodes.column(policy, seed, "benefit_usd").sum())
            store[f"title|{policy}|{seed}"] = (
                f"<b>{safe(policy_label(policy))}</b><br>benefit {number(usd, 4)} USD"
            )
            for site in episodes.sites:
                store |= _site_curves(episodes, policy, seed, site, supply, use, battery)
    return store


def _site_curves(
    episodes: EpisodeTables,
    policy: str,
    seed: int,
    site: str,
    supply: list[tuple[str, str, str]],
    use: list[tuple[str, str, str]],
    battery: bool,
) -> dict[str, Any]:
    def of(column: str, sign: float = 1.0) -> Floats:
        return sign * episodes.column(policy, seed, f"{column}/{site}")

    curves = {column: of(column) for column, _, _ in supply} | {
        column: of(column, -1.0) for column, _, _ in use
    }
    found = {name: held(values) for name, values in curves.items() if np.abs(values).max() > 1e-9}
    found["facility_mw"] = held(of("facility_mw"))
    found["busy_gpus"] = held(of("busy_gpus"))
    if battery:
        before = of("battery_mwh")
        found["battery_mwh"] = rounded(before, DIGITS)
    return {f"{policy}|{seed}|{name}|{site}": values for name, values in found.items()}


def _range(
    episodes: EpisodeTables,
    seed: int,
    site: str,
    supply: list[tuple[str, str, str]],
    use: list[tuple[str, str, str]],
) -> list[float | None]:
    """The range of power that holds every policy's schedule of a site."""
    high, low = 0.0, 0.0
    for policy in episodes.policies:
        up = sum(episodes.column(policy, seed, f"{column}/{site}") for column, _, _ in supply)
        down = sum((episodes.column(policy, seed, f"{column}/{site}") for column, _, _ in use), np.zeros(1))
        high, low = max(high, float(np.max(up))), max(low, float(np.max(down)))
    return [tidy(-1.08 * low - 0.01 * high, DIGITS), tidy(1.06 * high + 1e-3, DIGITS)]


def _side(
    side: str, supply: list[tuple[str, str, str]], use: list[tuple[str, str, str]], battery: bool
) -> Plot:
    """The figure of one side; its curves follow the selectors."""
    titles = ["power [MW]", "busy GPUs", "battery [MWh]", "price [USD/MWh]", "carbon [kg/MWh]"]
    heights = [0.36, 0.16, 0.16, 0.16, 0.16]
    if not battery:
        del titles[2], heights[2]
    fig = make_subplots(len(titles), 1, shared_xaxes=True, vertical_spacing=0.028, row_heights=heights)
    binds: dict[str, str] = {}

    def add(row: int, key: str, during: bool = True, **look: Any) -> None:
        binds[f"data.{len(fig.data)}.y"] = key
        binds[f"data.{len(fig.data)}.x0"] = "start|{seed}" if during else "end|{seed}"
        binds[f"data.{len(fig.data)}.dx"] = "dx"
        shape = {"shape": "hv"} if during else {}
        look["line"] = shape | look.get("line", {})
        fig.add_scatter(x0=0, dx=1, y=[], mode="lines", row=row, col=1, **look)

    for group, items in (("supply", supply), ("use", use)):
        for column, name, colour in items:
            add(
                1,
                f"{{{side}}}|{{seed}}|{column}|{{site}}",
                name=name,
                stackgroup=group,
                fillcolor=faint(colour, 0.85),
                line={"width": 0, "color": colour},
                hovertemplate="%{y:.4g} MW",
            )
    line = f"{{{side}}}|{{seed}}|"
    add(1, line + "facility_mw|{site}", name="facility load", line={"color": BLACK, "width": 1.6})
    look = {"color": GREY, "width": 1.2, "dash": "dot"}
    add(2, "{seed}|available_gpus|{site}", name="available GPUs", line=look, showlegend=False)
    add(2, line + "busy_gpus|{site}", name="busy GPUs", line={"color": BLUE, "width": 1.5}, showlegend=False)
    if battery:
        look = {"color": ORANGE, "width": 1.8}
        add(3, line + "battery_mwh|{site}", during=False, name="in the battery", line=look, showlegend=False)
    row = 4 if battery else 3
    look = {"color": PURPLE, "width": 1.6}
    add(row, "{seed}|buy_usd_per_mwh|{site}", name="price", line=look, showlegend=False)
    look = {"color": GREEN, "width": 1.6}
    add(row + 1, "{seed}|carbon_kg_per_mwh|{site}", name="carbon", line=look, showlegend=False)
    for i, title in enumerate(titles, start=1):
        fig.update_yaxes(title_text=title, row=i, col=1, automargin=False, nticks=5, title_font_size=12)
    for first in range(row, row + 2):
        fig.update_yaxes(rangemode="tozero", row=first, col=1)
    fig.update_yaxes(rangemode="tozero", row=2, col=1)
    fig.update_layout(
        template=LOOK,
        height=860 if battery else 740,
        hovermode="x unified",
        legend={"y": -0.075, "traceorder": "normal"},
        margin={"l": 66, "r": 12, "t": 52},
        title={"text": "", "font": {"size": 14}, "x": 0, "xref": "paper", "y": 0.985, "yanchor": "top"},
    )
    fig.update_xaxes(**DATES)
    fig.update_xaxes(title_text="UTC", row=len(titles), col=1, title_standoff=4)
    fig.update_yaxes(zerolinecolor=MUTED, row=1, col=1)
    binds["layout.title.text"] = f"title|{{{side}}}|{{seed}}"
    binds["layout.yaxis.range"] = "range|{seed}|{site}"
    if battery:
        binds["layout.yaxis3.range"] = "battery|{site}"
    return Plot(fig, f"Schedule of one site hour by hour, {side} of two policies", binds)
