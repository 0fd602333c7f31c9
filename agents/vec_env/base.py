"""Base of the two adapters to Stable-Baselines3: one batched environment with the interface of a `VecEnv`.

Observations are flat float32 arrays [B,N].  Episodes restart in the step in which they end; the infos of an ended
episode hold ``terminal_observation``, ``episode`` (return and length as learned from) and the totals ``benefit_usd``,
``emissions_kg``, ``dropped_gpuh`` in their own units (not where the episode was cut short, or began midway).  Infos of
running episodes are empty: at thousands of environments, building them costs more than the step.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from agents.config import ConfigError
from agents.vec_env.actions import AgentActions
from gridai_env.arrays.types import Array, Float, Floats32
from gridai_env.observation.forecast_memory import ForecastMemory, ObservationMemory

# Totals of an ended episode that are handed on.
TOTALS = ("benefit_usd", "emissions_kg", "dropped_gpuh")

# Seeds of training episodes.  Below are those that people type, above those of held-out episodes.
TRAINING_SEEDS = range(1_000_000, 2**31)

Indices = int | Iterable[int] | None
# From rewards [B], infos and observations [B,N] of a step (of the next episode where one ended) to rewards [B]: NumPy
# arrays, or tensors where the environment is on a device.
RewardWrapper = Callable[[Any, dict[str, Any], Any], Any]


class BatchVecEnv(VecEnv):
    """Adapter for training on a batched environment ``env`` with flat observations.

    The agent chooses the numbers of ``actions``; the environment gets what they mean.  What a ``memory`` keeps of
    earlier observations is appended to each.

    ``reference_reward``: learn from the gain over serving at home (see `agents.vec_env.home_reference`) instead of
    from the benefit; ``reward_factor`` multiplies either.  ``drop_charge_usd_per_gpuh`` is taken off either for work
    that is dropped, on top of what the scenario bills: dropping a little now and then costs next to nothing, so it
    would hardly be unlearned.  A ``reward_wrapper`` changes what came of all this.
    """

    def __init__(
        self,
        env: Any,
        actions: AgentActions,
        reference_reward: bool = False,
        reward_factor: float = 1.0,
        drop_charge_usd_per_gpuh: float = 0.0,
        memory: ForecastMemory | None = None,
        reward_wrapper: RewardWrapper | None = None,
    ) -> None:
        self.env, self._reward_wrapper = env, reward_wrapper
        self._scale_usd, self._factor = env.compiled.reward_scale_usd, reward_factor
        self._drop_charge_usd_per_gpuh = drop_charge_usd_per_gpuh
        self.actions = actions
        self.remembering = ObservationMemory(memory)
        space = spaces.Box(actions.low, actions.high, (actions.size,), np.float32)
        seen = env.single_observation_space if memory is None else memory.space(env.single_observation_space)
        super().__init__(env.num_envs, seen, space)
        self._actions: Floats32 | None = None
        self._lengths = np.zeros(self.num_envs, dtype=np.int64)
        self._begin = time.monotonic()
        self._setup(reference_reward)

    @abstractmethod
    def _setup(self, reference_reward: bool) -> None:
        """Make what belongs to the kind of arrays."""

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
        return self._as_array(self._started())

    def _started(self, options: dict[str, Any] | None = None) -> Float[Array, "B N"]:
        """Return the first observations of new episodes everywhere, as the environment's own arrays."""
        observation, _ = self.env.reset(seed=self._first_seeds(), options=options)
        self._reset_seeds()
        self._lengths = np.zeros(self.num_envs, dtype=np.int64)
        self._begin_all()
        return self.remembering.begin(observation)

    def _first_seeds(self) -> int | list[int | None] | None:
        """Return the seeds of `seed` as the environment's `reset` takes them."""
        return None if self._seeds[0] is None else list(self._seeds[: self.env.num_groups])

    @abstractmethod
    def _begin_all(self) -> None:
        """Start to add up returns where all episodes begin anew."""

    @abstractmethod
    def _as_array(self, x: Array) -> Floats32:
        """Return what Stable-Baselines3 takes."""

    def step_async(self, actions: Float[Floats32, "B n"]) -> None:
        """Keep the agent's numbers for `step_wait`."""
        self._actions = actions

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

    @abstractmethod
    def get_state(self) -> dict[str, Any]:
        """Return everything that `set_state` needs to go on from here bit for bit; can be pickled."""

    @abstractmethod
    def set_state(self, state: dict[str, Any]) -> None:
        """Go back to where `get_state` was called, in this adapter or another of the same scenario and size."""

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
        frames = self.env.render()
        return [None] * self.num_envs if frames is None else list(frames)


def _dropped_gpuh(infos: dict[str, Any]) -> Float[Array, " B"]:
    """Return the work dropped in the step; that of episodes which end in it stands among their last figures."""
    dropped = infos["dropped_gpuh"]
    return dropped + infos["final_info"]["dropped_gpuh"] if "final_info" in infos else dropped
