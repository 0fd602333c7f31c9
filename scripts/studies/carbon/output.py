"""What is made from the points of fronts: tables, hypervolumes, pictures, TensorBoard, and what is printed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from baselines.optimum.carbon_front import CostCarbonPoint, hypervolume, nondominated, reference_of
from scripts.runs.command import InputError
from scripts.runs.tables import aligned
from scripts.runs.tensorboard import EventWriter
from scripts.studies.carbon.points import LOCAL, place_in
from scripts.studies.comparison.tensorboard import config_text
from scripts.studies.schedule_figure import NEEDS, png_of

Row = dict[str, Any]
Reference = tuple[float, float]

EPSILON, PRICE, POLICY = "epsilon", "price", "policy"
# Okabe and Ito: told apart also by people with colour blindness.
# Where a label may stand, points right of and above its marker: nearest first.
OFFSETS = [
    (x * k, y * k)
    for k in (1, 2, 3, 5)
    for x, y in ((5, 6), (5, -11), (-38, 6), (-38, -11), (-16, 14), (-16, -20))
]
COLOURS = ("#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")


def of_seed(rows: Sequence[Row], seed: int) -> list[Row]:
    """The rows of one episode."""
    return [row for row in rows if row["seed"] == seed]


def places(rows: Sequence[Row], method: str) -> list[CostCarbonPoint]:
    """Places of one method, where a plan was found and the service floor is kept."""
    found = [place_in(row) for row in rows if row["method"] == method and row["meets_floor"]]
    return [place for place in found if place is not None]


# Hypervolume --------------------------------------------------------------------------------------------------------


def reference_point(rows: Sequence[Row], given: Sequence[float] | None) -> Reference:
    """The reference point of one episode; raises InputError where the given one is not worse than the whole front."""
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
    worst = np.max([place.coordinates for place in front], axis=0)
    if given[0] <= worst[0] or given[1] <= worst[1]:
        raise InputError(
            f"--reference {given[0]:g} {given[1]:g}: must be worse than every point of the front in both; seed "
            f"{rows[0]['seed']} reaches {worst[0]:,.2f} USD and {worst[1]:,.2f} kg: give more, or leave it out"
        )
    return float(given[0]), float(given[1])


def hypervolume_rows(rows: Sequence[Row], given: Sequence[float] | None) -> list[Row]:
    """Rows of ``hypervolume.csv``: both methods, all policies together, and each policy.

    A policy that gives less service than the floor has none (NaN): its cost and emissions are of other work.
    """
    out: list[Row] = []
    for seed in sorted({row["seed"] for row in rows}):
        mine = of_seed(rows, seed)
        reference = reference_point(mine, given)
        sets = {EPSILON: places(mine, EPSILON), PRICE: places(mine, PRICE), "policies": places(mine, POLICY)}
        whole = hypervolume(sets[EPSILON], reference)
        for row in mine:
            if row["method"] == POLICY:
                sets[row["label"]] = places([row], POLICY)
        for name, members in sets.items():
            volume = hypervolume(members, reference) if members else float("nan")
            out.append(
                {
                    "seed": seed,
                    "set": name,
                    "hypervolume": volume,
                    "reference_cost_usd": reference[0],
                    "reference_emissions_kg": reference[1],
                    "share_of_epsilon": volume / whole if whole > 0.0 else float("nan"),
                }
            )
    return out


def mark_nondominated(rows: Sequence[Row]) -> list[Row]:
    """The rows with ``nondominated``: 1 where no other point that keeps the floor is better in both."""
    out: list[Row] = []
    for seed in sorted({row["seed"] for row in rows}):
        mine = of_seed(rows, seed)
        able = [i for i, row in enumerate(mine) if row["meets_floor"] and place_in(row) is not None]
        kept = nondominated([place for i in able if (place := place_in(mine[i])) is not None])
        best = {i for i, is_best in zip(able, kept, strict=True) if is_best}
        out += [row | {"nondominated": int(i in best)} for i, row in enumerate(mine)]
    return out


# Pictures -----------------------------------------------------------------------------------------------------------


def picture(rows: Sequence[Row], reference: Reference, title: str) -> tuple[bytes, tuple[int, int]]:
    """The front of one episode with the policies on it, as PNG and its size; thousand USD over t."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(NEEDS) from error
    figure = Figure(figsize=(8.0, 5.5), layout="constrained", dpi=100)
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots()
    _curve(axes, rows)
    _policies(axes, [row for row in rows if row["method"] == POLICY])
    axes.plot(
        reference[1] / 1e3, reference[0] / 1e3, "+", color="grey", markersize=12, label="reference point"
    )
    axes.set_xlabel("emissions, t CO2 (billed)")
    axes.set_ylabel("cost without charges on carbon, thousand USD")
    axes.set_title(title, fontsize=10)
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.legend(fontsize=8, frameon=False)
    label_prices(figure, axes, [row for row in rows if row["method"] == PRICE])
    return png_of(figure)


def _xy(rows: Sequence[Row]) -> tuple[list[float], list[float]]:
    found = sorted(place.coordinates[::-1] for row in rows if (place := place_in(row)) is not None)
    return [kg / 1e3 for kg, _ in found], [usd / 1e3 for _, usd in found]


