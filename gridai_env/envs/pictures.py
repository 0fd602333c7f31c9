"""Pictures of the last step of environments; the renderer is imported for the first picture only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gridai_env.arrays.types import Float, Floats
from gridai_env.envs.simulator import Simulator
from gridai_env.envs.step_figures import KEYS
from gridai_env.episodes.instance import Instance
from gridai_env.world.state import Flows, Outcome

if TYPE_CHECKING:
    from gridai_env.render import Renderer


class Pictures:
    """Draws single episodes of a simulator; keeps a renderer for the scenario it drew last."""

    def __init__(self) -> None:
        self._renderer: Renderer | None = None
        self._hash = ""

    def clear(self) -> None:
        """Release the renderer."""
        self._renderer = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the renderer out of copies: it is made again when needed."""
        return {"_renderer": None, "_hash": ""}

    def frame(
        self,
        instance: Instance,
        simulator: Simulator,
        last: tuple[Flows, Outcome] | None,
        totals: Float[Floats, "keys B"],
        b: int,
    ) -> NDArray[np.uint8]:
        """Return the picture of episode ``b`` of a simulator; before its first step there are no flows.

        Raises DependencyNotInstalled naming the extra where Matplotlib is missing.
        """
        compiled = instance.compiled
        if self._renderer is None or self._hash != compiled.hash:
            from gridai_env.render import Renderer

            self._renderer, self._hash = Renderer(compiled), compiled.hash

        t = int(simulator.t[b])
        flows, outcome = None, None
        if t > 0 and last is not None:
            flows, outcome = last[0].map(lambda x: x[b]), outcome_of(last[1], b)
        state = simulator.state.map(lambda x: x[b])
        named = dict(zip(KEYS, totals[:, b].tolist(), strict=True))
        return self._renderer.frame(instance, t, state, flows, outcome, named)


def outcome_of(outcome: Outcome, b: int) -> Outcome:
    """Return the outcome of episode ``b``."""
    arrays = {name: getattr(outcome, name)[b] for name in Outcome.names() if name != "terms_usd"}
    return Outcome(terms_usd={name: usd[b] for name, usd in outcome.terms_usd.items()}, **arrays)
