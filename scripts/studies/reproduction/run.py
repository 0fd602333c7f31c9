"""A reproduction: its settings, its folder, and the tables and words made from its results."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gridai_env.scenario.load import load_scenario
from scripts.runs.command import CommandOptions
from scripts.runs.folder import emptied
from scripts.runs.tables import Row, aligned, known, replace_rows
from scripts.runs.tasks import Store, open_store
from scripts.runs.tensorboard import EventWriter
from scripts.studies.reproduction.experiment import Experiment
from scripts.studies.reproduction.tables import headline_rows, movers, policy_rows, sensitivity_rows

KIND, TASK = "reproduce", "reproduction task"
TASKS, BOARD = "tasks", "tensorboard"


def config_of(options: CommandOptions, experiments: Mapping[str, Experiment]) -> dict[str, Any]:
    """Return the settings of a run, with its experiments and their scenarios resolved."""
    resolved = {
        name: load_scenario(one.scenario, horizon_h=one.horizon_h).model_dump(mode="json")
        for name, one in experiments.items()
    }
    return options.model_dump() | {
        "experiments": {name: one.model_dump(mode="json") for name, one in experiments.items()},
        "scenario_resolved": resolved,
    }


def open_results(folder: Path, config: dict[str, Any], overwrite: bool) -> Store:
    """Make the folder ready; raises InputError where it holds other scenarios or another version."""
    scenarios = [f"scenario_resolved.{model}" for model in config["scenario_resolved"]]
    holds = "a reproduction on another scenario"
    return Store(open_store(folder, KIND, TASKS, config, scenarios, holds, overwrite), TASK)


def write_tables(folder: Path, store: Store, experiments: Mapping[str, Experiment]) -> None:
    """Make tables and TensorBoard files from the results, and print."""
    models = list(experiments.values())
    headlines = [row for one in models for row in headline_rows(one, store)]
    policies = [row for one in models for row in policy_rows(one, store)]
    sensitivities = [row for one in models for row in sensitivity_rows(one, store)]
    for name, rows in (("headlines", headlines), ("policies", policies), ("sensitivity", sensitivities)):
        replace_rows(rows, folder / f"{name}.csv")

    write_board(emptied(folder / BOARD), headlines, sensitivities)
    for one in models:
        _show(one, headlines, policies, sensitivities)


# TensorBoard --------------------------------------------------------------------------------------------------------

STEP_SCALE = 1000  # TensorBoard's axis holds whole numbers: value x 1000


def write_board(folder: Path, headlines: Sequence[Row], rows: Sequence[Row]) -> None:
    """Write one TensorBoard run per model and assumption: quantities against its value (x 1000)."""
    now = time.time()
    with EventWriter(folder / "headlines") as writer:
        writer.scalars({f"headline/{r['model']}/{r['quantity']}": r["ours"] for r in headlines}, 0, now)
    for model, parameter in dict.fromkeys((row["model"], row["parameter"]) for row in rows):
        with EventWriter(folder / f"{model}_{parameter}") as writer:
            for row in rows:
                if (row["model"], row["parameter"]) == (model, parameter):
                    tag = f"sensitivity/{row['quantity']}"
                    writer.scalars({tag: row["ours"]}, round(STEP_SCALE * row["value"]), now)


# Words --------------------------------------------------------------------------------------------------------------


def _show(
    one: Experiment, headlines: Sequence[Row], policies: Sequence[Row], sensitivities: Sequence[Row]
) -> None:
    own = [row for row in headlines if row["model"] == one.model]
    print(
        f"\nModel {one.model}: {one.source}, scenario {one.scenario}, synthetic traces, {len(one.seeds)} episode(s)"
    )
    print(
        aligned(("headline", "unit", "published", "ours [95 %]", "inside"), [_headline(row) for row in own])
    )
    print()
    print(aligned(POLICY_HEADERS, [_policy(row) for row in policies if row["model"] == one.model]))
    _show_outside(own, sensitivities)


def _headline(row: Row) -> tuple[str, ...]:
    low, high = f"{row['published_low']:g}", f"{row['published_high']:g}"
    ends = "" if row["low"] != row["low"] else f" [{row['low']:.3g}, {row['high']:.3g}]"
    return (
        row["headline"],
        row["unit"],
        f"{low} to {high}",
        f"{row['ours']:.3g}{ends}",
        "yes" if row["inside"] else "NO",
    )


POLICY_HEADERS = (
    "policy", "benefit kUSD", "electricity kUSD", "emissions t", "moved", "refused", "jobs",
    "cost vs local-only", "carbon", "joint/it: benefit", "emissions",
)  # fmt: skip


def _policy(row: Row) -> tuple[str, ...]:
    return (
        row["policy"],
        f"{row['benefit_usd'] / 1e3:,.1f}",
        f"{row['cost_usd'] / 1e3:,.1f}",
        f"{row['emissions_kg'] / 1e3:,.1f}",
        f"{row['moved_share']:.1%}",
        f"{row['dropped_share']:.2%}",
        f"{row['jobs_started']:.1f}",
        known(row["cost_change"], "{:+.1f} %"),
        known(row["carbon_change"], "{:+.1f} %"),
        known(row["joint_benefit_over_it"], "{:.3f}"),
        known(row["joint_emissions_over_it"], "{:.3f}"),
    )


def _show_outside(headlines: Sequence[Row], sensitivities: Sequence[Row]) -> None:
    """Print for each headline outside its range which assumptions move it."""
    for row in headlines:
        if row["inside"]:
            continue
        lines = movers(row, sensitivities)
        print(f"\noutside: {row['headline']}. What moves it (one assumption at a time, {row['unit']}):")
        print("\n".join(f"  {line}" for line in lines) or "  no sensitivity was run for it")
