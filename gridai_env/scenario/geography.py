"""Which routes are open: path latency, law, state locality and support, each reason with its own mask.

A path runs from the clients of region c through a service node s (gateway, sessions, retrieval) to site k: of
the nodes that the row may use the one with the least total.  State-bound work ("home", whose sessions and
retrieval data a node holds) and law-bound work ("zone") may use nodes of their home's legal zone alone; work
that may run anywhere holds nothing and may use any.

Shapes: C regions, S service nodes, W rows, K sites.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np

from gridai_env.arrays.types import Bool, Bools, Float, Floats, Index, Int, Ints
from gridai_env.scenario.spec import Latency, Scenario

EARTH_RADIUS_KM = 6371.0088
INSIDE_KM = 50.0  # closer places count as one: the round trip inside a region
LOCAL_MS, REGIONAL_MS = 10.0, 100.0
LAYERS = ("local", "regional", "energy-oriented")


class Place(Protocol):
    """Anything with coordinates in degrees and, where it has one, a name in the RTT table."""

    @property
    def latitude(self) -> float: ...
    @property
    def longitude(self) -> float: ...
    @property
    def rtt_key(self) -> str | None: ...


@dataclass(frozen=True)
class Row:
    """A workload row: a class with one locality level ("home", "zone" or "anywhere")."""

    class_index: int
    locality: str
    share: float  # of a region's demand


@dataclass(frozen=True)
class Geography:
    """Latencies and masks of a scenario.  True in a mask means open."""

    latency_ms: Float[Floats, "C W K"]  # path and processing
    path_ms: Float[Floats, "C W K"]  # path alone
    service_node: Int[Index, "C W K"]  # index of the legal node with the least total
    processing_ms: Float[Floats, " W"]
    budget_ms: Float[Floats, " W"]
    by_latency: Bool[Bools, "C W K"]
    by_law: Bool[Bools, "C W K"]
    by_state: Bool[Bools, "C W K"]
    by_support: Bool[Bools, "C W K"]
    open: Bool[Bools, "C W K"]  # all four, and home in any case
    home: Bool[Bools, "C K"]
    home_misses_budget: Bool[Bools, "C W"]
    layer: Int[Ints, "C W K"]  # index into LAYERS
    usd_per_gb: Float[Floats, "C K"]  # from the home to a site, 0 at home


def distance_km(a: Place, b: Place) -> float:
    """Return the great-circle distance (haversine) in km."""
    lat_a, lat_b = np.radians(a.latitude), np.radians(b.latitude)
    half_lat = (lat_b - lat_a) / 2.0
    half_lon = np.radians(b.longitude - a.longitude) / 2.0
    chord = np.sin(half_lat) ** 2 + np.cos(lat_a) * np.cos(lat_b) * np.sin(half_lon) ** 2
    return float(2.0 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(min(1.0, chord))))


def rtt_ms(latency: Latency, start: Place, end: Place) -> float:
    """Return the round trip from ``start`` to ``end`` in ms.

    Measured where both have an entry in the table and the scenario asks for it; else the formula
    2 * inflation * (km / fibre speed + overhead) of arXiv 2604.27855, section 5.4.
    """
    same_key = start.rtt_key is not None and start.rtt_key == end.rtt_key
    km = distance_km(start, end)
    if same_key or km < INSIDE_KM:
        return latency.inside_ms
    if latency.rtt == "table" and start.rtt_key is not None and end.rtt_key is not None:
        measured = rtt_table().get((start.rtt_key, end.rtt_key))
        if measured is not None:
            return measured
    return 2.0 * latency.inflation * (km / latency.fibre_km_per_ms + latency.overhead_ms)


def build_geography(scenario: Scenario, rows: list[Row]) -> Geography:
    """Compute latencies, masks, layers and egress prices of a scenario's routes."""
    zones = np.array([s.legal_zone for s in scenario.sites])
    homes = np.array([scenario.index_of_site(r.home) for r in scenario.regions])
    home = homes[:, None] == np.arange(len(zones))[None, :]
    same_zone = zones[homes][:, None] == zones[None, :]
    client, site = _round_trips(scenario)
    node_zones = np.array([node.legal_zone for node in scenario.nodes()])
    path, service_node = _paths(client, site, node_zones[None, :] == zones[homes][:, None], rows)

    tasks = [scenario.classes[row.class_index] for row in rows]
    processing = np.array([task.processing_ms for task in tasks])
    budget = np.array([task.latency_budget_ms for task in tasks]) * scenario.latency.budget_scale
    total = path + processing[None, :, None]
    masks = {"by_latency": total <= budget[None, :, None], **_rules(scenario, rows, home, same_zone)}

    return Geography(
        latency_ms=total,
        path_ms=path,
        service_node=service_node,
        processing_ms=processing,
        budget_ms=budget,
        **masks,
        # Work may always be served at home, even where that misses its budget.
        open=np.all(list(masks.values()), axis=0) | home[:, None, :],
        home=home,
        home_misses_budget=(home[:, None, :] & ~masks["by_latency"]).any(axis=-1),
        layer=_layers(path, home, same_zone),
        usd_per_gb=_egress_usd_per_gb(scenario, home, same_zone),
    )


