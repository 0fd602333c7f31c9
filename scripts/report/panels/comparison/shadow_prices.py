"""Shadow prices: hour by hour and site by site, what one more unit of a limit would earn."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from scripts.report.data.names import TABLES, plain, rounded, safe, words
from scripts.report.data.numbers import number
from scripts.report.data.parts import Choice, Panel, Plot, seed_choice
from scripts.report.data.run_folders import RunFolder, Table
from scripts.report.drawing import DATES, drawing
from scripts.report.panels.comparison.episodes import SHOWN_SEEDS, first_ms, time_title

# Columns of the file are "price_unit/site"; the unit follows the last "_usd_per_".
NOISE = 1e-6  # USD per unit: what the solver's tolerance leaves of a price of 0
FILES = re.compile(r"shadow_prices_seed(\d+)\.csv")
LABELS = TABLES["limits"]  # the others: their name
UNITS = {"mwh": "USD/MWh", "gpuh": "USD/GPU-h", "kg": "USD/kg"}


def duals_panel(run: RunFolder) -> Panel | None:
    """Return the heat map of shadow prices; None where the run has none."""
    files = sorted(
        (int(match[1]), path) for path in run.folder.iterdir() if (match := FILES.fullmatch(path.name))
    )
    tables = {seed: run.table(path.name, ("time_utc",)) for seed, path in files[:SHOWN_SEEDS]}
    if not tables:
        return None
    # A limit that never binds has the price 0 throughout and is not offered.
    prices = priced(next(iter(tables.values())))
    return Panel(
        "duals",
        [_duals_plot(most_places=max(map(len, prices.values())))],
        [_limit_choice(tables, prices), seed_choice(tables)],
        _duals_store(tables, prices, [region["timezone"] for region in run.scenario["regions"]]),
    )


def _limit_choice(tables: dict[int, Table], prices: dict[str, list[str]]) -> Choice:
    """Return the selector of the limit: capacity at first, else the one with the highest price."""
    highest = {
        price: max(_highest(table, price, places) for table in tables.values())
        for price, places in prices.items()
    }
    options = [
        (price, f"{label_of(price)} (at most {number(most)} {unit_of(price)})")
        for price, most in highest.items()
    ]
    first = max(highest, key=lambda price: (price.startswith("capacity"), highest[price]))
    return Choice("price", "Limit", options, first)


def _duals_store(
    tables: dict[int, Table], prices: dict[str, list[str]], zones: Sequence[str]
) -> dict[str, Any]:
    store: dict[str, Any] = {}
    for price, places in prices.items():
        store[f"{price}|y"] = [plain(place.replace("/", ", ")) for place in places]
        store[f"{price}|unit"] = safe(unit_of(price))
    for seed, table in tables.items():
        store[f"{seed}|title"] = safe(time_title(zones, first_ms(table)))
        store[f"{seed}|x"] = [time.replace("T", " ").rstrip("Z") for time in table.text("time_utc")]
        for price, places in prices.items():
            own = [table.numbers(f"{price}/{place}") for place in places]
            store[f"{seed}|{price}"] = [
                rounded(np.where(np.abs(values) > NOISE, values, 0.0), 4) for values in own
            ]
    return store


def _duals_plot(most_places: int) -> Plot:
    out = drawing(190 + 26 * min(most_places, 14))
    values = {"x": "{seed}|x", "y": "{price}|y", "z": "{seed}|{price}"}
    out.add("prices", values | {"colorbar.title.text": "{price}|unit"})
    out.figure.update_yaxes(autorange="reversed", showgrid=False)
    out.figure.update_xaxes(**DATES, showgrid=False)
    out.bind(xaxis_title_text="{seed}|title")
    return out.plot("Heat map of shadow prices by hour and place")


def priced(table: Table) -> dict[str, list[str]]:
    """Return the places that each price is given for, where it is not 0 throughout."""
    found: dict[str, list[str]] = {}
    for column in table.columns:
        name, _, place = column.partition("/")
        if place:
            found.setdefault(name, []).append(place)

    binding = {
        name: places
        for name, places in found.items()
        if any(np.abs(table.numbers(f"{name}/{place}")).max() > NOISE for place in places)
    }
    return binding or found


def _highest(table: Table, price: str, places: list[str]) -> float:
    return max(float(np.nanmax(table.numbers(f"{price}/{place}"), initial=0.0)) for place in places)


def label_of(price: str) -> str:
    """Return a price in words."""
    name = price.rsplit("_usd_per_", 1)[0]
    return LABELS[name][0] if name in LABELS else words(name)


def unit_of(price: str) -> str:
    """Return the unit of a price from its name."""
    unit = price.rsplit("_usd_per_", 1)[-1]
    return UNITS.get(unit, unit)
