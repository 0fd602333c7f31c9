"""Find, read and change scenario files."""

import os
import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Never

import yaml
from pydantic import ValidationError

from gridai_env.files import shipped_folder
from gridai_env.scenario.checks import check_scenario
from gridai_env.scenario.checks_of_lines import never_called
from gridai_env.scenario.drawn_jobs import with_drawn_jobs
from gridai_env.scenario.errors import ScenarioError, closest, from_pydantic, raise_all, refuse_unknown
from gridai_env.scenario.partial import other_problems
from gridai_env.scenario.paths import absolute
from gridai_env.scenario.spec import Event, Scenario, Site

EXPONENT = re.compile(r"^[-+]?(\.\d+|\d+(\.\d*)?)[eE][-+]?\d+$")


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, but a key that stands twice is an error.

    As in JSON and newer YAML, dates are text (the spec makes dates of them) and 1e3 is a number.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, form) for tag, form in found if tag != "tag:yaml.org,2002:timestamp"]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        # Such as !!int x, !!timestamp x, or a number of 5,000 digits.
        except (ValueError, AttributeError, OverflowError, KeyError) as error:
            what = f"no valid {node.tag.rsplit(':', 1)[-1]}"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen and key != "<<":
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("-+.0123456789"))


def scenario_folder() -> Path:
    """Return the folder of the shipped scenarios."""
    return shipped_folder("scenarios")


def scenario_names() -> tuple[str, ...]:
    """Return the names of the shipped scenarios."""
    return tuple(sorted(path.stem for path in scenario_folder().glob("*.yaml")))


def load_scenario(
    source: str | Path | Mapping[str, Any] | Scenario,
    *,
    horizon_h: float | None = None,
    latency_scale: float | None = None,
    carbon_price_usd_per_t: float | None = None,
    forecast: str | None = None,
    traces: str | None = None,
    demand: str | None = None,
    **unknown: Never,
) -> Scenario:
    """Return a checked scenario: the name of a shipped one, the path of a YAML file, its keys, or a Scenario.

    The overrides replace values of the file.  ``horizon_h`` leaves out jobs that would end after the new
    horizon and events that would start after it, clips later starts and longer events and calls to it, and
    scales the carbon budget in proportion.  ``latency_scale`` multiplies ``latency.budget_scale``; ``forecast`` is a
    kind; ``traces`` is "synthetic" or a path, ``demand`` too, the latter with options ("FILE,model=m-large").
    Paths in a scenario file count from its folder, those of overrides from the working folder.
    Raises ScenarioError with all faults in one message, TypeError for unknown keywords.
    """
    refuse_unknown("load_scenario", unknown, OVERRIDES)
    scenario, where = _open(source)
    files = _given(traces=traces, demand=demand)
    given = _given(
        horizon_h=horizon_h,
        latency_scale=latency_scale,
        carbon_price_usd_per_t=carbon_price_usd_per_t,
        forecast=forecast,
    )

    # What holds without these files need not hold with them, so they count before the checks.
    if files:
        scenario = _validate(scenario.model_dump() | files, f"{where} with overrides")
    scenario = _completed(scenario, where)
    # A shorter horizon may leave calls out, as it does jobs and events; a file that never calls is a mistake.
    if not isinstance(source, Scenario):
        raise_all(where, never_called(scenario))
    return _override(scenario, where, given) if given else scenario


# Keywords that change a scenario.
OVERRIDES = tuple(load_scenario.__kwdefaults__ or ())


def parse_scenario(data: Any, source: str) -> Scenario:
    """Return the checked scenario in a mapping, as read from YAML or JSON; ``source`` names it in errors."""
    return _completed(_validate(data, source), source)


def _given(**overrides: Any) -> dict[str, Any]:
    return {key: value for key, value in overrides.items() if value is not None}


def _completed(scenario: Scenario, where: str) -> Scenario:
    """Return the scenario with its drawn jobs, checked."""
    check_scenario(scenario, where)
    complete = with_drawn_jobs(scenario, where)
    if complete is not scenario:
        check_scenario(complete, where)
    return complete


