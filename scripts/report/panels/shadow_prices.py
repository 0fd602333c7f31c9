"""Shadow prices: hour by hour and site by site, what one more unit of a limit would earn."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from scripts.report.data.look import figure, plain, rounded, safe
from scripts.report.data.numbers import number
from scripts.report.data.parts import Choice, Panel, Plot
from scripts.report.data.run_folders import RunFolder, Table
from scripts.report.panels.episodes import SHOWN_SEEDS, seed_options

# Columns of the file are "price_unit/site"; the unit follows the last "_usd_per_".
FILES = re.compile(r"shadow_prices_seed(\d+)\.csv")
LABELS = {
    "energy": "energy at the site",
    "capacity": "capacity (accelerators)",
    "import_limit": "import limit",
    "export_limit": "export limit",
    "generator_limit": "generator",
    "stored_energy": "stored energy",
    "battery_capacity": "battery capacity",
    "charge_limit": "charging power",
    "discharge_limit": "discharging power",
    "queue": "queue deadlines",
}
UNITS = {"mwh": "USD/MWh", "gpuh": "USD/GPU-h", "kg": "USD/kg"}


def duals_panel(run: RunFolder) -> Panel | None:
    """Heat map of shadow prices; None where the run has none."""
    files = sorted(
        (int(match[1]), path) for path in run.folder.iterdir() if (match := FILES.fullmatch(path.name))
    )
    tables = {seed: run.table(path.name, ("time_utc",)) for seed, path in files[:SHOWN_SEEDS]}
    if not tables:
        return None
    prices = priced(next(iter(tables.values())))
    store: dict[str, Any] = {}
    highest: dict[str, float] = {}
    for seed, table in tables.items():
        store[f"{seed}|x"] = [time.replace("T", " ").rstrip("Z") for time in table.text("time_utc")]
        for price, places in prices.items():
            grid = np.array([table.numbers(f"{price}/{place}") for place in places])
            store[f"{seed}|{price}"] = [rounded(row, 4) for row in grid]
            highest[price] = max(highest.get(price, 0.0), float(np.nanmax(grid)))
    places = max(prices.values(), key=len)
    for price, sites in prices.items():
        store[f"{price}|y"] = [plain(site.replace("/", ", ")) for site in sites]
        store[f"{price}|unit"] = safe(unit_of(price))
    fig = figure(190 + 26 * min(len(places), 14))
    fig.add_heatmap(
        x=[],
        y=[],
        z=[],
        colorscale="Cividis",
        hovertemplate="%{y}, %{x}<br>%{z:.4g}<extra></extra>",
        colorbar={"thickness": 12, "outlinewidth": 0, "title": {"text": "", "side": "right"}},
    )
    binds = {
        "data.0.x": "{seed}|x",
        "data.0.y": "{price}|y",
        "data.0.z": "{seed}|{price}",
        "data.0.colorbar.title.text": "{price}|unit",
    }
    fig.update_yaxes(autorange="reversed", showgrid=False)
    fig.update_xaxes(type="date", title_text="UTC", showgrid=False)
    options = [
        (price, f"{label_of(price)} (at most {number(highest[price])} {unit_of(price)})") for price in prices
    ]
    first = max(highest, key=lambda price: (price.startswith("capacity"), highest[price]))
    return Panel(
        "duals",
        "Shadow prices: what the limits cost",
        "What one more unit of a limit would earn in the optimal plan, hour by hour; 0 where the limit does not bind. "
        "Bright cells say when and where more capacity, grid or storage would pay.",
        [Plot(fig, "Heat map of shadow prices by hour and place", binds)],
        [
            Choice("price", "Limit", options, first),
            Choice("seed", "Episode (seed)", seed_options(list(tables))),
        ],
        store,
        notes=[
            "Duals of the program with its yes/no decisions fixed; where several limits bind at once, one of many "
            "sets of prices."
        ],
    )


def priced(table: Table) -> dict[str, list[str]]:
    """Places that each price is given for, where it is not 0 throughout."""
    found: dict[str, list[str]] = {}
    for column in table.columns:
        name, _, place = column.partition("/")
        if place:
            found.setdefault(name, []).append(place)
    binding = {
        name: places
        for name, places in found.items()
        if any(np.abs(table.numbers(f"{name}/{place}")).max() > 1e-9 for place in places)
    }
    return binding or found


def label_of(price: str) -> str:
    """A price in words."""
    name = price.rsplit("_usd_per_", 1)[0]
    return LABELS.get(name, name.replace("_", " "))


def unit_of(price: str) -> str:
    """Unit of a price from its name."""
    unit = price.rsplit("_usd_per_", 1)[-1]
    return UNITS.get(unit, unit)
