"""What stops a training run: losses or weights that are not finite, a full disk, a deleted folder, signals."""

import math
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from agents.training.checkpoints import latest_checkpoint

# Figures of an update that must be numbers.
LOSSES = ("train/loss", "train/value_loss", "train/policy_gradient_loss", "train/approx_kl")


class TrainingError(RuntimeError):
    """Training cannot go on; the message says what, where, and what to do.  The last checkpoint is intact."""


class UpdateCallback(BaseCallback):
    """A callback that acts between updates, not at every step."""

    def _on_step(self) -> bool:
        return True


class GuardCallback(UpdateCallback):
    """Check after every update that losses and weights are finite and the folders ``watched`` still there.

    Raise TrainingError otherwise.  Must come before the callback that writes checkpoints, so that none holds a NaN.
    """

    def __init__(self, run_dir: Path, watched: tuple[Path, ...] = ()) -> None:
        super().__init__()
        self._run_dir, self._watched = run_dir, watched

    def _on_rollout_start(self) -> None:
        self.check()

    def _on_training_end(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise TrainingError for figures that are not finite and for folders that are gone."""
        bad = bad_figures(self.model)
        if bad:
            raise not_numbers(self.model, self._run_dir, ", ".join(bad))
        self.check_folders()

    def check_folders(self) -> None:
        """Raise TrainingError where a folder is gone."""
        for folder in self._watched:
            if not folder.is_dir():
                raise TrainingError(
                    f"{folder}: gone while training wrote its curves there (step {self.num_timesteps:,}); "
                    f"keep run folders until a run has ended. {go_on(self._run_dir)}"
                )


def bad_figures(model: BaseAlgorithm) -> list[str]:
    """Describe the losses of the last update and the weights that are not finite; empty if all are."""
    recorded = model.logger.name_to_value
    bad = [f"{name} = {recorded[name]}" for name in LOSSES if not math.isfinite(recorded.get(name, 0.0))]

    # One answer for all weights: each would wait for the device on its own.
    weights = list(model.policy.named_parameters())
    if not bool(torch.stack([value.detach().isfinite().all() for _, value in weights]).all()):
        names = [name for name, value in weights if not bool(value.isfinite().all())]
        bad.append(f"{len(names)} of {len(weights)} weight arrays (first: {names[0]})")
    return bad


def not_numbers(model: BaseAlgorithm, run_dir: Path, what: str) -> TrainingError:
    """Return the error for losses or weights that are not finite."""
    return TrainingError(
        f"training left the numbers in the update at step {model.num_timesteps:,}: {what} not finite; "
        "start a new run with a smaller learning_rate, max_grad_norm or reward_factor. "
        f"{kept(run_dir)}"
    )


def not_written(model: BaseAlgorithm, run_dir: Path, error: OSError) -> TrainingError:
    """Return the error for a file that could not be written or read."""
    where = run_dir if error.filename is None else os.fsdecode(error.filename)
    return TrainingError(
        f"{where}: {error.strerror or error} at step {model.num_timesteps:,}; "
        f"see to the disk (space, rights). {go_on(run_dir)}"
    )


def kept(run_dir: Path) -> str:
    """Return a sentence that names the last good checkpoint."""
    last = latest_checkpoint(run_dir)
    return "No checkpoint had been written" if last is None else f"The last good checkpoint is {last}"


def go_on(run_dir: Path) -> str:
    """Return a sentence that says how to resume."""
    if latest_checkpoint(run_dir) is None:
        return kept(run_dir)
    return f"{kept(run_dir)}; go on with --resume {run_dir}"


@contextmanager
def writers_report_once() -> Iterator[None]:
    """Silence threads that could not write while the block runs: the main thread's next write raises the same error."""
    before = threading.excepthook

    def hook(told: threading.ExceptHookArgs) -> None:
        if not isinstance(told.exc_value, OSError):
            before(told)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether a stop was requested."""

    def __init__(self) -> None:
        self.wanted = False

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal; raise KeyboardInterrupt at the second."""
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
        sys.stderr.write("\nstopping after this update (again: at once)\n")


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Catch SIGINT and SIGTERM while the block runs; outside the main thread none arrive."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    before = {number: signal.signal(number, request.receive) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
