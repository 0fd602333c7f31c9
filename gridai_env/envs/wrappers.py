"""Wrappers of single environments and of batches: actions with names, active actions, remembered forecasts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from gridai_env.arrays.ops import namespace
from gridai_env.arrays.types import AnyFloats, Array
from gridai_env.envs.action_space import ActiveActions, action_box, names_of_actions
from gridai_env.envs.arguments import checked_action
from gridai_env.envs.batch_env import BatchEnv
from gridai_env.envs.env import GridAIEnv
from gridai_env.observation.forecast_memory import ForecastMemory, ObservationMemory
from gridai_env.observation.layout import BOUND
from gridai_env.scenario.compile import Compiled
from gridai_env.world.actions import Layout

REMEMBERED = "remembered"  # this part of a Dict observation
VectorEnv = gym.vector.VectorEnv[Any, Any, Any]


def _compiled_of(
    env: gym.Env[Any, Any] | VectorEnv, wrapper: str, actions: gym.Space[Any] | None = None
) -> Compiled:
    """Return the scenario of an environment or batch; raises TypeError where it is not of this package.

    Raises ValueError where ``actions`` are another space than the scenario's.
    """
    base, found = env.unwrapped, None
    if isinstance(base, GridAIEnv | BatchEnv):
        found = base.compiled
    elif isinstance(base, gym.vector.SyncVectorEnv | gym.vector.AsyncVectorEnv):
        with suppress(AttributeError):
            found = base.get_attr("compiled")[0]
    if not isinstance(found, Compiled):
        raise TypeError(f"{wrapper}: wraps environments of gridai_env, not {type(base).__name__}")
    if actions is not None and actions != action_box(found):
        raise ValueError(f"{wrapper}: another wrapper has changed the action space; put {wrapper} below it")
    return found


class DictAction(gym.ActionWrapper[Any, dict[str, AnyFloats], AnyFloats]):
    """Takes the action as a Dict of arrays in their own shapes.

    Keys: ``battery [K]``, ``generator [K]``, ``jobs [V,K+1]``, ``mode [K]``, ``renewable [K]``,
    ``routing [C,W,K+2]``; their meaning is that of the flat action.  A part without entries is left out.
    `axis_names` names the indices of each axis.
    """

    def __init__(self, env: gym.Env[Any, AnyFloats]) -> None:
        """Wrap an environment of this package, itself wrapped or not (but not in another action)."""
        super().__init__(env)
        compiled = _compiled_of(env, "DictAction", env.action_space)
        self._layout = Layout(compiled.shape)
        self._names = names_of_actions(compiled)
        self._shapes = {name: shape for name, shape in self._layout.parts.items() if np.prod(shape)}
        boxes: dict[str, spaces.Space[Any]] = {
            name: spaces.Box(-1.0, 1.0, shape, np.float32) for name, shape in self._shapes.items()
        }
        self.action_space: spaces.Dict = spaces.Dict(boxes)  # type: ignore[assignment]

        sites, rows = list(compiled.site_names), [name.replace("/", "-") for name in compiled.row_names]
        slots = [f"slot{v}" for v in range(compiled.shape.slots)]
        self.axis_names: dict[str, list[list[str]]] = {
            "battery": [sites],
            "generator": [sites],
            "jobs": [slots, [*sites, "wait"]],
            "mode": [sites],
            "renewable": [sites],
            "routing": [list(compiled.region_names), rows, [*sites, "hold", "refuse"]],
        }

    def action(self, action: Mapping[str, Any]) -> AnyFloats:
        """Return the flat action of a Dict; raises ValueError for wrong keys and shapes."""
        if set(action) != set(self._shapes):
            raise ValueError(f"action: keys {sorted(action)}, must be {sorted(self._shapes)}")
        parts = []
        for name, shape in self._shapes.items():
            part = np.asarray(action[name])
            if part.shape != shape:
                raise ValueError(f"action[{name!r}]: shape {part.shape}, must be {shape}")
            parts.append(part.reshape(-1))
        return np.concatenate(parts)

    def reverse_action(self, action: AnyFloats) -> dict[str, AnyFloats]:
        """Return the Dict of a flat action [A] (or of a batch of them [...,A]), as copies."""
        parts = self._layout.split(np.asarray(action, dtype=np.float32))
        return {name: parts[name].copy() for name in sorted(self._shapes)}

    def to_names(self, action: Mapping[str, Any]) -> dict[str, float]:
        """Return a Dict action as one number for each named index, e.g. ``battery/texas``."""
        return dict(zip(self._names, self.action(action).tolist(), strict=True))

    def from_names(self, named: Mapping[str, float], default: float = 0.0) -> dict[str, AnyFloats]:
        """Return the Dict action of named indices, ``default`` elsewhere; ValueError for unknown names."""
        unknown = sorted(set(named) - set(self._names))
        if unknown:
            raise ValueError(f"action: unknown index {unknown[0]!r}; see env.unwrapped.action_names")
        return self.reverse_action(np.array([named.get(name, default) for name in self._names]))


class ActiveAction(gym.ActionWrapper[Any, AnyFloats, AnyFloats]):
    """Takes the n entries of the action that can matter, in [-1, 1]; the others serve everything at home.

    ``may_refuse``: whether work may be turned away.  ``shared_routing``: one number for each row and site moves the
    routes of all regions.  ``numbers`` is the mapping; ``numbers.start`` are the numbers of "everything at home".
    """

    def __init__(
        self, env: gym.Env[Any, AnyFloats], may_refuse: bool = False, shared_routing: bool = False
    ) -> None:
        """Wrap an environment of this package; raises ValueError above another change of the action."""
        super().__init__(env)
        compiled = _compiled_of(env, "ActiveAction", env.action_space)
        self.numbers = ActiveActions.of(compiled, may_refuse, shared_routing)
        self.action_space = spaces.Box(-1.0, 1.0, (self.numbers.size,), np.float32)

    def action(self, action: Any) -> AnyFloats:
        """Return the flat action [A] of the numbers [n]; raises ValueError where they are no such numbers."""
        return self.numbers.expand(checked_action(action, self.action_space.shape or ()))


class VectorActiveAction(gym.vector.VectorActionWrapper):  # without parameters, which Gymnasium 1.2 refuses
    """`ActiveAction` for a batch, on NumPy or torch: actions are [B,n]."""

    def __init__(self, env: VectorEnv, may_refuse: bool = False, shared_routing: bool = False) -> None:
        """Wrap a batch of this package, or Gymnasium's of single environments."""
        super().__init__(env)
        compiled = _compiled_of(env, "VectorActiveAction", env.single_action_space)
        self.numbers = ActiveActions.of(compiled, may_refuse, shared_routing)
        self.single_action_space = spaces.Box(-1.0, 1.0, (self.numbers.size,), np.float32)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def actions(self, actions: Any) -> Array:
        """Return the flat actions [B,A]; raises ValueError where the numbers are none or not [B,n]."""
        shape = self.action_space.shape or ()
        if isinstance(actions, np.ndarray | Sequence):
            return self.numbers.expand(checked_action(actions, shape))
        if tuple(actions.shape) != shape:
            raise ValueError(f"action: shape {tuple(actions.shape)}, must be {shape} with values in [-1, 1]")
        return self.numbers.expand(actions)


