"""Trained networks as policies for the environment's Dict observation, single or batched.

A checkpoint belongs to one scenario, one layout of observations and actions and one version of the environment.  The
``run.json`` of its run says which, and the checkpoint is refused elsewhere.  Load only checkpoints that you trust: the
file format of Stable-Baselines3 contains pickled objects.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy

from agents.networks.kinds import ActingPolicy, memory_of
from agents.structured.compiled import Recorded, RecordingError, record
from agents.structured.policy import StructuredPolicy
from gridai_env.observation.forecast_memory import ObservationMemory
from gridai_env.observation.layout import ObservationLayout
from gridai_env.rollout.policy import Policy
from gridai_env.scenario.compile import Compiled
from gridai_env.scenario.spec import Scenario
from gridai_env.version import environment_version
from gridai_env.world.actions import Layout

RUN_FILE = "run.json"
ONLY_REPORTED = ("clean_share", "residual_kg_per_mwh")  # keys of sites[].grid that change no episode


class CheckpointError(ValueError):
    """A checkpoint that cannot be read or does not belong here; the message says which and what to do."""


@dataclass(frozen=True)
class Identity:
    """What a network was trained for."""

    scenario: str
    world: str  # hash of all that a scenario fixes, whatever the days and traces
    environment_version: int
    observation: dict[str, int]  # name of a part -> its length, in order
    action_size: int

    @classmethod
    def of(cls, compiled: Compiled) -> Identity:
        """Return the identity of a scenario as it is now."""
        parts = ObservationLayout(compiled).parts
        return cls(
            scenario=compiled.name,
            world=world_hash(compiled.scenario),
            environment_version=environment_version(),
            observation={name: part.stop - part.start for name, part in parts.items()},
            action_size=Layout(compiled.shape).size,
        )

    @classmethod
    def read(cls, run_file: Path) -> Identity:
        """Return the identity in a ``run.json``; raise CheckpointError where there is none."""
        try:
            return cls(**json.loads(run_file.read_text(encoding="utf-8"))["agent"])
        except FileNotFoundError as error:
            raise CheckpointError(
                f"{run_file}: missing; a checkpoint needs the run.json of its run beside it or one folder up"
            ) from error
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise CheckpointError(f"{run_file}: not the run.json of a training run ({error!r})") from error

    def as_dict(self) -> dict[str, Any]:
        """Return what `read` reads."""
        return asdict(self)

    def check(self, here: Identity, source: str) -> None:
        """Raise CheckpointError where this identity (of ``source``) is not that of ``here``."""
        self.check_version(source)

        # From the coarsest difference to the finest, so that the message names the cause.
        if self.scenario != here.scenario:
            raise CheckpointError(
                f"{source}: trained on scenario {self.scenario!r}, not on {here.scenario!r}"
            )
        if self.action_size != here.action_size or self.observation != here.observation:
            raise CheckpointError(
                f"{source}: has "
                f"{sum(self.observation.values())} observations and {self.action_size} actions, "
                f"scenario {here.scenario!r} has {sum(here.observation.values())} and {here.action_size} "
                f"({_differences(self.observation, here.observation)}); train again"
            )
        if self.world != here.world:
            raise CheckpointError(
                f"{source}: trained on scenario {self.scenario!r} with other values than here; "
                "give the same file and overrides (traces, days, kind of forecast and latency budgets may differ), or "
                "train again"
            )

    def check_version(self, source: str) -> None:
        """Raise CheckpointError where the environment has another version now."""
        if self.environment_version != environment_version():
            raise CheckpointError(
                f"{source}: trained in version {self.environment_version} of the environment, "
                f"this is version {environment_version()}; train again, or install the one in its run.json"
            )


def _differences(there: dict[str, int], here: dict[str, int]) -> str:
    """Name the parts of two observations whose lengths differ."""
    names = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    found = ", ".join(f"{name}: {there.get(name, 0)} against {here.get(name, 0)}" for name in names)
    return found or "the same parts in another order"


def world_hash(scenario: Scenario) -> str:
    """Return the SHA-256 (hex) of a scenario without what may differ between uses.

    Left out are its text, traces and days, the kind of forecast (leads and skill count), and the latency budgets: they
    act through the masks, which are observed.  So are figures of the grid that only metrics read, and keys at their
    defaults: a checkpoint outlives keys that are added later.
    """
    left_out = {"description", "traces", "start", "demand", "jobs_from"}
    data = scenario.model_dump(mode="json", exclude=left_out, exclude_defaults=True)
    data.get("latency", {}).pop("budget_scale", None)
    forecast = data.pop("forecast", {})
    forecast = {key: value for key, value in forecast.items() if key not in ("kind", "published_from_h")}
    if forecast:
        data["forecast"] = forecast
    for task in data["classes"]:
        task.pop("latency_budget_ms")
    for site in data["sites"]:
        grid = {key: value for key, value in site.pop("grid", {}).items() if key not in ONLY_REPORTED}
        if grid:
            site["grid"] = grid
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class NetworkPolicy(Policy):
    """A network that acts on the environment's Dict observation."""

    def __init__(
        self, network: ActorCriticPolicy, identity: Identity, source: str = "network", name: str = "network"
    ) -> None:
        """Take a network with `actions`, the meaning of its numbers; raise TypeError for another."""
        if not isinstance(network, ActingPolicy):
            raise TypeError(
                f"{source}: a {type(network).__name__} has no `actions` (see agents.networks.kinds)"
            )
        self.network, self.identity, self.source, self.name = network, identity, source, name
        self._expand = network.actions.expand
        self._recorded: Recorded | None = None

    @property
    def observed_parts(self) -> Mapping[str, int]:
        """Size of each part of the observation that the network was trained on."""
        return self.identity.observation

    def prepare(self, compiled: Compiled) -> None:
        """Raise CheckpointError where the network was not trained for this scenario.

        A network whose weights fit any routes is put on those that are open here.
        """
        self.identity.check(Identity.of(compiled), self.source)
        if isinstance(self.network, StructuredPolicy):
            network = self.network.for_scenario(compiled)
            if self._recorded and network is not self.network:
                self._recorded = Recorded(network, self._recorded.path)
            self.network, self._expand = network, network.actions.expand

    def compile(self, path: str | Path) -> None:
        """Use machine code for single environments from now on: the same decisions, several times as fast.

        Call it after `prepare`.  Compiled code in the file ``path`` (``*.pt2``) is opened; where there is none, compile
        and save it, which takes a minute or two and a C++ compiler.  The code follows the weights when they change.
        Batches and decisions with noise run as before.  Raise RecordingError for a network other than a structured one
        on the CPU, without a compiler, and for a file that was made for something else.
        """
        if not isinstance(self.network, StructuredPolicy) or self.network.device.type != "cpu":
            raise RecordingError(
                f"{self.source}: only decisions of a structured policy on the cpu are compiled, this is a "
                f"{type(self.network).__name__} on {self.network.device}"
            )
        path = Path(path)
        self._recorded = Recorded(self.network, path) if path.is_file() else record(self.network, path)

    def predict(
        self,
        observation: dict[str, NDArray[np.float32]] | NDArray[np.float32],
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[np.float32], Any]:
        """Return actions in [-1, 1], [A] or [B,A], for Dict observations or flat ones ([N] or [B,N]).

        ``state`` is what the call before returned, with ``episode_start`` [B] for episodes that begin now (None: all,
        where there is no state); a network without a memory ignores both.  Raise ValueError for observations that are
        not finite: a network would act on them as on any other.
        """
        flat = self._flat(observation)
        if not np.isfinite(flat).all():
            raise ValueError(
                f"observation: {self._corrupted(flat)}; repair what feeds the policy, it does not act"
            )

        begins = episode_start is not None and bool(np.any(episode_start))
        if self._recorded and deterministic and flat.size == flat.shape[-1]:
            memory = None if begins or state is None else torch.as_tensor(state)
            whole, after = self._recorded(torch.as_tensor(flat).reshape(1, -1), memory)
            return whole.numpy().reshape(*flat.shape[:-1], -1), after.numpy()

        remembering = ObservationMemory(memory_of(self.network))
        remembering.state = None if state is None else np.asarray(state)
        fresh = None if episode_start is None or state is None else np.atleast_1d(episode_start)
        seen = remembering.go_on(np.atleast_2d(flat), fresh)
        numbers, _ = self.network.predict(seen, deterministic=deterministic)
        action = self._expand(numbers)
        return action.reshape(*flat.shape[:-1], -1), remembering.state

    def _flat(self, observation: dict[str, NDArray[np.float32]] | NDArray[np.float32]) -> NDArray[np.float32]:
        if isinstance(observation, np.ndarray):
            return observation
        return np.concatenate([observation[name] for name in self.identity.observation], axis=-1)

    def _corrupted(self, flat: NDArray[np.float32]) -> str:
        """Name the parts of an observation that are not finite, with the first such entry of each."""
        found, begin = [], 0
        for name, size in self.identity.observation.items():
            part = flat[..., begin : begin + size]
            begin += size
            bad = ~np.isfinite(part)
            if bad.any():
                found.append(f"{name}[{np.argwhere(bad)[0][-1]}] is {part[bad][0]}")
        return ", ".join(found)