def _curve(axes: Any, rows: Sequence[Row]) -> None:
    axes.plot(*_xy(front_rows(rows)), "-", color="#0072B2", label="front: chords between proven points")
    caps, prices = ([row for row in rows if row["method"] == method] for method in (EPSILON, PRICE))
    axes.plot(*_xy(caps), "o", color="#0072B2", markersize=4, label="least cost under a cap")
    if prices:
        look = {"markerfacecolor": "none", "markeredgecolor": "black", "markersize": 7}
        axes.plot(*_xy(prices), "D", label="least cost at a carbon price", **look)


def front_rows(rows: Sequence[Row]) -> list[Row]:
    """The points of both sweeps that no other one of them beats in both coordinates."""
    solved = [row for row in rows if row["method"] in (EPSILON, PRICE) and place_in(row) is not None]
    kept = nondominated([place for row in solved if (place := place_in(row)) is not None])
    return [row for row, is_best in zip(solved, kept, strict=True) if is_best]


def label_prices(figure: Any, axes: Any, rows: Sequence[Row]) -> list[Any]:
    """Write each price beside its point, where it covers no other label and not the legend; returns the labels.

    A price for which there is no such spot has no label: ``front.csv`` names it.
    """
    from matplotlib.text import Text

    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    legend = axes.get_legend().get_window_extent()
    axes.get_legend().set_loc(
        tuple(axes.transAxes.inverted().transform(legend.p0))
    )  # labels must not move it
    taken, labels = [legend], []
    for row in rows:
        place = place_in(row)
        if place is None:
            continue
        usd, kg = place.coordinates
        text = f"{row['carbon_price_usd_per_t']:g} USD/t"
        for offset in OFFSETS:
            label = axes.annotate(
                text, (kg / 1e3, usd / 1e3), xytext=offset, textcoords="offset points", fontsize=7,
                arrowprops={"arrowstyle": "-", "color": "#999999", "linewidth": 0.5}, annotation_clip=False,
            )  # fmt: skip
            label.set_in_layout(False)  # else labels would move what they stand beside
            label.update_positions(renderer)
            box = Text.get_window_extent(label, renderer)  # without the line to the marker
            inside = all(axes.bbox.contains(*corner) for corner in box.corners())
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                labels.append(label)
                break
            label.remove()
    return labels


def _policies(axes: Any, rows: Sequence[Row]) -> None:
    for i, row in enumerate(rows):
        x, y = _xy([row])
        keeps = bool(row["meets_floor"])
        label = row["label"] if keeps else f"{row['label']} (less service)"
        axes.plot(x, y, "s" if keeps else "x", color=COLOURS[i % len(COLOURS)], markersize=8, label=label)


def write_pictures(
    folder: Path, rows: Sequence[Row], volumes: Sequence[Row], scenario: str
) -> dict[int, Any]:
    """One PNG per episode; returns them by seed."""
    out = {}
    for seed in sorted({row["seed"] for row in rows}):
        first = next(volume for volume in volumes if volume["seed"] == seed)
        reference = (first["reference_cost_usd"], first["reference_emissions_kg"])
        out[seed] = picture(of_seed(rows, seed), reference, f"{scenario}, seed {seed}: equal service")
        (folder / f"front_seed{seed}.png").write_bytes(out[seed][0])
    return out


def write_board(
    folder: Path, rows: Sequence[Row], volumes: Sequence[Row], pictures: dict[int, Any], config: Row
) -> None:
    """TensorBoard: one run per method and policy; tag ``front/cost_usd/seed<n>`` with the axis in kg."""
    now = time.time()
    names = [EPSILON, PRICE, *dict.fromkeys(row["label"] for row in rows if row["method"] == POLICY)]
    for name in names:
        mine = [row for row in rows if name in (row["method"], row["label"])]
        with EventWriter(folder / name.replace(":", "_").replace("/", "_")) as writer:
            points = [(place, row["seed"]) for row in mine if (place := place_in(row)) is not None]
            for place, seed in sorted(points, key=lambda entry: entry[0].coordinates[1]):
                usd, kg = place.coordinates
                writer.scalars({f"front/cost_usd/seed{seed}": usd}, round(kg), now)
            for row in volumes:
                if row["set"] == name:
                    writer.scalars({"front/share_of_epsilon": row["share_of_epsilon"]}, row["seed"], now)
            if name == EPSILON:
                writer.text("config", config_text(config), now)
                for seed, (png, size) in pictures.items():
                    writer.picture("front", png, size, seed, now)


# Screen -------------------------------------------------------------------------------------------------------------


def show(rows: Sequence[Row], volumes: Sequence[Row], given: bool) -> str:
    """The points and hypervolumes of every episode as text."""
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
    number = {name: "-" if np.isnan(row[name]) else f"{row[name]:{form}}" for name, form in _FORMS.items()}
    keeps = "yes" if row["meets_floor"] else "no"
    return [row["label"], f"{usd:,.0f}", f"{kg:,.0f}", number["gap"], number["slope_usd_per_t"], keeps]


_FORMS = {"gap": ".1e", "slope_usd_per_t": ",.1f"}


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
