"""The tables of a reproduction, from the records of its tasks: headlines, policies, sensitivities."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from gridai_env.analysis.latency_returns import check_monotone, returns
from gridai_env.analysis.statistics import UNKNOWN, Interval, bootstrap
from gridai_env.scenario.errors import closest
from gridai_env.scenario.load import load_scenario
from scripts.runs.command import InputError
from scripts.runs.tables import Row
from scripts.runs.tasks import Record, Store
from scripts.studies.reproduction.experiment import JOINT, Experiment, Headline
from scripts.studies.reproduction.sensitivities import BUDGET, LEVERS
from scripts.studies.reproduction.tasks import LATENCY, OWN, EpisodeTask, point_task

# Quantities ---------------------------------------------------------------------------------------------------------


def of(records: Sequence[Record], policy: str, name: str) -> np.ndarray:
    """Return one figure of a policy in each episode."""
    return np.array([record["policies"][policy][name] for record in records], dtype=float)


def ratio_of_sums(top: np.ndarray, bottom: np.ndarray) -> float:
    """Return the ratio of sums, in which small episodes do not dominate; NaN where the denominator is not positive."""
    return float(top.sum() / bottom.sum()) if bottom.sum() > 0.0 else float("nan")


def _change(name: str, records: Sequence[Record], one: Experiment) -> Interval:
    """Return change of a figure, joint against the reference, %."""
    pair = of(records, JOINT, name), of(records, one.reference, name)
    return bootstrap(lambda a, b: 100.0 * (ratio_of_sums(a, b) - 1.0), *pair)


def _ratio(name: str, factor: float, top: str | None, records: Sequence[Record], one: Experiment) -> Interval:
    """``top`` over joint where it is named, else joint over the reference."""
    names = (JOINT, one.reference) if top is None else (top, JOINT)
    if any(who not in record["policies"] for record in records for who in names):
        return UNKNOWN
    return bootstrap(lambda a, b: factor * ratio_of_sums(a, b), *(of(records, who, name) for who in names))


def _rid(kind: str, records: Sequence[Record], one: Experiment) -> Interval:
    return bootstrap(lambda x: 100.0 * float(x.mean()), [record["rid"][kind] for record in records])


def _total(name: str, factor: float, records: Sequence[Record], one: Experiment) -> Interval:
    return bootstrap(lambda x: factor * float(x.mean()), of(records, JOINT, name))


def _solve_s(records: Sequence[Record], one: Experiment) -> Interval:
    return bootstrap(lambda x: float(np.median(x)), of(records, JOINT, "seconds"))


def _budget_cost(records: Sequence[Record], one: Experiment) -> Interval:
    """Return benefit that a carbon budget costs, % of the benefit without one."""
    if any("free" not in record for record in records):
        return UNKNOWN
    pair = of(records, JOINT, "benefit_usd"), [record["free"]["benefit_usd"] for record in records]
    return bootstrap(lambda a, b: 100.0 * (1.0 - ratio_of_sums(a, b)), *pair)


QUANTITIES: dict[str, tuple[str, Callable[[Sequence[Record], Experiment], Interval]]] = {
    "cost_change": ("%", partial(_change, "electricity_usd")),
    "carbon_change": ("%", partial(_change, "emissions_kg")),
    "bill_change": ("%", partial(_change, "bill_usd")),
    "rid_net": ("%", partial(_rid, "net")),
    "rid_feasible": ("%", partial(_rid, "feasible")),
    "rid_real": ("%", partial(_rid, "real")),
    "benefit_ratio": ("times", partial(_ratio, "benefit_usd", 1.0, None)),
    "emission_ratio": ("%", partial(_ratio, "emissions_kg", 100.0, None)),
    "no_carbon_ratio": ("%", partial(_ratio, "benefit_usd", 100.0, "no_carbon")),
    "budget_cost": ("%", _budget_cost),
    "benefit": ("thousand USD", partial(_total, "benefit_usd", 1e-3)),
    "emissions": ("t", partial(_total, "emissions_kg", 1e-3)),
    "solve_s": ("s", _solve_s),
}
FIRST_HALF = "first_half_share"  # of the latency axis; from records of its own
# What the sensitivities of a model show.
SHOWN = {
    "local_only": ("cost_change", "carbon_change", "rid_net", "rid_real"),
    "compute_only": ("benefit_ratio", "emission_ratio", "benefit", "emissions"),
}
SHOWN_OF_BUDGET = ("benefit", "emissions", "no_carbon_ratio", "budget_cost")


# Latency ------------------------------------------------------------------------------------------------------------


def first_half_share(records: Sequence[Record]) -> Interval:
    """Return gain from the tightest budget to the middle of the axis over the gain to its end, %."""
    curves = np.array([record["latency"]["value_usd"] for record in records], dtype=float)
    at = np.array(records[0]["latency"]["budget_ms"], dtype=float)
    middle = np.array([np.interp((at[0] + at[-1]) / 2.0, at, curve) for curve in curves])
    gains = curves[:, 0] - middle, curves[:, 0] - curves[:, -1]
    return bootstrap(lambda a, b: 100.0 * ratio_of_sums(a, b), *gains)


def latency_rows(one: Experiment, records: Sequence[Record]) -> list[Row]:
    """Return gain and return on latency along the axis; raises ValueError where V rises by more than solvers leave."""
    assert one.latency is not None
    curves, bounds = (
        np.array([record["latency"][name] for record in records], dtype=float)
        for name in ("value_usd", "bound_usd")
    )
    at = [float(x) for x in one.latency.budget_ms]
    for record, curve, bound in zip(records, curves, bounds, strict=True):
        check_monotone(curve, f"model {one.model}, seed {record['seed']}: V", lows=bound)

    found = returns(curves, bounds, curves, at, axis=f"class:{one.latency.task_class}")
    parameter = f"{one.latency.task_class}_budget_ms"
    rows = [
        _row(one, parameter, x, "gain", "thousand USD", bootstrap(lambda v: 1e-3 * float(v.mean()), gain))
        for x, gain in zip(at, (curves[:, :1] - curves).T, strict=True)
    ]

    # A return belongs to the step between two budgets and stands at the wider one.
    arcs = zip(at[1:], found.arc, found.arc_low, found.arc_high, strict=True)
    return rows + [
        _row(one, parameter, x, "return", "USD/ms", Interval(*(float(v) for v in arc))) for x, *arc in arcs
    ]


# Rows ---------------------------------------------------------------------------------------------------------------


def _row(one: Experiment, parameter: str, value: float, quantity: str, unit: str, x: Interval) -> Row:
    return {
        "model": one.model,
        "parameter": parameter,
        "value": value,
        "quantity": quantity,
        "unit": unit,
        "ours": x.value,
        "low": x.low,
        "high": x.high,
    }


def own_records(one: Experiment, store: Store) -> list[Record]:
    """Return the records of the main episodes of a model."""
    return [store.result(EpisodeTask(one, OWN, 0.0, seed)) for seed in one.seeds]


def latency_records(one: Experiment, store: Store) -> list[Record]:
    """Return the sweeps of the latency axis, none where the model has none."""
    seeds = one.latency.seeds if one.latency is not None else []
    return [store.result(EpisodeTask(one, LATENCY, 0.0, seed)) for seed in seeds]


def headline_rows(one: Experiment, store: Store) -> list[Row]:
    """Return the published range, our mean with its interval over seeds, and whether it lies inside."""
    records, sweeps = own_records(one, store), latency_records(one, store)
    return [_headline(one, headline, records, sweeps) for headline in one.headlines]


def _headline(one: Experiment, wanted: Headline, records: list[Record], sweeps: list[Record]) -> Row:
    if wanted.quantity == FIRST_HALF:
        ours, episodes = first_half_share(sweeps), len(sweeps)
    else:
        ours, episodes = QUANTITIES[wanted.quantity][1](records, one), len(records)
    return {
        "model": one.model,
        "headline": wanted.name,
        "quantity": wanted.quantity,
        "unit": wanted.unit,
        "published_low": wanted.low,
        "published_high": wanted.high,
        "ours": ours.value,
        "low": ours.low,
        "high": ours.high,
        "inside": int(wanted.low <= ours.value <= wanted.high),
        "episodes": episodes,
    }


def check_headlines(one: Experiment) -> None:
    """Raise InputError for a headline that we have no figure for, or in another unit."""
    units = {name: unit for name, (unit, _) in QUANTITIES.items()}
    if one.latency is not None:
        units[FIRST_HALF] = "%"

    for headline in one.headlines:
        place = f"headlines of model {one.model}, {headline.name!r}"
        if headline.quantity not in units:
            raise InputError(
                f"{place}: quantity {headline.quantity!r} is unknown ({closest(headline.quantity, units)})"
            )
        if headline.unit != units[headline.quantity]:
            raise InputError(f"{place}: unit {headline.unit!r}: must be {units[headline.quantity]!r}")
        if not headline.low <= headline.high:
            raise InputError(f"{place}: low {headline.low:g} is above high {headline.high:g}")


def sensitivity_rows(one: Experiment, store: Store) -> list[Row]:
    """Return quantities against one assumption at a time, and along the latency axis."""
    own = load_scenario(one.scenario, horizon_h=one.horizon_h)
    rows: list[Row] = []
    for parameter, grid in one.sensitivities.items():
        names = SHOWN_OF_BUDGET if parameter == BUDGET else SHOWN[one.reference]
        for value in grid:
            tasks = [point_task(one, own, parameter, value, seed) for seed in one.sensitivity_seeds]
            records = [store.result(task) for task in tasks]
            for name in names:
                unit, compute = QUANTITIES[name]
                rows.append(_row(one, parameter, value, name, unit, compute(records, one)))

    sweeps = latency_records(one, store)
    return rows + (latency_rows(one, sweeps) if sweeps else [])


POLICY_MEANS = ("benefit_usd", "bill_usd", "emissions_kg", "moved_share", "dropped_share", "jobs_started")


def policy_rows(one: Experiment, store: Store) -> list[Row]:
    """Return means over the main episodes; changes against Local-Only (%), and joint over the policy."""
    records = own_records(one, store)
    rows = []

    for name in one.policies:
        row: Row = {"model": one.model, "policy": name}
        row["cost_usd"] = float(of(records, name, "electricity_usd").mean())
        row |= {key: float(of(records, name, key).mean()) for key in POLICY_MEANS}
        for column, key in (("cost_change", "electricity_usd"), ("carbon_change", "emissions_kg")):
            ours, local = (of(records, who, key) for who in (name, "local_only"))
            # Where sites sell, the cost may be near 0 or below: a change in per cent would mean nothing.
            costs = bool((ours > 0.0).all() and (local > 0.0).all())
            row[column] = 100.0 * (ratio_of_sums(ours, local) - 1.0) if costs else float("nan")
        for column, key in (
            ("joint_benefit_over_it", "benefit_usd"),
            ("joint_emissions_over_it", "emissions_kg"),
        ):
            row[column] = ratio_of_sums(of(records, JOINT, key), of(records, name, key))
        rows.append(row)
    return rows


def movers(headline: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    """Return how each assumption moves a headline, the strongest first: one line each."""
    low, high = headline["published_low"], headline["published_high"]
    found: list[tuple[float, str]] = []
    own = [r for r in rows if (r["model"], r["quantity"]) == (headline["model"], headline["quantity"])]
    for parameter in dict.fromkeys(r["parameter"] for r in own):
        points = [
            (r["value"], r["ours"]) for r in own if r["parameter"] == parameter and np.isfinite(r["ours"])
        ]
        if not points:
            continue
        inside = [f"{value:g}" for value, ours in points if low <= ours <= high]
        where = f"inside at {', '.join(inside)}" if inside else "never inside"
        curve = ", ".join(f"{ours:.3g} at {value:g}" for value, ours in points)

        # Strongest: the widest range of the headline over the values of the assumption.
        values = [ours for _, ours in points]
        unit = LEVERS[parameter].unit if parameter in LEVERS else ""
        found.append((max(values) - min(values), f"{parameter} ({unit}): {curve}; {where}"))
    return [text for _, text in sorted(found, reverse=True)]
