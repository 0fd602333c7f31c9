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
from numpy.typing import NDArray

from gridai_env.arrays.ops import (
    address,
    as_float32,
    as_type_of,
    batch_first,
    batch_last,
    constant,
    copied,
    has_gradients,
    in_memory_order,
    room,
)
from gridai_env.arrays.types import Array, Bool, Float, Index
from gridai_env.envs.prepared import Prepared
from gridai_env.envs.simulator import Simulator, Wrap
from gridai_env.envs.step_figures import KEYS
from gridai_env.envs.step_inputs import ROW, constants_of, open_routes, row_names, state_shapes
from gridai_env.episodes.instance import same_constants
from gridai_env.kernel.build import CannotBuild, library
from gridai_env.observation.layout import STATIC, ObservationLayout
from gridai_env.version import pip_install
from gridai_env.world.state import INSTANCE_FIELDS, SWITCHES, Params, State

REALS = {8: "double", 4: "float"}
VECTOR_BYTES = 32  # of a processor's register: as many episodes are computed at a time as it has numbers
INPUTS = ("steps", "dt_h")  # sizes that a function takes as numbers
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

    def __init__(self, params: Params, layout: ObservationLayout, num_envs: int, like: Array) -> None:
        """Load the functions, or build them, for constants (of NumPy).

        Raise CannotBuild where that is impossible here.
        """
        self.params, compiled = params, layout.compiled
        is_wide = num_envs >= VECTOR_BYTES // like.dtype.itemsize
        lanes = "many" if is_wide else "few" if num_envs > 1 else "one"
        functions, notes = _library(params, layout, REALS[like.dtype.itemsize], lanes)
        self._play = _Call(functions.step, notes["step"], num_envs)
        self._look = _Call(functions.observe, notes["observe"], num_envs)
        constants = constants_of(params, layout) | {"routes": open_routes(params)}
        self._constants = {name: _beside(x, like) for name, x in constants.items()}
        self._give(self._constants)

        # Results lie one after the other: fields of the state, figures, whether actions were wrong.
        self._shapes = state_shapes(compiled.shape)
        self._ends = [0, *accumulate(prod(shape) for shape in self._shapes.values())]
        self._rows = self._ends[-1] + len(KEYS) + 1
        self._pitch = num_envs * like.dtype.itemsize
        self._results = [row * self._pitch for row in (*self._ends, self._rows - 1)]

        self._template = room((layout.size, num_envs), as_float32(room((0,), like)))
        self._template[layout.parts[STATIC]] = as_float32(
            constant(compiled.params.route_open.reshape(-1, 1), like)
        )
        pitch = num_envs * self._template.dtype.itemsize
        self._segments = [place.start * pitch for place in layout.changing]

        # What inputs came from, as long as it is the same: addresses are found once.
        self._episodes: tuple[Any, Any] = (None, None)
        self._ring: tuple[Any, NDArray[np.uintp]] = (None, np.empty(0, dtype=np.uintp))
        self._ago = np.arange(-1, len(row_names(layout)) - 1)
        self._block: tuple[Any, int] = (None, 0)

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
        """Hand over the instances, the state and the rows of a simulator."""
        ring, block = simulator.ring, simulator.block
        if self._episodes[0] is not simulator.params or self._episodes[1] is not simulator.jobs:
            self._episodes = simulator.params, simulator.jobs
            own = {
                f"instance_{name}": batch_last(getattr(simulator.params, name)) for name in INSTANCE_FIELDS
            }
            own["jobs"] = simulator.jobs
            self._instances = {name: in_memory_order(as_type_of(x, ring.values)) for name, x in own.items()}
            self._give(self._instances)

        if block is None:  # the state came another way
            state = [getattr(simulator.state, name) for name in self._shapes]
            self._state = [in_memory_order(batch_last(as_type_of(x, ring.values))) for x in state]
            call.give_state([address(x) for x in self._state])
        else:
            if self._block[0] is not block:
                self._block = block, address(block)
            origin = self._block[1]
            call.give_state([origin + at for at in self._results[: len(self._shapes)]])

        if self._ring[0] is not ring.values:
            steps, width, _ = ring.values.shape
            rows = (np.arange(steps)[:, None] - self._ago) % steps
            self._ring = ring.values, (address(ring.values) + rows * (width * self._pitch)).astype(np.uintp)
        call.give_rows(self._ring[1][ring.row])


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
        # Which rows it asks for, and where they belong: both follow one another.
        wanted = [name for name in self._at if name.startswith(ROW)]
        first = self._at[wanted[0]]
        self._rows = np.frombuffer(memoryview(self._ins), dtype=np.uintp)[first : first + len(wanted)]
        number = int(wanted[0].removeprefix(ROW))
        self._wanted = slice(number, number + len(wanted))
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

    def give_rows(self, places: NDArray[np.uintp]) -> None:
        """Hand over the addresses of the rows (see `step_inputs.row_names`)."""
        self._rows[:] = places[self._wanted]

    def run(self, outs: list[int]) -> None:
        """Write the results to these addresses."""
        self._outs[:] = outs
        self._function(self._ins, self._outs, self._batch, 0, self._batch)


