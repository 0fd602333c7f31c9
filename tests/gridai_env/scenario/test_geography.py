"""Latencies by hand, masks and layers against loops, egress."""

import math
from itertools import pairwise

import numpy as np
import pytest

from gridai_env.scenario.compile import build_rows, compile_scenario
from gridai_env.scenario.geography import Geography, build_geography, distance_km, rtt_keys, rtt_ms, rtt_table
from gridai_env.scenario.load import load_scenario, parse_scenario, scenario_names
from gridai_env.scenario.spec import Latency, Scenario, ServiceNode
from tests.gridai_env.scenario.test_spec import put, small


def place(latitude: float, longitude: float, key: str | None = None) -> ServiceNode:
    return ServiceNode(name="p", latitude=latitude, longitude=longitude, legal_zone="X", rtt_key=key)


def law_scenario() -> Scenario:
    """Two legal zones, three sites, three localities, one class supported at two sites only."""
    data = small() | {"jobs": [], "events": []}
    data["sites"] = [
        data["sites"][0] | {"rtt_key": "GermanyWestCentral"},
        data["sites"][1] | {"rtt_key": "NorthEurope", "latitude": 53.3, "longitude": -6.3},
        data["sites"][0]
        | {"name": "c", "legal_zone": "US", "latitude": 38.9, "longitude": -77.5, "rtt_key": "EastUS"},
    ]
    data["regions"] = [
        data["regions"][0] | {"rtt_key": "GermanyWestCentral"},
        data["regions"][0]
        | {"name": "us", "home": "c", "latitude": 40.7, "longitude": -74.0, "timezone": "America/New_York"},
    ]
    chat = data["classes"][0]
    data["classes"] = [
        chat | {"share": 0.6, "state_bound_share": 0.25, "law_bound_share": 0.25, "latency_budget_ms": 250.0},
        chat | {"name": "rest", "share": 0.4, "supported_at": ["a", "c"], "law_bound_share": 0.5},
    ]
    return parse_scenario(data, "law.yaml")


def geography_of(scenario: Scenario) -> Geography:
    return build_geography(scenario, build_rows(scenario))


def test_distance_of_a_degree_and_of_half_the_earth():
    degree = math.pi * 6371.0088 / 180.0
    assert distance_km(place(0, 0), place(0, 1)) == pytest.approx(degree, rel=1e-9)
    assert distance_km(place(10, 0), place(11, 0)) == pytest.approx(degree, rel=1e-9)
    assert distance_km(place(60, 0), place(60, 1)) == pytest.approx(degree / 2, rel=1e-3)
    assert distance_km(place(90, 0), place(-90, 123)) == pytest.approx(180 * degree, rel=1e-9)
    assert distance_km(place(0, -179.5), place(0, 179.5)) == pytest.approx(degree, rel=1e-9)


def test_the_formula_by_hand():
    # 30 degrees of longitude on the equator: 3335.85 km; 2 * 1.4 * (3335.85 / 200 + 20) = 102.70 ms
    assert rtt_ms(Latency(rtt="formula"), place(0, 0), place(0, 30)) == pytest.approx(102.7019, abs=1e-3)


def test_published_reach_of_a_budget():
    # 100 ms reach 3143 km, 150 ms 6714 km, by the paper's formula
    for budget_ms, km in ((100.0, 3143.0), (150.0, 6714.0)):
        degrees = km / (math.pi * 6371.0088 / 180.0)
        assert rtt_ms(Latency(rtt="formula"), place(0, 0), place(0, degrees)) == pytest.approx(
            budget_ms, abs=0.01
        )


def test_inside_a_region():
    assert rtt_ms(Latency(), place(50, 8), place(50, 8)) == 5.0
    assert rtt_ms(Latency(), place(50, 8), place(50.2, 8)) == 5.0
    assert rtt_ms(Latency(), place(50, 8), place(51, 8)) > 50.0
    assert rtt_ms(Latency(inside_ms=2.0), place(50, 8, "EastUS"), place(10, 8, "EastUS")) == 2.0


def test_the_table_is_read_from_to():
    # row "to", column "from": to East US from South Central US 37, the other way 36
    assert rtt_table()["SouthCentralUS", "EastUS"] == 37.0
    assert rtt_table()["EastUS", "SouthCentralUS"] == 36.0
    assert rtt_ms(Latency(), place(32, -96, "SouthCentralUS"), place(38, -77, "EastUS")) == 37.0
    assert rtt_ms(Latency(), place(38, -77, "EastUS"), place(32, -96, "SouthCentralUS")) == 36.0


def test_one_way_figures_serve_both_ways_and_the_formula_can_be_asked_for():
    assert rtt_table()["EastUS", "WestUS2"] == rtt_table()["WestUS2", "EastUS"] == 67.0
    formula = rtt_ms(Latency(rtt="formula"), place(38, -77, "EastUS"), place(47, -119, "WestUS2"))
    km = distance_km(place(38, -77), place(47, -119))
    assert formula == pytest.approx(2.8 * (km / 200 + 20))
    assert rtt_ms(Latency(), place(38, -77, "EastUS"), place(47, -119)) == formula


def test_the_table_is_plausible():
    table = rtt_table()
    assert len(rtt_keys()) == 12
    for (start, end), ms in table.items():
        assert ms == 5.0 if start == end else 20.0 < ms < 400.0
        assert abs(ms - table[end, start]) <= 6.0


