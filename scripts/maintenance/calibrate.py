"""Make the calibration tables of `gridai_env.traces` from an hourly panel of prices, carbon and weather.

    GRIDAI_DATA_DIR=... python -m scripts.maintenance.calibrate [--year 2023] [--out DIR]

Reads `panel/hourly_2021_2023.parquet` and `panel/zones.csv` below GRIDAI_DATA_DIR and writes small text
tables of statistics; none of the hourly data is kept. The model that they feed is written down in
`gridai_env/traces/calibration.py`. Needs pyarrow (extra `data`).

The fits and their method are in `scripts/maintenance/calibration_fit.py`.
"""

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from pydantic import Field

from gridai_env.traces import calibration
from gridai_env.traces.local_time import local_month_hour
from scripts.maintenance import calibration_fit
from scripts.runs.command import CommandOptions, InputError, command

COLUMNS = {
    "price": "price_usd",
    "carbon": "ci_direct",
    "wetbulb": "wetbulb_c",
    "pv": "pv_cf_proxy",
    "wind": "wind_cf_proxy",
}
HOURS = [f"h{h}" for h in range(24)]
OF_SERIES = ["zone", "variable", "month"]
STATISTICS = (
    "mean", "sd", "residual_sd", "share_le_0", "share_lt_0", "ac1", "residual_ac1", "p99", "max",
)  # fmt: skip
HEADERS = {
    "quantiles": [*OF_SERIES, *(f"z{k:.1f}" for k in calibration.KNOTS)],
    "spread": [*OF_SERIES, *HOURS[:: calibration.BLOCK_H]],
    "shift": [*OF_SERIES, *HOURS],
    "pv_profile": ["zone", "month", *HOURS],
    "spike_rate": ["zone", "month", *HOURS],
    "statistics": ["zone", "variable", *STATISTICS],
}
OWN_MARGINAL_KG_PER_MWH = {"US-NY-NYIS": 420.0}


def read_year(data_dir: Path, year: int) -> tuple[list[calibration_fit.ZoneYear], list[dict[str, str]]]:
    """Return the panel's zones for one year; raises ValueError for a zone with gaps or NaN."""
    with open(data_dir / "panel" / "zones.csv", newline="") as file:
        metadata = list(csv.DictReader(file))
    table = pq.read_table(
        data_dir / "panel" / "hourly_2021_2023.parquet", columns=["zone", "utc", *COLUMNS.values()]
    )

    names = np.array(table["zone"].to_pylist())
    utc = table["utc"].to_numpy().astype("datetime64[m]")
    columns = {name: table[column].to_numpy().astype(float) for name, column in COLUMNS.items()}
    grid = np.arange(f"{year}-01-01", f"{year + 1}-01-01", 60, dtype="datetime64[m]")

    years = []
    for row in metadata:
        of_zone = np.flatnonzero((names == row["zone"]) & (utc >= grid[0]) & (utc <= grid[-1]))
        of_zone = of_zone[np.argsort(utc[of_zone])]
        values = {name: column[of_zone] for name, column in columns.items()}
        if not np.array_equal(utc[of_zone], grid) or any(np.isnan(v).any() for v in values.values()):
            raise ValueError(f"{row['zone']}: {year} is not complete in the panel; choose another --year")
        month, hour = local_month_hour(row["timezone"], grid[:1], len(grid))
        years.append(calibration_fit.ZoneYear(row["zone"], values, month[0], hour[0]))
    return years, metadata


def statistics_of(data: calibration_fit.ZoneYear) -> list[list[object]]:
    """Return what the tests compare with: moments, shares and lag-1 autocorrelations of values and residuals."""
    rows: list[list[object]] = []
    for name in calibration.VARIABLES:
        x = data.values[name]
        residual = x - calibration_fit.by_month_hour(x, data)[data.month, data.hour]
        ac = [np.corrcoef(y[1:], y[:-1])[0, 1] for y in (x, residual)]
        shares = (x <= 0).mean(), (x < 0).mean()
        figures = [x.mean(), x.std(), residual.std(), *shares, *ac, np.quantile(x, 0.99), x.max()]
        rows.append([data.zone, name, *(f"{v:.4g}" for v in figures)])
    return rows


