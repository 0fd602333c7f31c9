"""One look for all plots: template, colours of policies and quantities, rounding, and plots with selectors."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from html import escape
from pathlib import PurePath
from typing import Any

import plotly.graph_objects as go

INK, MUTED, GRID, PAPER = "#1c2733", "#5c6b7a", "#e7ebef", "#ffffff"
FONT = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Roboto, Helvetica, Arial, sans-serif"

# Okabe and Ito: told apart also by people with colour blindness.
ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILLION, PURPLE = (
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#D9C700",  # their yellow, darker: it must show on white
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
BLACK, GREY, LIGHT_GREY = "#222222", "#8a8f94", "#c3c8cd"
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, VERMILLION, SKY, YELLOW, GREY, "#6a51a3", "#00525e")

POLICY_COLOURS = {
    "local_only": GREY,
    "nearest_region": "#a6855c",
    "price_only": ORANGE,
    "carbon_only": YELLOW,
    "greedy": GREEN,
    "random": LIGHT_GREY,
    "milp": BLACK,
    "mpc:perfect": BLUE,
    "mpc:day_ahead": SKY,
    "mpc:persistence": PURPLE,
}
POLICY_LABELS = {
    "local_only": "Local-Only",
    "nearest_region": "Nearest-Region",
    "price_only": "Price-Only",
    "carbon_only": "Carbon-Only",
    "greedy": "Greedy",
    "random": "Random",
    "milp": "Optimum",
    "mpc:perfect": "MPC, perfect forecast",
    "mpc:day_ahead": "MPC, day-ahead forecast",
    "mpc:persistence": "MPC, persistence",
}
LEARNED, VARIANT, OPTIMUM = "ppo", "variant:", "milp"
# Policies that know what is to come: no rivals of those that do not.
SEEING = (OPTIMUM, "mpc:perfect")
OTHER_COLOURS = ("#6a51a3", "#00525e", "#9e6b00", "#7f2704", "#54278f", "#4d9221")
LAYER_COLOURS = {"local": GREY, "regional": SKY, "energy-oriented": GREEN}
REASON_COLOURS = {
    "latency": BLUE,
    "law": VERMILLION,
    "state": ORANGE,
    "support": PURPLE,
    "capacity": GREEN,
    "home misses budget": BLACK,
}
REASON_LABELS = {"state": "session state", "support": "not supported there"}


def policy_colour(name: str) -> str:
    """The colour of a policy, the same in every plot: policies without one of their own share a few, by name."""
    if name.startswith(LEARNED):
        return VERMILLION
    return POLICY_COLOURS.get(name) or OTHER_COLOURS[sum(name.encode()) % len(OTHER_COLOURS)]


def policy_label(name: str) -> str:
    """How a policy is called in text: plain, not escaped."""
    if name.startswith(LEARNED):
        file = PurePath(name.partition(":")[2])  # ppo:runs/demo/model.zip
        return f"PPO, {file.parent.name if file.stem == 'model' and file.parent.name else file.stem or 'learned'}"
    if name.startswith(VARIANT):
        return "Optimum, " + name.removeprefix(VARIANT).replace("_", " ")
    words = name.replace("_", " ").capitalize() if re.fullmatch(r"[a-z_]+", name) else name
    return POLICY_LABELS.get(name, words)


def knows_future(name: str) -> bool:
    """Whether a policy plans with what it cannot know: the optimum, its variants, MPC with perfect forecasts."""
    return name in SEEING or name.startswith(VARIANT)


def safe(text: object) -> str:
    """Text from data as a plot may show it: Plotly reads a few HTML tags."""
    return escape(str(text), quote=False)


def plain(name: str) -> str:
    """A name of a scenario for people, escaped: new_york -> new york."""
    return safe(name.replace("_", " "))


def rounded(values: Iterable[float], digits: int = 5) -> list[float | None]:
    """Numbers with so many significant digits, NaN as None: small files, and as much as one can see."""
    return [tidy(value, digits) for value in values]


def tidy(value: float, digits: int = 5) -> float | None:
    """A number with so many significant digits; None for NaN and infinity."""
    number = float(value)
    if not math.isfinite(number):
        return None
    if abs(number) < 1e-9:
        return 0
    short = float(f"{number:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def faint(colour: str, opacity: float) -> str:
    """A colour with opacity, for bands."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


LEGEND_GAP_PX = 62
AXIS: dict[str, Any] = {
    "gridcolor": GRID,
    "linecolor": "#b6c0c9",
    "zerolinecolor": "#9aa6b2",
    "zerolinewidth": 1,
    "ticks": "outside",
    "tickcolor": "#b6c0c9",
    "ticklen": 4,
    "automargin": True,
    "title": {"font": {"size": 13, "color": MUTED}, "standoff": 8},
    "tickfont": {"size": 12, "color": INK},
}
# Axes of time: few digits, upright also on a phone.
DATES: dict[str, Any] = {"type": "date", "tickformat": "%H:%M<br>%d %b", "nticks": 6, "tickangle": 0}
LOOK = go.layout.Template(
    layout={
        "font": {"family": FONT, "size": 13, "color": INK},
        "paper_bgcolor": PAPER,
        "plot_bgcolor": PAPER,
        "colorway": list(CYCLE),
        "margin": {"l": 10, "r": 16, "t": 26, "b": 10},
        "legend": {"orientation": "h", "x": 0, "y": -0.16, "yanchor": "top", "font": {"size": 12.5}},
        "hoverlabel": {
            "font": {"family": FONT, "size": 12.5},
            "bgcolor": "#ffffff",
            "bordercolor": "#b6c0c9",
        },
        "xaxis": AXIS | {"showline": True},
        "yaxis": AXIS,
        "colorscale": {"sequential": "Cividis"},
    }
)


def figure(height: int, **layout: Any) -> go.Figure:
    """An empty figure in the look of the report; its legend stands below the title of the x axis."""
    legend = {"y": -LEGEND_GAP_PX / max(height - 130, 60)} | layout.pop("legend", {})
    return go.Figure(layout={"template": LOOK, "height": height, "legend": legend, **layout})
