"""The assumptions that a sensitivity changes, one at a time, each as a change of a scenario."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gridai_env.scenario.load import parse_scenario
from gridai_env.scenario.spec import Scenario

Data = dict[str, Any]

# What `pv_mw` and `wind_mw` of microgrid_prosumer are, in units of the generation of the trial named there.
OWN_GENERATION = 2.0


@dataclass(frozen=True)
class Lever:
    """A parameter: how it changes the resolved scenario, which value that has by itself, and its unit."""

    change: Callable[[Data, float], None]
    own: Callable[[Scenario], float | None]  # None: the value is not one of the scenario's
    unit: str


def _one(_: Scenario) -> float:
    return 1.0


def _set(key: str) -> Callable[[Data, float], None]:
    def change(data: Data, value: float) -> None:
        data[key] = value

    return change


def _scale_classes(key: str) -> Callable[[Data, float], None]:
    def change(data: Data, value: float) -> None:
        for task in data["classes"]:
            task[key] *= value

    return change


def _egress(data: Data, value: float) -> None:
    data["network"] |= {"same_zone_usd_per_gb": value, "other_zone_usd_per_gb": value}


def _generation(data: Data, value: float) -> None:
    for site in data["sites"]:
        for key in ("pv_mw", "wind_mw"):
            site[key] *= value / OWN_GENERATION


def _battery(data: Data, value: float) -> None:
    for site in data["sites"]:
        if value == 0.0:
            site["battery"] = None
        elif site["battery"] is not None:
            for key in ("capacity_mwh", "power_mw"):
                site["battery"][key] *= value


def _latency(data: Data, value: float) -> None:
    data["latency"]["budget_scale"] *= value


def _routable(data: Data, value: float) -> None:
    for task in data["classes"]:
        task |= {"state_bound_share": 1.0 - value, "law_bound_share": 0.0}


def _routable_now(scenario: Scenario) -> float | None:
    bound = {task.state_bound_share + task.law_bound_share for task in scenario.classes}
    return 1.0 - bound.pop() if len(bound) == 1 else None


def _no_budget(data: Data, value: float) -> None:
    """Remove the budget: the share is of the emissions without one, which are known only after a solve."""
    data["carbon_budget_kg"] = None


LEVERS: dict[str, Lever] = {
    "capacity_slack": Lever(_set("capacity_slack"), lambda s: s.capacity_slack, "capacity over local peak"),
    "carbon_price_usd_per_t": Lever(
        _set("carbon_price_usd_per_t"), lambda s: s.carbon_price_usd_per_t, "USD/t"
    ),
    "payload_scale": Lever(_scale_classes("payload_gb_per_gpuh"), _one, "factor on GB per GPU-h"),
    "egress_usd_per_gb": Lever(_egress, lambda s: s.network.other_zone_usd_per_gb, "USD/GB"),
    "state_bound_scale": Lever(_scale_classes("state_bound_share"), _one, "factor on the share"),
    "law_bound_scale": Lever(_scale_classes("law_bound_share"), _one, "factor on the share"),
    "generation": Lever(_generation, lambda _: OWN_GENERATION, "times the trial's PV and wind"),
    "battery_scale": Lever(_battery, _one, "factor on capacity and power"),
    "latency_scale": Lever(_latency, _one, "factor on all latency budgets"),
    "routable_share": Lever(_routable, _routable_now, "share of inference"),
    "carbon_budget_share": Lever(_no_budget, lambda _: None, "of the emissions without a budget"),
}
BUDGET = "carbon_budget_share"


def changed(scenario: Scenario, parameter: str, value: float) -> Scenario:
    """Return the scenario with one assumption changed; itself where it has that value already."""
    lever = LEVERS[parameter]
    if lever.own(scenario) == value:
        return scenario
    data = scenario.model_dump()
    lever.change(data, value)
    return parse_scenario(data, f"scenario {scenario.name!r} with {parameter} = {value:g}")
