"""The printed output of `scripts.frontier`."""

import math
from collections.abc import Sequence

import numpy as np

from baselines.program.objectives import OBJECTIVES
from gridai_env.analysis.latency_budgets import Sweep
from gridai_env.analysis.latency_returns import Returns
from gridai_env.scenario.geography import LAYERS
from scripts.runs.tables import Row, aligned, known
from scripts.studies.latency.tables import RID, Results, curve_returns, curves, mean_rows

SHARE = "{:.1%}"


def show(results: Results) -> None:
    """Print frontier, returns, relocatable demand, layers, closed routes and break-evens."""
    share = "share of the energy of arrived work"
    worth = (
        "what moving is worth, by class: the best route as the scenario stands, and where it would break even"
    )
    reasons = list(dict.fromkeys(row["reason"] for row in _here(results, results.closed)))
    tables = {_title(sweep): _curve_lines(results, sweep) for sweep in results.sweeps} | {
        f"relocatable demand ({share}) at {_as_is(results)[1]}": _rid_lines(results),
        "execution layers of served energy in the benefit plan, same point": _share_lines(
            _here(results, results.layers), "layer", LAYERS
        ),
        f"why routes are closed ({share}, same point)": _share_lines(
            _here(results, results.closed), "reason", reasons
        ),
        worth: _worth_lines(results),
    }
    if results.policies:
        tables["policies, same point"] = _policy_lines(results)
    for title, lines in tables.items():
        print(f"\n{title}\n{aligned(*lines)}")
    print("\n" + "\n".join(notes(results)))


def _title(sweep: Sweep) -> str:
    if sweep.class_name is None:
        return "scale of all latency budgets (1: as in the scenario); returns per 1 % of scale"
    return f"latency budget of {sweep.class_name} [ms]; returns per 100 ms"


def _curve_lines(results: Results, sweep: Sweep) -> tuple[list[str], list[list[str]]]:
    head = [
        "budget", "benefit USD", "least cost USD",
        "least carbon t", "ERL USD", "CRL kg", "dV USD", "moved",
    ]  # fmt: skip

    # Returns per 100 ms, or per 1 % of scale.
    per = 100.0 if sweep.unit == "ms" else 1.0
    found = {objective: curve_returns(results.frontier, sweep, objective) for objective in OBJECTIVES}
    own = [r for r in results.frontier if (r["axis"], r["objective"]) == (sweep.axis, "benefit")]
    moved = {r["point"]: r["moved_share"] for r in mean_rows(own, ("point",), ("moved_share",))}
    lines = []
    for i, budget in enumerate(sweep.grid):
        means = {o: float(curves(results.frontier, sweep, o)[3][:, i].mean()) for o in OBJECTIVES}
        arcs = [_arc(found[objective], i - 1, per) for objective in ("cost", "carbon", "benefit")]
        lines.append(
            [
                f"{budget:,.3g}" if sweep.unit == "1" else f"{budget:,.0f}",
                f"{-means['benefit']:,.0f}",
                f"{means['cost']:,.0f}",
                f"{means['carbon'] / 1000.0:,.2f}",
                *arcs,
                f"{moved.get(i, float('nan')):.1%}",
            ]
        )
    return head, lines


def _arc(found: Returns | None, i: int, per: float) -> str:
    """Return between the point before and this one, with its interval."""
    if found is None or i < 0:
        return ""
    value, low, high = (per * float(x[i]) for x in (found.arc, found.arc_low, found.arc_high))
    form = "{:,.1f}" if max(abs(low), abs(high)) < 1000.0 else "{:,.0f}"
    shown = [form.format(round(x, 1) + 0.0) for x in (value, low, high)]
    if abs(high - low) <= max(1e-3 * abs(value), 0.05):
        return shown[0]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]"


def _as_is(results: Results) -> tuple[tuple[str, int], str]:
    """Return the point that is nearest to the scenario's own budgets, and its name."""
    for sweep in results.sweeps:
        if sweep.class_name is None:
            point = int(np.argmin(np.abs(np.log(np.array(sweep.grid)))))
            return (sweep.axis, point), f"scale {sweep.grid[point]:.3g}"
    sweep = results.sweeps[0]
    point = len(sweep) - 1
    return (sweep.axis, point), f"{sweep.grid[point]:,.0f} ms of {sweep.class_name}"


