"""Output of fronts from their points: tables, hypervolumes, TensorBoard, and text."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from baselines.optimum.carbon_front import CostCarbonPoint, hypervolume, nondominated, reference_of
from scripts.runs.command import InputError
from scripts.runs.folder import file_name
from scripts.runs.tables import Row, aligned, known
from scripts.runs.tensorboard import EventWriter
from scripts.studies.carbon.points import LOCAL, place_in

Reference = tuple[float, float]

EPSILON, PRICE, POLICY = "epsilon", "price", "policy"


def of_seed(rows: Sequence[Row], seed: int) -> list[Row]:
    """Return the rows of one episode."""
    return [row for row in rows if row["seed"] == seed]


def places(rows: Sequence[Row], method: str) -> list[CostCarbonPoint]:
    """Return places of one method, where a plan was found and the service floor is kept."""
    found = [place_in(row) for row in rows if row["method"] == method and row["meets_floor"]]
    return [place for place in found if place is not None]


# Hypervolume --------------------------------------------------------------------------------------------------------


def reference_point(rows: Sequence[Row], given: Sequence[float] | None) -> Reference:
    """Return the reference point of an episode; raises InputError where the given one is not worse than the front."""
    front = [*places(rows, EPSILON), *places(rows, PRICE)]
    if not front:
        raise InputError(
            f"seed {rows[0]['seed']}: no point of the front was found in time; raise --time-limit-s"
        )

    if given is None:
        local = next(row for row in rows if row["label"] == LOCAL)
        place = place_in(local)
        assert place is not None
        return reference_of(front, place)

    # Coordinates include the weight of last resorts, which cost_usd and emissions_kg in front.csv do not.
    worst = np.max([place.coordinates for place in front], axis=0)
    if given[0] <= worst[0] or given[1] <= worst[1]:
        raise InputError(
            f"--reference {given[0]:g} {given[1]:g}: must be worse than every point of the front in both; seed "
            f"{rows[0]['seed']} reaches {worst[0]:,.2f} USD and {worst[1]:,.2f} kg: give more, or leave it out"
        )
    return float(given[0]), float(given[1])


# Of the reference point's cost x emissions: a front of one point has no volume, but for rounding.
NOISE = 1e-12


def hypervolume_rows(rows: Sequence[Row], given: Sequence[float] | None) -> list[Row]:
    """Return rows of ``hypervolume.csv``: both methods, all policies together, and each policy.

    A policy that gives less service than the floor has none (NaN): its cost and emissions are of other work.
    """
    out: list[Row] = []
    for seed in sorted({row["seed"] for row in rows}):
        mine = of_seed(rows, seed)
        reference = reference_point(mine, given)
        sets = {EPSILON: places(mine, EPSILON), PRICE: places(mine, PRICE), "policies": places(mine, POLICY)}

        # All shares are of the front's own volume: 1 is a policy on the front.
        whole = hypervolume(sets[EPSILON], reference)
        least = NOISE * abs(reference[0] * reference[1])
        sets |= {row["label"]: places([row], POLICY) for row in mine if row["method"] == POLICY}

        for name, members in sets.items():
            volume = hypervolume(members, reference) if members else float("nan")
            out.append(
                {
                    "seed": seed,
                    "set": name,
                    "hypervolume": volume,
                    "reference_cost_usd": reference[0],
                    "reference_emissions_kg": reference[1],
                    "share_of_epsilon": volume / whole if whole > least else float("nan"),
                }
            )
    return out


def mark_nondominated(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with ``nondominated``: 1 where no other point that keeps the floor is better in both."""
    out: list[Row] = []
    for seed in sorted({row["seed"] for row in rows}):
        mine = of_seed(rows, seed)
        able = [i for i, row in enumerate(mine) if row["meets_floor"] and place_in(row) is not None]
        kept = nondominated([place for i in able if (place := place_in(mine[i])) is not None])
        best = {i for i, is_best in zip(able, kept, strict=True) if is_best}
        out += [row | {"nondominated": int(i in best)} for i, row in enumerate(mine)]
    return out


# TensorBoard --------------------------------------------------------------------------------------------------------


LAYOUT = {
    "1 front": {"cost [USD] against emissions [kg]": [r"front/cost_usd/seed\d+"]},
    "2 hypervolume": {"share of the front's": ["front/share_of_epsilon"]},
}


def write_board(folder: Path, rows: Sequence[Row], volumes: Sequence[Row], config: Row) -> None:
    """Write one TensorBoard run per method and policy; tag ``front/cost_usd/seed<n>`` with the axis in kg."""
    now = time.time()
    names = [EPSILON, PRICE, *dict.fromkeys(row["label"] for row in rows if row["method"] == POLICY)]
    for name in names:
        mine = [row for row in rows if name in (row["method"], row["label"])]

        # The axis of TensorBoard holds whole numbers: emissions in kg, ascending, are the step.
        with EventWriter(folder / file_name(name)) as writer:
            points = [(place, row["seed"]) for row in mine if (place := place_in(row)) is not None]
            for place, seed in sorted(points, key=lambda entry: entry[0].coordinates[1]):
                usd, kg = place.coordinates
                writer.scalars({f"front/cost_usd/seed{seed}": usd}, round(kg), now)
            for row in volumes:
                if row["set"] == name:
                    writer.scalars({"front/share_of_epsilon": row["share_of_epsilon"]}, row["seed"], now)
            if name == EPSILON:
                writer.layout(LAYOUT, now)
                writer.settings(config, now)


# Screen -------------------------------------------------------------------------------------------------------------


def show(rows: Sequence[Row], volumes: Sequence[Row], given: bool) -> str:
    """Return the points and hypervolumes of every episode as text."""
    out = []
    for seed in sorted({row["seed"] for row in rows}):
        lines = [_line(row) for row in of_seed(rows, seed)]
        head = ["point", "cost, USD", "emissions, kg", "gap", "last t avoided, USD", "keeps the floor"]
        out += [f"seed {seed}", aligned(head, lines), *_volumes(of_seed(volumes, seed), given), ""]
    return "\n".join(out)


def _line(row: Row) -> list[str]:
    place = place_in(row)
    if place is None:
        return [row["label"], "none in time", "-", "-", "-", "-"]
    usd, kg = place.coordinates
    gap, slope = known(row["gap"], "{:.1e}"), known(row["slope_usd_per_t"], "{:,.1f}")
    return [row["label"], f"{usd:,.0f}", f"{kg:,.0f}", gap, slope, "yes" if row["meets_floor"] else "no"]


def _volumes(volumes: Sequence[Row], given: bool) -> list[str]:
    first = volumes[0]
    origin = "as given" if given else "the worst of Local-Only and the front, and 5 % of the range on top"
    point = f"{first['reference_cost_usd']:,.0f} USD, {first['reference_emissions_kg']:,.0f} kg"

    shares = ", ".join(
        f"{row['set']} {100 * row['share_of_epsilon']:.1f} %"
        for row in volumes
        if row["set"] != EPSILON and not np.isnan(row["share_of_epsilon"])
    )
    return [
        f"hypervolume of the front {first['hypervolume']:.4e} USD kg; reference point {point} ({origin})",
        f"share of it: {shares}",
    ]
