"""Evaluation on held-out episodes: in USD, against serving at home, and against the proven bound.

This package imports no rules or solvers: their results on the held-out episodes are arguments.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from agents.training.checkpoints import generators_kept
from gridai_env.analysis.statistics import Interval, gain_captured, gap, mean_interval
from gridai_env.arrays.types import Float, Floats
from gridai_env.benchmarks.published import LOCAL, FrozenSet
from gridai_env.episodes.instance import Instance
from gridai_env.files import write_json
from gridai_env.rollout.policy import Policy
from gridai_env.rollout.run import run_many
from gridai_env.rollout.trajectory import Trajectory
from gridai_env.world.terms import TERMS

# Means over the held-out episodes, as `gridai_env.rollout.metrics` names them.
MEANS = ("benefit_usd", "bill_usd", "emissions_kg", "served_share", "dropped_gpuh")


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Fixed episodes that are never trained on, with the figures to compare with, one per episode (n of them)."""

    instances: Sequence[Instance]
    local_benefit_usd: Float[Floats, " n"]  # of Local-Only
    local_bill_usd: Float[Floats, " n"]
    local_dropped_gpuh: Float[Floats, " n"]
    bound_usd: Float[Floats, " n"] | None  # proven upper bound of the benefit; None where not solved

    @classmethod
    def of(cls, local: Sequence[Trajectory], bound_usd: Sequence[float] | None = None) -> HeldOut:
        """Return the episodes that Local-Only was played on, with its figures."""
        return cls(
            instances=[t.instance for t in local],
            local_benefit_usd=np.array([t.benefit_usd for t in local]),
            local_bill_usd=np.array([t.bill_usd for t in local]),
            local_dropped_gpuh=np.array([t.metrics["dropped_gpuh"] for t in local]),
            bound_usd=None if bound_usd is None else np.array(bound_usd, dtype=np.float64),
        )

    @classmethod
    def published(cls, frozen: FrozenSet) -> HeldOut:
        """Return the episodes of a frozen set with its published figures, without solving or playing.

        Raise BenchmarkError where the episodes made here are not those that were frozen.
        """
        return cls(
            instances=frozen.instances(),
            local_benefit_usd=frozen.column(LOCAL, "benefit_usd"),
            local_bill_usd=frozen.column(LOCAL, "bill_usd"),
            local_dropped_gpuh=frozen.column(LOCAL, "dropped_gpuh"),
            bound_usd=frozen.bound_usd,
        )


@dataclass(frozen=True)
class Evaluation:
    """Figures of one policy over the held-out episodes."""

    means: dict[str, float]  # see MEANS
    terms_usd: dict[str, float]  # means by name
    over_local_usd: Interval  # mean of benefit less that of Local-Only, 95 % bootstrap interval
    dropped_over_local_gpuh: float  # mean of work dropped less that of Local-Only
    gap: float | None  # (bound - benefit) / Local-Only bill, None without bounds
    gain_captured: float | None  # 0 is Local-Only, 1 the bound, None without bounds

    def tags(self) -> dict[str, float]:
        """Return all figures by their TensorBoard names."""
        figures = {f"eval/{name}": value for name, value in self.means.items()}
        figures |= {
            "eval/over_local_usd": self.over_local_usd.value,
            "eval/over_local_low_usd": self.over_local_usd.low,
            "eval/dropped_over_local_gpuh": self.dropped_over_local_gpuh,
        }
        known = {"eval/gap": self.gap, "eval/gain_captured": self.gain_captured}
        figures |= {name: value for name, value in known.items() if value is not None}
        return figures | {f"terms/{name}_usd": value for name, value in self.terms_usd.items()}

    def line(self) -> str:
        """Return the figures as one line of text."""
        gain = self.over_local_usd
        text = f"{gain.value:+,.0f} USD over Local-Only (95 %: {gain.low:+,.0f} to {gain.high:+,.0f})"
        if self.gain_captured is not None:
            text += f", gain captured {self.gain_captured:.1%}"
        text += f", served {self.means['served_share']:.2%}"
        return text + f", dropped {self.dropped_over_local_gpuh:+,.0f} GPU-h against Local-Only"


@generators_kept()
def evaluate(policy: Policy, held_out: HeldOut) -> Evaluation:
    """Play a policy on the held-out episodes and compare with Local-Only and the bound.

    Training goes on as if it had not been evaluated: also where a resumed run evaluates once more.
    """
    trajectories = run_many(policy, held_out.instances)
    benefit = np.array([t.benefit_usd for t in trajectories])
    means = {name: float(np.mean([t.metrics[name] for t in trajectories])) for name in MEANS}

    bound = held_out.bound_usd
    return Evaluation(
        means=means,
        terms_usd={name: float(np.mean([t.terms[name] for t in trajectories])) for name in TERMS},
        over_local_usd=mean_interval(benefit - held_out.local_benefit_usd, draws=2_000),
        dropped_over_local_gpuh=means["dropped_gpuh"] - float(held_out.local_dropped_gpuh.mean()),
        gap=None if bound is None else gap(benefit, bound, held_out.local_bill_usd),
        gain_captured=None if bound is None else gain_captured(benefit, held_out.local_benefit_usd, bound),
    )


STAGES_FILE = "stages.json"


@dataclass(frozen=True)
class Milestone:
    """A policy after one stage of training, on the validation episodes."""

    name: str  # "start", "imitation", "ppo", "pathwise", ...
    steps: int  # environment steps or demonstrated steps learned from, in this stage
    epochs: int
    seconds: float  # of the stage, without this evaluation; of the last one since the run was resumed
    gain_captured: float | None  # None without bounds
    over_local_usd: float
    dropped_over_local_gpuh: float


class Milestones:
    """The stages of a run with the figures after each, kept in ``stages.json``; a resumed run keeps its stages."""

    def __init__(self, folder: Path, held_out: HeldOut) -> None:
        self.folder, self.held_out = folder, held_out
        self.stages: list[Milestone] = []
        if (folder / STAGES_FILE).exists():
            record = json.loads((folder / STAGES_FILE).read_text(encoding="utf-8"))
            self.stages = [Milestone(**stage) for stage in record["stages"]]

    def begin(self) -> None:
        """Forget the stages of an earlier run in this folder."""
        self.stages = []

    def measure(
        self, name: str, policy: Policy, steps: int = 0, epochs: int = 0, seconds: float = 0.0
    ) -> Evaluation:
        """Evaluate the policy after a stage and note it; return its figures."""
        found = evaluate(policy, self.held_out)
        self.note(name, found, steps, epochs, seconds)
        return found

    def note(
        self, name: str, found: Evaluation, steps: int = 0, epochs: int = 0, seconds: float = 0.0
    ) -> None:
        """Keep the figures of a stage, in place of an older one of that name, and rewrite the file atomically."""
        stage = Milestone(
            name=name,
            steps=steps,
            epochs=epochs,
            seconds=seconds,
            gain_captured=found.gain_captured,
            over_local_usd=found.over_local_usd.value,
            dropped_over_local_gpuh=found.dropped_over_local_gpuh,
        )
        self.stages = [s for s in self.stages if s.name != name] + [stage]

        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / STAGES_FILE, {"stages": [asdict(s) for s in self.stages]})

    def line(self) -> str:
        """Return the gain of each stage as one line of text."""
        return ", ".join(
            f"{stage.name} {stage.over_local_usd:+,.0f} USD"
            + ("" if stage.gain_captured is None else f" ({stage.gain_captured:.1%})")
            for stage in self.stages
        )
