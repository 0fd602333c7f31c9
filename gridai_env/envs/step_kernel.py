"""Steps of a simulator on a processor as one compiled function each: next state, figures and observation.

The function is made from the project's own equations (`envs.torch.step_trace`); a second text of them does not exist.
It depends on sizes and on what a scenario has at all; the scenario's numbers are inputs.  What was built once is kept
(`kernel.build`) and needs no torch any more.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import warnings
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from itertools import accumulate, pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from gridai_env.arrays.ops import (
    address,
    as_float32,
    as_type_of,
    batch_first,
    batch_last,
    constant,
    copied,
    in_memory_order,
    room,
)
from gridai_env.arrays.types import Array, Bool, Float, Index
from gridai_env.envs.prepared import Prepared
from gridai_env.envs.simulator import Simulator, Wrap
from gridai_env.envs.step_figures import KEYS
from gridai_env.envs.step_inputs import constants_of, state_shapes
from gridai_env.kernel.build import CannotBuild, library
from gridai_env.observation.layout import ObservationLayout
from gridai_env.scenario.compile import Compiled
from gridai_env.version import pip_install
from gridai_env.world.state import INSTANCE_FIELDS, SWITCHES, State

REALS = {8: "double", 4: "float"}
VECTOR_BYTES = 32  # of a processor's register: as many episodes are computed at a time as it has numbers
STATIC = "open_routes"
# Of one episode the compiler makes vectors of neighbouring sites; a batch has its own.
OPTIMISE = {"one": "-O3", "few": "-O2", "many": "-O2"}
ROOMS = ("arrays", "world", "observation", "envs", "kernel")


@dataclass(frozen=True, eq=False)
class Stepped:
    """What a step leaves."""

    block: Float[Array, "numbers B"]  # the fields of the state one after the other
    figures: Float[Array, "keys B"]
    wrong: Bool[Array, " B"]
    observation: Float[Array, "N B"]  # float32


class StepKernel:
    """The step of B episodes of one scenario, and the observation of where they stand."""

    def __init__(self, compiled: Compiled, layout: ObservationLayout, num_envs: int, like: Array) -> None:
        """Load the functions, or build them; raises CannotBuild where that is impossible here."""
        self._given = compiled, layout, num_envs, like
        few = "few" if num_envs > 1 else "one"
        lanes = "many" if num_envs >= VECTOR_BYTES // like.dtype.itemsize else few
        functions, notes = _library(compiled, layout, REALS[like.dtype.itemsize], lanes)
        self._play = _Call(functions.step, notes["step"], num_envs)
        self._look = _Call(functions.observe, notes["observe"], num_envs)
        self._constants = {name: _beside(x, like) for name, x in constants_of(compiled, layout).items()}
        self._give(self._constants)

        # Results lie one after the other: fields of the state, figures, whether actions were wrong.
        self._shapes = state_shapes(compiled.shape)
        self._ends = [0, *accumulate(prod(shape) for shape in self._shapes.values())]
        self._rows = self._ends[-1] + len(KEYS) + 1
        self._pitch = num_envs * like.dtype.itemsize
        self._results = [row * self._pitch for row in (*self._ends, self._rows - 1)]

        static = layout.parts[STATIC]
        self._template = room((layout.size, num_envs), as_float32(room((0,), like)))
        self._template[static] = as_float32(constant(compiled.params.route_open.reshape(-1, 1), like))
        starts = [start for start in (0, static.stop) if start not in (static.start, layout.size)]
        self._segments = [start * num_envs * self._template.dtype.itemsize for start in starts]

        # What inputs came from, as long as it is the same: addresses are found once.
        self._episodes: tuple[Any, Any] = (None, None)
        self._ring: tuple[Any, int] = (None, 0)
        self._block: tuple[Any, int] = (None, 0)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy by loading the functions again."""
        return StepKernel, self._given

    def step(self, simulator: CompiledSimulator, actions: Float[Array, "B A"]) -> Stepped:
        """Play one step from where the simulator stands; nothing that was given out is written to."""
        values, count = simulator.ring.values, len(actions)
        moved = as_type_of(actions, values)
        moved = in_memory_order(moved if count == 1 else batch_last(moved))
        self._give_place(self._play, simulator)
        self._play.give("actions", address(moved))

        made, observation = room((self._rows, count), values), copied(self._template)
        origin, shown = address(made), address(observation)
        self._play.run([origin + at for at in self._results] + [shown + at for at in self._segments])
        block = made[: self._ends[-1]]
        self._block = block, origin
        return Stepped(block, made[self._ends[-1] : -1], made[-1] != 0.0, observation)

    def observe(self, simulator: CompiledSimulator) -> Float[Array, "N B"]:
        """Return the observation of where the simulator stands."""
        observation = copied(self._template)
        self._give_place(self._look, simulator)
        shown = address(observation)
        self._look.run([shown + at for at in self._segments])
        return observation

    def state_of(self, block: Float[Array, "numbers B"]) -> State:
        """Return the state in a block that a step left, as views."""
        parts = zip(self._shapes.items(), pairwise(self._ends), strict=True)
        fields = {name: block[a:b].reshape(*shape, block.shape[-1]) for (name, shape), (a, b) in parts}
        return State.make(**{name: batch_first(x) for name, x in fields.items()})

    def _give(self, arrays: dict[str, Array]) -> None:
        """Hand over arrays, which must be kept."""
        for name, x in arrays.items():
            self._play.give(name, address(x))
            self._look.give(name, address(x))

    def _give_place(self, call: _Call, simulator: CompiledSimulator) -> None:
        """Hand over the instances, the state and the present row of a simulator, and the row after it."""
        ring, block = simulator.ring, simulator.block
        if self._episodes[0] is not simulator.params or self._episodes[1] is not simulator.jobs:
            self._episodes = simulator.params, simulator.jobs
            own = {
                f"instance_{name}": batch_last(getattr(simulator.params, name)) for name in INSTANCE_FIELDS
            }
            own["jobs"] = simulator.jobs
            self._instances = {name: in_memory_order(x) for name, x in own.items()}
            self._give(self._instances)

        if block is None:  # the state came another way
            state = [getattr(simulator.state, name) for name in self._shapes]
            self._state = [in_memory_order(batch_last(x)) for x in state]
            call.give_state([address(x) for x in self._state])
        else:
            if self._block[0] is not block:
                self._block = block, address(block)
            origin = self._block[1]
            call.give_state([origin + at for at in self._results[: len(self._shapes)]])

        if self._ring[0] is not ring.values:
            self._ring = ring.values, address(ring.values)
        steps, width, _ = ring.values.shape
        for name, row in (("now", ring.row), ("next", (ring.row + 1) % steps)):
            call.give(name, self._ring[1] + row * width * self._pitch)