class RememberedObservations:
    """Observations with what the memory holds: behind a flat one, as the part `REMEMBERED` of a Dict."""

    def __init__(self, compiled: Compiled, space: gym.Space[Any], wrapper: str) -> None:
        memory = ForecastMemory(compiled)
        self.memory, self._parts = ObservationMemory(memory), list(memory.layout.parts)
        flat = memory.layout.flat_space()
        self._is_flat, self._size = space == flat, memory.layout.size
        if self._is_flat:
            self.space: spaces.Space[Any] = memory.space(flat)
            return

        if space != memory.layout.space():
            raise ValueError(
                f"{wrapper}: another wrapper has changed the observation space; put {wrapper} below it"
            )
        assert isinstance(space, spaces.Dict)
        more = spaces.Box(-BOUND, BOUND, (memory.size,), np.float32)
        self.space = spaces.Dict({**space.spaces, REMEMBERED: more})

    def shown(self, observation: Any, extend: Callable[[Array], Array]) -> Any:
        """Return an observation [B,...] with its memory; ``extend`` puts it behind the flat one."""
        if self._is_flat:
            return extend(observation)
        parts = [observation[name] for name in self._parts]
        flat = namespace(parts[0]).concatenate(parts, -1)
        return {**observation, REMEMBERED: extend(flat)[:, self._size :]}

    def next(self, observation: Any, begins: bool) -> Any:
        """Return the next observation of a single episode, without an axis of the batch; ``begins``: its first."""
        return self.one(observation, self.memory.begin if begins else partial(self.memory.go_on, fresh=None))

    def one(self, observation: Any, extend: Callable[[Array], Array]) -> Any:
        """Do as `shown` for a single observation."""
        if self._is_flat:
            return extend(observation[None])[0]
        batch = self.shown({name: part[None] for name, part in observation.items()}, extend)
        return {name: part[0] for name, part in batch.items()}


