"""Demonstrations: what a policy observed and did, one file per episode, and a set of them as tensors.

A plan of the whole episode, a planner, a rule or a network is played through the environment's public step.  Recorded
are its observations, the encoded actions, and the energy that each part of an action decides on.  A `teacher` may
label the states that another policy reaches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agents.networks.checkpoint import Identity
from agents.vec_env.home_reference import HomeReference
from gridai_env.arrays.types import Observation
from gridai_env.episodes.instance import Instance
from gridai_env.files import InstanceError, read_archive, write_archive
from gridai_env.observation.layout import ObservationLayout
from gridai_env.rollout.policy import Policy, Predictor, Schedule, as_policy
from gridai_env.rollout.run import run
from gridai_env.rollout.trajectory import Trajectory
from gridai_env.scenario.compile import Compiled
from gridai_env.world.actions import Layout, active_jobs, decode
from gridai_env.world.physics import work_on_hand_gpuh
from gridai_env.world.state import INSTANCE_FIELDS

FORMAT = "gridai-env demonstration"
FORMAT_VERSION = 1

# Arrays of an episode and their shapes (A and N: sizes of action and observation).
ARRAYS = {
    "observations": "T N",  # float32, flat, in the order of `ObservationLayout`
    "actions": "T A",  # float32, as requested
    "on_hand_gpuh": "T C W",  # work on hand
    "routed_gpuh": "T C W",  # the part of it that the action sends to sites
    "renewable_available_mw": "T K",
    "job_gpuh": "T V",  # size of the job in each slot, 0 where there is none
    "job_open": "T V K+1",  # 1 where the job may be started (the last entry is "wait"), 0 in empty slots
    "gain_usd": "T",  # benefit of the acting policy less that of serving at home
    "dropped_gpuh": "T",
}


class DemonstrationError(ValueError):
    """Demonstrations that cannot be read or do not belong here; the message says which, why and what to do."""


@dataclass(frozen=True, eq=False)
class Demonstration:
    """One episode; ``facts`` say of which policy, scenario and seed."""

    facts: dict[str, Any]
    arrays: dict[str, NDArray[np.generic]]  # see ARRAYS

    def save(self, path: Path) -> Path:
        """Write one file (.npz, nothing pickled) atomically."""
        write_archive(path, {"format": FORMAT, "format_version": FORMAT_VERSION, **self.facts}, self.arrays)
        return path

    @classmethod
    def load(cls, path: Path) -> Demonstration:
        """Read one file; raise DemonstrationError where it is damaged or of another kind or version."""
        try:
            facts, arrays = read_archive(path)
        except InstanceError as error:
            raise DemonstrationError(
                f"{path}: damaged or no demonstration; delete it and make it again"
            ) from error

        found = facts.pop("format", None), facts.pop("format_version", None)
        if found != (FORMAT, FORMAT_VERSION):
            raise DemonstrationError(
                f"{path}: format {found[0]!r} version {found[1]!r}, this package reads {FORMAT!r} version "
                f"{FORMAT_VERSION}; make the demonstrations again"
            )
        return cls(facts, arrays)


# Playing ------------------------------------------------------------------------------------------------------------


class Recorder(Policy):
    """A policy that plays another one (or a plan) and records its observations and actions.

    With a ``teacher``, the actions recorded are the teacher's at the same observations.
    """

    def __init__(self, actor: Policy, teacher: Policy | None = None) -> None:
        self.actor, self.teacher = actor, teacher
        self.name = actor.name
        self.seen: list[NDArray[np.float32]] = []
        self.labels: list[NDArray[np.float32]] = []

    @property
    def _played(self) -> tuple[Policy, ...]:
        return (self.actor,) if self.teacher is None else (self.actor, self.teacher)

    def prepare(self, compiled: Compiled) -> None:
        """Prepare actor and teacher."""
        self._parts = list(ObservationLayout(compiled).parts)
        for policy in self._played:
            policy.prepare(compiled)

    def reseed(self, seed: int) -> None:
        """Reseed actor and teacher."""
        for policy in self._played:
            policy.reseed(seed)

    def begin(self, instance: Instance) -> None:
        """Begin the episode with actor and teacher."""
        for policy in self._played:
            policy.begin(instance)

    def predict(
        self,
        observation: Observation,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[np.float32], Any]:
        """Return the action [A] of the actor, and record it (or the teacher's) with the observation."""
        self.seen.append(np.concatenate([observation[name] for name in self._parts], axis=-1))
        own, taught = (None, None) if state is None else state
        action, own = self.actor.predict(observation, own, episode_start, True)

        label = action
        if self.teacher is not None:
            label, taught = self.teacher.predict(observation, taught, episode_start, True)
        self.labels.append(np.asarray(label, dtype=np.float32))
        return action, (own, taught)


def demonstrate(
    actor: Policy | Predictor | Schedule,
    instance: Instance,
    teacher: Policy | Predictor | None = None,
    seed: int = 0,
) -> Demonstration:
    """Play a policy, or a plan of this instance, and record it; ``teacher`` labels the states (see `Recorder`).

    Raise ValueError for a plan of another instance or without a schedule.
    """
    recorder = Recorder(as_policy(actor), None if teacher is None else as_policy(teacher))
    trajectory = run(recorder, instance, seed)

    actions = np.stack(recorder.labels)
    arrays = {"observations": np.stack(recorder.seen), "actions": actions, **_weights(trajectory, actions)}
    label = (recorder.teacher or recorder.actor).name
    facts = {
        "agent": Identity.of(instance.compiled).as_dict(),
        "planner": label,
        "actor": recorder.name,
        "seed": instance.seed,
        "start_utc": str(instance.start_utc),
        "instance_hash": instance.hash,
        "benefit_usd": trajectory.benefit_usd,
    }
    return Demonstration(facts, {name: np.asarray(arrays[name]) for name in ARRAYS})


def _weights(trajectory: Trajectory, actions: NDArray[np.float32]) -> dict[str, NDArray[np.floating]]:
    """Return the work and energy that the actions [T,A] decide on, and what the steps earned."""
    instance, before = trajectory.instance, trajectory.before
    exo = instance.exogenous
    request = decode(instance.params, Layout(instance.compiled.shape), actions)

    on_hand = work_on_hand_gpuh(before, exo)
    size, entries = _jobs(instance, before)
    home = at_home_usd(instance)
    arrays = {
        "on_hand_gpuh": on_hand,
        "routed_gpuh": on_hand * (1.0 - request.hold - request.refuse),
        "renewable_available_mw": exo.renewable_available_mw,
        "job_gpuh": size,
        "job_open": entries,
        "gain_usd": trajectory.outcome.benefit_usd - home,
        "dropped_gpuh": trajectory.flows.dropped_gpuh.sum((-1, -2)),
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def at_home_usd(instance: Instance) -> NDArray[np.float64]:
    """Return the benefit [T] of serving at home in each step, see `agents.vec_env.home_reference`."""
    steps, p = instance.steps, instance.params

    # The steps of the episode take the place of a batch.
    own = {name: np.asarray(getattr(p, name)) for name in INSTANCE_FIELDS}
    p = p.replace(**{name: np.broadcast_to(value, (steps, *value.shape)) for name, value in own.items()})
    return HomeReference(instance.compiled).benefit_usd(p, instance.exogenous)


def _jobs(instance: Instance, before: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the accelerator-hours of the job in each slot [T,V] and the entries open to it [T,V,K+1]."""
    shape, p = instance.compiled.shape, instance.params
    size = np.zeros((instance.steps, shape.slots))
    entries = np.zeros((instance.steps, shape.slots, shape.sites + 1))
    active, slot = active_jobs(before, instance.exogenous.job_open)
    for t, j in np.argwhere(active):
        size[t, slot[t, j]] = p.job_gpus[j] * p.job_profile[j].sum() * p.dt_h
        entries[t, slot[t, j], :-1] = instance.exogenous.job_open[t, j]
        entries[t, slot[t, j], -1] = 1.0
    return size, entries


# Many episodes as tensors -------------------------------------------------------------------------------------------


class Demonstrations:
    """Steps of many episodes as tensors [n,...] on one device, episodes one after the other."""

    def __init__(self, episodes: Sequence[Demonstration], compiled: Compiled, device: str = "cpu") -> None:
        """Take episodes of this scenario; raise DemonstrationError for others and where there are none."""
        if not episodes:
            raise DemonstrationError("no demonstrations; make some with scripts.demonstrate")
        here = Identity.of(compiled)
        for episode in episodes:
            check(episode, here)
        self.compiled, self.device, self.episodes = compiled, torch.device(device), tuple(episodes)
        self.lengths = [len(e.arrays["observations"]) for e in episodes]
        self.arrays = {name: self._joined(name) for name in ARRAYS}

    @classmethod
    def load(
        cls, folders: str | Path | Iterable[str | Path], compiled: Compiled, device: str = "cpu"
    ) -> Demonstrations:
        """Read all episodes of one run folder of `scripts.demonstrate`, or of several."""
        listed = [folders] if isinstance(folders, str | Path) else list(folders)
        files = [file for folder in listed for file in episode_files(Path(folder))]
        return cls([Demonstration.load(file) for file in files], compiled, device)

    def _joined(self, name: str) -> torch.Tensor:
        joined = np.concatenate([e.arrays[name] for e in self.episodes])
        return torch.as_tensor(joined, dtype=torch.float32, device=self.device)

    def __len__(self) -> int:
        return sum(self.lengths)

    def split(self, share: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the indices of the steps to learn from, and of those of a ``share`` of the episodes left out.

        Whole episodes are left out: neighbouring hours are too similar for validation.  A single one is not split.
        """
        count = len(self.episodes)
        out = min(round(share * count), count - 1)
        chosen = np.random.default_rng(seed).permutation(count)[:out]
        owner = np.repeat(np.arange(count), self.lengths)
        left_out = np.isin(owner, chosen)
        return self._places(~left_out), self._places(left_out)

    def _places(self, mask: NDArray[np.bool_]) -> torch.Tensor:
        return torch.as_tensor(np.flatnonzero(mask), device=self.device)

    def returns(
        self, gamma: float, reward_factor: float = 1.0, drop_charge_usd_per_gpuh: float = 0.0
    ) -> torch.Tensor:
        """Return the discounted returns to go [n] of the acting policy, in the gain over serving at home."""
        usd = self.arrays["gain_usd"] - drop_charge_usd_per_gpuh * self.arrays["dropped_gpuh"]
        rewards = (reward_factor / self.compiled.reward_scale_usd * usd).cpu().numpy()

        out = np.zeros(len(self), dtype=np.float32)
        end = 0
        for length in self.lengths:
            later = 0.0
            for t in range(end + length - 1, end - 1, -1):
                later = rewards[t] + gamma * later
                out[t] = later
            end += length
        return torch.as_tensor(out, device=self.device)


def episode_files(folder: Path) -> list[Path]:
    """Return the files of a run folder in a fixed order; raise DemonstrationError where there are none."""
    files = sorted(path for path in (folder / "episodes").glob("*.npz") if not path.name.startswith("."))
    if not files:
        raise DemonstrationError(
            f"{folder}: no demonstrations in {folder / 'episodes'}; see scripts.demonstrate"
        )
    return files


def check(episode: Demonstration, here: Identity) -> None:
    """Raise DemonstrationError where an episode is not of this scenario and version of the environment."""
    facts, own = dict(episode.facts.get("agent", {})), here.as_dict()
    for key, value in own.items():
        if facts.get(key) != value:
            # Hashes and lists of parts would fill the screen.
            is_long = key in ("world", "observation")
            shown = "they differ" if is_long else f"{facts.get(key)!r} against {value!r}"
            raise DemonstrationError(
                f"demonstration of seed {episode.facts.get('seed')} ({episode.facts.get('planner')}): {_WORDS[key]}: "
                f"{shown}; give the same scenario, overrides and version, or make the demonstrations again"
            )


_WORDS = {
    "scenario": "another scenario",
    "world": "the same scenario with other values",
    "environment_version": "another version of the environment",
    "observation": "other observations",
    "action_size": "another number of actions",
}