def run_file_of(path: Path) -> Path:
    """Return the path of a checkpoint's ``run.json``: beside it, or one folder up for ``checkpoints/``."""
    beside, above = path.parent / RUN_FILE, path.parent.parent / RUN_FILE
    return above if above.is_file() and not beside.is_file() else beside


@contextmanager
def readable(path: Path, advice: str) -> Iterator[None]:
    """Raise CheckpointError where reading a file of Stable-Baselines3 fails."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        OSError,
        ValueError,
        KeyError,
        EOFError,
        RuntimeError,
        AssertionError,
    ) as error:
        raise CheckpointError(f"{path}: not a readable checkpoint ({error}); {advice}") from error
    except (pickle.UnpicklingError, AttributeError, ImportError, TypeError) as error:
        raise CheckpointError(
            f"{path}: saved by another version of this package or its libraries ({error}); train again"
        ) from error


def load_model(path: Path, device: str = "auto", algorithm: type[BaseAlgorithm] = PPO, **changes: Any) -> Any:
    """Return the model of a file; raise CheckpointError where it is missing or damaged."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; a trained agent is the model.zip of a run folder")
    with readable(path, "train again or take another"):
        return algorithm.load(path, device=device, **changes)


def load_policy(path: str | Path, device: str = "cpu") -> NetworkPolicy:
    """Return the policy of a ``model.zip`` or checkpoint.

    Its ``prepare(compiled)`` refuses scenarios that it was not trained for.  Raise CheckpointError for a file that is
    missing, damaged or without its ``run.json``.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; a trained agent is the model.zip of a run folder")
    identity = Identity.read(run_file_of(path))
    identity.check_version(str(path))

    network = load_model(path, device).policy
    if not isinstance(network, ActingPolicy):
        raise CheckpointError(f"{path}: not an agent of scripts.train but a {type(network).__name__}")
    assert isinstance(network, ActorCriticPolicy)

    # The class may be the right one and the weights those of another layout.
    sizes = (network.observation_space.shape, network.actions.expand(network.actions.start).shape)
    remembered = ObservationMemory(memory_of(network)).size
    expected = ((sum(identity.observation.values()) + remembered,), (identity.action_size,))
    if sizes != expected:
        raise CheckpointError(f"{path}: sizes {sizes} are not those of its run.json, {expected}")
    return NetworkPolicy(network, identity, str(path))
