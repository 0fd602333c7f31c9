"""What each stage of training was worth: how much of a result is imitation, how much is reinforcement learning."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from agents.evaluation import HeldOut, evaluate
from gridai_env.files import whole
from gridai_env.rollout import Policy

STAGES_FILE = "stages.json"


@dataclass(frozen=True)
class Milestone:
    """A policy after one stage of training, on the validation episodes."""

    name: str  # "start", "imitation", "ppo", ...
    steps: int  # environment steps or demonstrated steps learned from, in this stage
    epochs: int
    seconds: float  # of the stage, without this evaluation; of PPO since the run was last resumed
    gain_captured: float | None  # None without bounds
    over_local_usd: float
    dropped_over_local_gpuh: float


class Milestones:
    """Evaluates after each stage and keeps ``stages.json`` in the run folder; a run that goes on keeps its stages."""

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
    ) -> Milestone:
        """Evaluate the policy, write the file anew (whole or not at all) and return the stage."""
        found = evaluate(policy, self.held_out)
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
        record = {"stages": [asdict(s) for s in self.stages]}
        self.folder.mkdir(parents=True, exist_ok=True)
        with whole(self.folder / STAGES_FILE) as partial:
            partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        return stage

    def line(self) -> str:
        """Return what the stages were worth, one line for people."""
        return ", ".join(
            f"{stage.name} {stage.over_local_usd:+,.0f} USD"
            + ("" if stage.gain_captured is None else f" ({stage.gain_captured:.1%})")
            for stage in self.stages
        )
