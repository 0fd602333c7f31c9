"""Steps over open routes alone: equal to NumPy's, and no more of them than there are open routes."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gridai_env.envs import step_kernel
from gridai_env.envs.step_inputs import open_routes
from gridai_env.episodes.instance import stack
from gridai_env.kernel import emit, memory, schedule
from gridai_env.kernel.build import library
from gridai_env.observation.layout import ObservationLayout
from gridai_env.scenario.compile import compile_scenario
from gridai_env.scenario.load import load_scenario
from tests.support.kernels import BATCHES, actions_of, apart, batch_of, check_equal, compiled_simulator

torch = pytest.importorskip("torch", reason="the first compilation needs torch (extra rl)")
step_trace = pytest.importorskip("gridai_env.envs.torch.step_trace")
pytestmark = pytest.mark.skipif(
    not any(shutil.which(name) for name in ("g++", "clang++")), reason="no C++ compiler on this machine"
)


@pytest.fixture(autouse=True)
def _few_routes_are_many(shared_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shipped scenarios have too few routes: here they are enough."""
    monkeypatch.setenv("GRIDAI_CACHE_DIR", str(shared_dir / "routes"))
    monkeypatch.setattr(step_trace, "MANY_ROUTES", dict.fromkeys(BATCHES, 1))


@pytest.mark.parametrize("lanes", BATCHES)
def test_steps_are_those_of_numpy(lanes: str) -> None:
    batch = batch_of("energy_geography", BATCHES[lanes])
    assert np.mean(batch.compiled.params.route_open) < 0.4
    check_equal(batch, 12)


def test_steps_are_those_of_numpy_where_axes_are_alike() -> None:
    batch = batch_of("microgrid_prosumer", BATCHES["many"])
    assert batch.compiled.shape.regions == batch.compiled.shape.rows == batch.compiled.shape.sites
    check_equal(batch, 12)


def test_an_episode_is_the_same_alone_and_in_a_batch() -> None:
    batch = batch_of("energy_geography", BATCHES["many"])
    layout = ObservationLayout(batch.compiled)
    (many, seen), (one, its) = (compiled_simulator(x, layout) for x in (batch, stack([batch[4]])))
    for action in actions_of(layout, BATCHES["many"], 12):
        figures, _ = many.step_figures(action)
        assert np.array_equal(one.step_figures(action[4:5])[0], figures[:, 4:5])
        assert np.array_equal(its.observe(), seen.observe()[4:5])


def test_a_batch_in_float32_is_that_of_plain_steps() -> None:
    from gridai_env.envs.torch.vector_env import GridAITorchVectorEnv

    options: dict[str, Any] = {"horizon_h": 6.0, "flat_observations": True, "dtype": "float32"}
    fast, plain = (GridAITorchVectorEnv(11, "energy_geography", compile=c, **options) for c in (True, False))
    assert apart(fast.reset(seed=3)[0], plain.reset(seed=3)[0]) <= 1e-5
    for action in actions_of(fast.layout, 11, 8):
        found, wanted = fast.step(action), plain.step(action)
        assert apart(found[0], wanted[0]) <= 1e-4
        assert apart(found[1], wanted[1]) <= 1e-4


# Cost ---------------------------------------------------------------------------------------------


def test_work_grows_with_open_routes() -> None:
    compiled = compile_scenario(load_scenario("energy_geography"))
    step = step_trace._Step(compiled.params, ObservationLayout(compiled), torch.float64)
    emitter = step.emitted(step.play, "s_")
    domain = (step.batch, *step.routes)
    assert sum(loop.domain == domain for loop in emitter.loops) > 15
    assert all(loop.is_sparse for loop in emitter.loops if loop.domain == domain)

    table = open_routes(compiled.params)
    rows = np.prod(step.routes[:2])
    begins, ends = (table[rows + 1 :].reshape(-1, 2)).T
    assert (ends - begins).sum() == compiled.params.route_open.sum()


def test_scenarios_with_few_routes_are_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for name in ("two_sites", "four_markets", "global", "energy_geography"):
        compiled = compile_scenario(load_scenario(name))
        for lanes in BATCHES:
            assert not step_trace._Step(
                compiled.params, ObservationLayout(compiled), torch.float32, lanes
            ).routes


def test_open_routes_are_listed_in_runs() -> None:
    mask = np.array([[[1, 1, 0, 1], [0, 0, 0, 0]], [[1, 1, 1, 1], [0, 1, 1, 0]]], dtype=float)
    params = compile_scenario(load_scenario("two_sites")).params.replace(route_open=mask)
    assert open_routes(params).tolist() == [5, 9, 9, 11, 13, 0, 2, 3, 4, 0, 4, 1, 3]


# Mistakes -----------------------------------------------------------------------------------------

SIZES = (3, 2, 4)


def closed_and_open(given: list[Any]) -> list[Any]:
    """Sums and values that are zero where a route is closed, and some that are not."""
    mask, x = given
    kept = x * mask
    other = kept + 1.0
    return [kept, kept.sum(-1), kept.sum((-3, -2, -1)), other.sum(-3), other, (kept - x).sum(-1)]


def check_function() -> None:
    """Insist that the C++ of a function gives what torch gives, whatever stood in memory before."""
    rng, batch = np.random.default_rng(0), 29
    mask = (rng.random(SIZES) < 0.4).astype(np.float64)
    x = rng.standard_normal((1, *SIZES))
    shapes = [SIZES, (batch, *SIZES)]
    graph = step_trace.recorded(
        closed_and_open, [torch.empty(n, dtype=torch.float64, device="meta") for n in shapes]
    )
    emitter = emit.Emitter(graph, [("mask", "constant"), ("x", "input")], batch, "f_", SIZES, ("mask",))
    text = step_trace.source_of({"f": emitter}, "double", "one")
    function = library(text, lambda: (text, {}), "-O1")[0].f

    wanted = closed_and_open([torch.as_tensor(mask), torch.as_tensor(x)])
    found = [np.full(y.shape, np.nan) for y in wanted]
    table = open_routes(compile_scenario(load_scenario("two_sites")).params.replace(route_open=mask))
    places = [
        (ctypes.c_void_p * len(some))(*(y.ctypes.data for y in some)) for some in ([mask, x, table], found)
    ]
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_long] * 3]
    function(*places, 1, 0, 1)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-14, atol=1e-14)


def test_a_function_of_open_and_closed_routes() -> None:
    check_function()


@pytest.mark.parametrize("mistake", ["a sum", "a difference", "not cleared", "all"])
def test_what_is_not_zero_must_not_be_left_out(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if mistake == "a sum":
        monkeypatch.setitem(emit.KEEPS_ZERO, "add", any)
    elif mistake == "a difference":
        monkeypatch.setitem(emit.KEEPS_ZERO, "sub", any)
    elif mistake == "not cleared":
        monkeypatch.setattr(schedule, "_cleared", lambda _: set())
    else:
        monkeypatch.setattr(memory.Memory, "is_sparse", lambda *_: True)
    with pytest.raises(AssertionError):
        check_function()


def test_a_route_that_is_left_out_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(params: Any) -> Any:
        table = open_routes(params)
        table[-1] -= 1
        return table

    monkeypatch.setattr(step_kernel, "open_routes", wrong)
    with pytest.raises(AssertionError):
        check_equal(batch_of("energy_geography", 1), 3)