def write_rows(path: Path, header: Sequence[object], rows: list[list[object]]) -> None:
    """Write a CSV file."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def numbers(values: np.ndarray, digits: int = 4) -> list[str]:
    """Return numbers as text with so many significant digits; -0 becomes 0."""
    return [f"{v + 0.0:.{digits}g}" for v in values]


Tables = dict[str, list[list[object]]]


def write_tables(
    out: Path, year: int, years: list[calibration_fit.ZoneYear], metadata: list[dict[str, str]]
) -> None:
    """Fit every zone and write the tables."""
    tables: Tables = {name: [] for name in HEADERS}
    zones: dict[str, object] = {}
    scores: list[np.ndarray] = []

    for data, row in zip(years, metadata, strict=True):
        spikes, spike = calibration_fit.fit_spikes(data)
        weights = calibration.body_weights(calibration.trigger_level(spikes["rate"]))
        memory = {}

        # Spikes have tables of their own: the body of prices is fitted without them.
        for name in calibration.VARIABLES:
            used = ~spike if name == "price" else np.ones(len(spike), bool)
            if name == "pv":
                fit, score = calibration_fit.fit_pv(data)
                highest = [float(v) for v in fit["highest"]]
            else:
                nodes = weights if name == "price" else calibration.gauss_nodes()[1]
                fit, score = calibration_fit.fit_marginal(name, data, used, nodes)
            add_fit(tables, data.zone, name, fit)
            memory[name] = calibration_fit.fit_memory(
                calibration_fit.model_values(fit), data.values[name], data, used
            )
            scores.append(score)

        tables["spike_rate"] += by_month(data.zone, spikes["rate"], 3)
        tables["statistics"] += statistics_of(data)
        zones[data.zone] = describe(row) | {
            "pv_highest": highest,
            "slow_share_and_fast_phi": memory,
            "spike": describe_spikes(spikes, memory["price"]),
        }
    write_files(out, year, tables, zones, calibration_fit.correlate(np.array(scores)))


def by_month(key: str, values: np.ndarray, digits: int = 4) -> list[list[object]]:
    """Return twelve rows `key, month, values`; a key of two parts is written `zone,variable`."""
    return [[*key.split(","), m + 1, *numbers(values[m], digits)] for m in range(12)]


def add_fit(tables: Tables, zone: str, name: str, fit: dict[str, np.ndarray]) -> None:
    """Append the fit of one variable of a zone to the tables."""
    key = f"{zone},{name}"
    if name == "pv":
        tables["pv_profile"] += by_month(zone, fit["profile"], 3)
        tables["quantiles"] += by_month(key, fit["ratio"], 3)
        return
    tables["quantiles"] += by_month(key, fit["quantiles"])
    tables["spread"] += by_month(key, fit["spread"] / calibration.HUNDREDTH)
    tables["shift"] += by_month(key, fit["shift"] / calibration.HUNDREDTH)


def describe(row: dict[str, str]) -> dict[str, object]:
    """Return time zone, annual marginal factor and source notes of a zone, from a row of zones.csv."""
    own = OWN_MARGINAL_KG_PER_MWH.get(row["zone"])
    published = f"annual marginal factor of {row['wt_region']}, Green Software Foundation real-time-cloud"
    return {
        "name": row["name"],
        "timezone": row["timezone"],
        "marginal_kg_per_mwh": float(row["wt_marginal_annual"]) if own is None else own,
        "marginal_source": published if own is None else "own choice, no published annual factor",
        "note": "; ".join(part for part in (row["price_series"], row["note"]) if part),
    }


def describe_spikes(spikes: dict[str, np.ndarray], price_memory: tuple[float, float]) -> dict[str, object]:
    """Return what the calibration of a zone says of its price spikes."""
    trigger_phi, size_phi = (float(v) for v in spikes["phi"])
    return {
        "phi": round(calibration_fit.own_trigger_phi(trigger_phi, *price_memory), 4),
        "size_phi": round(size_phi, 4),
        "cap_usd_per_mwh": [float(v) for v in numbers(spikes["cap"])],
        "mean_excess_usd_per_mwh": [float(v) for v in numbers(spikes["mean_excess"])],
        "excess_shape": [float(v) for v in numbers(spikes["shape"])],
    }


def write_files(out: Path, year: int, tables: Tables, zones: dict[str, object], matrix: np.ndarray) -> None:
    """Write the tables, the correlation of all series and the metadata of the zones."""
    out.mkdir(parents=True, exist_ok=True)
    for name, columns in HEADERS.items():
        write_rows(out / f"{name}.csv", columns, tables[name])

    # The lower triangle is enough.
    labels = [f"{zone}:{name}" for zone in zones for name in calibration.VARIABLES]
    rows: list[list[object]] = [
        [label, *numbers(matrix[i, : i + 1] / calibration.HUNDREDTH)] for i, label in enumerate(labels)
    ]
    write_rows(out / "correlation.csv", ["series"], rows)
    (out / "zones.json").write_text(json.dumps({"year": year, "zones": zones}, indent=1) + "\n")


class CalibrateOptions(CommandOptions):
    """Which year, and where the tables go."""

    year: int = Field(2023, description="of the panel")
    out: Path = Field(calibration.TABLE_DIR, description="folder of the tables")


@command(CalibrateOptions)
def main(options: CalibrateOptions) -> int:
    """Read the panel, fit every zone and write the tables."""
    data_dir = os.environ.get("GRIDAI_DATA_DIR")
    if not data_dir:
        raise InputError(
            "set GRIDAI_DATA_DIR to the folder that holds panel/hourly_2021_2023.parquet and panel/zones.csv"
        )

    years, metadata = read_year(Path(data_dir), options.year)
    write_tables(options.out, options.year, years, metadata)
    size = sum(path.stat().st_size for path in options.out.glob("*.*"))
    print(f"{len(years)} zones, {options.year}: {size / 1000:.0f} kB in {options.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
