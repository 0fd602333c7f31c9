"""Speed and size of the batch on torch, on one device: simulator, environment, learning, decisions.

Random actions.  A simulator that changes nothing would be fast and worthless: books must come out finite and not
zero.  The bandwidth that shares are taken of is measured, by copying, on the same device.
"""

import gc
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from gridai_env.envs.ring import STORED
from gridai_env.envs.simulator import Simulator
from gridai_env.envs.torch.compiled_step import Traced
from gridai_env.envs.torch.episode_supply import SHARE
from gridai_env.envs.torch.generate import TorchEpisodeGenerator
from gridai_env.scenario.compile import compile_scenario
from gridai_env.scenario.load import load_scenario
from scripts.studies.speed.decision import decision_figures
from scripts.studies.speed.measure import Figure, median_of
from scripts.studies.speed.setting import KINDS, Setting, seconds

# Environments in a batch: on a processor as many as its cache holds, on a device to the best of several.
BATCHES = {"cpu": (256, 512), "cuda": (8_192, 32_768, 65_536, 131_072)}
COPIED_BYTES = {"cpu": 2**28, "cuda": 2**32}
SCENARIO = "global"


def bandwidth_gb_s(device: torch.device) -> float:
    """Return bytes read and written per second while a large tensor is copied, the best of five."""
    source = torch.zeros(COPIED_BYTES[device.type] // 4, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    best_s = min(seconds(lambda: target.copy_(source), device) for _ in range(6))
    return 2.0 * COPIED_BYTES[device.type] / best_s / 1e9


def random_actions(setting: Setting, batch: int, size: int) -> list[torch.Tensor]:
    """Return four batches of actions [B,A]."""
    generator = torch.Generator(device=setting.device).manual_seed(0)
    shape = (batch, size)
    return [torch.rand(shape, generator=generator, device=setting.device) * 2.0 - 1.0 for _ in range(4)]


def bytes_of_step(simulator: Simulator, actions: torch.Tensor) -> float:
    """Return bytes per environment that a step cannot but read and write.

    Read: state, the instance's constants, exogenous input, actions; written: the next state and the figures.
    """
    state, instance, (now, _) = simulator.inputs()
    columns = simulator.ring.columns
    wide = sum(columns[name].place.stop - columns[name].place.start for name in STORED)
    figures, wrong = simulator.step_figures(actions)
    tensors = [*state, *state, *instance, actions, figures, wrong]
    counted = sum(x.numel() * x.element_size() for x in tensors)
    return counted / simulator.num_envs + wide * now.element_size()


def simulator_speed(
    setting: Setting, batch: int, compile: bool, scenario: str = SCENARIO
) -> tuple[float, str, float]:
    """Return environment-steps per second of the simulator, their range, and the bytes of a step."""
    compiled = compile_scenario(load_scenario(scenario))
    dtype = getattr(torch, setting.dtype)
    episodes = TorchEpisodeGenerator(compiled, setting.device, dtype, seed=0).draw(batch)
    simulator = Simulator.room_for(compiled, batch, episodes.like, wrap=Traced if compile else None)
    simulator.begin(np.arange(batch), simulator.prepare(episodes))
    actions, start = random_actions(setting, batch, simulator.layout.size), simulator.get_state()
    counted = bytes_of_step(simulator, actions[0])
    steps = simulator.steps if setting.kind == "cuda" or batch <= 1024 else 48

    def play() -> None:
        simulator.set_state(start)
        usd = torch.zeros(batch, dtype=dtype, device=setting.device)
        for t in range(steps):
            usd = usd + simulator.step_figures(actions[t % 4])[0][0]
        assert bool((torch.isfinite(usd) & (usd != 0.0)).all()), "some environments did nothing"

    play()
    value, spread = median_of(lambda: steps * batch / seconds(play, setting.device), setting.repetitions)
    return value, spread, counted


def simulator_figures(setting: Setting) -> Iterator[Figure]:
    """Yield speed of the simulator at the best batch, eager and compiled, with its share of the memory bandwidth."""
    for compile in (False, True) if setting.compiled else (False,):
        found = [(*simulator_speed(setting, batch, compile), batch) for batch in setting.batches]
        value, spread, counted, batch = max(found)
        name = f"Global simulator, {setting.kind}" + ("" if compile else ", eager")
        others = "; ".join(f"batch {b:,}: {v:,.4g}" for v, _, _, b in found if b != batch)
        yield Figure(
            name, value, "env-steps/s", setting.note(batch, f"{spread}" + (f"; {others}" if others else ""))
        )

    limit_gb_s = bandwidth_gb_s(setting.device)
    moved_gb_s = value * counted / 1e9
    note = f"{counted:,.0f} bytes a step, {moved_gb_s:,.3g} of {limit_gb_s:,.3g} GB/s measured by copying"
    yield Figure(
        f"Global simulator, {setting.kind}, share of bandwidth", 100.0 * moved_gb_s / limit_gb_s, "%", note
    )


def environment_figures(setting: Setting) -> Iterator[Figure]:
    """Yield speed of the environment: observations, books, episodes that end and begin."""
    batch = setting.batches[-1]
    for name in ("TwoSites", "FourMarkets", "Global"):
        for compile in (False, True) if setting.compiled else (False,):
            value, spread = _environment_speed(setting, name, batch, compile)
            title = f"{name} environment, {setting.kind}" + ("" if compile else ", eager")
            yield Figure(
                title, value, "env-steps/s", setting.note(batch, f"observations and resets; {spread}")
            )
            gc.collect()


def _environment_speed(setting: Setting, name: str, batch: int, compile: bool) -> tuple[float, str]:
    options: dict[str, Any] = {
        "device": setting.device,
        "dtype": setting.dtype,
        "compile": compile,
        "copy": False,
    }
    envs: Any = gym.make_vec(
        f"gridai/{name}-v2", batch, "vector_entry_point", flat_observations=True, **options
    ).unwrapped
    envs.reset(seed=0)
    actions = random_actions(setting, batch, envs.simulator.layout.size)

    def play() -> None:
        for t in range(envs.simulator.steps):
            envs.step(actions[t % 4])

    play()
    steps = envs.simulator.steps * batch
    return median_of(lambda: steps / seconds(play, setting.device), setting.repetitions)


def memory_figure(setting: Setting) -> Figure:
    """Return memory of 8,192 environments with their stock of episodes, from what a smaller batch holds."""
    few = 128
    compiled = compile_scenario(load_scenario(SCENARIO))
    envs: Any = gym.make_vec(
        "gridai/Global-v2", few, "vector_entry_point", device=setting.device, dtype=setting.dtype
    ).unwrapped
    envs.reset(seed=0)
    actions = torch.zeros((few, envs.simulator.layout.size), device=setting.device)
    observation, *_ = envs.step(actions)
    held = [envs.simulator.ring.values, actions, *observation.values(), *envs.simulator.inputs()[0]]
    counted = sum(x.numel() * x.element_size() for x in held) / few
    total_gb = 8192 * (1.0 + SHARE) * counted / 1e9
    note = f"{setting.dtype}; counted: {counted / 1e3:,.0f} kB each, {compiled.shape.steps} steps"
    return Figure(f"Global, memory of 8,192 environments, {setting.kind}", total_gb, "GB", note)


def elsewhere(kind: str) -> Iterator[Figure]:
    """Yield the figures of a device that is not measured."""
    note = f"needs --device {kind}"
    yield Figure(f"Global simulator, {kind}", None, "env-steps/s", note)
    yield Figure(f"Global simulator, {kind}, share of bandwidth", None, "%", note)
    yield Figure(f"Global environment, {kind}", None, "env-steps/s", note)
    yield Figure(f"Global, memory of 8,192 environments, {kind}", None, "GB", note)
    yield Figure(f"FourMarkets PPO, {kind}", None, "env-steps/s", note)
    yield Figure(f"FourMarkets PPO over plain SB3, {kind}", None, "1", note)


def device_figures(setting: Setting, learn: bool) -> Iterator[Figure]:
    """Yield all figures of one device, then the open cells of the other."""
    yield from simulator_figures(setting)
    yield from environment_figures(setting)
    yield memory_figure(setting)
    if learn:
        from scripts.studies.speed.learning import learning_figures

        yield from learning_figures(setting)
        yield from decision_figures(setting.compiled)
    for kind in KINDS:
        if kind != setting.kind:
            yield from elsewhere(kind)
