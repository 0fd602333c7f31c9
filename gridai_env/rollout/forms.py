"""What a policy reads and returns, told by its spaces: the Dict or the flat observation, all or the active entries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from gymnasium import spaces

from gridai_env.arrays.types import Floats32, Observation
from gridai_env.envs.action_space import ActiveActions
from gridai_env.envs.wrappers import RememberedObservations
from gridai_env.observation.layout import ObservationLayout
from gridai_env.scenario.compile import Compiled
from gridai_env.world.actions import Layout


@dataclass(frozen=True)
class PolicyForm:
    """What a policy reads in a scenario, and what its numbers mean there."""

    layout: ObservationLayout
    reads_flat: bool
    size: int  # how many numbers it returns
    active: ActiveActions | None  # None where they are all entries of the action
    remembered: RememberedObservations | None = None  # of one that reads what `RememberForecasts` shows

    @property
    def parts(self) -> Mapping[str, int]:
        """Size of each part of the observation."""
        return {name: where.stop - where.start for name, where in self.layout.parts.items()}

    @property
    def space(self) -> spaces.Space[Any]:
        """What the policy reads."""
        if self.remembered is not None:
            return self.remembered.space
        return self.layout.flat_space() if self.reads_flat else self.layout.space()

    def shown(self, observation: Observation, begins: bool) -> Observation | Floats32:
        """Return the observation as the policy reads it; ``begins``: whether it is the first of an episode."""
        seen = self.layout.flatten(observation) if self.reads_flat else observation
        return seen if self.remembered is None else self.remembered.next(seen, begins)

    def expand(self, numbers: Floats32) -> Floats32:
        """Return the action [...,A] of the policy's numbers [...,n]."""
        return numbers if self.active is None else self.active.expand(numbers)


def form_of(seen: Any, done: Any, compiled: Compiled, reads_flat: bool = False) -> PolicyForm:
    """Return the form of a policy by the spaces that it reads and answers in, None where it does not say.

    Without them it reads the Dict (with ``reads_flat`` the flat observation) and returns all entries of the action.
    Where active entries fit in several ways, each region has routes of its own.  Raises ValueError with both shapes
    where the spaces are not those of the scenario.
    """
    layout, size, remembered = ObservationLayout(compiled), Layout(compiled.shape).size, None
    _check_range(done)

    if seen is not None:
        reads_flat = isinstance(seen, spaces.Box)
        plain = layout.flat_space() if reads_flat else layout.space()
        if _shapes(seen) != _shapes(plain):
            remembered = RememberedObservations(compiled, plain, "RememberForecasts")
        if remembered is not None and _shapes(seen) != _shapes(remembered.space):
            raise ValueError(
                f"reads {_text(seen)}, scenario {compiled.name!r} shows {_text(layout.space())} or, flat, "
                f"{_text(layout.flat_space())}; {remembered.memory.size} more with RememberForecasts"
            )
    if done is None or _shapes(done) == {"": (size,)}:
        return PolicyForm(layout, reads_flat, size, None, remembered)

    ways = [ActiveActions.of(compiled, refuse, shared) for shared, refuse in product((False, True), repeat=2)]
    for active in ways:
        if _shapes(done) == {"": (active.size,)}:
            return PolicyForm(layout, reads_flat, active.size, active, remembered)
    raise ValueError(
        f"returns {_text(done)}, scenario {compiled.name!r} takes {size} numbers, or the active ones: "
        f"{' or '.join(str(active.size) for active in ways)} (ActiveActions, without and with refusing, and both with "
        "shared routing)"
    )


def _check_range(done: Any) -> None:
    """Raise ValueError for numbers that a wrapper has moved to another range than [-1, 1]; inf: no range."""
    if not isinstance(done, spaces.Box):
        return
    ends = np.concatenate([-done.low.ravel(), done.high.ravel()])
    if np.isfinite(ends).all() and not np.allclose(ends, 1.0):
        raise ValueError(
            f"returns numbers in [{done.low.min():g}, {done.high.max():g}], must be in [-1, 1]: train without "
            "RescaleAction, or undo it in a policy of your own"
        )


def _shapes(space: Any) -> dict[str, Any]:
    """Return the shape of each part of a space; a space without parts has one without a name."""
    parts = space.spaces if isinstance(space, spaces.Dict) else {"": space}
    return {name: part.shape if isinstance(part, spaces.Box) else None for name, part in parts.items()}


def _text(space: Any) -> str:
    if isinstance(space, spaces.Box):
        return f"{' x '.join(map(str, space.shape))} numbers"
    if not isinstance(space, spaces.Dict):
        return " ".join(str(space).split())[:80]
    total = sum(int(part.shape[0]) for part in space.spaces.values() if part.shape)
    return f"a Dict of {len(space.spaces)} parts with {total} numbers"
