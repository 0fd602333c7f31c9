"""Kernels of a scenario's step: the project's own functions, traced with torch and written as C++.

Constants of the scenario are inputs, so that what is built depends on sizes and on what the scenario has at all.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gridai_env.envs.observer import Observer
from gridai_env.envs.simulator import Simulator
from gridai_env.envs.step_inputs import constants_of, instance_shapes, row_names, state_shapes
from gridai_env.kernel.emit import Emitter
from gridai_env.kernel.record import recorded
from gridai_env.kernel.source import source_of
from gridai_env.kernel.values import Place
from gridai_env.observation.layout import ObservationLayout
from gridai_env.world.state import SWITCHES, Params, State

STATES = len(State.names())
SPARSE = ("params_route_open", "state_placed_gpuh")  # zero where a route is closed
# From so many on a step goes region by region, over open routes; one episode has vectors of sites to lose.
MANY_ROUTES = {"one": 20_000, "few": 20_000, "many": 2_000}


def step_source(params: Params, layout: ObservationLayout, real: str, lanes: str) -> tuple[str, Any]:
    """Return the C++ of the functions "step" and "observe", and the names of their inputs and outputs."""
    step = _Step(params, layout, torch.float64 if real == "double" else torch.float32, lanes)
    functions = {"step": step.emitted(step.play, "s_"), "observe": step.emitted(step.observe, "o_")}
    notes = {
        name: {
            "ins": [x.buffer.name for x in each.inputs] + ["routes"] * each.needs_routes,
            "outs": len(each.outputs),
        }
        for name, each in functions.items()
    }
    return source_of(functions, real, lanes), notes


class _Step:
    """A simulator and an observer whose every number is an input."""

    def __init__(
        self, params: Params, layout: ObservationLayout, dtype: torch.dtype, lanes: str = "one"
    ) -> None:
        compiled = layout.compiled
        self.dtype, self.layout, shape = dtype, layout, compiled.shape
        self.simulator = Simulator.room_for(compiled, 1, torch.empty(0, dtype=dtype), layout)
        self.observer = Observer(self.simulator)

        # What the scenario has at all is decided now, from its numbers.
        self.known = {name: getattr(params, name) for name in SWITCHES}
        self.constants = constants_of(params, layout)
        self.states, self.instances = state_shapes(shape), instance_shapes(shape)
        self.jobs = self.observer.jobs_shape
        routes = (shape.regions, shape.rows, shape.sites)
        self.routes = routes if prod(routes) >= MANY_ROUTES[lanes] and shape.sites > 1 else ()

        # The axis of the batch is known by its size: no other may have it, nor parts of others put together.
        self.width = self.simulator.ring.values.shape[1]
        axes = [self.width, self.simulator.layout.size, layout.size, *self.jobs]
        axes += [n for shapes in (self.states, self.instances) for sizes in shapes.values() for n in sizes]
        self.batch = _prime_above(max(axes))

    def emitted(self, function: Callable[[dict[str, Tensor]], list[Tensor]], prefix: str) -> Emitter:
        """Return the loops of a function of all inputs by name; those without numbers are none."""
        rows: dict[str, tuple[int, ...]] = dict.fromkeys(row_names(self.layout), (self.width, self.batch))
        rows["jobs"] = (*self.jobs, self.batch)
        of_batch = {f"state_{name}": (self.batch, *shape) for name, shape in self.states.items()}
        of_batch |= {f"instance_{name}": (self.batch, *shape) for name, shape in self.instances.items()}
        of_batch |= {"actions": (self.batch, self.simulator.layout.size)}

        inputs = {name: torch.empty(shape, dtype=self.dtype, device="meta") for name, shape in rows.items()}
        for name, (batch, *shape) in of_batch.items():
            inputs[name] = torch.empty((*shape, batch), dtype=self.dtype, device="meta").movedim(-1, 0)
        for name, x in self.constants.items():
            dtype = torch.float32 if x.dtype == np.float32 else self.dtype
            inputs[name] = torch.empty(x.shape, dtype=dtype, device="meta")
        names = [name for name, x in inputs.items() if x.numel()]
        empty = {name: torch.empty_like(x, device="cpu") for name, x in inputs.items() if not x.numel()}

        def flat(given: list[Tensor]) -> list[Tensor]:
            return function(empty | dict(zip(names, given, strict=True)))

        graph = recorded(flat, [inputs[name] for name in names])
        places: list[tuple[str, Place]] = [
            (name, "constant" if name in self.constants else "input") for name in names
        ]
        return Emitter(graph, places, self.batch, prefix, self.routes, SPARSE)

    def play(self, given: dict[str, Tensor]) -> list[Tensor]:
        """Return state, figures, wrong actions, and the observation after the step."""
        self._take(given)
        instance = [given[f"instance_{name}"] for name in self.instances]
        rows = self._rows(given)
        found = self.simulator.figures_flat(self._state(given), instance, rows[1:3], given["actions"])
        return found + self.observer.segments(found[:STATES], self.observer.seen(rows), given["jobs"])

    def observe(self, given: dict[str, Tensor]) -> list[Tensor]:
        """Return the observation of where a step begins."""
        self._take(given)
        seen = self.observer.seen(self._rows(given)[1:])
        return self.observer.segments(self._state(given), seen, given["jobs"])

    def _rows(self, given: dict[str, Tensor]) -> list[Tensor]:
        """Return the columns [M,B] after the step, in it, and before it."""
        return [given[name] for name in row_names(self.layout)]

    def _state(self, given: dict[str, Tensor]) -> list[Tensor]:
        return [given[f"state_{name}"] for name in self.states]

    def _take(self, given: dict[str, Tensor]) -> None:
        """Use inputs as the numbers of the scenario."""
        fields = {name: given[f"params_{name}"] for name in Params.names() if f"params_{name}" in given}
        fields |= {name: given[f"instance_{name}"] for name in self.instances}
        self.simulator.params = Params.make(**fields, **self.known)
        observer = self.observer
        observer.steps = given["steps"]
        observer.inverse = {name: given.get(f"inverse_{name}", x) for name, x in observer.inverse.items()}
        observer.offset, observer.scale = given["offset"], given["scale"]


def _prime_above(size: int) -> int:
    """Return the least prime above ``size``: a number of episodes that no other axis, nor a product of some, has."""
    return next(n for n in range(size + 1, 2 * size + 3) if all(n % k for k in range(2, int(n**0.5) + 1)))
