"""The flat action shown as a Dict with names, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from gridai_env.arrays.types import AnyFloats
from gridai_env.envs.action_space import names_of_actions
from gridai_env.envs.env import GridAIEnv
from gridai_env.world.actions import Layout


class DictAction(gym.ActionWrapper[Any, dict[str, AnyFloats], AnyFloats]):
    """Takes the action as a Dict of arrays in their own shapes.

    Keys: ``battery [K]``, ``generator [K]``, ``jobs [V,K+1]``, ``renewable [K]``, ``routing [C,W,K+2]``;
    their meaning is that of the flat action.  A part without entries is left out.  `axis_names` names the
    indices of each axis.
    """

    def __init__(self, env: gym.Env[Any, AnyFloats]) -> None:
        """Wrap an environment of this package, itself wrapped or not (but not in another action)."""
        super().__init__(env)
        base = env.unwrapped
        if not isinstance(base, GridAIEnv):
            raise TypeError(f"DictAction: wraps environments of gridai_env, not {type(base).__name__}")
        if env.action_space != base.action_space:
            raise ValueError(
                "DictAction: another wrapper has changed the action space; put DictAction below it"
            )

        compiled = base.compiled
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
            "renewable": [sites],
            "routing": [list(compiled.region_names), rows, [*sites, "hold", "refuse"]],
        }

    def action(self, action: Mapping[str, Any]) -> AnyFloats:
        """Return the flat action of a Dict; raises ValueError for wrong keys and shapes."""
        if set(action) != set(self._shapes):
            raise ValueError(f"action: keys {sorted(action)}, must be {sorted(self._shapes)}")
        parts = []
        for name in self._layout.parts:
            if name not in self._shapes:
                continue
            part = np.asarray(action[name])
            if part.shape != self._shapes[name]:
                raise ValueError(f"action[{name!r}]: shape {part.shape}, must be {self._shapes[name]}")
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