def _validate(data: Any, source: str, folder: Path | None = None) -> Scenario:
    """Return the scenario whose paths count from ``folder`` (None: the working folder)."""
    if not isinstance(data, Mapping):
        raise ScenarioError(f"{source}: must be a table of keys, found {type(data).__name__}")
    try:
        return Scenario.model_validate(dict(data), context=folder)
    except ValidationError as error:
        raise_all(source, [*from_pydantic(error), *other_problems(dict(data))])
        raise


def _open(source: str | Path | Mapping[str, Any] | Scenario) -> tuple[Scenario, str]:
    """Return a scenario whose keys are right, each by itself, and how messages name it."""
    if isinstance(source, Scenario):
        return source, f"scenario {source.name!r}"
    if isinstance(source, Mapping):
        return _validate(source, "scenario"), "scenario"
    path = _find(source)

    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.YAMLError as error:
        raise ScenarioError(f"{path}: not valid YAML: {error}") from error
    except RecursionError as error:
        raise ScenarioError(f"{path}: not a scenario: nested too deeply") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: cannot be read: {error}") from error
    return _validate(data, str(path), path.parent), str(path)


def located(source: str) -> str:
    """Return the absolute path of a scenario file; the name of a shipped one, and what is no file, as they are."""
    is_file = source not in scenario_names() and os.path.isfile(source)
    return absolute(source) if is_file else source


def _find(source: str | Path) -> Path:
    shipped = scenario_names()
    if str(source) in shipped:
        return scenario_folder() / f"{source}.yaml"
    path = Path(source)
    if not path.is_file():
        advice = closest(str(source), shipped)
        raise ScenarioError(
            f"scenario {str(source)!r}: neither a file ({path.absolute()}) nor a shipped scenario ({advice})"
        )
    return path


def _override(scenario: Scenario, where: str, given: dict[str, Any]) -> Scenario:
    """Return the scenario with overrides, validated again."""
    data = scenario.model_dump()
    scale = given.pop("latency_scale", None)
    if scale is not None:
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < float("inf"):
            raise ScenarioError(f"{where}, override latency_scale = {scale!r}: must be a number in (0, inf)")
        data["latency"]["budget_scale"] *= scale

    if "forecast" in given:
        data["forecast"]["kind"] = given.pop("forecast")

    source = f"{where} with overrides"
    # pydantic checks types and ranges again, `check_scenario` what keys demand of each other.
    fresh = _validate(data | given, source)
    if fresh.horizon_h != scenario.horizon_h:
        fresh = _fit_horizon(fresh, scenario.horizon_h)
    check_scenario(fresh, source)
    return fresh


def _fit_horizon(scenario: Scenario, before_h: float) -> Scenario:
    """Return the scenario without what lies after its horizon, the carbon budget in proportion."""
    end = scenario.horizon_h
    budget = scenario.carbon_budget_kg
    changes = {
        "jobs": [j for j in scenario.jobs if j.deadline_h + j.release_jitter_h <= end],
        "events": [_clip(e, end) for e in scenario.events if e.earliest_h < end],
        "sites": [_shorter_calls(site, end) for site in scenario.sites],
        "carbon_budget_kg": None if budget is None else budget * end / before_h,
    }
    return scenario.model_copy(update=changes)


def _shorter_calls(site: Site, end_h: float) -> Site:
    """Return the site without calls that are longer than the horizon."""
    lines = []
    for line in site.lines:
        if (calls := line.calls) is not None and calls.source == "drawn":
            shorter = {"duration_h": [min(hours, end_h) for hours in calls.duration_h]}
            line = line.model_copy(update={"calls": calls.model_copy(update=shorter)})
        lines.append(line)
    return site.model_copy(update={"lines": lines})


def _clip(event: Event, end_h: float) -> Event:
    latest = None if event.latest_h is None else min(event.latest_h, end_h)
    return event.model_copy(update={"latest_h": latest, "duration_h": min(event.duration_h, end_h)})
