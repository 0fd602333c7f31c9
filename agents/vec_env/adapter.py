"""A batched environment with the interface of a `VecEnv` of Stable-Baselines3, and a step that never leaves a device.

Observations are flat float32 arrays [B,N].  Episodes restart in the step in which they end; the infos of an ended
episode hold ``terminal_observation``, ``episode`` (return and length as learned from) and the totals ``benefit_usd``,
``emissions_kg``, ``dropped_gpuh`` in their own units (not where the episode was cut short, or began midway).  Infos of
running episodes are empty: at thousands of environments, building them costs more than the step.

As a `VecEnv` it takes and gives NumPy arrays; `step_batch` does the same on the environment's own, tensors on a device.
Which episodes end is known from the clock, on the host; their figures stay on the device until `read_ends`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard, cast

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from agents.config import ConfigError
from agents.vec_env.actions import AgentActions
from agents.vec_env.at_home import AtHome
from gridai_env.arrays.ops import as_float32, beside, namespace, zeros
from gridai_env.arrays.record import Record
from gridai_env.arrays.types import Array, Bools, Float, Floats32, Index, Ints
from gridai_env.envs.batch_env import BatchEnv
from gridai_env.observation.forecast_memory import ForecastMemory, ObservationMemory

# Totals of an ended episode that are handed on.
TOTALS = ("benefit_usd", "emissions_kg", "dropped_gpuh")

# Seeds of training episodes.  Below are those that people type, above those of held-out episodes.
TRAINING_SEEDS = range(1_000_000, 2**31)

Indices = int | Iterable[int] | None
# From rewards [B], infos and observations [B,N] of a step (of the next episode where one ended) to rewards [B]: NumPy
# arrays, or tensors where the environment is on a device.
RewardWrapper = Callable[[Any, dict[str, Any], Any], Any]


@dataclass(frozen=True, eq=False)
class EpisodeEnds:
    """The episodes that ended in one step, n of them."""

    rows: Index  # [n] which environments
    truncated: Bools  # [n] cut short, on the host
    whole: Bools  # [n] played from their first step: only these have totals
    lengths: Ints  # [n] steps played
    final_obs: Float[Array, "n N"]
    figures: Array  # [n, 1 + len(TOTALS)] return as learned from, then the totals


class GridAIVecEnv(VecEnv):
    """Adapter for training on a batched environment ``env``, on NumPy or torch, with flat observations.

    The agent chooses the numbers of ``actions``; the environment gets what they mean.  What a ``memory`` keeps of
    earlier observations is appended to each.

    ``reference_reward``: learn from the gain over serving at home (see `agents.vec_env.home_reference`) instead of
    from the benefit; ``reward_factor`` multiplies either.  ``drop_charge_usd_per_gpuh`` is taken off either for work
    that is dropped, on top of what the scenario bills: dropping a little now and then costs next to nothing, so it
    would hardly be unlearned.  A ``reward_wrapper`` changes what came of all this.
    """

    def __init__(
        self,
        env: BatchEnv,
        actions: AgentActions,
        reference_reward: bool = False,
        reward_factor: float = 1.0,
        drop_charge_usd_per_gpuh: float = 0.0,
        memory: ForecastMemory | None = None,
        reward_wrapper: RewardWrapper | None = None,
    ) -> None:
        if env.autoreset_mode is AutoresetMode.NEXT_STEP:
            raise ConfigError(
                "GridAIVecEnv: an environment with autoreset_mode='NextStep'; make it with 'SameStep'"
            )
        self.env, self._reward_wrapper = env, reward_wrapper
        self._scale_usd, self._factor = env.compiled.reward_scale_usd, reward_factor
        self._drop_charge_usd_per_gpuh = drop_charge_usd_per_gpuh
        self.actions = actions
        self.remembering = ObservationMemory(memory)
        space = spaces.Box(actions.low, actions.high, (actions.size,), np.float32)
        seen = cast(spaces.Box, env.single_observation_space)
        seen = seen if memory is None else memory.space(seen)
        super().__init__(env.num_envs, seen, space)
        self._actions: Floats32 | None = None
        self._at_home = AtHome(env) if reference_reward else None
        self._begin = time.monotonic()
        self._start_books(np.zeros(self.num_envs, dtype=np.int64))

    def _start_books(self, t: Ints) -> None:
        """Start to count episodes that stand at steps ``t`` [B]."""
        self._returns = zeros((self.num_envs,), self.env.like)
        self._lengths, self._begun_at = np.zeros(self.num_envs, dtype=np.int64), t

    @property
    def device(self) -> torch.device:
        """Where the environment's arrays are; of NumPy the processor."""
        like = self.env.like
        return torch.device("cpu") if isinstance(like, np.ndarray) else like.device

    # Episodes and steps --------------------------------------------------------------------------

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Choose the episodes from the next reset on; None draws them at random.

        The seeds of the first episodes are drawn from `TRAINING_SEEDS` by ``seed``, not counted up from it: a run with
        seed 0 never trains on the episodes 0, 1, 2, ... that comparisons use.
        """
        if seed is None:
            self._reset_seeds()
        else:
            rng = np.random.default_rng(seed)
            self._seeds = rng.integers(TRAINING_SEEDS.start, TRAINING_SEEDS.stop, self.num_envs).tolist()
        return self._seeds

    def reset(self) -> Float[Floats32, "B N"]:
        """Start new episodes everywhere, from the seeds given to `seed` where there are any."""
        self._reset_options()
        self.reset_infos = [{} for _ in range(self.num_envs)]
        return _as_numpy(self._started())

    def begin(self, last_steps: int | None = None) -> Float[Array, "B N"]:
        """Start new episodes everywhere, ``last_steps`` before their end (None: at their first step)."""
        steps = self.env.compiled.shape.steps
        first = 0 if last_steps is None else max(steps - last_steps, 0)
        return self._started({"first_step": first})

    def _started(self, options: dict[str, Any] | None = None) -> Float[Array, "B N"]:
        """Return the first observations of new episodes everywhere, as the environment's own arrays."""
        observation, _ = self.env.reset(seed=self._first_seeds(), options=options)
        self._reset_seeds()
        self._start_books(self.env.simulator.t.astype(np.int64))
        self._look_ahead(np.arange(self.num_envs))
        return self.remembering.begin(observation)

    def _first_seeds(self) -> int | list[int | None] | None:
        """Return the seeds of `seed` as the environment's `reset` takes them."""
        # On a device one generator draws all episodes.
        if self._seeds[0] is None or self.env.episodes == "device":
            return self._seeds[0]
        return list(self._seeds[: self.env.num_groups])

    def _look_ahead(self, rows: Index) -> None:
        """Work out what serving at home will earn in the episodes that began at ``rows``."""
        if self._at_home is not None:
            self._at_home.begin(self.env.simulator, rows)

    def steps_left(self) -> Ints:
        """Return the steps left in each episode [B]."""
        return np.asarray(self.env.simulator.steps - self.env.simulator.t, dtype=np.int64)

    def totals(self) -> Float[Array, "B 3"]:
        """Return the totals of `TOTALS` in the episodes so far."""
        totals = [self._last[f"episode/{name}"] for name in TOTALS]
        return namespace(totals[0]).stack(totals, 1)

    def returns(self) -> Float[Array, " B"]:
        """Return what the episodes earned so far, as learned from."""
        return self._returns

    def step_async(self, actions: Float[Floats32, "B n"]) -> None:
        """Keep the agent's numbers for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[Float[Floats32, "B N"], Float[Floats32, " B"], Bools, list[dict[str, Any]]]:
        """Advance all episodes; ended ones come back with the first observation of their next episode."""
        assert self._actions is not None, "step_async comes first"
        numbers = beside(self._actions, self.env.like)
        with torch.no_grad():
            observation, rewards, dones, ended = self.step_batch(numbers)

        own: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if ended is not None:
            final, figures = _as_numpy(ended.final_obs), ended.figures.tolist()
            for k, i in enumerate(ended.rows):
                earned, *totals = figures[k]
                length, truncated = int(ended.lengths[k]), bool(ended.truncated[k])
                own[i] = self._info(final[k], truncated, earned, length, totals if ended.whole[k] else [])
        return _as_numpy(observation), _as_numpy(rewards), dones, own

    def step_batch(self, numbers: Float[Array, "B n"]) -> tuple[Array, Array, Bools, EpisodeEnds | None]:
        """Advance all episodes by the agent's numbers [B,n], where the environment's arrays are.

        Return observations [B,N] (of the next episode where one ended) and rewards [B], float32, there; which
        episodes ended [B], on the host; and their ends (None where none ended).
        """
        simulator = self.env.simulator
        terminates = simulator.t + 1 >= simulator.steps
        at_home_usd = 0.0 if self._at_home is None else self._at_home.now_usd(simulator)
        observation, earned, _, _, infos = self.env.step(self.actions.expand(numbers))
        self._last = infos
        rewards = self.learned_from(earned, at_home_usd, infos, observation)
        self._returns = self._returns + (rewards if isinstance(rewards, np.ndarray) else rewards.detach())
        self._lengths = self._lengths + 1

        dones = self.env.simulator.t == 0  # a step leads to 1 at least, but for what began anew
        ended = self._ends(dones, terminates, infos) if dones.any() else None
        observation = self.remembering.go_on(observation, dones)
        return observation, as_float32(rewards), dones, ended

    def _ends(self, dones: Bools, terminates: Bools, infos: dict[str, Any]) -> EpisodeEnds:
        """Return what ended in the step just made, and begin to count the next episodes there."""
        rows, xp = np.flatnonzero(dones), namespace(self._returns)
        at = beside(rows, self._returns)
        totals = [infos["final_info"][f"episode/{name}"] for name in TOTALS]
        final = infos["final_obs"][at]
        if isinstance(final, np.ndarray):  # a row for each, see `GridAIVectorEnv`
            final = np.stack(list(final))
        truncated = ~terminates[rows]

        ends = EpisodeEnds(
            rows=rows,
            truncated=truncated,
            whole=(self._begun_at[rows] == 0) & ~truncated,
            lengths=self._lengths[rows],
            final_obs=self.remembering.last(final, rows),
            figures=xp.stack([self._returns, *totals], 1)[at],
        )

        self._returns = self._returns * beside(~dones, self._returns)
        self._lengths, self._begun_at = self._lengths * ~dones, self._begun_at * ~dones
        self._look_ahead(rows)
        return ends

    def learned_from(
        self,
        rewards: Float[Array, " B"],
        at_home_usd: Float[Array, " B"] | float,
        infos: dict[str, Any],
        observation: Float[Array, "B N"],
    ) -> Float[Array, " B"]:
        """Return the rewards to learn from in place of the environment's.

        What serving at home earns, and the charge on work that was dropped, are taken off.  Raise ConfigError where a
        reward wrapper returns something else than rewards.
        """
        charge_usd = self._drop_charge_usd_per_gpuh * _dropped_gpuh(infos)
        learned = self._factor * (rewards - (at_home_usd + charge_usd) / self._scale_usd)
        if self._reward_wrapper is None:
            return learned

        wrapped = self._reward_wrapper(learned, infos, observation)
        if not isinstance(wrapped, type(learned)) or wrapped.shape != learned.shape:
            found = f"{type(wrapped).__name__} of shape {getattr(wrapped, 'shape', ())}"
            raise ConfigError(
                f"reward_wrapper: must return a {type(learned).__name__} of shape {tuple(learned.shape)}, one reward "
                f"for each episode, returned a {found}"
            )
        return wrapped

    def _info(
        self,
        final_obs: Float[Floats32, " N"],
        truncated: bool,
        earned: float,
        length: int,
        totals: Iterable[float],
    ) -> dict[str, Any]:
        """Return the info of an ended episode; ``totals`` in the order of `TOTALS`, or none."""
        return {
            "terminal_observation": final_obs,
            "TimeLimit.truncated": truncated,
            "episode": {"r": earned, "l": length, "t": self.seconds()},
            **dict(zip(TOTALS, totals, strict=False)),
        }

    def seconds(self) -> float:
        """Return the time since the adapter was made."""
        return round(time.monotonic() - self._begin, 6)

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    # State ---------------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Return everything that `set_state` needs to go on from here bit for bit; can be pickled.

        All tensors are on the host; episodes are kept as what they are made from.
        """
        found = {
            "env": self.env.get_state(),
            "returns": self._returns,
            "lengths": self._lengths.copy(),
            "begun_at": self._begun_at.copy(),
            "seeds": list(self._seeds),
            "memory": self.remembering.state,
            "at_home": None if self._at_home is None else self._at_home.from_now_on(self.env.simulator),
        }
        return {key: _moved(value, torch.device("cpu")) for key, value in found.items()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go back to where `get_state` was called, in this adapter or another of the same scenario and size."""
        self.env.set_state(state["env"])
        self._returns = _moved(state["returns"], self.device)
        self._lengths, self._begun_at = state["lengths"].copy(), state["begun_at"].copy()
        self._seeds = list(state["seeds"])
        self.remembering.state = _moved(state["memory"], self.device)
        # Restored, not recomputed: in a batch of another size the last bit could differ.
        if self._at_home is not None:
            self._at_home.put_back(self.env.simulator, _moved(state["at_home"], self.device))

    # Attributes ----------------------------------------------------------------------------------

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """Return an attribute of the batched environment, once for each index."""
        value = getattr(self.env, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Set an attribute of the batched environment; all episodes share it, so ``indices`` must be None."""
        if indices is not None:
            raise ValueError(
                f"attribute {attr_name!r}: the episodes share one environment; leave indices out"
            )
        setattr(self.env, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Indices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the batched environment once and return its result for each index."""
        value = getattr(self.env, method_name)(*method_args, **method_kwargs)
        return [value for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type, indices: Indices = None) -> list[bool]:
        """Return False for each index: single episodes cannot be wrapped."""
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """Return a picture of each episode (None where the environment was made without ``render_mode``)."""
        frames: Any = self.env.render()
        return [None] * self.num_envs if frames is None else list(frames)


def _dropped_gpuh(infos: dict[str, Any]) -> Float[Array, " B"]:
    """Return the work dropped in the step; that of episodes which end in it stands among their last figures."""
    dropped = infos["dropped_gpuh"]
    return dropped + infos["final_info"]["dropped_gpuh"] if "final_info" in infos else dropped


def has_tensors(env: Any) -> TypeGuard[GridAIVecEnv]:
    """Return whether an environment is an adapter on a batch of torch."""
    return isinstance(env, GridAIVecEnv) and not isinstance(env.env.like, np.ndarray)


def _as_numpy(x: Array) -> Floats32:
    """Return an array for Stable-Baselines3; of a tensor a copy, which the next steps may write over."""
    return x if isinstance(x, np.ndarray) else np.array(x.detach().cpu().numpy(), order="C")


def read_ends(ends: Sequence[EpisodeEnds], seconds: float) -> tuple[list[dict[str, Any]], list[list[float]]]:
    """Read ended episodes from the device, all at once: their ``episode`` infos, and totals of the whole ones."""
    if not ends:
        return [], []
    figures = torch.cat([ended.figures for ended in ends]).tolist()
    lengths = np.concatenate([ended.lengths for ended in ends]).tolist()
    whole = np.concatenate([ended.whole for ended in ends]).tolist()
    infos = [{"r": row[0], "l": length, "t": seconds} for row, length in zip(figures, lengths, strict=True)]
    return infos, [row[1:] for row, is_whole in zip(figures, whole, strict=True) if is_whole]


def _moved(value: Any, device: torch.device) -> Any:
    """Return nested tables and records with their tensors on another device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, Record):
        return value.map(lambda field: _moved(field, device))
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    return value