def _round_trips(scenario: Scenario) -> tuple[Float[Floats, "C S"], Float[Floats, "S K"]]:
    """Return the round trips in ms from regions to service nodes, and from these to sites."""
    nodes, latency = scenario.nodes(), scenario.latency
    client = np.array([[rtt_ms(latency, region, node) for node in nodes] for region in scenario.regions])
    site = np.array([[rtt_ms(latency, node, site) for site in scenario.sites] for node in nodes])
    return client, site


def _paths(client: np.ndarray, site: np.ndarray, legal_node: np.ndarray, rows: list[Row]) -> tuple:
    """Return path latency and service node [C,W,K]; bound rows use nodes of their home's legal zone."""
    paths, chosen = [], []
    for row in rows:
        allowed = np.ones_like(legal_node) if row.locality == "anywhere" else legal_node
        through = np.where(allowed[:, :, None], client[:, :, None] + site[None, :, :], np.inf)
        chosen.append(through.argmin(axis=1))
        paths.append(through.min(axis=1))
    return np.stack(paths, axis=1), np.stack(chosen, axis=1)


def _rules(
    scenario: Scenario, rows: list[Row], home: Bool[Bools, "C K"], same_zone: Bool[Bools, "C K"]
) -> dict[str, Bool[Bools, "C W K"]]:
    """Return the masks of law, state locality and support, [C,W,K] each."""
    shape = (home.shape[0], len(rows), home.shape[1])
    law, state, support = (np.ones(shape, dtype=bool) for _ in range(3))

    names = [s.name for s in scenario.sites]
    for w, row in enumerate(rows):
        if row.locality == "zone":
            law[:, w] = same_zone
        if row.locality == "home":
            state[:, w] = home
        allowed = scenario.classes[row.class_index].supported_at
        if allowed is not None:
            support[:, w] = np.isin(names, allowed)[None, :]
    return {"by_law": law, "by_state": state, "by_support": support}


def _layers(path: np.ndarray, home: np.ndarray, same_zone: np.ndarray) -> np.ndarray:
    """Return the execution layer [C,W,K]: 0 local, 1 regional, 2 energy-oriented."""
    local = home[:, None, :] | (path <= LOCAL_MS)
    regional = same_zone[:, None, :] | (path <= REGIONAL_MS)
    return np.where(local, 0, np.where(regional, 1, 2))


def _egress_usd_per_gb(scenario: Scenario, home: np.ndarray, same_zone: np.ndarray) -> np.ndarray:
    """Return the price [C,K] of moving data from the home, where state and retrieval data lie, to a site."""
    net = scenario.network
    return np.where(home, 0.0, np.where(same_zone, net.same_zone_usd_per_gb, net.other_zone_usd_per_gb))


TABLE = Path(__file__).parents[1] / "traces" / "calibration" / "azure_rtt_ms.csv"


@cache
def rtt_table() -> dict[tuple[str, str], float]:
    """Return round-trip times in ms by (from, to); where one direction is not given, it takes the other's."""
    text = TABLE.read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    given = {
        (start, row["to"]): float(ms) for row in rows for start, ms in row.items() if start != "to" and ms
    }
    return {(b, a): ms for (a, b), ms in given.items()} | given


@cache
def rtt_keys() -> tuple[str, ...]:
    """Return the names that the table knows, sorted."""
    return tuple(sorted({name for pair in rtt_table() for name in pair}))