def test_path_latency_by_hand():
    geo = geography_of(law_scenario())
    rows = [row.locality for row in build_rows(law_scenario())]
    free, zone = rows.index("anywhere"), rows.index("zone")
    # Germany to East US: through Germany 5 + 90, through East US 90 + 5, through Ireland 26 + 70
    assert geo.path_ms[0, free, 2] == 95.0
    assert geo.latency_ms[0, free, 2] == 95.0 + 150.0
    # law-bound work of the US region (no key: formula to its home) may not enter through Europe
    to_home = 2.8 * (distance_km(place(40.7, -74.0), place(38.9, -77.5)) / 200 + 20)
    assert geo.service_node[1, zone, 0] == 2
    assert geo.path_ms[1, zone, 2] == pytest.approx(to_home + 5.0)
    assert geo.path_ms[1, zone, 0] == pytest.approx(to_home + 88.0)


def brute_force(s: Scenario) -> dict[str, np.ndarray]:
    """The same by plain loops, written from the definitions."""
    rows = build_rows(s)
    shape = (len(s.regions), len(rows), len(s.sites))
    keys = ("by_latency", "by_law", "by_state", "by_support", "open", "latency_ms", "layer", "misses")
    out = {key: np.zeros(shape) for key in keys}
    for c, region in enumerate(s.regions):
        home = next(site for site in s.sites if site.name == region.home)
        for w, row in enumerate(rows):
            task = s.classes[row.class_index]
            for k, site in enumerate(s.sites):
                best = math.inf
                for node in s.nodes():
                    if row.locality != "anywhere" and node.legal_zone != home.legal_zone:
                        continue
                    best = min(best, rtt_ms(s.latency, region, node) + rtt_ms(s.latency, node, site))
                total = best + task.processing_ms
                in_time = total <= task.latency_budget_ms * s.latency.budget_scale
                lawful = row.locality != "zone" or site.legal_zone == home.legal_zone
                at_state = row.locality != "home" or site.name == region.home
                supported = task.supported_at is None or site.name in task.supported_at
                is_home = site.name == region.home
                near = site.legal_zone == home.legal_zone or best <= 100.0
                layer = 0 if is_home or best <= 10.0 else 1 if near else 2
                is_open = is_home or (in_time and lawful and at_state and supported)
                misses = is_home and not in_time
                values = (in_time, lawful, at_state, supported, is_open, total, layer, misses)
                for key, value in zip(keys, values, strict=True):
                    out[key][c, w, k] = value
    return out


@pytest.mark.parametrize("name", ["law", *scenario_names()])
@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_masks_against_brute_force(name, scale):
    base = law_scenario() if name == "law" else load_scenario(name)
    scenario = load_scenario(base, latency_scale=scale)
    geo, slow = geography_of(scenario), brute_force(scenario)
    for key in ("by_latency", "by_law", "by_state", "by_support", "open", "layer"):
        np.testing.assert_array_equal(getattr(geo, key), slow[key], err_msg=key)
    np.testing.assert_array_equal(geo.home_misses_budget, slow["misses"].any(axis=-1))
    np.testing.assert_allclose(geo.latency_ms, slow["latency_ms"], rtol=1e-12)


def test_home_stays_open_where_it_misses_the_budget():
    scenario = load_scenario(law_scenario(), latency_scale=0.1)
    geo = geography_of(scenario)
    assert geo.home_misses_budget.all()
    assert (geo.open == geo.home[:, None, :]).all()


def test_routes_nest_in_the_budget():
    shut = [geography_of(load_scenario("global", latency_scale=f)).open for f in (0.5, 0.8, 1.0, 1.5)]
    assert all((narrow <= wide).all() for narrow, wide in pairwise(shut))
    assert shut[0].sum() < shut[-1].sum()


def test_a_shorter_way_through_another_service_node_is_found():
    data = put(small(), "sites.1.latitude", 70.0) | {"jobs": [], "events": []}
    data["service_nodes"] = [
        {"name": "far", "latitude": -40.0, "longitude": 8.0, "legal_zone": "EU"},
        {"name": "near", "latitude": 60.0, "longitude": 8.0, "legal_zone": "EU"},
    ]
    geo = geography_of(parse_scenario(data, "my.yaml"))
    assert (geo.service_node == 1).all()


def test_bound_work_passes_only_nodes_of_its_home_s_legal_zone():
    """The near node is abroad: state-bound and law-bound work goes the long way, free work does not."""
    data = small() | {"jobs": [], "events": []}
    data["service_nodes"] = [
        {"name": "abroad", "latitude": 50.1, "longitude": 8.7, "legal_zone": "US"},
        {"name": "legal", "latitude": -40.0, "longitude": 8.0, "legal_zone": "EU"},
    ]
    data["classes"][0] |= {"state_bound_share": 0.3, "law_bound_share": 0.3}
    scenario = parse_scenario(data, "my.yaml")
    geo = geography_of(scenario)
    for w, row in enumerate(build_rows(scenario)):
        assert (geo.service_node[:, w] == (0 if row.locality == "anywhere" else 1)).all(), row
    assert {row.locality for row in build_rows(scenario)} == {"home", "zone", "anywhere"}


def test_egress_is_free_at_home_and_dearer_across_zones():
    c = compile_scenario(law_scenario())
    egress = c.params.egress_usd_per_gpuh
    assert (egress[c.params.home[:, None, :].repeat(c.shape.rows, 1) == 1.0] == 0.0).all()
    assert egress[0, 0, 1] == pytest.approx(0.05 * 0.02)
    assert egress[0, 0, 2] == pytest.approx(0.05 * 0.05)
    assert c.params.network_mwh_per_gpuh[0, 0, 1] == pytest.approx(0.05 * 0.06 / 1000.0)
    assert c.params.network_mwh_per_gpuh[0, 0, 0] == 0.0
