"""What happens beside learning: evaluations, checkpoints, the progress bar."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from tqdm import tqdm

from agents.evaluation import Evaluation, HeldOut, evaluate
from agents.vecenv import TOTALS
from gridai_env.files import whole
from gridai_env.rollout import Policy

CHECKPOINTS = "checkpoints"


def save_model(model: BaseAlgorithm, path: Path) -> Path:
    """Write a model to ``path`` (.zip): whole or not at all, also when the program is stopped meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as partial:
        model.save(partial)
    return path


def checkpoint_path(run_dir: Path, steps: int) -> Path:
    """Return where the checkpoint after ``steps`` environment steps lies."""
    return run_dir / CHECKPOINTS / f"steps_{steps:012d}.zip"


def latest_checkpoint(run_dir: Path) -> Path | None:
    """Return the checkpoint with the most steps, None where there is none."""
    return max((run_dir / CHECKPOINTS).glob("steps_*.zip"), default=None)


class Every:
    """Says once per interval of environment steps that it is time."""

    def __init__(self, steps: int) -> None:
        self.steps, self.last = steps, 0

    def due(self, now: int) -> bool:
        """Return whether a multiple of the interval lies in (last time, now]."""
        if now // self.steps == self.last // self.steps:
            return False
        self.last = now
        return True


class EvaluationCallback(BaseCallback):
    """Evaluates on the held-out episodes before training, every ``every_steps`` steps, and after the last
    update.

    Figures go to the logger under ``eval/``; `last` holds the newest.
    """

    def __init__(
        self, policy: Callable[[BaseAlgorithm], Policy], held_out: HeldOut, every_steps: int
    ) -> None:
        super().__init__()
        self._policy, self._held_out, self._every = policy, held_out, Every(every_steps)
        self.last: Evaluation | None = None

    def _on_training_start(self) -> None:
        self._every.last = self.num_timesteps
        self._evaluate()
        self.logger.dump(self.num_timesteps)

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        is_last = self.num_timesteps >= self.model._total_timesteps
        if self._every.due(self.num_timesteps) and not is_last:
            self._evaluate()  # the rollout's own dump writes it

    def _on_training_end(self) -> None:
        self._evaluate()
        self.logger.dump(self.num_timesteps)

    def _evaluate(self) -> None:
        self.last = evaluate(self._policy(self.model), self._held_out)
        for name, value in self.last.tags().items():
            self.logger.record(name, value)


class CheckpointCallback(BaseCallback):
    """Writes a checkpoint every ``every_steps`` environment steps, between two updates."""

    def __init__(self, run_dir: Path, every_steps: int) -> None:
        super().__init__()
        self._run_dir, self._every = run_dir, Every(every_steps)

    def _on_training_start(self) -> None:
        self._every.last = self.num_timesteps

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self._every.due(self.num_timesteps):
            save_model(self.model, checkpoint_path(self._run_dir, self.num_timesteps))


class TotalsCallback(BaseCallback):
    """Logs mean totals of the training episodes that ended in a rollout (with exploration noise)."""

    def __init__(self) -> None:
        super().__init__()
        self._ended: list[list[float]] = []

    def _on_rollout_start(self) -> None:
        self._ended = []

    def _on_step(self) -> bool:
        infos, dones = self.locals["infos"], self.locals["dones"]
        self._ended += [[infos[i][name] for name in TOTALS] for i in np.flatnonzero(dones)]
        return True

    def _on_rollout_end(self) -> None:
        if self._ended:
            for name, value in zip(TOTALS, np.mean(self._ended, axis=0), strict=True):
                self.logger.record(f"rollout/{name}", float(value))


class ProgressCallback(BaseCallback):
    """A bar with steps per second and the last evaluation; silent where nobody watches unless ``always``."""

    def __init__(
        self, total_steps: int, evaluations: EvaluationCallback | None, always: bool = False
    ) -> None:
        super().__init__()
        self._total, self._evaluations = total_steps, evaluations
        self._disable = not (always or sys.stderr.isatty())
        self._bar: tqdm | None = None

    def _on_training_start(self) -> None:
        self._bar = tqdm(
            total=self._total,
            initial=self.num_timesteps,
            unit="step",
            unit_scale=True,
            disable=self._disable,
            dynamic_ncols=True,
        )

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        assert self._bar is not None
        self._bar.update(min(self.num_timesteps, self._total) - self._bar.n)
        if self._evaluations is not None and self._evaluations.last is not None:
            self._bar.set_postfix_str(self._evaluations.last.line(), refresh=False)

    def _on_training_end(self) -> None:
        self.close()

    def close(self) -> None:
        """Finish the bar; also called when training is interrupted."""
        if self._bar is not None:
            self._bar.close()