def _here(results: Results, rows: Sequence[Row]) -> list[Row]:
    place, _ = _as_is(results)
    return [row for row in rows if (row["axis"], row["point"]) == place]


def _rid_lines(results: Results) -> tuple[list[str], list[list[str]]]:
    rows = mean_rows(_here(results, results.rid), ("class",), RID)
    head = ["class", "by latency alone", "by all masks", "with net benefit", "really moved"]
    return head, [[row["class"], *(known(row[name], SHARE) for name in RID)] for row in rows]


def _share_lines(rows: Sequence[Row], column: str, names: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Return the shares of a column's values by class, means over seeds."""
    means = mean_rows(rows, ("class", column), ("share",))
    shares = {(row["class"], row[column]): row["share"] for row in means}
    classes = list(dict.fromkeys(row["class"] for row in means))
    return ["class", *names], [
        [c, *(known(shares.get((c, name), math.nan), SHARE) for name in names)] for c in classes
    ]


WORTH = {
    "net_benefit_usd_per_gpuh": ("net benefit USD/GPU-h", "{:.4f}"),
    "break_even_spread_usd_per_mwh": ("least price spread USD/MWh", "{:.2f}"),
    "break_even_payload_gb_per_gpuh": ("most payload GB/GPU-h", "{:.2f}"),
    "break_even_dwell_h": ("least dwell h", "{:.2f}"),
}


def _worth_lines(results: Results) -> tuple[list[str], list[list[str]]]:
    """Return the best open route of each class, means over seeds; "-" where nothing pays."""
    keys = ("class", "region", "site")
    rows = [row for row in results.breakeven if row["open_share"] > 0.0]
    means = mean_rows(rows, keys, tuple(WORTH))
    lines = []
    for name in dict.fromkeys(row["class"] for row in means):
        best = max((r for r in means if r["class"] == name), key=lambda r: r["net_benefit_usd_per_gpuh"])
        cells = [
            form.format(best[key]) if np.isfinite(best[key]) else "-" for key, (_, form) in WORTH.items()
        ]
        lines.append([name, f"{best['region']} to {best['site']}", *cells])
    return ["class", "best route", *(head for head, _ in WORTH.values())], lines


def _policy_lines(results: Results) -> tuple[list[str], list[list[str]]]:
    """Return header and lines of the policies' results beside the bound."""
    values = ("benefit_usd", "cost_usd", "emissions_kg", "dropped_gpuh", "rid_real")
    rows = mean_rows(_here(results, results.policies), ("policy",), values)

    # Least cost and carbon do not bound policies without a service floor: compare the benefit alone.
    proven = [-row["bound"] for row in _here(results, results.frontier) if row["objective"] == "benefit"]
    bound = float(np.mean(proven))
    head = [
        "policy", "benefit USD", "below the bound USD",
        "cost USD", "emissions t", "dropped GPU-h", "moved",
    ]  # fmt: skip
    return head, [
        [
            row["policy"],
            f"{row['benefit_usd']:,.0f}",
            f"{bound - row['benefit_usd']:,.0f}",
            f"{row['cost_usd']:,.0f}",
            f"{row['emissions_kg'] / 1000.0:,.2f}",
            f"{row['dropped_gpuh']:,.1f}",
            known(row["rid_real"], SHARE),
        ]
        for row in rows
    ]


def notes(results: Results) -> list[str]:
    """Return the notes below the tables."""
    gaps = [row["gap"] for row in results.frontier if np.isfinite(row["gap"])]
    late = sum(row["status"] != "optimal" for row in results.frontier)
    count = len({row["seed"] for row in results.frontier})
    none = sum(np.isnan(row["value"]) for row in results.frontier)
    if none:
        gaps.append(math.inf)

    lines = [
        f"means over {count} episode(s); cost and carbon keep the service of the tightest point's benefit plan",
        "ERL, CRL, dV: fall of least cost, least carbon and V between the point before and this one; "
        "[ ]: 95 % over episodes and what the solver left open",
        f"largest solver gap {max(gaps, default=0.0):.1e}"
        + (f"; {late} points at the time limit, {none} of them without a plan" if late else ""),
    ]
    if results.computed:
        lines.append(f"{results.computed} points computed in {results.seconds:.0f} s")
    return lines
