"""Run."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from scripts.runs.command import InputError
from scripts.runs.folder import RUN_FILE, read_run
from scripts.runs.tables import aligned

KIND = "reproduce"
TASKS, FIGURES, BOARD = "tasks", "figures", "tensorboard"


def _config(arguments: argparse.Namespace, experiments: dict[str, Any]) -> dict[str, Any]:
    from gridai_env.scenario.load import load_scenario

    resolved = {
        name: load_scenario(one.scenario, horizon_h=one.horizon_h).model_dump(mode="json")
        for name, one in experiments.items()
    }
    return vars(arguments) | {
        "experiments": {name: one.model_dump(mode="json") for name, one in experiments.items()},
        "scenario_resolved": resolved,
    }


def _open(folder: Path, config: dict[str, Any], overwrite: bool) -> None:
    """Make the folder ready; raises InputError where it holds other scenarios or another version."""
    store = folder / TASKS
    if overwrite:
        shutil.rmtree(store, ignore_errors=True)
    elif (folder / RUN_FILE).exists():
        found = read_run(folder, KIND)["config"].get("scenario_resolved", {})
        for model, ours in config["scenario_resolved"].items():
            theirs = found.get(model, ours)
            keys = [key for key in ours if theirs.get(key) != ours[key]]
            if keys:
                raise InputError(
                    f"{folder} holds a reproduction of model {model} on another scenario (they differ in "
                    f"{', '.join(keys[:5])}); give another --run-dir, or --overwrite to compute it again"
                )
    elif store.exists() and any(store.iterdir()):
        raise InputError(f"{folder} holds results but no {RUN_FILE}; give another --run-dir, or --overwrite")
    store.mkdir(exist_ok=True)


def _write(folder: Path, store: Path, experiments: dict[str, Any]) -> None:
    """Make tables, figures and TensorBoard files from the records, and print."""
    from scripts.runs.tables import write_rows
    from scripts.studies.reproduction.tables import headline_rows, policy_rows, sensitivity_rows
    from scripts.studies.reproduction.tensorboard import write_board, write_figures

    models = list(experiments.values())
    headlines = [row for one in models for row in headline_rows(one, store)]
    policies = [row for one in models for row in policy_rows(one, store)]
    sensitivities = [row for one in models for row in sensitivity_rows(one, store)]
    for name, rows in (("headlines", headlines), ("policies", policies), ("sensitivity", sensitivities)):
        if rows:
            write_rows(rows, folder / f"{name}.csv")
        else:
            (folder / f"{name}.csv").unlink(missing_ok=True)
    for name in (FIGURES, BOARD):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
    write_figures(folder / FIGURES, models, headlines, sensitivities)
    write_board(folder / BOARD, headlines, sensitivities)
    for one in models:
        _show(one, headlines, policies, sensitivities)


# Words --------------------------------------------------------------------------------------------------------------


def _show(one: Any, headlines: list[Any], policies: list[Any], sensitivities: list[Any]) -> None:
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


def _headline(row: dict[str, Any]) -> tuple[str, ...]:
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


def _policy(row: dict[str, Any]) -> tuple[str, ...]:
    def known(value: float, form: str) -> str:
        return "-" if value != value else form.format(value)

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


def _show_outside(headlines: list[Any], sensitivities: list[Any]) -> None:
    """For each headline outside its range, which assumptions move it."""
    from scripts.studies.reproduction.tables import movers

    for row in headlines:
        if row["inside"]:
            continue
        lines = movers(row, sensitivities)
        print(f"\noutside: {row['headline']}. What moves it (one assumption at a time, {row['unit']}):")
        print("\n".join(f"  {line}" for line in lines) or "  no sensitivity was run for it")