class _Call:
    """A compiled function whose inputs are given by name, before it is run."""

    def __init__(self, function: Any, notes: dict[str, Any], num_envs: int) -> None:
        function.restype = None
        function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_long] * 3]
        self._function, self._batch = function, num_envs
        self._at = {name: i for i, name in enumerate(notes["ins"])}
        fields = [self._at.get(f"state_{name}") for name in State.names()]
        self._state = [(i, at) for i, at in enumerate(fields) if at is not None]
        self._ins = (ctypes.c_void_p * len(self._at))()
        self._outs = (ctypes.c_void_p * notes["outs"])()

    def give(self, name: str, place: int) -> None:
        """Hand over the address of an input, where the function asks for it."""
        if name in self._at:
            self._ins[self._at[name]] = place

    def give_state(self, places: list[int]) -> None:
        """Hand over the addresses of the fields of `State`, in their order."""
        ins = self._ins
        for i, at in self._state:
            ins[at] = places[i]

    def run(self, outs: list[int]) -> None:
        """Write the results to these addresses."""
        self._outs[:] = outs
        self._function(self._ins, self._outs, self._batch, 0, self._batch)


class CompiledSimulator(Simulator):
    """A simulator whose `step_figures` is one function, which makes the observation, too."""

    kernel: StepKernel
    block: Array | None = None  # the state as the function leaves it; None: it came another way
    _state: State | None = None
    _seen: Float[Array, "N B"] | None = None

    @property
    def state(self) -> State:
        """The state of every episode, made where it is asked for."""
        if self._state is None:
            assert self.block is not None, "begin() comes first"
            self._state = self.kernel.state_of(self.block)
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        self._state, self.block, self._seen = state, None, None

    def begin(self, rows: Index, episodes: Prepared, t: Index | None = None) -> None:
        """Put episodes at the places ``rows`` (see `Simulator.begin`)."""
        super().begin(rows, episodes, t)
        self._seen = None

    def step_figures(self, actions: Array) -> tuple[Array, Array]:
        """Advance by one action; return the figures [len(KEYS),B] and where actions were invalid [B] bool."""
        self._remember(actions)
        found = self.kernel.step(self, actions)
        self._go_on()
        self._state, self.block, self._seen = None, found.block, found.observation
        return found.figures, found.wrong

    def _place(self) -> Any:
        return self.block if self._state is None else self._state

    def _state_at(self, place: Any) -> State:
        return place if isinstance(place, State) else self.kernel.state_of(place)

    def look(self) -> Float[Array, "N B"]:
        """Return the observation of where the episodes stand."""
        seen = self.kernel.observe(self) if self._seen is None else self._seen
        self._seen = None
        return seen


