"""Callbacks of a training: evaluations, checkpoints, totals of episodes, the progress bar."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from tqdm import tqdm

from agents.training.checkpoints import checkpoint_path, latest_checkpoint, save_checkpoint, save_model
from agents.training.failures import StopRequest, UpdateCallback
from agents.training.validation import Evaluation, HeldOut, evaluate
from agents.vec_env.adapter import TOTALS
from gridai_env.rollout.policy import Policy


class Every:
    """A timer that is due once per interval of environment steps."""

    def __init__(self, steps: int) -> None:
        self.steps, self.last = steps, 0

    def due(self, now: int) -> bool:
        """Return whether a multiple of the interval lies in (last time, now]."""
        if now // self.steps == self.last // self.steps:
            return False
        self.last = now
        return True


class EvaluationCallback(UpdateCallback):
    """Evaluate on the held-out episodes before the first step, every ``every_steps`` steps, after the last update.

    Figures go to the logger under ``eval/`` and ``terms/``; `last` holds the newest.  ``before``: figures of the
    weights that training begins with, where they are known already.  With ``best``, the weights that earned most so far
    are kept in that file; what they earned is saved with the checkpoints as ``model.best_evaluation_usd``.
    """

    def __init__(
        self,
        policy: Callable[[BaseAlgorithm], Policy],
        held_out: HeldOut,
        every_steps: int,
        best: Path | None = None,
        before: Evaluation | None = None,
    ) -> None:
        super().__init__()
        self._policy, self._held_out, self._every = policy, held_out, Every(every_steps)
        self._best, self._before = best, before
        # Figures of the weights in the file ``best``; None where an earlier process wrote it.
        self._of_best: Evaluation | None = None
        self.last: Evaluation | None = None

    def _on_training_start(self) -> None:
        self._every.last = self.num_timesteps
        if self._best is not None and not self._best.exists():
            self.model.best_evaluation_usd = -math.inf  # type: ignore[attr-defined]  # nothing is kept yet

        # A run that goes on does not look here: one that was never stopped does not, either.
        if self.num_timesteps == 0:
            self._note(self._before or self._found())
            self.logger.dump(self.num_timesteps)

    def _on_rollout_end(self) -> None:
        is_last = self.num_timesteps >= self.model._total_timesteps
        if self._every.due(self.num_timesteps) and not is_last:
            self._note(self._found())  # the rollout's own dump writes it

    def _on_training_end(self) -> None:
        self._note(self._found())
        self.logger.dump(self.num_timesteps)

    def _found(self) -> Evaluation:
        return evaluate(self._policy(self.model), self._held_out)

    def _note(self, found: Evaluation, compare: bool = True) -> None:
        """Log figures of the present weights; keep the weights in the file ``best`` if none earned more."""
        self.last = found
        for name, value in found.tags().items():
            self.logger.record(name, value)

        earned_usd = found.over_local_usd.value
        if self._best is None or not compare:
            return
        if earned_usd > getattr(self.model, "best_evaluation_usd", -math.inf):
            self.model.best_evaluation_usd = earned_usd  # type: ignore[attr-defined]  # saved with the model
            save_model(self.model, self._best)
            self._of_best = found

    def final(self) -> Evaluation:
        """Return the figures of the final weights, having given the model the best ones if those are kept."""
        if self._best is not None:
            self.model.set_parameters(str(self._best))
            self._note(self._of_best or self._found(), compare=False)
        assert self.last is not None, "training has ended"
        return self.last


class CheckpointCallback(UpdateCallback):
    """Write a checkpoint at the start, every ``every_steps`` environment steps (between two updates), and at the end.

    The first, untrained one serves runs that are stopped before the second, and is deleted once that is written.
    Where ``stop`` is wanted, write a checkpoint and raise KeyboardInterrupt.
    """

    def __init__(self, run_dir: Path, every_steps: int, stop: StopRequest) -> None:
        super().__init__()
        self._run_dir, self._every, self._stop = run_dir, Every(every_steps), stop

    def _on_training_start(self) -> None:
        self._every.last = self.num_timesteps

    def _on_rollout_start(self) -> None:
        is_first = latest_checkpoint(self._run_dir) is None
        if self._every.due(self.num_timesteps) or is_first or self._stop.wanted:
            self.save()
        if self._stop.wanted:
            raise KeyboardInterrupt

    def _on_training_end(self) -> None:
        self.save()

    def save(self) -> None:
        """Write a checkpoint of this moment, which must lie between two updates."""
        path = checkpoint_path(self._run_dir, self.num_timesteps)
        save_checkpoint(self.model, path)
        untrained = checkpoint_path(self._run_dir, 0)
        if path != untrained:
            untrained.unlink(missing_ok=True)


class TotalsCallback(BaseCallback):
    """Log mean totals of the training episodes that ended in a rollout (with exploration noise)."""

    def __init__(self) -> None:
        super().__init__()
        self._ended: list[list[float]] = []

    def _on_rollout_start(self) -> None:
        self._ended = []

    def _on_step(self) -> bool:
        infos, dones = self.locals["infos"], self.locals["dones"]
        if infos:  # training on the device hands its totals over once, at the end of the rollout
            ended = [infos[i] for i in np.flatnonzero(dones)]
            self._ended += [[info[name] for name in TOTALS] for info in ended if TOTALS[0] in info]
        return True

    def _on_rollout_end(self) -> None:
        ended = [*self._ended, *self.locals.get("ended_totals", [])]
        if ended:
            for name, value in zip(TOTALS, np.mean(ended, axis=0), strict=True):
                self.logger.record(f"rollout/{name}", float(value))


class ProgressCallback(UpdateCallback):
    """A bar with steps per second and the last evaluation; hidden without a terminal."""

    def __init__(self, total_steps: int, evaluations: EvaluationCallback | None) -> None:
        super().__init__()
        self._total, self._evaluations = total_steps, evaluations
        self._bar: tqdm | None = None

    def _on_training_start(self) -> None:
        self._bar = tqdm(
            total=self._total,
            initial=self.num_timesteps,
            unit="step",
            unit_scale=True,
            disable=None,
            dynamic_ncols=True,
        )

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
