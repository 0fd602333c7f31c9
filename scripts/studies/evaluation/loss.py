"""Where a policy loses: foresight or decisions, by term of the ledger, and by lever."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gridai_env.analysis.loss_by_lever import LeverLoss, lever_losses, lever_masks
from gridai_env.analysis.statistics import mean_interval
from gridai_env.arrays.types import Floats
from gridai_env.benchmarks.play import by_world, player_for
from gridai_env.benchmarks.published import OPTIMUM, FrozenSet
from gridai_env.benchmarks.summary import PolicyResult, foresight_split, ledger_difference
from gridai_env.episodes.instance import Instance
from gridai_env.rollout.policy import Policy
from gridai_env.rollout.run import run
from scripts.runs.tables import aligned, spread_text, write_rows
from scripts.studies.evaluation.play import solved
from scripts.studies.names import FORECASTS, PLANNER
from scripts.studies.policies import find_contender

BETTER = (OPTIMUM, *(PLANNER + kind for kind in FORECASTS))  # whose schedules a policy may be compared with
HEADERS = ("lever", "USD per episode [95 %]", "of the loss", "replaced alone, USD")


def show_where(
    policy: Policy, result: PolicyResult, frozen: FrozenSet, sample: FrozenSet, better: str, run_dir: Path
) -> None:
    """Print what foresight and what decisions lack, the ledger's differences, and the levers' over a sample.

    The latter two are written to ``run_dir``.
    """
    split = foresight_split(result, frozen)
    print("\nshort of the bound, mean USD per episode over the whole set (loss = foresight + decisions):")
    parts = [(name.removesuffix("_error"), _usd(x)) for name, x in split.items()]
    print(aligned(("", "USD [95 %]"), parts))

    terms = ledger_difference(result, frozen)
    print("\nshort of the optimum, by term of the ledger, mean USD per episode over the whole set:")
    ordered = sorted(terms.items(), key=lambda item: -abs(item[1]))
    print(aligned(("term", "USD"), [(name, f"{value:,.0f}") for name, value in ordered]))

    # Every lever needs 2^levers replays of each episode, so they are taken over a sample.
    losses = levers(policy, sample, better)
    total = np.sum([loss.shapley_usd for loss in losses], axis=0)
    lines = [line(loss, float(total.mean())) for loss in losses]
    lines.append(("all", _usd(total), "100.0%", ""))
    print(
        f"\nshort of {better}, by lever, on {len(sample.entries)} episodes (Shapley: the mean over all orders of"
    )
    print("replacing the policy's lever by the better schedule's):")
    print(aligned(HEADERS, lines), flush=True)
    _write(run_dir, terms, losses, better)


def line(loss: LeverLoss, total_usd: float) -> tuple[str, ...]:
    """Return a lever as a line of the table."""
    mean = float(loss.shapley_usd.mean())
    share = f"{mean / total_usd:.1%}" if total_usd else "-"
    return loss.lever, _usd(loss.shapley_usd), share, f"{float(loss.alone_usd.mean()):,.0f}"


def _usd(values: Floats) -> str:
    """Return the mean over episodes with its interval."""
    return spread_text(mean_interval(values), "{:,.0f}")


def levers(policy: Policy, sample: FrozenSet, better: str) -> list[LeverLoss]:
    """Return what each lever of a better schedule is worth to the policy, on all episodes of a sample."""
    from tqdm import tqdm

    instances = sample.instances()
    worlds = by_world(instances)
    runs = sum(2 ** len(lever_masks(instances[places[0]].compiled)) for places in worlds)
    quiet = not sys.stderr.isatty()
    with tqdm(total=len(instances), desc=f"{better} schedules", disable=quiet) as bar:
        schedules = [_schedule(better, sample, instance, bar.update) for instance in instances]
    with tqdm(total=runs, desc="mixtures", disable=quiet) as bar:
        parts = []
        for places in worlds:
            own, shift = [instances[i] for i in places], sample.entries[places[0]].key.shift
            player, better_ones = player_for(policy, own[0], shift), [schedules[i] for i in places]
            parts.append(lever_losses(player, own, better_ones, on_progress=bar.update))
    names = [loss.lever for loss in parts[0]]
    return [
        LeverLoss(
            name,
            np.concatenate([part[i].shapley_usd for part in parts]),
            np.concatenate([part[i].alone_usd for part in parts]),
        )
        for i, name in enumerate(names)
    ]


def _schedule(
    better: str, sample: FrozenSet, instance: Instance, on_progress: Callable[[], object]
) -> NDArray[np.float32]:
    plan = solved(sample.benchmark, instance, 1) if better == OPTIMUM else None
    actions = (plan or run(find_contender(better, instance.compiled).decider, instance)).actions
    assert actions is not None
    on_progress()
    return actions


def _write(run_dir: Path, terms: dict[str, float], losses: Sequence[LeverLoss], better: str) -> None:
    """Write ``where_terms.csv`` and ``where_levers.csv``."""
    if terms:
        write_rows(
            [{"term": name, "short_usd": value} for name, value in terms.items()], run_dir / "where_terms.csv"
        )

    rows = [
        {
            "better": better,
            "lever": loss.lever,
            "shapley_usd": float(loss.shapley_usd.mean()),
            "alone_usd": float(loss.alone_usd.mean()),
        }
        for loss in losses
    ]
    write_rows(rows, run_dir / "where_levers.csv")