def make_room(
    layout: ObservationLayout, num_envs: int, like: Array, compiles: bool, wrap: Wrap | None = None
) -> Simulator:
    """Return room for episodes whose observations have a layout (see `Simulator.room_for`).

    ``compiles``: each step is one function; where that is impossible here say once why, and do without.
    """
    compiled = layout.compiled
    if compiles:
        try:
            kernel = StepKernel(compiled, layout, num_envs, like)
        except CannotBuild as reason:
            _say(str(reason))
        else:
            simulator = CompiledSimulator.room_for(compiled, num_envs, like, layout)
            simulator.kernel = kernel
            return simulator
    return Simulator.room_for(compiled, num_envs, like, layout, wrap)


def _beside(x: Array, like: Array) -> Array:
    """Return a constant as a kernel reads it: one number after the other, float32 ones as they are."""
    there = constant(x, like)
    return in_memory_order(as_float32(there) if x.dtype == np.float32 else there)


@lru_cache(maxsize=8)
def _say(reason: str) -> None:
    warnings.warn(f"compile=True: {reason}; steps are not compiled, with the same results", stacklevel=4)


def _library(compiled: Compiled, layout: ObservationLayout, real: str, lanes: str) -> tuple[Any, Any]:
    """Return the functions of a scenario's step, and the names of their inputs and outputs."""

    def make() -> tuple[str, Any]:
        if find_spec("torch") is None:
            raise CannotBuild(f"the first compilation needs torch ({pip_install('rl')})")
        from gridai_env.envs.torch.step_trace import step_source

        try:
            return step_source(compiled, layout, real, lanes)
        except NotImplementedError as reason:
            raise CannotBuild(
                f"a step of scenario {compiled.name!r} has no translation ({reason})"
            ) from reason

    parts = {name: part.size for name, part in layout.by_name.items()}
    switches = {name: getattr(compiled.params, name) for name in SWITCHES}
    key = json.dumps([vars(compiled.shape), switches, parts, real, lanes, _code()])
    return library(key, make, OPTIMISE[lanes])


@lru_cache(maxsize=1)
def _code() -> str:
    """Return a hash of the code that kernels are made from."""
    sha, package = hashlib.sha256(), Path(__file__).resolve().parents[1]
    for path in sorted(path for name in ROOMS for path in (package / name).rglob("*.py")):
        sha.update(path.read_bytes())
    return sha.hexdigest()
