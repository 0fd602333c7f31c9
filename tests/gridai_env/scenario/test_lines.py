"""Lines, calls and constraints that cannot be meant: each is refused in one line, whatever stands in their keys."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import numpy as np
import pytest

from gridai_env.episodes.exogenous import site_series
from gridai_env.episodes.instance import make_batch
from gridai_env.scenario.compile import compile_scenario
from gridai_env.scenario.errors import ScenarioError
from gridai_env.scenario.load import load_scenario, parse_scenario
from gridai_env.scenario.price_bounds import least_import_usd_per_mwh
from gridai_env.traces import synthetic_series
from tests.support.small_scenario import CALLS, FLEXIBLE, SMALL

WRONG = (
    "text",
    "",
    -3.0,
    0,
    1e400,
    float("nan"),
    None,
    True,
    [],
    [1],
    [[]],
    ["a", "b", "c"],
    {},
    {"a": 1},
    [{}],
)
DAILY = {"per_week": 7, "start_h": [13.0, 13.0], "duration_h": [3.0, 3.0]}
LINE: dict[str, Any] = {
    "name": "line",
    "kind": "connection",
    "mw": 0.5,
    "price_usd_per_mwh": 100.0,
    "calls": DAILY,
}
CONTRACT: dict[str, Any] = {"name": "clean", "kind": "matching", "wind_mw": 2.0, "price_usd_per_mwh": 5.0}


def full() -> dict[str, Any]:
    """A scenario with lines of every kind, power modes, a constraint: every key of them is there."""
    sites = [site | FLEXIBLE[site["name"]] for site in SMALL["sites"]]
    return deepcopy({
        **SMALL, "horizon_h": 96.0, "sites": sites, "constraint": {"quantity": "line_excess_mwh", "budget": 1.0}
    })  # fmt: skip


def places(data: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of each key and entry."""
    pairs = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in pairs:
        yield (*at, key)
        yield from places(value, (*at, key))


def with_lines(*lines: dict[str, Any], south: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    """The small world with lines in the south."""
    sites = [SMALL["sites"][0], {**SMALL["sites"][1], "lines": list(lines), **(south or {})}]
    return {**SMALL, "jobs": [], "events": [], "sites": sites, **keys}


def one_problem(data: dict[str, Any]) -> str:
    with pytest.raises(ScenarioError) as caught:
        load_scenario(data)
    (line,) = caught.value.problems
    return line


def test_a_value_of_a_wrong_kind_is_a_fault_of_the_scenario_and_nothing_else() -> None:
    """At every key of lines, power modes and constraint; what fits is accepted, the rest named."""
    data = full()
    load_scenario(data)
    refused = 0
    for place in [
        p for p in places(data) if p[0] == "constraint" or p[2:3] in (("lines",), ("power_modes",))
    ]:
        for value in WRONG:
            changed = deepcopy(data)
            *above, key = place
            holder = changed
            for part in above:
                holder = holder[part]
            holder[key] = value
            try:
                load_scenario(changed)
            except ScenarioError as error:
                refused += 1
                key_path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in place).lstrip(".")
                assert any(key_path.split("[")[0] in line for line in error.problems), (
                    place,
                    value,
                    str(error),
                )
                assert "PydanticUserError" not in str(error) and "literal[" not in str(error), (place, value)
    assert refused > 500


def test_two_constraints_are_one_too_many() -> None:
    two = [{"quantity": "dropped_gpuh", "budget": 1.0}] * 2
    assert "must be a table of keys [no unit] (exactly one, not a list)" in one_problem(
        full() | {"constraint": two}
    )


@pytest.mark.parametrize("quantity", ["line_excess_mwh", "carbon_excess_kg", "dropped_gpuh"])
def test_a_constraint_needs_a_quantity_that_can_occur(quantity: str) -> None:
    """Above a hard line nothing is imported, a contract's excess is not import above a line."""
    hard = {key: value for key, value in LINE.items() if key != "price_usd_per_mwh"} | {
        "name": "hard",
        "hard": True,
    }
    keys = {"constraint": {"quantity": quantity, "budget": 1.0}, "carbon_budget_kg": None}
    none = with_lines(hard, CONTRACT, **keys)
    if quantity == "dropped_gpuh":
        load_scenario(none)
        return
    assert one_problem(none).startswith(
        f"constraint.quantity = '{quantity}': must be a quantity that can occur"
    )
    load_scenario(with_lines(hard, CONTRACT, LINE, **keys | {"carbon_budget_kg": 1.0}))


def test_one_contract_at_a_site() -> None:
    words = one_problem(with_lines(CONTRACT, CONTRACT | {"name": "other", "wind_mw": 0.0, "pv_mw": 1.0}))
    assert words.startswith("sites[1].lines = ['clean', 'other']: must be at most one line of kind matching")


