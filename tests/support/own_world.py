"""A scenario of zones that no calibration knows, and the files beside it: prices, demand, jobs; all made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tests.support.small_scenario import SITE

COLUMNS = "price_usd_per_mwh,carbon_average_kg_per_mwh,carbon_marginal_kg_per_mwh,wetbulb_c,pv_cf,wind_cf"
WORLD: dict[str, Any] = {
    "name": "own",
    "horizon_h": 6.0,
    "reward_scale_usd": 100.0,
    "sites": [
        {**SITE, "name": "north", "zone": "NORTH", "battery": {"capacity_mwh": 2.0, "power_mw": 0.5}},
        {**SITE, "name": "south", "zone": "SOUTH"},
    ],
    "regions": [
        {
            "name": "north",
            "home": "north",
            "latitude": 50.0,
            "longitude": 8.0,
            "timezone": "UTC",
            "mean_gpus": 500.0,
        }
    ],
    "classes": [
        {
            "name": "chat",
            "share": 1.0,
            "latency_budget_ms": 300.0,
            "processing_ms": 100.0,
            "revenue_usd_per_gpuh": 0.2,
            "drop_usd_per_gpuh": 0.3,
        }
    ],
}


def write_world(folder: Path, **changes: Any) -> Path:
    """Write own.yaml into a folder, return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(WORLD | changes), encoding="utf-8")
    return path


def write_prices(path: Path, days: int = 4, level_usd_per_mwh: float = 50.0) -> Path:
    """Write a trace file of some days from 2024-03-01 on."""
    hours = np.arange(days * 24)
    stamps = np.datetime64("2024-03-01T00") + hours
    rows = [
        f"{stamp}:00Z,{zone},{level_usd_per_mwh + 10 * place + hour % 24:.2f},300,400,10,0.2,0.3"
        for place, zone in enumerate(("NORTH", "SOUTH"))
        for hour, stamp in zip(hours, stamps, strict=True)
    ]
    path.write_text("\n".join([f"utc,zone,{COLUMNS}", *rows]) + "\n", encoding="utf-8")
    return path


def write_demand(path: Path) -> Path:
    """Write two days of requests, one a minute."""
    stamps = np.datetime64("2024-03-01T00:00:00") + np.arange(2 * 1440) * np.timedelta64(60, "s")
    rows = [f"{str(stamp).replace('T', ' ')},{100 + i % 7},{200 + i % 5}" for i, stamp in enumerate(stamps)]
    path.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]) + "\n", encoding="utf-8")
    return path


def write_jobs(path: Path) -> Path:
    """Write three jobs of an hour."""
    path.write_text("arrival_h,duration_h,gpus\n0,1,8\n1,1,8\n2,1,8\n3,1,8\n", encoding="utf-8")
    return path
