"""What a comparison says of lines and power modes: a table of compliance and one of hourly matching."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

import numpy as np

from scripts.runs.tables import Row, aligned, known
from scripts.studies.comparison.table import in_common

SETTLEMENT = "settlement.csv"
INFLATION = "baseline_inflation_mw"
# Of a column of summary.csv, or of all that begin with it ("/", a line each): heading, format, how lines are put
# together.
COMPLIANCE: dict[str, tuple[str, str, Callable[[list[float]], float]]] = {
    "called_h/": ("called h", "{:z,.1f}", sum),
    "called_mwh/": ("MWh while called", "{:z,.1f}", sum),
    "line_excess_mwh/": ("above lines MWh", "{:z,.2f}", sum),
    "delivered_share/": ("delivered", "{:.1%}", fmean),
    "compliance_cost_usd": ("cost USD", "{:z,.0f}", sum),
    "work_lost_gpuh": ("work lost GPU-h", "{:z,.1f}", sum),
    "rebound_mwh/": ("rebound MWh", "{:z,.1f}", sum),
    INFLATION: ("baseline raised MW", "{:+z.3f}", sum),
    "terms/line_excess_usd": ("line excess USD", "{:z,.0f}", sum),
    "terms/dr_energy_usd": ("dr energy USD", "{:z,.0f}", sum),
    "terms/dr_capacity_usd": ("dr capacity USD", "{:z,.0f}", sum),
    "saving_mwh": ("saved by modes MWh", "{:z,.1f}", sum),
}
MATCHING = {
    "cfe_score": ("hourly CFE", "{:.1%}"),
    "cfe_score_with_grid": ("with the grid's share", "{:.1%}"),
    "location_based_kg": ("location-based t", "{:z,.1f}"),
    "market_based_kg": ("hourly market-based t", "{:z,.1f}"),
}
# Columns of a statement that are printed; the file has all.
STATEMENT = {
    "committed_mwh": ("committed MWh", "{:,.1f}"),
    "baseline_mw": ("baseline MW", "{:,.2f}"),
    "import_mw": ("import MW", "{:,.2f}"),
    "delivered_mwh": ("delivered MWh", "{:z,.1f}"),
    "energy_usd": ("energy USD", "{:z,.0f}"),
    "shortfall_usd": ("shortfall USD", "{:z,.0f}"),
}
PRINTED_STATEMENTS = 24
KG_PER_T = 1000.0


def compliance_table(rows: Sequence[Row]) -> str:
    """Return a line for each policy, means over episodes with a result of all; empty without lines and modes."""
    common = in_common(rows)
    shown = {key: COMPLIANCE[key] for key in COMPLIANCE if any(_is_shown(row, key) for row in common)}
    if not shown:
        return ""

    lines = []
    for policy in dict.fromkeys(row["policy"] for row in rows):
        own = [row for row in common if row["policy"] == policy]
        cells = [
            known(_mean([together(found) for row in own if (found := _of(row, key))]), form)
            for key, (_, form, together) in shown.items()
        ]
        lines.append((policy, *cells))
    notes = []
    if "delivered_share/" in shown:
        notes.append("delivered: load reduced in events over what was promised")
    if "compliance_cost_usd" in shown:
        notes.append(
            "cost, work lost, rebound (4 h after calls): against the same policy on the same episodes without calls; "
            "payments for energy lower the cost, those for capacity are not in it"
        )
    if INFLATION in shown:
        notes.append(
            "baseline raised: mean over events, against the same policy without calls; statements by three methods: "
            f"{SETTLEMENT}"
        )
    return "\n".join([aligned(("policy", *(heading for heading, *_ in shown.values())), lines), *notes])


def matching_table(rows: Sequence[Row]) -> str:
    """Return a line for each policy and each site with a contract, and one for all sites; empty without contracts."""
    common = in_common(rows)
    places = list(
        dict.fromkeys(n.removeprefix("cfe_score") for n in common[0] if n.split("/")[0] == "cfe_score")
    )
    if not places:
        return ""

    lines = []
    for policy in dict.fromkeys(row["policy"] for row in rows):
        own = [row for row in common if row["policy"] == policy]
        for place in places:
            cells = [
                known(_mean([x for row in own for x in _of(row, name + place)]) / _unit(name), form)
                for name, (_, form) in MATCHING.items()
            ]
            lines.append((policy, place.removeprefix("/") or "all sites", *cells))
    notes = [
        "hourly CFE: import that contracted clean generation meets in its hour; all sites: those without a contract too"
    ]
    if not any(name.split("/")[0] == "cfe_score_with_grid" for name in common[0]):
        notes.append("with the grid's share: not known, sites[].grid.clean_share is not given")
    notes.append(
        "location-based: average intensity; market-based: what is not matched, at sites[].grid.residual_kg_per_mwh, "
        "else at the marginal intensity"
    )
    return "\n".join(
        [aligned(("policy", "site", *(heading for heading, _ in MATCHING.values())), lines), *notes]
    )


def statement_table(statements: Sequence[Row]) -> str:
    """Return the statements of events by the baseline that pays, the first of them; empty where there is none."""
    paid = [row for row in statements if row["baseline_optimised"] == "yes"]
    if not paid:
        return ""
    head = ("policy", "seed", "event from", *(heading for heading, _ in STATEMENT.values()))
    lines = [
        (
            row["policy"],
            str(row["seed"]),
            f"{row['site']}/{row['line']} {row['start_utc']}",
            *(known(row[name], form) for name, (_, form) in STATEMENT.items()),
        )
        for row in paid[:PRINTED_STATEMENTS]
    ]
    more = f"{len(paid) - len(lines)} more, and " if len(paid) > len(lines) else ""
    note = f"{more}those by baselines that are not optimised: {SETTLEMENT}"
    return "\n".join(["statements of events, by the baseline that pays", aligned(head, lines), note])


def _is_shown(row: Row, key: str) -> bool:
    """Return whether a column has a value; terms of the ledger stand in every world, at 0 where there is no line."""
    found = _of(row, key)
    return any(found) if key.startswith("terms/") else bool(found)


def _unit(metric: str) -> float:
    return KG_PER_T if metric.endswith("_kg") else 1.0


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) + 0.0 if len(values) else float("nan")


def _of(row: Row, key: str) -> list[float]:
    """Return the finite values of a column, or of all that begin with ``key`` where it ends in "/"."""
    names = [name for name in row if name.startswith(key)] if key.endswith("/") else [key]
    values = [row[name] for name in names if isinstance(row.get(name), int | float)]
    return [float(value) for value in values if np.isfinite(value)]
