"""Write made-up exports in the layouts of three portals: `python -m docs.tutorials.made_up raw`.

Eight weeks of autumn 2025 for Dublin, Frankfurt and Stockholm.  The numbers are invented; the layouts are those of
the ENTSO-E transparency platform (day-ahead prices in EUR: hours until 30 September, quarter-hours from then on),
Electricity Maps (hourly carbon intensity) and Open-Meteo (hourly weather).
"""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

FIRST, END = datetime(2025, 9, 7, 22, tzinfo=UTC), datetime(2025, 11, 2, 23, tzinfo=UTC)
QUARTERS_FROM = datetime(2025, 9, 30, 22, tzinfo=UTC)  # 1 October in central Europe


@dataclass(frozen=True)
class Place:
    """What the numbers of a place are made from."""

    area: str
    country: str
    zone_id: str
    latitude: float
    longitude: float
    price_eur_per_mwh: float
    carbon_g_per_kwh: float
    temperature_c: float


PLACES = {
    "dublin": Place("IE(SEM)", "Ireland", "IE", 53.35, -6.26, 105.0, 300.0, 12.0),
    "frankfurt": Place("DE-LU", "Germany", "DE", 50.11, 8.68, 85.0, 340.0, 13.0),
    "stockholm": Place("SE3", "Sweden", "SE-SE3", 59.33, 18.07, 45.0, 25.0, 9.0),
}


def steps(first: datetime, end: datetime, minutes: int) -> list[datetime]:
    """Return the starts of all intervals from ``first`` to ``end``, in UTC."""
    count = (end - first) // timedelta(minutes=minutes)
    return [first + i * timedelta(minutes=minutes) for i in range(count)]


def wave(at: list[datetime], peak_h: float) -> np.ndarray:
    """Return a daily wave in [-1, 1] that is highest at ``peak_h``, hours of the day in UTC."""
    hour = np.array([moment.hour + moment.minute / 60 for moment in at])
    return np.cos((hour - peak_h) / 24 * 2 * np.pi)


def drift(count: int, per_day: int, rng: np.random.Generator) -> np.ndarray:
    """Return a slow random walk around 0, about 1 in size: windy and calm days."""
    kept = np.exp(-1 / (1.5 * per_day))
    noise, out = rng.normal(size=count) * np.sqrt(1 - kept**2), np.zeros(count)
    for i in range(1, count):
        out[i] = kept * out[i - 1] + noise[i]
    return out


def write_prices(path: Path, place: Place, rng: np.random.Generator) -> None:
    """Write day-ahead prices as the transparency platform exports them, in UTC."""
    hours, quarters = steps(FIRST, QUARTERS_FROM, 60), steps(QUARTERS_FROM, END, 15)
    at = hours + quarters
    calm = np.repeat(drift((END - FIRST) // timedelta(hours=1), 24, rng), 4)
    calm = np.concatenate([calm[: 4 * len(hours) : 4], calm[4 * len(hours) :]])
    shape = 1 + 0.3 * wave(at, 18) - 0.35 * calm
    price = place.price_eur_per_mwh * shape + rng.normal(0, 3, len(at))

    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, quoting=csv.QUOTE_ALL)
        out.writerow(["MTU (UTC)", "Area", "Sequence", "Day-ahead Price (EUR/MWh)", "Intraday Period (UTC)",
                      "Intraday Price (EUR/MWh)"])  # fmt: skip
        ends = [*at[1:], END]
        for begin, end, eur in zip(at, ends, price, strict=True):
            mtu = f"{begin:%d/%m/%Y %H:%M:%S} - {end:%d/%m/%Y %H:%M:%S}"
            out.writerow([mtu, f"BZN|{place.area}", "Without Sequence", f"{eur:.2f}", "", ""])


def write_carbon(path: Path, place: Place, rng: np.random.Generator) -> None:
    """Write hourly carbon intensity as Electricity Maps exports it."""
    at = steps(FIRST, END, 60)
    calm = drift(len(at), 24, rng)
    direct = place.carbon_g_per_kwh * np.clip(1 + 0.15 * wave(at, 19) - 0.3 * calm, 0.2, 2.0)
    header = [
        "Datetime (UTC)", "Country", "Zone name", "Zone id", "Carbon intensity gCO₂eq/kWh (direct)",
        "Carbon intensity gCO₂eq/kWh (Life cycle)", "Carbon-free energy percentage (CFE%)",
        "Renewable energy percentage (RE%)", "Data source", "Data estimated", "Data estimation method",
    ]  # fmt: skip
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(header)
        for moment, grams in zip(at, direct, strict=True):
            clean = f"{np.clip(100 - grams / 8, 0, 100):.2f}"
            out.writerow([f"{moment:%Y-%m-%d %H:%M:%S}", place.country, place.country, place.zone_id, f"{grams:.2f}",
                          f"{grams * 1.2 + 15:.2f}", clean, clean, "made-up", "false", ""])  # fmt: skip


def write_weather(path: Path, place: Place, rng: np.random.Generator) -> None:
    """Write hourly weather as Open-Meteo answers."""
    at = steps(FIRST, END, 60)
    cooling = np.linspace(3, -3, len(at))
    temperature = place.temperature_c + cooling + 4 * wave(at, 14) + 2 * drift(len(at), 24, rng)
    humidity = np.clip(78 - 12 * wave(at, 14) + rng.normal(0, 4, len(at)), 30, 100)
    cloud = np.clip(60 + 35 * drift(len(at), 24, rng), 0, 100)
    wind = np.abs(18 + 9 * drift(len(at), 24, rng))
    answer = {
        "latitude": place.latitude,
        "longitude": place.longitude,
        "utc_offset_seconds": 0,
        "timezone": "GMT",
        "hourly_units": {"time": "iso8601", "temperature_2m": "°C", "relative_humidity_2m": "%",
                         "cloud_cover": "%", "wind_speed_10m": "km/h"},
        "hourly": {
            "time": [f"{moment:%Y-%m-%dT%H:%M}" for moment in at],
            "temperature_2m": temperature.round(1).tolist(),
            "relative_humidity_2m": humidity.round(0).tolist(),
            "cloud_cover": cloud.round(0).tolist(),
            "wind_speed_10m": wind.round(1).tolist(),
        },
    }  # fmt: skip
    path.write_text(json.dumps(answer), encoding="utf-8")


def main() -> None:
    """Write three files for each place into the folder named on the command line."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "raw")
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, place) in enumerate(PLACES.items()):
        rng = np.random.default_rng([2025, number])
        write_prices(folder / f"{name}_prices.csv", place, rng)
        write_carbon(folder / f"{name}_carbon.csv", place, rng)
        write_weather(folder / f"{name}_weather.json", place, rng)
    sys.stdout.write(f"{folder}: {len(list(folder.iterdir()))} files\n")


if __name__ == "__main__":
    main()