class RememberForecasts(gym.Wrapper[Any, Any, Any, Any]):
    """Appends the newest forecast issued for each of the coming steps, those of earlier observations included.

    An observation shows forecasts at a few leads; those for the hours between stood in earlier ones.  The memory [M]
    (`gridai_env.observation.forecast_memory`, in units) stands behind a flat observation, or as the part "remembered"
    of a Dict.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Wrap an environment of this package, flattened or not."""
        super().__init__(env)
        compiled = _compiled_of(env, "RememberForecasts")
        self._remembered = RememberedObservations(compiled, env.observation_space, "RememberForecasts")
        self.observation_space = self._remembered.space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode with nothing remembered."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._remembered.next(observation, begins=True), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Advance one step."""
        observation, *rest = self.env.step(action)
        return (self._remembered.next(observation, begins=False), *rest)


class VectorRememberForecasts(gym.vector.VectorWrapper):  # without parameters, which Gymnasium 1.2 refuses
    """`RememberForecasts` for a batch, on NumPy or torch, in every mode of autoreset."""

    def __init__(self, env: VectorEnv) -> None:
        """Wrap a batch of this package, or Gymnasium's of single environments."""
        super().__init__(env)
        compiled = _compiled_of(env, "VectorRememberForecasts")
        space = env.single_observation_space
        self._remembered = RememberedObservations(compiled, space, "VectorRememberForecasts")
        self.single_observation_space = self._remembered.space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._resets_next = env.metadata.get("autoreset_mode") is AutoresetMode.NEXT_STEP

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start episodes with nothing remembered; those that a mask leaves out keep their memory."""
        observation, infos = self.env.reset(seed=seed, options=options)
        self._ended = None
        begin = partial(self._remembered.memory.begin, only=(options or {}).get("reset_mask"))
        return self._remembered.shown(observation, begin), infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Advance all episodes; last observations of ended ones have their own memory."""
        observation, rewards, terminated, truncated, infos = self.env.step(actions)
        memory, fresh = self._remembered.memory, self._ended
        if "final_obs" in infos:
            fresh = infos["_final_obs"]
            infos["final_obs"] = self._last(infos["final_obs"], fresh)
        if self._resets_next:
            self._ended = terminated | truncated
        go_on = partial(memory.go_on, fresh=fresh)
        return self._remembered.shown(observation, go_on), rewards, terminated, truncated, infos

    def _last(self, final: Any, over: Any) -> Any:
        """Return last observations with their memory: one for each place that is over, or a tensor for all."""
        last = self._remembered.memory.last
        if not isinstance(final, np.ndarray) or final.dtype != object:
            return self._remembered.shown(final, partial(last, rows=np.arange(self.num_envs)))
        ends = np.full(self.num_envs, None, dtype=object)
        for i in np.flatnonzero(over).tolist():
            ends[i] = self._remembered.one(final[i], partial(last, rows=np.array([i])))
        return ends