@pytest.mark.parametrize(
    ("timezone", "start_h", "begins"),
    [
        ("Asia/Kolkata", [13.0, 13.0], {"12:30"}),  # steps begin at half hours
        ("Asia/Kolkata", [0.0, 0.0], {"23:30"}),  # of the day before
        ("Asia/Kolkata", [12.0, 14.0], {"11:30", "12:30", "13:30"}),
        ("Asia/Kathmandu", [13.0, 13.0], {"12:45"}),
        ("America/Chicago", [13.0, 14.0], {"13:00", "14:00"}),
    ],
)
def test_calls_begin_in_the_steps_that_contain_the_hours(
    timezone: str, start_h: list[float], begins: set[str]
) -> None:
    line = LINE | {"calls": DAILY | {"start_h": start_h}}
    data = with_lines(line, south={"timezone": timezone}, horizon_h=96.0)
    found: list[str] = []
    for one in make_batch(compile_scenario(load_scenario(data)), range(20)):
        depth = one.knowledge.call_depth[:, 0]
        first = np.flatnonzero((depth > 0.0) & (np.diff(depth, prepend=0.0) > 0.0))
        assert len(first) >= 2  # of four days
        offset = {"Asia/Kolkata": 330, "Asia/Kathmandu": 345}.get(timezone)
        for step in first:
            at = one.start_utc + np.timedelta64(60 * int(step), "m")
            if offset is None:
                offset_h = -5 if str(at)[5:] > "03-12" and str(at)[5:] < "11-05T07" else -6
                offset_min = 60 * offset_h
            else:
                offset_min = offset
            found.append(str(at + np.timedelta64(offset_min, "m"))[11:])
    assert set(found) == begins


def test_an_episode_that_cannot_be_called_is_refused() -> None:
    keys = {
        "horizon_h": 12.0,
        "start": {"first": "2023-07-01", "last": "2023-07-10", "hour_utc": 2},
    }  # 19:00 there
    noon = LINE | {"calls": DAILY | {"start_h": [12.0, 12.0]}}
    words = one_problem(with_lines(noon, **keys))
    assert words.startswith(
        "sites[1].lines[0].calls.start_h = [12.0, 12.0]: must be met by an episode: 12 h from 19:00"
    )
    # 6:00 is the last hour of it; a horizon that is shortened may leave the calls out.
    load_scenario(with_lines(LINE | {"calls": DAILY | {"start_h": [6.0, 6.0]}}, **keys))
    longer = with_lines(noon, **keys | {"horizon_h": 24.0})
    short = load_scenario(longer, horizon_h=12.0)
    assert (
        load_scenario(short).horizon_h
        == parse_scenario(short.model_dump(mode="json"), "kept").horizon_h
        == 12.0
    )


def test_synthetic_prices_never_fall_below_their_bound() -> None:
    """Which thousands of hours come near to: a bound far below would refuse good contracts."""
    shocks = [{"name": "glut", "kind": "price", "sites": ["north"], "factor": 1.5, "add_usd_per_mwh": -30.0}]
    data = {**SMALL, "jobs": [], "events": shocks, "start": {"first": "2023-05-01", "last": "2023-06-15"}}
    scenario = parse_scenario(data, "mine.yaml")
    compiled = compile_scenario(scenario)
    starts = np.arange("2023-05-01", "2023-06-15", dtype="datetime64[D]").astype("datetime64[m]").repeat(40)
    rngs = list(np.random.default_rng(0).spawn(len(starts)))
    series = synthetic_series(compiled.sites.zones, starts, 48, 1.0, rngs)
    lowest = site_series(compiled, series).buy_usd_per_mwh.min((0, 1))
    lowest[0] = min(lowest[0], 1.5 * lowest[0] - 30.0)
    bound = np.array([least_import_usd_per_mwh(scenario, site) for site in scenario.sites])
    assert (bound <= lowest).all()
    assert bound == pytest.approx(lowest, abs=0.2 * abs(bound).max())
    no_shock = parse_scenario(data | {"events": [shocks[0] | {"probability": 0.0}]}, "mine.yaml")
    assert least_import_usd_per_mwh(no_shock, scenario.sites[0]) > bound[0]


def test_a_price_that_may_fall_below_the_shortfall_price_is_refused() -> None:
    response = FLEXIBLE["south"]["lines"][1] | {"calls": CALLS | {"ramp_h": 0.0}}
    for price, fits in ((1.0, False), (1150.0, True)):
        data = with_lines(response | {"price_usd_per_mwh": price}, horizon_h=96.0)
        if fits:
            load_scenario(data)
        else:
            assert one_problem(data).startswith("sites[1].lines[0].price_usd_per_mwh = 1.0: must be above")
    fixed = response | {"price_usd_per_mwh": 1.0, "energy_price_usd_per_mwh": 50.0}
    load_scenario(with_lines(fixed, horizon_h=96.0))
