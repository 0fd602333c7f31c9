"""Checkpoints: everything needed to resume a run as if it had never stopped.

A checkpoint is the zip file of Stable-Baselines3 (weights, optimiser, counters, schedules) with one more member:
the state of the training episodes and of all random generators.  It is taken between two updates, so that on a CPU
a run which was killed and resumed ends with the weights of one that was not.
"""

import pickle
import random
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from agents.networks.checkpoint import CheckpointError, readable
from agents.torch_ppo.groups import BUFFER
from agents.vec_env.adapter import GridAIVecEnv
from gridai_env.files import atomic_write

CHECKPOINTS = "checkpoints"
# Its number grows where what environments keep of their episodes changes.
STATE_MEMBER = "training_state_2.pkl"


def save_checkpoint(model: BaseAlgorithm, path: Path) -> Path:
    """Write a model with the state of its training to ``path`` (.zip) atomically."""
    return save_model(model, path, pickle.dumps(training_state(model), protocol=5))


def save_model(model: BaseAlgorithm, path: Path, state: bytes | None = None) -> Path:
    """Write a model to ``path`` (.zip) atomically, with the pickled ``state`` of its training where given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        with partial.open("wb") as file:
            model.save(file, exclude=BUFFER)
        if state is not None:
            with zipfile.ZipFile(partial, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                archive.writestr(STATE_MEMBER, state)
    return path


def checkpoint_path(run_dir: Path, steps: int) -> Path:
    """Return the path of the checkpoint after ``steps`` environment steps."""
    return run_dir / CHECKPOINTS / f"steps_{steps:012d}.zip"


def latest_checkpoint(run_dir: Path) -> Path | None:
    """Return the checkpoint with the most steps, or None without checkpoints."""
    return max((run_dir / CHECKPOINTS).glob("steps_*.zip"), default=None)


def remove_leftovers(run_dir: Path) -> None:
    """Delete the partial files of a killed run."""
    for folder in (run_dir, run_dir / CHECKPOINTS):
        for partial in folder.glob(".*.zip"):
            partial.unlink(missing_ok=True)


def training_state(model: BaseAlgorithm) -> dict[str, Any]:
    """Return what `set_training_state` restores: episodes, last observations, random generators; on the host."""
    assert isinstance(model.env, GridAIVecEnv)
    device, rest_value = model.device, getattr(model, "rest_value", None)
    return {
        "rest_value": None if rest_value is None else rest_value.get_state(),
        "env": model.env.get_state(),
        "last_obs": _on_host(model._last_obs),
        "last_episode_starts": _on_host(model._last_episode_starts),
        "python": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002  what Stable-Baselines3 shuffles with
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def set_training_state(model: BaseAlgorithm, state: dict[str, Any]) -> None:
    """Restore a `training_state`; the model then goes on with `learn(reset_num_timesteps=False)`."""
    assert isinstance(model.env, GridAIVecEnv)
    model.env.set_state(state["env"])
    if state.get("rest_value") is not None:
        model.rest_value.set_state(state["rest_value"])  # type: ignore[attr-defined]
    model._last_obs = state["last_obs"]
    model._last_episode_starts = state["last_episode_starts"]
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and model.device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], model.device)


@contextmanager
def generators_kept() -> Iterator[None]:
    """Leave the generators of Python, NumPy and torch (on all devices) as they were before the block."""
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)  # noqa: NPY002


def read_training_state(path: Path) -> dict[str, Any]:
    """Return the state in a checkpoint; raise CheckpointError where there is none, or it is damaged."""
    with readable(path, "take the one before"), zipfile.ZipFile(path) as archive:
        if STATE_MEMBER in archive.namelist():
            return dict(pickle.loads(archive.read(STATE_MEMBER)))
    raise CheckpointError(
        f"{path}: holds weights but no state of training that this version reads, so a run cannot go on from it; take "
        "one of checkpoints/, or the version that wrote it, or start a new run from its weights (start_from)"
    )


def _on_host(value: Any) -> Any:
    return value.cpu().numpy() if isinstance(value, torch.Tensor) else value