class CompiledSimulator(Simulator):
    """A simulator whose `step_figures` is one function, which makes the observation, too.

    Where there can be none for the constants of its episodes, it steps as any other.
    """

    kernel: StepKernel | None = None
    block: Array | None = None  # the state as the function leaves it; None: it came another way
    _state: State | None = None
    _seen: Float[Array, "N B"] | None = None

    def load(self, params: Params) -> None:
        """Load the function for constants; where that is impossible here say why."""
        assert self.observed is not None
        self.kernel = None
        try:
            self.kernel = StepKernel(params, self.observed, self.num_envs, self.ring.values)
        except CannotBuild as reason:
            _say(str(reason))

    def __getstate__(self) -> dict[str, Any]:
        """Leave the function out of copies, which load it again."""
        _ = self._begun and self.state
        before = None if self._before is None else (self._state_at(self._before[0]), self._before[1])
        return vars(self) | {"kernel": None, "block": None, "_seen": None, "_before": before}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.load(self.constants if self._begun else self.compiled.params)

    @property
    def state(self) -> State:
        """The state of every episode, made where it is asked for."""
        if self._state is None:
            assert self.kernel is not None and self.block is not None, "begin() comes first"
            self._state = self.kernel.state_of(self.block)
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        self._state, self.block, self._seen = state, None, None

    def begin(self, rows: Index, episodes: Prepared, t: Index | None = None) -> None:
        """Put episodes at the places ``rows`` (see `Simulator.begin`)."""
        super().begin(rows, episodes, t)
        if self.kernel is not None and not same_constants(self.kernel.params, self.constants):
            self.load(self.constants)

    def step_figures(self, actions: Array) -> tuple[Array, Array]:
        """Advance by one action; return the figures [len(KEYS),B] and where actions were invalid [B] bool.

        Raise ValueError for actions of another shape, and where gradients are asked for.
        """
        if self.kernel is None:
            return super().step_figures(actions)
        shape = (self.num_envs, self.layout.size)
        if tuple(actions.shape) != shape:
            raise ValueError(f"action: shape {tuple(actions.shape)}, must be {shape}")
        state = () if self._state is None else vars(self._state).values()
        if any(has_gradients(x) for x in (actions, *state)):
            raise ValueError(
                "action: carries gradients (or the state does), which a compiled step on a processor does not pass on; "
                "use compile='torch' or compile=False, or torch.no_grad()"
            )

        self._remember(actions)
        found = self.kernel.step(self, actions)
        self._go_on()
        self._state, self.block, self._seen = None, found.block, found.observation
        return found.figures, found.wrong

    def _place(self) -> Any:
        return self.block if self._state is None else self._state

    def _state_at(self, place: Any) -> State:
        if isinstance(place, State):
            return place
        assert self.kernel is not None
        return self.kernel.state_of(place)

    def look(self) -> Float[Array, "N B"] | None:
        """Return the observation of where the episodes stand."""
        if self.kernel is None:
            return None
        seen = self.kernel.observe(self) if self._seen is None else self._seen
        self._seen = None
        return seen


def make_room(
    layout: ObservationLayout, num_envs: int, like: Array, compiles: bool, wrap: Wrap | None = None
) -> Simulator:
    """Return room for episodes whose observations have a layout (see `Simulator.room_for`).

    ``compiles``: each step is one function; where that is impossible here say once why, and do without.
    """
    if not compiles:
        return Simulator.room_for(layout.compiled, num_envs, like, layout, wrap)
    simulator = CompiledSimulator.room_for(layout.compiled, num_envs, like, layout)
    simulator.load(layout.compiled.params)
    return simulator


def _beside(x: Array, like: Array) -> Array:
    """Return a constant as a kernel reads it: one number after the other, float32 ones as they are."""
    there = constant(x, like)
    return in_memory_order(as_float32(there) if x.dtype == np.float32 else there)


@lru_cache(maxsize=8)
def _say(reason: str) -> None:
    warnings.warn(f"compile=True: {reason}. Steps are not compiled, with the same results", stacklevel=5)


def _library(params: Params, layout: ObservationLayout, real: str, lanes: str) -> tuple[Any, Any]:
    """Return the functions of a scenario's step, and the names of their inputs and outputs."""

    def make() -> tuple[str, Any]:
        if find_spec("torch") is None:
            raise CannotBuild(f"the first compilation needs torch; run {pip_install('rl')}")
        try:
            from gridai_env.envs.torch.step_trace import step_source

            return step_source(params, layout, real, lanes)
        except ImportError as reason:
            raise CannotBuild(f"torch cannot be imported ({reason}); install it anew") from reason
        except NotImplementedError as reason:
            name = layout.compiled.name
            raise CannotBuild(
                f"a step of scenario {name!r} has no translation ({reason}); please report it"
            ) from reason

    sizes = {name: size for name, size in vars(layout.compiled.shape).items() if name not in INPUTS}
    parts = {name: part.size for name, part in layout.by_name.items()}
    sizes["wait"] = layout.compiled.row_wait_steps.tolist()
    switches = {name: getattr(params, name) for name in SWITCHES}
    key = json.dumps([sizes, switches, parts, real, lanes, _code()])
    return library(key, make, OPTIMISE[lanes])


@lru_cache(maxsize=1)
def _code() -> str:
    """Return a hash of the code that kernels are made from."""
    sha, package = hashlib.sha256(), Path(__file__).resolve().parents[1]
    for path in sorted(path for name in ROOMS for path in (package / name).rglob("*.py")):
        sha.update(path.read_bytes())
    return sha.hexdigest()
