"""The parts of `scripts.gpu_check`: precision, simulator, PPO and the gradient through the simulator, with memory."""

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from agents.config import compiled_of, load_config
from agents.training.environments import make_training_env
from agents.training.train import build
from scripts.studies.speed.measure import Figure
from scripts.studies.speed.setting import Setting, seconds
from scripts.studies.speed.torch_batch import simulator_speed

SPEED = "env-steps/s"
# Seconds that a part should find left: torch's compiler takes most of them.
EAGER_S, COMPILED_S = 30, 90


@dataclass(frozen=True)
class Sizes:
    """What is measured, and in batches of how many environments."""

    ids: tuple[str, ...] = ("TwoSites", "FourMarkets", "MicrogridProsumer", "EnergyGeography", "Global")
    compared: int = 64  # episodes whose returns are compared
    scenario: str = "global"
    batches: tuple[int, ...] = (1_024, 4_096, 16_384, 65_536)
    ppo: tuple[int, ...] = (1_024, 4_096, 16_384)
    pathwise: tuple[int, ...] = (1_024, 4_096, 16_384, 65_536)
    compiled: tuple[bool, ...] = (False, True)
    repetitions: int = 3
    settings: dict[str, Any] = field(default_factory=dict)


FULL = Sizes()
SMALL = {"environment": {"scenario": "two_sites"}, "rollout_steps": 6, "hidden": [8]}
QUICK = Sizes(("TwoSites",), 3, "two_sites", (4,), (4,), (4,), (False,), 1, SMALL)


@dataclass(frozen=True)
class Part:
    """A part of the check; it finds at least ``needs_s`` seconds left, or is left out."""

    name: str
    unit: str
    needs_s: int
    figures: Callable[[], Iterator[Figure]]


def parts(device: torch.device, sizes: Sizes) -> Iterator[Part]:
    """Yield all parts, cheap ones first."""
    setting = Setting(device, "float32", sizes.batches, sizes.repetitions, True in sizes.compiled)
    for name in sizes.ids:
        yield Part(f"{name}, precision", "1", EAGER_S, partial(precision, setting, name, sizes.compared))
    for compile in sizes.compiled:
        how, needs_s = ("compiled", COMPILED_S) if compile else ("eager", EAGER_S)
        ways: list[tuple[str, tuple[int, ...], Callable[[int], float]]] = [
            (
                f"simulator of {sizes.scenario}",
                sizes.batches,
                lambda batch, compile=compile: simulator_speed(setting, batch, compile, sizes.scenario)[0],  # type: ignore[misc]
            ),
            ("learned.yaml", sizes.pathwise, partial(learning_speed, setting, sizes, "learned", compile)),
            ("ppo_device.yaml", sizes.ppo, partial(learning_speed, setting, sizes, "ppo_device", compile)),
        ]
        for title, batches, speed in ways:
            for batch in batches:
                name = f"{title}, {how}, batch {batch:,}"
                yield Part(name, SPEED, needs_s, partial(speed_and_memory, setting, name, batch, speed))


def precision(setting: Setting, name: str, episodes: int) -> Iterator[Figure]:
    """Yield how far returns of the same episodes and actions lie apart, by type and from NumPy.

    Meanwhile torch may round matrix products to TF32 or bfloat16: nothing of the world must depend on it.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        exact = returns(name, episodes)
        double, single = (
            returns(name, episodes, device=setting.device, dtype=dtype, episodes="host")
            for dtype in ("float64", "float32")
        )
    finally:
        torch.set_float32_matmul_precision(before)
    note = f"{episodes} episodes, largest difference over the mean size of returns"
    size = np.abs(exact).mean()
    yield Figure(f"{name}, float64 from NumPy", float(np.abs(double - exact).max() / size), "1", note)
    yield Figure(f"{name}, float32 from float64", float(np.abs(single - double).max() / size), "1", note)


def returns(name: str, count: int, **options: Any) -> np.ndarray:
    """Return what the first episodes earn under fixed random actions."""
    envs: Any = gym.make_vec(f"gridai/{name}-v2", count, "vector_entry_point", **options).unwrapped
    envs.reset(seed=0)
    rng, shape = np.random.default_rng(0), (count, *envs.single_action_space.shape)
    earned = [
        envs.step(rng.uniform(-1.0, 1.0, shape).astype(np.float32))[1] for _ in range(envs.simulator.steps)
    ]
    return np.sum([np.asarray(torch.as_tensor(x).cpu(), dtype=np.float64) for x in earned], 0)


def speed_and_memory(
    setting: Setting, name: str, batch: int, speed: Callable[[int], float]
) -> Iterator[Figure]:
    """Yield speed and peak memory of one way and batch; none where the device has too little memory."""
    gc.collect()
    on_gpu = setting.kind == "cuda"
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        value = speed(batch)
    except torch.cuda.OutOfMemoryError:
        yield Figure(name, None, SPEED, "out of memory")
        return
    yield Figure(name, value, SPEED, setting.dtype)
    if on_gpu:
        peak = torch.cuda.max_memory_allocated()
        yield Figure(f"{name}, peak memory", peak / 1e9, "GB", f"{peak / batch / 1e3:,.0f} kB for each")


def learning_speed(setting: Setting, sizes: Sizes, settings: str, compile: bool, batch: int) -> float:
    """Return environment-steps per second of training with a shipped file of settings, updates included."""
    changes: dict[str, Any] = {
        "device": setting.kind,
        "num_envs": batch,
        "torch_threads": torch.get_num_threads(),
        "on_device.compile": compile,
    }
    is_ppo = settings == "ppo_device"
    if is_ppo:
        changes |= {"batch_size": 2 * batch}  # as in the file
    config = load_config(f"configs/agents/{settings}.yaml", changes | sizes.settings)
    model = build(config, make_training_env(config, compiled := compiled_of(config)))
    length = compiled.shape.steps
    update = batch * (config.rollout_steps if is_ppo else length)
    model.learn(update)  # compiles
    steps = -(-length * batch // update) * update  # an episode of each
    return steps / seconds(lambda: model.learn(steps, reset_num_timesteps=False), setting.device)
