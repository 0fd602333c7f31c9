"""Whether the published figures of a frozen set come out again: solved and played anew, result by result."""

from __future__ import annotations

from pathlib import Path

from gridai_env.benchmarks.published import OPTIMUM, Entry, FrozenSet
from scripts.runs.tasks import Record, Store, run_tasks
from scripts.studies.evaluation.freeze import KIND, FreezeSettings, FreezeTask, compute
from scripts.studies.evaluation.play import SAME, scale_usd


def differences(frozen: FrozenSet, folder: Path) -> list[str]:
    """Return one line for each published figure that does not come out again; results are kept in ``folder``."""
    settings = FreezeSettings(frozen.benchmark, frozen.folder, threads=1)
    work = [
        (entry, FreezeTask(settings, place, entry.key, policy))
        for policy in frozen.published
        for place, entry in enumerate(frozen.entries)
    ]
    store = Store(folder / frozen.name, KIND)
    run_tasks(store, [[[task] for _, task in work]], compute, total=len(work), label="recomputing")
    return [fault for entry, task in work for fault in _faults(frozen, entry, task, store.result(task))]


def _faults(frozen: FrozenSet, entry: Entry, task: FreezeTask, record: Record) -> list[str]:
    """Return a bound may differ by the solver's gap, and so may the optimum's plan; the rest by rounding."""
    own, there = record["result"], entry.results[task.policy]
    gap_usd = frozen.benchmark.solver.mip_gap * abs(entry.bound_usd)
    allowed = SAME * scale_usd(own) + (2.0 * gap_usd if task.policy == OPTIMUM else 0.0)
    pairs = [("benefit", own["benefit_usd"], there["benefit_usd"])]
    if task.policy == OPTIMUM:
        pairs.append(("bound", record["bound_usd"], entry.bound_usd))
    return [
        f"seed {entry.key.seed}, {task.policy}: {what} is {here:,.4f} USD here, {published:,.4f} published"
        for what, here, published in pairs
        if not abs(here - published) <= allowed
    ]
